"""`Server`: what it says of where it can be reached, and that looking at it changes nothing."""

from __future__ import annotations

import functools
import re
import ssl

import pytest
import trio
import trustme
from serving import connected, one_way, serving, until
from serving import way_of_reading as way_of_reading

import trioecho
from trioecho import HttpRoute, Request, Response
from trioecho.testing import RawClient, open_client

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


async def test_a_new_certificate_is_for_new_connections() -> None:
    """An open one stays with the old one."""
    authority = trustme.CA()
    contexts = [ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for _ in range(2)]
    for context in contexts:
        authority.issue_cert("127.0.0.1").configure_cert(context)
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(trust)

    async def connect(server: trioecho.Server) -> tuple[RawClient, bytes]:
        plain = await trio.open_tcp_stream("127.0.0.1", server.port)
        client = RawClient(trio.SSLStream(plain, trust, server_hostname="127.0.0.1"))
        await client.handshake()
        return client, client.stream.getpeercert(True)  # type: ignore[attr-defined]

    async with trio.open_nursery() as nursery:
        start = functools.partial(trioecho.serve, port=0, ssl_context=contexts[0])
        server = await nursery.start(start)
        first, seen_first = await connect(server)
        server.renew_tls(contexts[1])
        second, seen_second = await connect(server)
        assert seen_first != seen_second
        for client in (first, second):
            await client.send("hello")
            assert await client.receive() == "hello"
            await trio.aclose_forcefully(client.stream)
        nursery.cancel_scope.cancel()


async def test_a_certificate_is_renewed_only_where_there_is_one() -> None:
    async with serving() as server:
        with pytest.raises(TypeError, match=r"renew_tls takes an ssl.SSLContext; you gave 'cert.pem'"):
            server.renew_tls("cert.pem")  # type: ignore[arg-type]
        with pytest.raises(RuntimeError, match="started without ssl_context"):
            server.renew_tls(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
