"""A client's own object names its connection, whatever library it is of."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import aiohttp
import pytest
import trio
import trio_websocket
from websockets.asyncio.client import connect as connect_async
from websockets.sync.client import connect

import trioecho.client
import trioecho.testing
from trioecho.faults.naming import names_of
from trioecho.testing import FaultServer, connect_raw

pytestmark = pytest.mark.keeps_open


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    with trioecho.testing.serve() as found:
        yield found


def test_websockets_names_its_connection(server: FaultServer) -> None:
    """Threads and asyncio; when it is closed, too."""
    with connect(server.at("/echo?id=threads"), proxy=None) as ws:
        assert server.seen(ws)["id"] == "threads"
    assert server.seen(ws, ended=True)["id"] == "threads"

    async def story() -> None:
        async with connect_async(server.at("/echo?id=asyncio"), proxy=None) as ws:
            assert server.seen(ws)["id"] == "asyncio"
        assert server.seen(ws, ended=True)["closed_first"] == "client"

    asyncio.run(story())


def test_aiohttp_names_its_connection(server: FaultServer) -> None:
    """When it is closed, too."""

    async def story() -> None:
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(server.at("/echo?id=aiohttp")) as ws:
                assert server.seen(ws)["id"] == "aiohttp"
            # In a thread: aiohttp ends TCP in the event loop.
            told = await asyncio.to_thread(server.seen, ws, ended=True)
            assert told["id"] == "aiohttp"

    asyncio.run(story())


def test_trios_clients_name_their_connections(server: FaultServer) -> None:
    """trio-websocket, trioecho's client, and the raw one."""

    async def story() -> None:
        async with trio_websocket.open_websocket_url(server.at("/echo?id=tw")) as ws:
            assert (await trio.to_thread.run_sync(server.seen, ws))["id"] == "tw"
        async with trioecho.client.connect(server.at("/echo?id=te")) as client:
            assert (await trio.to_thread.run_sync(server.seen, client))["id"] == "te"
        raw = await connect_raw(server.live.server.port, path="/echo?id=raw")
        assert (await trio.to_thread.run_sync(server.seen, raw))["id"] == "raw"
        await raw.stream.aclose()

    trio.run(story)


def test_a_socket_names_its_connection(server: FaultServer) -> None:
    """By its address: IPv6's in brackets."""
    with socket.create_connection(("127.0.0.1", server.live.server.port)) as plain:
        plain.sendall(b"GET /status/418?id=plain HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert plain.recv(100).startswith(b"HTTP/1.1 418 ")
        assert server.seen(plain)["id"] == "plain"
        host, port = plain.getsockname()
        assert names_of(plain) == (f"{host}:{port}",)
        assert server.seen(f"{host}:{port}")["id"] == "plain"


def test_what_tells_nothing_of_itself_is_a_lesson() -> None:
    """Not a connection that is not remembered, which is another mistake."""
    assert names_of("mine") == ("mine",)
    for nothing in (3, None, object(), b"mine", {}):
        with pytest.raises(
            TypeError, match=r"seen takes the id of a connection, as in \?id=mine, or a client's"
        ):
            names_of(nothing)
