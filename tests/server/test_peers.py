"""Who is at the other end of a transport, and what TLS has agreed on with it."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from plain_http import plain_http
from serving import one_way, serving, way_of_reading

from trioecho import HttpRoute, Request, Response
from trioecho._server.peers import peer_of, tls_of

__all__ = ["way_of_reading"]


async def tell(request: Request) -> Response:
    """What the request says of its connection."""
    tls = request.tls
    return Response.json([request.scheme, request.client and request.client[0], tls and tls.version[:3]])


async def test_a_request_tells_its_client_and_tls() -> None:
    """The same on each way of reading."""
    async with serving({"/": HttpRoute(tell)}) as server, plain_http(server) as client:
        secure = server.url.startswith("https:")
        expected = '["https","127.0.0.1","TLS"]' if secure else '["http","127.0.0.1",null]'
        assert (await client.ask("/")).text == expected


@one_way
async def test_what_is_no_socket_says_what_it_is() -> None:
    """Streams in memory, as in tests."""
    stream, _ = trio.testing.memory_stream_pair()
    assert (peer_of(stream), tls_of(stream)) == (("StapledStream", None), None)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@one_way
async def test_an_address_of_ipv6_stands_in_brackets(host: str) -> None:
    """As in a URL."""
    listeners = await trio.open_tcp_listeners(0, host=host)
    port = listeners[0].socket.getsockname()[1]
    async with listeners[0], await trio.open_tcp_stream(host, port) as stream:
        name = f"[::1]:{port}" if host == "::1" else f"127.0.0.1:{port}"
        assert peer_of(stream) == (name, (host, port))


@one_way
async def test_a_client_that_has_gone_is_told_so() -> None:
    """Its socket has no peer any more."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    async with listeners[0]:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.aclose()
        assert peer_of(stream) == ("a client that has gone", None)
