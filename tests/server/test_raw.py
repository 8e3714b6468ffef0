"""RawRoute: the request and its connection, before anything is answered."""

from __future__ import annotations

import logging

import pytest
import trio
from plain_http import plain_http
from serving import plain_tcp, serving, someone_else_is_served, until, way_of_reading

import trioecho
from trioecho import RawRoute, Request, echo
from trioecho._server.raw import RawStream
from trioecho.testing import RawClient

__all__ = ["way_of_reading"]


async def test_a_raw_route_answers_what_it_likes() -> None:
    """It begins with the first byte behind the head; when it returns, the connection is closed."""
    seen: list[str] = []

    async def odd(request: Request, stream: trio.abc.Stream) -> None:
        seen.append(f"{request.method} {request.path_params['rest']}")
        while len(seen[-1].partition("+")[2]) < 5:
            seen[-1] += ("+" if "+" not in seen[-1] else "") + bytes(await stream.receive_some(2)).decode()
        await stream.send_all(b"HTTP/1.1 999 Odd\r\n\r\n")

    async with serving({"/odd/{rest:path}": RawRoute(odd), "/ws": echo}) as server:
        async with plain_http(server) as client:
            await client.send("/odd/a/b", "PUT", body=b"hello")
            assert bytes(await client.stream.receive_some()) == b"HTTP/1.1 999 Odd\r\n\r\n"
            assert await client.ended()
        assert seen == ["PUT a/b+hello"]
        await someone_else_is_served(server)


async def test_a_handshake_comes_to_a_raw_route_too() -> None:
    """For other upgrades, and for servers that answer a WebSocket wrongly on purpose."""

    async def teapot(request: Request, stream: trio.abc.Stream) -> None:
        assert request.headers["upgrade"] == "websocket"
        await stream.send_all(b"HTTP/1.1 418 I'm a teapot\r\nContent-Length: 0\r\n\r\n")

    async with serving({"/tea": RawRoute(teapot)}, allowed_origins=["https://a.com"]) as server:
        async with plain_http(server) as client:
            with pytest.raises(AssertionError, match="418"):
                await RawClient(client.stream).handshake("/tea")
        async with plain_http(server) as client:
            with pytest.raises(AssertionError, match="403"):
                await RawClient(client.stream).handshake("/tea", headers="Origin: https://b.com\r\n")


@plain_tcp
async def test_a_raw_routes_failure_is_logged_and_no_one_elses(caplog: pytest.LogCaptureFixture) -> None:
    """The connection is closed; that the client went is no failure."""

    async def fail(request: Request, stream: trio.abc.Stream) -> None:
        if request.query:
            while await stream.receive_some():
                pass
            raise trio.BrokenResourceError
        raise ZeroDivisionError

    routes: trioecho.Routes = {"/fail": RawRoute(fail), "/ws": echo}
    async with serving(routes) as server:
        async with plain_http(server) as client:
            await client.send("/fail")
            assert await client.ended()
        async with plain_http(server) as client:
            await client.send("/fail?gone")
        await someone_else_is_served(server)
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.getMessage().partition(",")[0] for record in errors] == ["fail failed"]


@plain_tcp
async def test_a_raw_routes_stream_is_closed_like_any() -> None:
    """What came with the head is not received behind that, and nothing is not asked for."""
    ended = trio.Event()

    async def odd(request: Request, stream: trio.abc.Stream) -> None:
        with pytest.raises(ValueError, match="max_bytes is 1 or more; you gave 0"):
            await stream.receive_some(0)
        assert bytes(await stream.receive_some(2)) == b"he"
        await stream.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive_some()
        with pytest.raises(trio.ClosedResourceError):
            await stream.send_all(b"x")
        ended.set()

    async with serving({"/odd": RawRoute(odd)}) as server, plain_http(server) as client:
        await client.send("/odd", "PUT", body=b"hello")
        await ended.wait()


@plain_tcp
async def test_a_raw_route_hears_of_the_stop() -> None:
    """At once, however long it may take; and is cancelled at the end of that."""
    heard: list[str] = []

    async def odd(request: Request, stream: trio.abc.Stream) -> None:
        assert isinstance(stream, RawStream)
        heard.append("begun")
        await stream.stopping.wait()
        heard.append("stopping")
        if request.query:
            try:
                await trio.sleep_forever()
            finally:
                heard.append("cancelled")

    for path, told in (("/odd", ["begun", "stopping"]), ("/odd?on", ["begun", "stopping", "cancelled"])):
        async with serving({"/odd": RawRoute(odd)}) as server, plain_http(server) as client:
            await client.send(path)
            await until(lambda: heard)
            server.stop(timeout=0.05 if "?" in path else 60)
            with trio.fail_after(5):
                assert await client.ended()
        assert heard == told
        heard.clear()
