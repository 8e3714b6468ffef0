"""`serve` and `Server`: what it takes for a handler, where it listens, how many it lets in, and how it stops."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import logging
import socket
import types
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from typing import Any

import pytest
import trio
import trio.testing
from plain_http import plain_http
from serving import PATIENCE, connected, one_way, open_stream, reset, serving, someone_else_is_served, until
from serving import way_of_reading as way_of_reading

import trioecho
import trioecho._server.serve
from trioecho.testing import CLOSE, TEXT, RawClient


async def wait(ws: trioecho.WebSocket) -> None:
    """A handler that listens and says nothing."""
    async for _ in ws:
        pass


async def sleep(ws: trioecho.WebSocket) -> None:
    """A handler that notices nothing."""
    await trio.sleep_forever()


# Handlers, and the lessons for what is none.


class Loud:
    """An object that can be awaited when called."""

    async def __call__(self, ws: trioecho.WebSocket) -> None:
        await say(ws, "from an object")

    async def method(self, ws: trioecho.WebSocket) -> None:
        await say(ws, "from a method")


async def say(ws: trioecho.WebSocket, what: str) -> None:
    await ws.send(what)


def decorated(handler: trioecho.Handler) -> trioecho.Handler:
    @functools.wraps(handler)
    async def wrapper(ws: trioecho.WebSocket) -> None:
        await handler(ws)

    return wrapper


def plainly(ws: trioecho.WebSocket) -> Awaitable[None]:
    return say(ws, "from a plain function")


class Quiet:
    """An object that returns something to await when called, and is no async function."""

    def __call__(self, ws: trioecho.WebSocket) -> Awaitable[None]:
        return say(ws, "from a plain object")


class Later:
    """Something that can be awaited, and is no coroutine."""

    def __init__(self, ws: trioecho.WebSocket) -> None:
        self._ws = ws

    def __await__(self) -> Generator[Any, None, None]:
        return say(self._ws, "from a class").__await__()


@types.coroutine
def generates(ws: trioecho.WebSocket) -> Generator[Any, Any, None]:
    yield from say(ws, "from a generator").__await__()


async def texts(ws: trioecho.WebSocket) -> AsyncIterator[str]:
    yield "from what an async generator yields"


def sending(source: Callable[[trioecho.WebSocket], AsyncIterator[str]]) -> trioecho.Handler:
    @functools.wraps(source)
    async def wrapper(ws: trioecho.WebSocket) -> None:
        async for text in source(ws):
            await ws.send(text)

    return wrapper


@one_way
@pytest.mark.parametrize(
    ("handler", "said"),
    [
        (functools.partial(say, what="from a partial"), "from a partial"),
        (Loud(), "from an object"),
        (Loud().method, "from a method"),
        (decorated(Loud().method), "from a method"),
        ({"/ws": functools.partial(say, what="from a mapping")}, "from a mapping"),
        (lambda ws: say(ws, "from a lambda"), "from a lambda"),
        (plainly, "from a plain function"),
        (Quiet(), "from a plain object"),
        (functools.partial(Quiet()), "from a plain object"),
        (Later, "from a class"),
        (generates, "from a generator"),
        (sending(texts), "from what an async generator yields"),
    ],
)
async def test_whatever_can_be_awaited_when_called_is_a_handler(handler: trioecho.Handler, said: str) -> None:
    """Async functions in all their guises, and whatever else returns something to await."""
    async with serving(handler) as server, connected(server) as client:
        assert await client.receive() == said


@one_way
async def test_a_handler_knows_its_server() -> None:
    """The one that `serve` tells of, with its connections; a WebSocket that is kept keeps it."""
    kept: list[trioecho.WebSocket] = []

    async def handler(ws: trioecho.WebSocket) -> None:
        kept.append(ws)
        await trioecho.echo(ws)

    async with serving(handler) as server:
        async with connected(server), connected(server):
            await until(lambda: len(kept) == 2)
            assert [ws.server for ws in kept] == [server, server]
            assert list(kept[0].server.connections) == kept
        await until(lambda: not server.connections)
    assert kept[0].server is server
    assert list(kept[0].server.records) == list(server.records)


@one_way
async def test_a_server_that_has_ended_is_freed_at_once() -> None:
    """It and what its connections share do not refer to each other then: nothing waits for the garbage collector."""
    gc.collect()
    gc.disable()
    try:
        async with serving() as server, connected(server) as client:
            await client.send("hello")
            assert await client.receive() == "hello"
        gone = weakref.ref(server)
        del server
        assert gone() is None
    finally:
        gc.enable()


@one_way
async def test_each_path_has_its_handler() -> None:
    """A mapping serves several; another path is refused."""
    handlers = {"/a": functools.partial(say, what="a"), "/b/c": functools.partial(say, what="b")}
    async with serving(handlers) as server:
        assert server.websocket_url.endswith("/a")
        for path, said in (("/a", "a"), ("/b/c?query", "b")):
            async with connected(server, path=path) as client:
                assert await client.receive() == said
        with pytest.raises(AssertionError, match="404"):
            async with connected(server, path="/ws"):
                pass


async def generating(ws: trioecho.WebSocket) -> AsyncIterator[str]:
    yield "text"


def yielding(ws: trioecho.WebSocket) -> Iterator[str]:
    yield "text"


@pytest.mark.parametrize(
    ("handler", "lesson"),
    [
        (generating, "the handler generating contains 'yield'; a handler sends with 'await ws.send(...)'"),
        (yielding, "the handler yielding contains 'yield'; a handler sends with 'await ws.send(...)'"),
        (functools.partial(yielding), "the handler yielding contains 'yield'"),
        (3, "a handler is an async function of one WebSocket, not int"),
        ({"/ws": None}, "a handler is an async function of one WebSocket, not NoneType"),
        ({"/ws": generating}, "the handler generating contains 'yield'"),
    ],
)
@one_way
async def test_a_beginners_mistake_gets_a_lesson(handler: trioecho.Handler, lesson: str) -> None:
    """TypeError that says what to write instead, before anything listens."""
    with trio.fail_after(PATIENCE), pytest.raises(TypeError) as caught:
        await trioecho.serve(handler, port=0)
    assert lesson in str(caught.value)


def plain(ws: trioecho.WebSocket) -> None:
    pass


class Counting:
    """Returns something, but nothing that can be awaited."""

    def __call__(self, ws: trioecho.WebSocket) -> int:
        return 3

    def method(self, ws: trioecho.WebSocket) -> None:
        pass


@pytest.mark.parametrize(
    ("handler", "lesson"),
    [
        (plain, "the handler plain returned None, which cannot be awaited; write 'async def plain(ws):'"),
        (functools.partial(plain), "the handler plain returned None"),
        (
            Counting(),
            "the handler Counting returned an object of int, which cannot be awaited; "
            "write 'async def __call__(self, ws):'",
        ),
        (
            Counting().method,
            "the handler method returned None, which cannot be awaited; write 'async def method(self, ws):'",
        ),
        (lambda ws: None, "write 'async def handler(ws):'"),
    ],
)
@one_way
async def test_a_handler_that_returns_nothing_to_await_gets_its_lesson_when_it_is_called(
    handler: Any, lesson: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What a plain function returns is known no sooner: 1011 for the client, the lesson for the author in the log."""
    async with serving(handler) as server, connected(server) as client:
        assert await client.receive_close() == (1011, "internal error")
        await client.close(1011)
        await until(lambda: server.records)
    (record,) = server.records
    assert record.cause == "handler raised"
    assert record.error is not None
    assert lesson in record.error
    (failure,) = [entry for entry in caplog.records if entry.exc_info]
    assert failure.exc_info is not None
    assert lesson in str(failure.exc_info[1])


@one_way
async def test_serve_of_a_called_handler_gets_a_lesson() -> None:
    """serve(echo(ws)) instead of serve(echo): the coroutine is closed, so that it makes no second warning."""
    coroutine = trioecho.echo(None)  # type: ignore[arg-type]
    with (
        trio.fail_after(PATIENCE),
        pytest.raises(TypeError, match=r"write serve\(echo\), without calling it"),
    ):
        await trioecho.serve(coroutine, port=0)  # type: ignore[arg-type]


@one_way
@pytest.mark.parametrize("handlers", [{}, {"ws": trioecho.echo}])
async def test_a_mapping_that_will_not_do_gets_a_lesson(handlers: dict[str, trioecho.Handler]) -> None:
    """No path at all, or one that no request can have."""
    with trio.fail_after(PATIENCE), pytest.raises(ValueError, match="/ws"):
        await trioecho.serve(handlers, port=0)


def test_a_string_for_allowed_origins_gets_a_lesson() -> None:
    """It would be a list of letters."""
    with pytest.raises(TypeError, match=r"write \['https://client.com'\]"):
        trioecho.WebSocketOptions(allowed_origins="https://client.com")  # type: ignore[arg-type]


# Where it listens.


async def test_the_server_says_where_it_is() -> None:
    """url, websocket_url and port are the real ones."""
    async with serving(path="/chat") as server:
        assert server.port > 0
        scheme, address = server.url.split("://")
        assert address == f"127.0.0.1:{server.port}"
        assert server.websocket_url == f"{scheme.replace('http', 'ws')}://{address}/chat"


@one_way
async def test_several_hosts_share_one_port() -> None:
    """Port 0 with several addresses takes the same free port at all of them."""
    async with serving(host=("127.0.0.1", "127.0.0.2")) as server:
        assert server.url == f"http://127.0.0.1:{server.port}"
        for host in ("127.0.0.1", "127.0.0.2"):
            stream = await trio.open_tcp_stream(host, server.port)
            async with stream:
                client = RawClient(stream)
                await client.handshake()
                await client.send(host)
                assert await client.receive() == host


@one_way
async def test_a_wildcard_address_is_no_address_to_connect_to() -> None:
    """Bound to all addresses, the URL names one that works."""
    async with serving(host="0.0.0.0") as server:
        assert server.url == f"http://127.0.0.1:{server.port}"
        await someone_else_is_served(server)


@one_way
async def test_a_port_in_use_is_an_oserror() -> None:
    """And what was opened before is closed again."""
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]
        with trio.fail_after(PATIENCE), pytest.raises(OSError, match=r"[Aa]ddress already in use"):
            await trioecho.serve(host=("127.0.0.1", "127.0.0.2"), port=port)
        with socket.create_server(("127.0.0.1", port)):
            pass


@one_way
async def test_no_host_is_refused() -> None:
    """An empty list of hosts would serve nobody."""
    with pytest.raises(ValueError, match="host is empty"):
        await trioecho.serve(host=[], port=0)


# How many it lets in.


@one_way
async def test_a_full_server_refuses_until_there_is_room_again() -> None:
    """503 with Retry-After; plain HTTP is served all the same; one who leaves makes room for one."""
    async with serving(max_connections=2) as server:
        async with connected(server), connected(server) as second:
            with pytest.raises(AssertionError, match=r"(?s)503.*[Rr]etry-[Aa]fter"):
                async with connected(server):
                    pass
            async with await open_stream(server) as stream:
                await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
            await second.close()
            assert await second.receive_close() == (1000, "")
            await until(lambda: server.records)
            await someone_else_is_served(server)
        await until(lambda: not server.connections)


async def test_simultaneous_handshakes_do_not_overshoot_max_connections() -> None:
    """Twelve at once where there is room for three: three are let in."""
    async with serving(max_connections=3) as server:
        answers: list[str] = []
        enough = trio.Event()

        async def knock() -> None:
            try:
                async with connected(server):
                    answers.append("101")
                    await enough.wait()
            except AssertionError as refused:
                answers.append(str(refused)[9:12])

        async with trio.open_nursery() as nursery:
            for _ in range(12):
                nursery.start_soon(knock)
            await until(lambda: len(answers) == 12)
            assert sorted(answers) == ["101"] * 3 + ["503"] * 9
            assert len(server.connections) == 3
            enough.set()


async def test_connections_are_those_that_are_open() -> None:
    """Oldest first; a snapshot, which may be iterated while clients come and go."""
    async with serving(wait) as server:
        async with contextlib.AsyncExitStack() as stack:
            addresses = []
            for number in range(3):
                await stack.enter_async_context(connected(server))
                await until(lambda number=number: len(server.connections) > number)
                addresses.append(list(server.connections)[-1].remote_address)
            assert [ws.remote_address for ws in server.connections] == addresses
            assert "3 connections" in repr(server)
        await until(lambda: not server.connections)
        assert len(server.records) == 3


# How it stops.


async def test_a_graceful_stop_delivers_what_has_arrived() -> None:
    """stop: handlers get the waiting messages and may answer; 1001; serve returns; nobody is let in."""
    async with trio.open_nursery() as nursery:
        returned = trio.Event()
        release = trio.Event()

        async def slow_echo(ws: trioecho.WebSocket) -> None:
            await release.wait()
            await trioecho.echo(ws)

        async def serve_until_stopped(task_status: trio.TaskStatus[trioecho.Server]) -> None:
            await trioecho.serve(slow_echo, port=0, task_status=task_status)
            returned.set()

        with trio.fail_after(PATIENCE):
            server = await nursery.start(serve_until_stopped)
            async with connected(server) as client:
                await client.stream.send_all(client.frame(TEXT, b"x") * 100)
                (ws,) = server.connections
                await until(lambda: ws.record.messages_received == 100)
                server.stop()
                release.set()
                assert [await client.receive() for _ in range(100)] == ["x"] * 100
                assert await client.receive_close() == (1001, "server is stopping")
                with pytest.raises(OSError, match="connect"):
                    await trio.open_tcp_stream("127.0.0.1", server.port)
                await client.close(1001)
                await returned.wait()
    (record,) = server.records
    assert (record.cause, record.clean, record.messages_sent) == ("server stopping", True, 100)


async def test_a_handler_that_does_not_stop_is_cancelled() -> None:
    """stop(timeout=...) is the time that handlers have; then everybody hears 1001."""
    async with serving(sleep) as server, connected(server) as client:
        await until(lambda: server.connections)
        server.stop(timeout=0.02)
        assert await client.receive_close() == (1001, "server is stopping")
        await client.close(1001)
        await until(lambda: server.records)


async def test_a_second_stop_can_only_shorten_the_time() -> None:
    """A longer timeout the second time changes nothing; a shorter one counts."""
    async with serving(sleep, close_timeout=0.05) as server, connected(server) as client:
        await until(lambda: server.connections)
        server.stop(timeout=1000)
        server.stop(timeout=0.02)
        server.stop(timeout=1000)
        assert await client.receive_close() == (1001, "server is stopping")


@pytest.mark.parametrize("how", ["stop", "abort"])
async def test_a_stop_during_a_handshake_is_not_forgotten(how: str) -> None:
    """Whichever tick of a handshake it hits: the connection ends, and serve returns."""
    for ticks in range(15):
        async with trio.open_nursery() as nursery:
            returned = trio.Event()
            async with serving(sleep, close_timeout=0.05) as server:
                stream = await open_stream(server)
                client = RawClient(stream)
                if isinstance(stream, trio.SSLStream):
                    await stream.do_handshake()

                async def shake_hands(client: RawClient = client, done: trio.Event = returned) -> None:
                    with contextlib.suppress(AssertionError, trio.BrokenResourceError):
                        await client.handshake()
                        await client.receive_close()
                        await client.close()
                    done.set()

                nursery.start_soon(shake_hands)
                for _ in range(ticks):
                    await trio.lowlevel.checkpoint()
                if how == "stop":
                    server.stop(timeout=0)
                else:
                    server.abort()
                await returned.wait()
                await trio.aclose_forcefully(stream)


async def test_an_abort_waits_for_nobody() -> None:
    """Not for a client that neither reads nor answers, nor for a handler in the middle of a send."""

    async def push(ws: trioecho.WebSocket) -> None:
        while True:
            await ws.send(bytes(1_000_000))

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            async with serving(push, close_timeout=1000) as server:
                async with connected(server), connected(server):
                    await until(lambda: len(server.connections) == 2)
                    await trio.testing.wait_all_tasks_blocked(0.01)
                    server.abort()
                    await until(lambda: len(server.records) == 2)
            assert {record.cause for record in server.records} == {"server aborted"}
            nursery.cancel_scope.cancel()


async def test_an_abort_says_1001_where_there_is_room_for_it() -> None:
    """A client that reads hears why."""
    async with serving(sleep) as server, connected(server) as client:
        await until(lambda: server.connections)
        server.abort()
        assert await client.receive_close() == (1001, "server is stopping")
        assert await client.receive_rest() == []


async def test_cancelling_serve_says_1001_to_everybody() -> None:
    """The nursery that serve runs in is cancelled: every client hears of it, and nothing is left."""

    async def answer(client: RawClient) -> None:
        assert await client.receive_close() == (1001, "server is stopping")
        await client.close(1001)

    async with trio.open_nursery() as answers, contextlib.AsyncExitStack() as clients:
        async with serving(wait) as server:
            for _ in range(5):
                answers.start_soon(answer, await clients.enter_async_context(connected(server)))
            await until(lambda: len(server.connections) == 5)
        assert [record.clean for record in server.records] == [True] * 5


async def test_a_client_that_stopped_reading_cannot_hold_a_stop() -> None:
    """Its echoes fill its window; the stop ends within the handlers' time and close_timeout."""
    async with serving(close_timeout=0.1) as server:
        async with connected(server) as client:
            async with trio.open_nursery() as nursery:

                async def push() -> None:
                    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                        while True:
                            await client.send(bytes(100_000))

                nursery.start_soon(push)
                await trio.testing.wait_all_tasks_blocked(0.05)
                await someone_else_is_served(server)
                server.stop(timeout=0.1)
                await until(lambda: len(server.records) == 2)
                nursery.cancel_scope.cancel()
        assert server.records[-1].cause == "server stopping"
        assert not server.records[-1].clean


async def test_one_handler_fails_and_forty_nine_go_on(caplog: pytest.LogCaptureFixture) -> None:
    """1011 for the one; a traceback with its exception in the log; the others are served before, while and after."""
    caplog.set_level(logging.INFO, "trioecho")

    async def handler(ws: trioecho.WebSocket) -> None:
        async for message in ws:
            if message == "fail":
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(say, ws, "not for long")
                    raise ArithmeticError("on purpose")
            await ws.send(message)

    async with serving(handler) as server, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(server)) for _ in range(50)]
        for client in clients:
            await client.send("before")
        await clients[7].send("fail")
        heard = []
        while (frame := await clients[7].receive_frame()) is not None and frame.opcode != CLOSE:
            heard.append(frame.payload)
        assert frame is not None
        assert frame.close == (1011, "internal error")
        assert heard[0] == b"before"
        del clients[7]
        for client in clients:
            await client.send("after")
            assert [await client.receive(), await client.receive()] == ["before", "after"]
        assert len(server.connections) >= 49
    failures = [entry for entry in caplog.records if entry.exc_info]
    assert len(failures) == 1
    assert "ArithmeticError: on purpose" in caplog.text
    assert [r.error for r in server.records if r.cause == "handler raised"] == ["ArithmeticError: on purpose"]


async def test_a_reset_in_any_phase_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """Before a byte, in the head, right behind the handshake: no traceback, and others are served."""
    async with serving(close_timeout=0.1) as server:
        for said in (b"", b"GET /ws HTTP/1.1\r\nHost", None):
            client = RawClient(await open_stream(server))
            if said is None:
                await client.handshake()
            elif said:
                await client.stream.send_all(said)
            reset(client)
            await someone_else_is_served(server)
    assert not [entry for entry in caplog.records if entry.exc_info]


async def test_the_log_tells_of_each_connection_that_opens_if_it_is_asked_to(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """At DEBUG, with the path, the origin and the subprotocol, before anything else of it, and with its id as a field;
    one that is refused does not open."""
    caplog.set_level(logging.DEBUG, "trioecho")
    async with serving(
        trioecho.echo, subprotocols=["chat.v1"], allowed_origins=["https://client.com"]
    ) as server:
        with pytest.raises(AssertionError):
            async with connected(server, headers="Origin: https://evil.example\r\n"):
                pass
        fields = "Origin: https://client.com\r\nSec-WebSocket-Protocol: chat.v1\r\n"
        async with connected(server, headers=fields) as client:
            (ws,) = server.connections
            await client.send("hello")
            assert await client.receive() == "hello"
    (line,) = [entry for entry in caplog.records if " opened" in entry.getMessage()]
    assert line.levelno == logging.DEBUG
    assert line.getMessage() == (
        f"{ws.id} {ws.record.peer} /ws opened; subprotocol chat.v1; origin https://client.com"
    )
    assert line.__dict__["connection"] == ws.id
    assert caplog.records.index(line) < min(
        index
        for index, entry in enumerate(caplog.records)
        if entry.getMessage().startswith(f"{ws.id} ") and entry is not line
    )


@one_way
async def test_a_place_is_given_back_whatever_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Between the admission and the 101 nothing should, but if it does, a full route is not full for ever."""
    for name in ("wire_of", "accepting_response"):
        real = getattr(trioecho._server.serve, name)
        failures = [LookupError]

        def once(*arguments: Any, real: Any = real, failures: list[type[Exception]] = failures) -> Any:
            if failures:
                raise failures.pop()
            return real(*arguments)

        monkeypatch.setattr(trioecho._server.serve, name, once)
    async with serving(
        {"/ws": trioecho.WebSocketRoute(trioecho.echo, options={"max_connections": 1})}
    ) as server:
        for _ in range(2):
            async with plain_http(server) as client:
                with pytest.raises((AssertionError, trio.BrokenResourceError, trio.EndOfChannel)):
                    await RawClient(client.stream).handshake()
            assert len(server.connections) == 0
        await someone_else_is_served(server)
    assert caplog.text.count("a connection failed") == 2


async def test_what_a_connection_began_with_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the response, nor what came with the request, which may be tens of KiB for as long as it lives."""
    gone: list[bytes] = []

    class Noted(bytes):
        def __del__(self) -> None:
            gone.append(self[:9])

    module = trioecho._server.serve
    accepting, receive = module.accepting_response, module.receive_requests

    async def receiving(*arguments: Any) -> Any:
        accepted = await receive(*arguments)
        return dataclasses.replace(accepted, early=Noted(accepted.early))

    monkeypatch.setattr(module, "receive_requests", receiving)
    monkeypatch.setattr(module, "accepting_response", lambda *arguments: Noted(accepting(*arguments)))
    async with serving() as server:
        async with plain_http(server) as raw:
            client = RawClient(raw.stream)
            first = client.frame(TEXT, b"x" * 1000)
            await client.handshake(behind=first)
            assert await client.receive() == "x" * 1000
            assert len(server.connections) == 1
            # The request's stream may end before what is behind it has come.
            assert b"HTTP/1.1 " in gone
            assert set(gone) <= {b"HTTP/1.1 ", b"", first[:9]}
            assert len(gone) == 2
