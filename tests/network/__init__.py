"""A server and its clients in network namespaces of their own, and what can go wrong between them."""
