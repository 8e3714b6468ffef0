"""Hubs: remote calls, groups and fallback transports for SignalR's clients.

`ConnectionRoute` serves a handler of raw connections over WebSockets, Server-Sent Events and long polling: an async
function of one `Connection` (the type `ConnectionHandler`). It stands at a path as any other route of `trioecho`.
"""

from trioecho.hubs.connection import Connection, Reattached
from trioecho.hubs.connection_options import ConnectionOptions
from trioecho.hubs.connection_route import ConnectionRoute
from trioecho.hubs.logical_connection import ConnectionHandler

__all__ = ["Connection", "ConnectionHandler", "ConnectionOptions", "ConnectionRoute", "Reattached"]
