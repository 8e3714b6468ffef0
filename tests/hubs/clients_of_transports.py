"""Clients of a `ConnectionRoute` in tests: what each transport says, byte for byte, and a route that is served."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import trio
from plain_http import Answer, PlainHttp, plain_http
from serving import connected, serving, until

import trioecho
from trioecho.hubs import Connection, ConnectionHandler, ConnectionOptions, ConnectionRoute
from trioecho.testing import RawClient


async def echo(connection: Connection) -> None:
    """Send everything back, as text."""
    while True:
        await connection.send(await connection.receive(), text=True)


@dataclass
class Served:
    """A route that is served at /c, its server, and the connections that its handler has got."""

    server: trioecho.Server
    route: ConnectionRoute
    connections: list[Connection] = field(default_factory=list)
    ended: list[Connection] = field(default_factory=list)
    """Those whose handler has ended."""

    @contextlib.asynccontextmanager
    async def http(self) -> AsyncIterator[PlainHttp]:
        """One connection for plain HTTP."""
        async with plain_http(self.server) as client:
            yield client

    async def ask(self, target: str, method: str = "GET", **request: Any) -> Answer:
        """One exchange on a connection of its own."""
        async with self.http() as client:
            return await client.ask(target, method, **request)

    async def negotiate(self, query: str = "negotiateVersion=1", **request: Any) -> dict[str, Any]:
        """What the server tells who negotiates."""
        answer = await self.ask(f"/c/negotiate?{query}", "POST", **request)
        assert answer.status == 200, answer
        told: dict[str, Any] = json.loads(answer.body)
        return told

    async def begin_polling(self, query: str = "negotiateVersion=1") -> str:
        """Negotiate and poll once; where the connection is now."""
        told = await self.negotiate(query)
        target = f"/c?id={told.get('connectionToken', told['connectionId'])}"
        first = await self.ask(target)
        assert (first.status, first.body) == (200, b"")
        return target

    async def token(self, query: str = "negotiateVersion=1") -> str:
        """Negotiate; the token."""
        return str((await self.negotiate(query))["connectionToken"])

    async def stopped(self) -> None:
        """Wait until nothing of the route runs any more, as after a stop."""
        with trio.fail_after(10):
            await until(lambda: self.route._nursery is None)

    async def token_as(self, user: str) -> str:
        """Negotiate as `user`, for those who tell who they are by a header; the token."""
        told = await self.negotiate(headers=(("X-User", user),))
        return str(told["connectionToken"])

    @contextlib.asynccontextmanager
    async def websocket(self, token: str | None = None) -> AsyncIterator[RawClient]:
        """A WebSocket of a connection that was negotiated, or of none."""
        path = "/c" if token is None else f"/c?id={token}"
        async with connected(self.server, path=path) as client:
            yield client

    @contextlib.asynccontextmanager
    async def events(self, token: str) -> AsyncIterator[Events]:
        """A stream of events whose opening has come."""
        async with self.http() as client:
            await client.send(f"/c?id={token}", headers=(("Accept", "text/event-stream"),))
            async with client.answering() as (answer, more):
                assert answer.status == 200
                events = Events(client.stream, answer, more)
                assert await events.receive_more() == b":\r\n"
                events.received = b""
                yield events


class Events:
    """Server-Sent Events as they arrive."""

    def __init__(self, stream: trio.abc.Stream, answer: Answer, more: Any) -> None:
        self.stream = stream
        self.answer = answer
        self._more = more
        self.received = b""

    async def receive_more(self) -> bytes:
        """The next piece; b"" at the end."""
        piece: bytes = await self._more()
        self.received += piece
        return piece

    async def receive(self) -> str | None:
        """The data of the next event; None at the end."""
        while b"\r\n\r\n" not in self.received:
            if not await self.receive_more():
                return None
        event, _, self.received = self.received.partition(b"\r\n\r\n")
        lines = [line.decode() for line in event.split(b"\r\n")]
        assert all(line.startswith("data: ") for line in lines), lines
        return "\n".join(line.removeprefix("data: ") for line in lines)


@contextlib.asynccontextmanager
async def serving_route(
    handler: ConnectionHandler = echo, *, admit: Any = None, user: Any = None, **options: Any
) -> AsyncIterator[Served]:
    """A `ConnectionRoute` of `handler` at /c, with `ConnectionOptions` of `options`."""
    served: Served

    async def told(connection: Connection) -> None:
        served.connections.append(connection)
        try:
            await handler(connection)
        finally:
            served.ended.append(connection)

    route = ConnectionRoute(told, admit=admit, user=user, options=ConnectionOptions(**options))
    async with serving({"/c": route, "/ws": trioecho.echo}) as server:
        served = Served(server, route)
        yield served


async def receive_all(connection: Connection) -> list[bytes]:
    """What comes until the end."""
    received = []
    with contextlib.suppress(trio.EndOfChannel):
        while True:
            received.append(await connection.receive())
    return received
