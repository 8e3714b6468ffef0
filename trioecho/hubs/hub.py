"""Hub: what users derive their hubs from. One instance for each connection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Generic, TypeVar

import trio

from trioecho.hubs.clients import HubClients
from trioecho.hubs.groups import OwnGroups

if TYPE_CHECKING:
    from trioecho import Request
    from trioecho.hubs.hub_connection import HubConnection
    from trioecho.hubs.server import HubServer

T = TypeVar("T")


class Hub(Generic[T]):
    """The methods that clients may call are the public ``async def`` ones of the class that derives from it.

    `T` is a Protocol with the methods of the clients, or `Target` where they are called by name. Arguments and results
    are of any type that msgspec decodes and encodes, by the annotations. ``-> None`` returns nothing, which clients can
    tell from None. A method that is an async generator, or returns an ``AsyncIterator``, streams its results; a
    parameter of type ``AsyncIterator`` is a stream that the client uploads. Clients may write the names without
    underscores and in any case. A method of a client that goes, or that cancels the call, is cancelled.

    `HubException` reaches the client that has called; of any other exception it is told that there was one.

    The instance lives as long as its connection, so attributes keep what belongs to that. In ``__init__``, which takes
    nothing, there is no connection yet.

    Example:

        from collections.abc import AsyncIterator
        from contextlib import asynccontextmanager
        from trioecho.hubs import Hub, HubServer, Target

        class Counter(Hub[Target]):
            @asynccontextmanager
            async def life(self) -> AsyncIterator[None]:
                self.asked = 0
                yield
                await self.clients.others.send("left", self.connection_id, self.asked)

            async def count(self, to: int) -> AsyncIterator[int]:
                self.asked += 1
                for number in range(to):
                    yield number

            async def total(self, numbers: AsyncIterator[int]) -> int:
                return sum([number async for number in numbers])

        routes = {"/counter": HubServer(Counter)}
    """

    _connection: HubConnection | None = None
    _server: HubServer[T]

    @asynccontextmanager
    async def _nothing(self) -> AsyncIterator[None]:
        yield

    def life(self) -> AbstractAsyncContextManager[None]:
        """What there is around the calls of one connection; override it as an ``@asynccontextmanager``.

        It is entered behind the handshake, before the first call runs, and left when the client has gone, whatever
        ends the connection; then `HubOptions.leave_timeout` cancels it. Where entering raises, the connection ends,
        with a `HubException`'s text.
        """
        return self._nothing()

    @property
    def clients(self) -> HubClients[T]:
        """Whom to call: `caller`, `others`, and all that `HubServer.clients` has."""
        connection = self._connected
        return HubClients(self._server, self._server.client_methods, connection.id)

    @property
    def groups(self) -> OwnGroups:
        """The groups of this connection."""
        connection = self._connected
        return OwnGroups(self._server, connection)

    @property
    def nursery(self) -> trio.Nursery:
        """The connection's nursery: what is started in it ends with the connection, and ends it where it fails."""
        return self._connected.nursery

    @property
    def connection_id(self) -> str:
        """The id of this connection, by which others may call its client."""
        return self._connected.id

    @property
    def user(self) -> str | None:
        """Who it is, as `HubServer`'s `user` has found out; None for nobody."""
        return self._connected.user

    @property
    def request(self) -> Request:
        """The request that opened it: its query, headers, cookies, and what admission found out."""
        return self._connected.connection.request

    @property
    def transport(self) -> str:
        """What carries it: "WebSockets", "ServerSentEvents" or "LongPolling"."""
        return self._connected.connection.transport

    def close(self, error: str | None = None, *, allow_reconnect: bool = False) -> None:
        """End this connection, telling the client why, and whether it should reconnect if it does so by itself."""
        self._connected.end(error, allow_reconnect=allow_reconnect)

    @property
    def _connected(self) -> HubConnection:
        if self._connection is None:
            raise RuntimeError("a hub has its connection when life() is entered, not in __init__")
        return self._connection
