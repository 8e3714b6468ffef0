"""A server in the test's own Trio run, on each way of reading: the poller or Trio's streams, without and with TLS."""

from __future__ import annotations

import contextlib
import functools
import socket
import ssl
import struct
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import pytest
import trio
import trio.testing
import trustme

import trioecho
from trioecho._server.routes import RouteTable
from trioecho._server.serve import serve_connection
from trioecho._server.service import Service
from trioecho._wire.poller import Poller
from trioecho.testing import RawClient

PATIENCE = 60.0
"""Seconds after which a test gives up. Nothing is measured with it."""

_encrypted = False


@pytest.fixture(params=["poller", "stream", "poller-tls", "stream-tls"], autouse=True)
def way_of_reading(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Import this into a file of tests, and each of them runs on every way of reading."""
    if request.param.startswith("poller") and not Poller.available:
        pytest.skip("this platform has no epoll")
    monkeypatch.setattr(Poller, "available", request.param.startswith("poller"))
    monkeypatch.setattr(sys.modules[__name__], "_encrypted", request.param.endswith("tls"))


plain_tcp = pytest.mark.parametrize("way_of_reading", ["poller", "stream"], indirect=True)
"""For tests of what TLS cannot do, such as ending one direction only."""

one_way = pytest.mark.parametrize("way_of_reading", ["poller"], indirect=True)
"""For tests of what has nothing to do with reading."""


@pytest.fixture
def slow_clock() -> trio.testing.MockClock:
    """Twenty times as slow as real time, for sockets of the kernel's: a test makes time pass by `jump`, and what a busy
    machine takes over anything is next to nothing."""
    return trio.testing.MockClock(rate=0.05)


async def pass_time(
    clock: trio.testing.MockClock, seconds: float, until: Callable[[], object] = lambda: False
) -> None:
    """Let `seconds` pass on a `slow_clock`, in steps in which everybody does what there is to do; fewer if `until`
    holds before."""
    end = clock.current_time() + seconds
    while not until() and clock.current_time() < end:
        clock.jump(min(0.02, max(0.0, end - clock.current_time())))
        await trio.testing.wait_all_tasks_blocked()


@pytest.fixture
def unix_path() -> Iterator[str]:
    """A free path for a Unix socket, in a directory of its own; shorter than those of `tmp_path` may be."""
    with tempfile.TemporaryDirectory(prefix="t") as directory:
        yield f"{directory}/s"


def encrypted(server: trioecho.Server) -> bool:
    """Whether `server` speaks TLS; one without a URL, that was made by `serving`, as all of its test do."""
    return server.url.startswith("https:") if server.urls else _encrypted


@functools.cache
def certificates() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The contexts of a server at 127.0.0.1 and of a client that trusts it."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


@contextlib.asynccontextmanager
async def serving(
    handler: trioecho.Route | trioecho.Routes | None = None,
    *,
    host: str | tuple[str, ...] = "127.0.0.1",
    at: Mapping[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[trioecho.Server]:
    """A server on a free port of `host`, or where the arguments `at` have it; cancelled, and waited for, on leaving."""
    start = functools.partial(
        trioecho.serve,
        handler,
        **(at if at is not None else {"host": host, "port": 0}),
        options=trioecho.WebSocketOptions(**options),
        ssl_context=certificates()[0] if _encrypted else None,
    )
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            server = await nursery.start(start)
            yield server
            nursery.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def serving_in_memory(
    routes: trioecho.Route | trioecho.Routes | None = None, **options: Any
) -> AsyncIterator[trio.abc.Stream]:
    """The client's end of one connection to a server without a socket, for virtual time."""
    chosen = trioecho.WebSocketOptions(**options)
    service = Service(RouteTable(routes, chosen), chosen)
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_connection, theirs, service)
        yield ours
        nursery.cancel_scope.cancel()


async def open_stream(server: trioecho.Server) -> trio.abc.Stream:
    """A connected stream on which nothing has been said."""
    stream: trio.SocketStream
    if server.urls:
        stream = await trio.open_tcp_stream("127.0.0.1", server.port)
    else:
        stream = await trio.open_unix_socket(server.unix_paths[0])
    if encrypted(server):
        return trio.SSLStream(stream, certificates()[1], server_hostname="127.0.0.1")
    return stream


@contextlib.asynccontextmanager
async def connected(server: trioecho.Server, **handshake: Any) -> AsyncIterator[RawClient]:
    """A client of `server`, the handshake done; its end of TCP is closed on leaving, without a word."""
    client = RawClient(await open_stream(server))
    try:
        await client.handshake(**handshake)
        yield client
    finally:
        await trio.aclose_forcefully(client.stream)


def reset(client: RawClient) -> None:
    """End TCP with a reset, as a crash or a firewall does."""
    stream = client.stream
    if isinstance(stream, trio.SSLStream):
        stream = stream.transport_stream
    assert isinstance(stream, trio.SocketStream)
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


async def until(condition: Callable[[], object]) -> None:
    """Let other tasks run until `condition` holds."""
    while not condition():
        await trio.sleep(0.001)


async def someone_else_is_served(server: trioecho.Server) -> None:
    """Another client connects to an echo at `server`, is answered, and leaves in good order."""
    async with connected(server) as client:
        await client.send("is anybody there?")
        assert await client.receive() == "is anybody there?"
        await client.close(4000, "thanks")
        assert await client.receive_close() == (4000, "thanks")
        assert await client.receive_rest() == []
