"""Listeners, routes, and the connections of one server."""
