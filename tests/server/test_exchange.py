"""Plain HTTP beside WebSockets: many exchanges on a connection, each with its nursery and its line in the log."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import h11
import pytest
import trio
import trio.lowlevel
import trio.testing
from plain_http import plain_http
from serving import (
    PATIENCE,
    one_way,
    plain_tcp,
    reset,
    serving,
    serving_in_memory,
    someone_else_is_served,
    until,
    way_of_reading,
)

import trioecho
from trioecho import Files, HttpRoute, Refused, Request, Response, echo
from trioecho._http.cors import Cors
from trioecho._process.logs import JsonFormatter
from trioecho._server.routes import sample_routes
from trioecho.testing import RawClient

__all__ = ["way_of_reading"]

PATIENT = trioecho.WebSocketOptions(close_timeout=2 * PATIENCE)
"""A stop that waited for who does not close would take longer than a test."""


async def hello(request: Request) -> Response:
    """Say to whom."""
    return Response(f"hello {request.query.get('name', 'world')}")


async def shout(request: Request) -> Response:
    """The body, in capitals."""
    return Response((await request.body()).upper(), content_type="text/plain")


ROUTES: trioecho.Routes = {"/": HttpRoute(hello), "/shout": HttpRoute(shout, ["POST"]), "/ws": echo}


async def test_many_requests_go_over_one_connection_and_then_a_websocket() -> None:
    """Keep-alive; a handshake may come last."""
    async with serving(ROUTES) as server, plain_http(server) as client:
        for name in ("ann", "bob"):
            answer = await client.ask(f"/?name={name}")
            assert (answer.status, answer.text) == (200, f"hello {name}")
        assert (await client.ask("/no")).status == 404
        assert (await client.ask("/shout", "POST", body=b"abc")).text == "ABC"
        raw = RawClient(client.stream)
        await raw.handshake()
        await raw.send("and now a WebSocket")
        assert await raw.receive() == "and now a WebSocket"


async def test_requests_that_come_at_once_are_answered_in_order() -> None:
    """Pipelining (RFC 9112 §9.3.2)."""
    async with serving(ROUTES) as server, plain_http(server) as client:
        for name in "abc":
            await client.send(f"/?name={name}")
        await client.send("/shout", "POST", body=b"d" * 100_000)
        await client.send("/?name=e")
        for expected in ("hello a", "hello b", "hello c", "D" * 100_000, "hello e"):
            assert (await client.answer()).text == expected


@one_way
async def test_each_method_has_its_answer() -> None:
    """HEAD comes with GET, OPTIONS tells what there is, another is refused and told so."""
    async with serving(ROUTES) as server, plain_http(server) as client:
        answer = await client.ask("/", "HEAD")
        assert (answer.status, answer["content-length"], answer.body) == (200, "11", b"")
        answer = await client.ask("/", "OPTIONS")
        assert (answer.status, answer["allow"]) == (204, "GET, HEAD, OPTIONS")
        answer = await client.ask("/", "DELETE")
        assert (answer.status, answer["allow"]) == (405, "GET, HEAD, OPTIONS")
        assert answer.text == "'/' takes GET and HEAD; received 'DELETE'.\n"
        answer = await client.ask("/ws")
        assert (answer.status, "'Upgrade: websocket'" in answer.text) == (400, True)
        answer = await client.ask("*", "OPTIONS")
        assert answer.status == 204


@one_way
async def test_a_service_has_no_page_and_tells_nothing_of_its_paths() -> None:
    """The page, /healthz and the list of paths are the sample's."""
    async with serving(echo) as server, plain_http(server) as client:
        for target in ("/", "/healthz"):
            answer = await client.ask(target)
            assert (answer.status, answer.text) == (404, f"Nothing is served at '{target}'.\n")
    async with serving() as server, plain_http(server) as client:
        assert "<title>" in (await client.ask("/")).text
        assert (await client.ask("/healthz")).text == "ok"
        assert "WebSockets at '/ws'" in (await client.ask("/no")).text


@one_way
async def test_a_failure_is_a_500_and_no_one_elses(caplog: pytest.LogCaptureFixture) -> None:
    """Raised, or returned what is no response: the log has it, the client does not; the connection goes on."""

    async def fail(request: Request) -> Any:
        if "none" in request.query:
            return None
        raise ZeroDivisionError("secret")

    async def fail_below(request: Request) -> Response:
        async def child() -> None:
            raise ZeroDivisionError("secret")

        assert request.nursery is not None
        request.nursery.start_soon(child)
        await trio.sleep_forever()
        raise AssertionError

    routes: trioecho.Routes = {"/": HttpRoute(fail), "/below": HttpRoute(fail_below), "/ws": echo}
    async with serving(routes) as server:
        async with plain_http(server) as client:
            for target in ("/", "/?none", "/below"):
                answer = await client.ask(target)
                assert answer.status == 500
                assert "secret" not in answer.text
        await someone_else_is_served(server)
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 3
    assert all(record.exc_info for record in errors)
    assert "fail_below failed at GET /below, for 127.0.0.1:" in errors[-1].getMessage()


@one_way
async def test_a_function_refuses_as_admission_does() -> None:
    """`admit` is asked first, `Refused` may come from either."""

    async def admit(request: Request) -> None:
        if "token" not in request.query:
            raise Refused(401, "No token.", {"WWW-Authenticate": "Bearer"})

    async def limited(request: Request) -> Response:
        raise Refused(429, "Too often.", {"Retry-After": "5"})

    async with serving({"/": HttpRoute(limited, admit=admit)}) as server, plain_http(server) as client:
        answer = await client.ask("/")
        assert (answer.status, answer["www-authenticate"], answer.text) == (401, "Bearer", "No token.\n")
        answer = await client.ask("/?token")
        assert (answer.status, answer["retry-after"]) == (429, "5")


async def test_what_a_request_has_started_ends_with_its_response() -> None:
    """`request.nursery` is cancelled when the response has gone out."""
    ended: list[str] = []

    async def background(name: str) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(name)

    async def start(request: Request) -> Response:
        assert request.nursery is not None
        request.nursery.start_soon(background, request.path)
        await trio.lowlevel.checkpoint()
        return Response("started")

    async with serving({"/": HttpRoute(start)}) as server, plain_http(server) as client:
        assert (await client.ask("/")).text == "started"
        await until(lambda: ended == ["/"])


async def test_a_streamed_response_ends_when_the_client_goes() -> None:
    """The iteration is cancelled, its `finally` runs, while it waits and while it sends."""
    ended: list[str] = []

    async def ticks(name: str, pause: float) -> AsyncIterator[str]:
        try:
            yield "first"
            while True:
                await trio.sleep(pause)
                yield "x" * 10_000
        finally:
            ended.append(name)

    async def stream(request: Request) -> Response:
        return Response(ticks(request.path, 0 if request.path == "/busy" else 1000))

    async with serving({"/{name}": HttpRoute(stream)}) as server:
        for target in ("/idle", "/busy"):
            async with plain_http(server) as client:
                await client.send(target)
                async with client.answering() as (answer, more):
                    assert answer["transfer-encoding"] == "chunked"
                    assert await more() == b"first"
                    await trio.aclose_forcefully(client.stream)
            await until(lambda target=target: target in ended)


async def test_a_function_is_cancelled_when_its_client_goes_if_it_asks_for_that(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """`while_client_stays`; the log has no failure, and names it."""
    caplog.set_level(logging.INFO)
    begun, ended = trio.Event(), trio.Event()

    async def wait(request: Request) -> Response:
        begun.set()
        try:
            await trio.sleep_forever()
        finally:
            ended.set()
        raise AssertionError

    async with serving({"/": HttpRoute(wait, while_client_stays=True)}) as server:
        async with plain_http(server) as client:
            await client.send("/")
            await begun.wait()
            reset(RawClient(client.stream))
        await ended.wait()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert any("GET / unanswered" in record.getMessage() for record in caplog.records)


@plain_tcp
async def test_a_client_that_has_said_all_is_still_answered() -> None:
    """Half a TCP connection is enough for an answer, where nobody asked for more."""

    async def slow(request: Request) -> Response:
        await trio.sleep(0.01)
        return Response("here it is")

    async with serving({"/": HttpRoute(slow)}) as server, plain_http(server) as client:
        await client.send("/")
        assert isinstance(client.stream, trio.SocketStream)
        await client.stream.send_eof()
        assert (await client.answer()).text == "here it is"
        assert await client.ended()


async def test_a_failure_in_the_midst_of_a_stream_cuts_it_off(caplog: pytest.LogCaptureFixture) -> None:
    """The client can tell: the last chunk is missing."""

    async def broken() -> AsyncIterator[bytes]:
        yield b"as far as it goes"
        raise ZeroDivisionError

    async def stream(request: Request) -> Response:
        return Response(broken())

    async with serving({"/": HttpRoute(stream)}) as server, plain_http(server) as client:
        await client.send("/")
        with pytest.raises((h11.RemoteProtocolError, trio.BrokenResourceError)):
            await client.answer()
    assert "stream failed at GET /" in caplog.text


@one_way
async def test_each_exchange_has_one_line_without_its_query(caplog: pytest.LogCaptureFixture) -> None:
    """Its id, who, what, status, bytes, seconds, program; nothing a client sends can look like anything else."""
    caplog.set_level(logging.INFO, "trioecho.access")
    forged = (("User-Agent", 'x"; error none' + "y" * 5000),)
    async with serving(ROUTES) as server, plain_http(server) as client:
        await client.ask("/?access_token=secret", headers=(("User-Agent", "curl/8.0"),))
        await client.ask("/a\x1b[31m".replace("\x1b", "%1b") + "x" * 5000)
        await client.ask("/shout", "POST", body=b"abc", headers=forged)
    lines = [record.getMessage() for record in caplog.records if record.name == "trioecho.access"]
    assert len(lines) == 3
    assert "secret" not in caplog.text
    line = re.fullmatch(
        r"([0-9a-z]{8}) 127\.0\.0\.1:\d+ GET / 200; 11 B; 0\.\d{3} s; agent curl/8\.0", lines[0]
    )
    assert line
    assert len(lines[1]) < 300
    assert "agent" not in lines[1]
    assert " POST /shout 200; 3 B; " in lines[2]
    assert "; agent 'x\"; error none" in lines[2]
    assert len(lines[2]) < 300
    access = [record for record in caplog.records if record.name == "trioecho.access"]
    written = json.loads(JsonFormatter().format(access[0]))
    fields = written["exchange"]
    assert (fields["method"], fields["path"], fields["status"], fields["body_bytes"]) == ("GET", "/", 200, 11)
    assert fields["agent"] == "curl/8.0"
    assert fields["id"] == written["connection"] == line[1]
    assert "level" not in fields
    assert len(json.loads(JsonFormatter().format(access[2]))["exchange"]["agent"]) < 600


@one_way
async def test_what_is_quiet_is_told_where_it_goes_wrong(caplog: pytest.LogCaptureFixture) -> None:
    """One visit of the page is one line; a health check is none, until it fails."""
    caplog.set_level(logging.INFO, "trioecho.access")
    quiet = HttpRoute(lambda request: Response(status=int(request.query["status"])), quiet=True)
    routes: trioecho.Routes = {**sample_routes(trioecho.WebSocketOptions()), "/quiet": quiet}
    async with serving(routes) as server, plain_http(server) as client:
        for path in ("/", "/page.js", "/style.css", "/healthz", "/quiet?status=204", "/quiet?status=503"):
            await client.ask(path)
        assert (await client.ask("/nothing.js")).status == 404
    told = [line.partition(" GET ")[2].partition(";")[0] for line in caplog.messages]
    assert told == ["/ 200", "/quiet 503", "/nothing.js 404"]
    assert server.figures.http_exchanges == {"2xx": 5, "5xx": 1, "4xx": 1}


async def test_an_idle_connection_is_closed_without_a_word(autojump_clock: trio.testing.MockClock) -> None:
    """After an exchange, when no further request has begun within `handshake_timeout`."""
    async with serving_in_memory(ROUTES, handshake_timeout=7) as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"hello world" in bytes(await stream.receive_some())
        before = trio.current_time()
        assert await stream.receive_some() == b""
        assert trio.current_time() - before == pytest.approx(7)


async def test_half_a_further_request_is_told_so(autojump_clock: trio.testing.MockClock) -> None:
    """408, as for the first."""
    async with serving_in_memory(ROUTES, handshake_timeout=7) as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET")
        received = b""
        while chunk := await stream.receive_some():
            received += chunk
        assert received.count(b"HTTP/1.1 200") == 1
        assert received.count(b"HTTP/1.1 408") == 1


async def test_a_stop_lets_an_exchange_finish_until_its_deadline() -> None:
    """The answer says Connection: close; one that takes longer is cancelled, its `finally` runs."""
    begun = {"/quick": trio.Event(), "/slow": trio.Event()}
    go, ended = trio.Event(), trio.Event()

    async def answer(request: Request) -> Response:
        begun[request.path].set()
        try:
            if request.path == "/slow":
                await trio.sleep_forever()
            await go.wait()
        finally:
            if request.path == "/slow":
                ended.set()
        return Response("done")

    async with serving({"/{name}": HttpRoute(answer)}) as server:
        async with plain_http(server) as quick, plain_http(server) as slow:
            await quick.send("/quick")
            await slow.send("/slow")
            for event in begun.values():
                await event.wait()
            server.stop(timeout=0.3)
            go.set()
            done = await quick.answer()
            assert (done.text, done["connection"]) == ("done", "close")
            await ended.wait()


@one_way
async def test_cors_is_added_to_every_answer_of_its_route() -> None:
    """Preflight, answers, refusals; not to another route's."""
    cors = Cors(["https://a.com"], credentials=True)
    routes: trioecho.Routes = {"/": HttpRoute(hello, ["GET", "PUT"], cors=cors), "/plain": HttpRoute(hello)}
    origin = ("Origin", "https://a.com")
    async with serving(routes) as server, plain_http(server) as client:
        answer = await client.ask("/", "OPTIONS", headers=(origin, ("Access-Control-Request-Method", "PUT")))
        assert answer.status == 204
        assert answer["access-control-allow-origin"] == "https://a.com"
        assert "PUT" in (answer["access-control-allow-methods"] or "")
        answer = await client.ask("/", headers=(origin,))
        assert answer["access-control-allow-credentials"] == "true"
        assert (await client.ask("/plain", headers=(origin,)))["access-control-allow-origin"] is None
        answer = await client.ask("/", headers=(("Origin", "https://b.com"),))
        assert (answer.status, answer["access-control-allow-origin"]) == (200, None)


@one_way
async def test_a_preflight_is_told_the_methods_of_its_route_only() -> None:
    """A browser that was told of another's would use them without asking."""
    routes: trioecho.Routes = {
        "/": [HttpRoute(hello, cors=Cors(["https://a.com"])), HttpRoute(hello, ["DELETE"])]
    }
    headers = (("Origin", "https://a.com"), ("Access-Control-Request-Method", "GET"))
    async with serving(routes) as server, plain_http(server) as client:
        answer = await client.ask("/", "OPTIONS", headers=headers)
        assert answer["access-control-allow-methods"] == "GET, HEAD"


@plain_tcp
async def test_a_client_that_has_said_all_gets_the_whole_of_a_file(tmp_path: Path) -> None:
    """A stream of a known length ends by itself, so who has ended his side of TCP is waiting for it."""
    (tmp_path / "large").write_bytes(b"x" * 1_000_000)
    async with serving({"/{path:path}": Files(tmp_path)}) as server, plain_http(server) as client:
        await client.send("/large")
        assert isinstance(client.stream, trio.SocketStream)
        await client.stream.send_eof()
        assert len((await client.answer()).body) == 1_000_000


@one_way
async def test_a_stop_does_not_wait_for_who_has_his_answer() -> None:
    """It came with Connection: close while the server was stopping; the client does not close."""
    begun, go = trio.Event(), trio.Event()

    async def slow(request: Request) -> Response:
        begun.set()
        await go.wait()
        return Response("done")

    async with trio.open_nursery() as nursery:
        ended = trio.Event()

        async def serve_here(task_status: trio.TaskStatus[trioecho.Server]) -> None:
            await trioecho.serve(HttpRoute(slow), port=0, options=PATIENT, task_status=task_status)
            ended.set()

        server = await nursery.start(serve_here)
        async with plain_http(server) as client:
            await client.send("/ws")
            await begun.wait()
            server.stop(timeout=1000)
            go.set()
            assert (await client.answer())["connection"] == "close"
            with trio.fail_after(PATIENCE):
                await ended.wait()


@one_way
async def test_a_stop_does_not_wait_for_the_rest_of_a_body() -> None:
    """The request has its answer, and what is left would only be dropped."""
    async with trio.open_nursery() as nursery:
        ended = trio.Event()

        async def serve_here(task_status: trio.TaskStatus[trioecho.Server]) -> None:
            route = HttpRoute(hello, ["POST"])
            await trioecho.serve(route, port=0, options=PATIENT, task_status=task_status)
            ended.set()

        server = await nursery.start(serve_here)
        async with plain_http(server) as client:
            await client.send("/ws", "POST", headers=(("Content-Length", "10"),))
            assert (await client.answer()).status == 200
            server.stop(timeout=1000)
            with trio.fail_after(PATIENCE):
                await ended.wait()
