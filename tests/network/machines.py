"""Two machines, one with a server and one with its clients, and the cable between them."""

from __future__ import annotations

import contextlib
import functools
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import trio
from server_process import PATIENCE, ServerProcess

from network.forwarder import Cable, cable
from network.namespaces import Namespace, namespace, why_not
from trioecho.testing import RawClient

PROGRAM = """\
import json, sys
import trioecho

async def push(ws):
    while True:
        await ws.send(bytes(16384))

async def leave(ws):
    await ws.receive()
    await ws.aclose(1000, "enough")

async def large(ws):
    async for _ in ws:
        await ws.send(bytes(1_000_000))

async def endless(request):
    async def pieces():
        while True:
            yield bytes(16384)
    return trioecho.Response(pieces())

routes = {"/ws": trioecho.echo, "/push": push, "/leave": leave, "/large": large,
    "/endless": trioecho.HttpRoute(endless)}
options = trioecho.WebSocketOptions(**json.loads(sys.argv[1]))
trioecho.run(routes, host="10.77.0.1", port=int(sys.argv[2]), options=options, log_format="json", shutdown_timeout=1)
"""

PORT = 5000

LINGER = 0.5
"""Seconds for which a Close that nobody will answer may still leave, before a connection is given up."""

SLACK = 3.0
"""Seconds by which a machine with other things to do may be late."""


class Machines:
    """Made by the fixture `machines`."""

    def __init__(
        self, ours: Namespace, theirs: Namespace, between: Cable, start: Callable[..., ServerProcess]
    ) -> None:
        self.ours = ours
        self.theirs = theirs
        self.cable = between
        self._start = start
        self.server: ServerProcess

    def serve(self, *, port: int = PORT, **options: Any) -> ServerProcess:
        """Start the server, and notice how many descriptors it needs by itself."""
        arguments = ("-c", PROGRAM, json.dumps(options), str(port))
        self.server = self.ours.do(functools.partial(self._start, command=arguments))
        assert self.server.banner, self.server.log
        self._descriptors = self.server.descriptors
        return self.server

    @property
    def address(self) -> tuple[str, int]:
        """Where the server listens."""
        return Cable.first, self.server.port

    def socket(self) -> socket.socket:
        """A TCP socket of the clients' machine."""
        return self.theirs.do(socket.socket)

    @contextlib.asynccontextmanager
    async def tcp(self, *, receive_buffer: int | None = None) -> AsyncIterator[trio.SocketStream]:
        """A client's connection on which nothing has been said; its end is closed on leaving, without a word."""
        theirs = trio.socket.from_stdlib_socket(self.socket())
        if receive_buffer is not None:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        with theirs, trio.fail_after(PATIENCE):
            await theirs.connect(self.address)
            yield trio.SocketStream(theirs)

    @contextlib.asynccontextmanager
    async def client(
        self, path: str = "/ws", *, receive_buffer: int | None = None
    ) -> AsyncIterator[RawClient]:
        """A client that has shaken hands."""
        async with self.tcp(receive_buffer=receive_buffer) as stream:
            client = RawClient(stream)
            await client.handshake(path)
            yield client

    def causes(self) -> list[str]:
        """Why the connections have ended that have ended."""
        return causes(self.server.log)

    def wait_for_causes(self, count: int, within: float) -> list[str]:
        """`causes`, as soon as there are so many, `within` seconds."""
        self.server.wait_until(lambda log: len(causes(log)) >= count, within)
        found = self.causes()
        assert len(found) == count, f"{len(found)} of {count} have ended: {self.server.log[-5:]}"
        return found

    async def wait_for_descriptors(self, within: float) -> None:
        """Until the server has as many as before its first client."""
        limit = time.monotonic() + within
        while self.server.descriptors > self._descriptors:
            assert time.monotonic() < limit, (
                f"{self.server.descriptors - self._descriptors} descriptors are left"
            )
            await trio.sleep(0.02)


def causes(log: list[str]) -> list[str]:
    """The causes in the records of a log of JSON."""
    return [line["record"]["cause"] for line in map(json.loads, log) if "record" in line]


@functools.cache
def _why_not() -> str | None:
    return why_not()


@pytest.fixture
def machines(start_server: Callable[..., ServerProcess]) -> Iterator[Machines]:
    """Two machines and a cable that does no harm yet; skips where that is not permitted."""
    reason = _why_not()
    if reason is not None:
        pytest.skip(reason)
    with namespace() as ours, namespace() as theirs, cable(ours, theirs) as between:
        yield Machines(ours, theirs, between, start_server)
