"""Bytes in, bytes out: sockets on the poller, TLS on them, any Trio stream."""
