"""`Server`: what it says of where it can be reached, and that looking at it changes nothing."""

from __future__ import annotations

import re

import pytest
from serving import connected, one_way, serving, until
from serving import way_of_reading as way_of_reading

import trioecho
from trioecho import HttpRoute, Request, Response
from trioecho.testing import open_client

pytestmark = one_way


async def hello(request: Request) -> Response:
    """Answer."""
    return Response("hello")


async def test_it_says_where_it_is() -> None:
    """The page, the first WebSocket, and the port that was free."""
    async with serving({"/a": trioecho.echo, "/b": trioecho.echo}) as server:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", server.url)
        assert server.websocket_url == f"ws://127.0.0.1:{server.port}/a"
        assert (server.urls, server.hosts, server.unix_paths) == ((server.url,), ("127.0.0.1",), ())
        assert (server.has_websockets, server.answers_http) == (True, False)


async def test_a_server_without_websockets_has_no_url_of_one() -> None:
    """RuntimeError with a sentence."""
    async with serving({"/": HttpRoute(hello)}) as server:
        assert (server.has_websockets, server.answers_http) == (False, True)
        with pytest.raises(RuntimeError, match="has no WebSocket route"):
            _ = server.websocket_url


async def test_a_server_that_listens_nowhere_has_no_port() -> None:
    """Such as that of a test over memory streams; who is connected it knows all the same."""
    seen: list[trioecho.Server] = []

    async def handler(ws: trioecho.WebSocket) -> None:
        seen.append(ws.server)
        assert list(ws.server.connections) == [ws]
        await trioecho.echo(ws)

    async with open_client(handler) as client:
        await client.send("hello")
        assert await client.receive() == "hello"
        with pytest.raises(RuntimeError, match="listens nowhere"):
            _ = seen[0].port


async def test_connections_and_records_are_snapshots() -> None:
    """Going through them while they change is safe."""
    async with serving() as server:
        async with connected(server):
            await until(lambda: server.connections)
            connections, records = server.connections, server.records
        await until(lambda: server.records)
        assert (len(connections), len(records)) == (1, 0)
        assert repr(server) == "<trioecho.Server with 0 connections>"


async def test_a_server_shows_how_many_are_connected() -> None:
    """One connection is no connections."""
    async with serving() as server:
        assert repr(server) == "<trioecho.Server with 0 connections>"
        async with connected(server):
            assert repr(server) == "<trioecho.Server with 1 connection>"
