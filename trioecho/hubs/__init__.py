"""Hubs: remote calls, groups and fallback transports for SignalR's clients.

`ConnectionRoute` serves a handler of raw connections over WebSockets, Server-Sent Events and long polling: an async
function of one `Connection` (the type `ConnectionHandler`). It stands at a path as any other route of `trioecho`.

`HubServer` serves a class that derives from `Hub`, over such connections: clients call its methods, it calls theirs,
singly or by groups and users, and a `Backplane` carries that to other processes.
"""

try:
    import msgspec  # noqa: F401
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        "trioecho.hubs needs msgspec: pip install 'trioecho[hubs]'", name="msgspec"
    ) from None

from trioecho.hubs.backplane import (
    Address,
    Backplane,
    BackplaneError,
    Local,
    LocalBackplane,
    NoConnection,
    Result,
)
from trioecho.hubs.clients import Clients, HubClients, Target
from trioecho.hubs.connection import Connection, Reattached
from trioecho.hubs.connection_options import ConnectionOptions
from trioecho.hubs.connection_route import ConnectionRoute
from trioecho.hubs.exceptions import HubException
from trioecho.hubs.groups import Groups, OwnGroups
from trioecho.hubs.hub import Hub
from trioecho.hubs.hub_options import HubOptions
from trioecho.hubs.logical_connection import ConnectionHandler
from trioecho.hubs.redis_backplane import RedisBackplane
from trioecho.hubs.server import HubServer

__all__ = [
    "Address",
    "Backplane",
    "BackplaneError",
    "Clients",
    "Connection",
    "ConnectionHandler",
    "ConnectionOptions",
    "ConnectionRoute",
    "Groups",
    "Hub",
    "HubClients",
    "HubException",
    "HubOptions",
    "HubServer",
    "Local",
    "LocalBackplane",
    "NoConnection",
    "OwnGroups",
    "Reattached",
    "RedisBackplane",
    "Result",
    "Target",
]
