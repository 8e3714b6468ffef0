"""What a handler can know of the end without receiving: `ws.closing`, and the time that a stop leaves it."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import pytest
import trio
import trio.testing
from serving import connected, plain_tcp, reset, serving, until
from serving import way_of_reading as way_of_reading

import trioecho
from trioecho.testing import BINARY, CLOSE, TEXT, RawClient

SOON = 30.0
"""Seconds that are far more than anything here takes, and far less than what it must not wait for."""


# A handler that only sends.


async def test_a_pusher_ends_by_itself_when_the_server_stops_and_its_last_words_arrive() -> None:
    """It looks at ws.closing, says what it still has to say, and returns, long before the stop's timeout."""

    async def push(ws: trioecho.WebSocket) -> None:
        while not ws.closing.is_set():
            await ws.send("tick")
            with trio.move_on_after(0.01):
                await ws.closing.wait()
        for number in range(3):
            await ws.send(f"last words {number}")

    async with serving(push) as server, connected(server) as client:
        assert await client.receive() == "tick"
        server.stop(timeout=100)
        with trio.fail_after(SOON):
            message = await client.receive()
            while message == "tick":
                message = await client.receive()
            assert message == "last words 0"
            assert [await client.receive() for _ in range(2)] == ["last words 1", "last words 2"]
            assert await client.receive_close() == (1001, "server is stopping")
            await client.close(1001)
            await until(lambda: server.records)
        (record,) = server.records
    assert (record.cause, record.handler_cancelled, record.clean) == ("server stopping", False, True)


async def test_a_task_of_the_connection_that_waits_for_closing_is_woken_by_a_stop() -> None:
    """Waiting for nothing else: it says goodbye in the application's own words, then the handler returns."""

    async def handler(ws: trioecho.WebSocket) -> None:
        said = trio.Event()

        async def say_goodbye() -> None:
            await ws.closing.wait()
            await ws.send("goodbye")
            said.set()

        ws.nursery.start_soon(say_goodbye)
        await said.wait()

    async with serving(handler) as server, connected(server) as client:
        await until(lambda: server.connections)
        await trio.testing.wait_all_tasks_blocked(0.02)
        server.stop(timeout=100)
        with trio.fail_after(SOON):
            assert await client.receive() == "goodbye"
            assert (await client.receive_close())[0] == 1001


async def test_sends_go_out_until_the_time_of_a_stop_is_over() -> None:
    """A handler that does not care pushes on until it is cancelled; every message that it sent arrives."""
    sent = sent_at_stop = 0

    async def push(ws: trioecho.WebSocket) -> None:
        nonlocal sent
        while True:
            await ws.send("tick")
            sent += 1
            await trio.sleep(0.01)

    async with serving(push) as server, connected(server) as client:
        assert await client.receive() == "tick"
        server.stop(timeout=0.3)
        sent_at_stop = sent
        with trio.fail_after(SOON):
            frame = await client.receive_frame()
            received = 1
            while frame is not None and frame.opcode == TEXT:
                received += 1
                frame = await client.receive_frame()
            assert frame is not None
            assert frame.close == (1001, "server is stopping")
    assert received == sent
    assert sent > sent_at_stop + 5


# Whatever ends it.


async def sleeps(ws: trioecho.WebSocket) -> None:
    """A handler that looks at nothing."""
    await trio.sleep_forever()


class Story(NamedTuple):
    """How one ending comes about."""

    client: Callable[[RawClient, trioecho.Server], Awaitable[None]]
    handler: Callable[[trioecho.WebSocket], Awaitable[None]] = sleeps
    options: Mapping[str, Any] = {}


async def nothing(client: RawClient, server: trioecho.Server) -> None:
    """The client only waits."""


async def say_close(client: RawClient, server: trioecho.Server) -> None:
    await client.close(4000)


async def close_behind_a_message(client: RawClient, server: trioecho.Server) -> None:
    await client.stream.send_all(client.frame(TEXT, b"nobody takes this") + client.frame(CLOSE, b"\x0f\xa0"))


async def reset_tcp(client: RawClient, server: trioecho.Server) -> None:
    reset(client)


async def break_the_protocol(client: RawClient, server: trioecho.Server) -> None:
    await client.send_frame(3)


async def send_bad_text(client: RawClient, server: trioecho.Server) -> None:
    await client.send_frame(TEXT, b"\xff")


async def send_too_much(client: RawClient, server: trioecho.Server) -> None:
    await client.send(bytes(1001))


async def stop(client: RawClient, server: trioecho.Server) -> None:
    server.stop(timeout=100)


async def abort(client: RawClient, server: trioecho.Server) -> None:
    server.abort()


async def ask_for_it(client: RawClient, server: trioecho.Server) -> None:
    await client.send("now")


async def returns(ws: trioecho.WebSocket) -> None:
    await ws.receive()


async def raises(ws: trioecho.WebSocket) -> None:
    await ws.receive()
    raise ZeroDivisionError("on purpose")


async def closes(ws: trioecho.WebSocket) -> None:
    await ws.receive()
    await ws.aclose(4000)


async def closes_in_a_child(ws: trioecho.WebSocket) -> None:
    await ws.receive()
    ws.nursery.start_soon(ws.aclose, 4000)
    await trio.sleep_forever()


async def cuts_off(ws: trioecho.WebSocket) -> None:
    with contextlib.suppress(ZeroDivisionError):
        await ws.send(1 // (2 - number) * b"x" for number in (1, 2))
    await trio.sleep_forever()


async def sends_without_end(ws: trioecho.WebSocket) -> None:
    while True:
        await ws.send(bytes(1_000_000))


STORIES = {
    "peer closed": Story(say_close),
    "peer closed behind a message that nobody takes": Story(close_behind_a_message),
    "peer vanished": Story(reset_tcp),
    "protocol error": Story(break_the_protocol),
    "invalid text": Story(send_bad_text),
    "message too big": Story(send_too_much),
    "idle timeout": Story(nothing, options={"idle_timeout": 0.2}),
    "keep-alive timeout": Story(nothing, options={"keep_alive_interval": 0.1, "keep_alive_timeout": 0.1}),
    "send timeout": Story(nothing, sends_without_end, {"send_timeout": 0.2}),
    "server stopping": Story(stop),
    "server aborted": Story(abort),
    "handler returned": Story(ask_for_it, returns),
    "handler raised": Story(ask_for_it, raises),
    "message cut off": Story(nothing, cuts_off),
    "application closed": Story(ask_for_it, closes),
    "application closed by a child": Story(ask_for_it, closes_in_a_child),
}


@pytest.mark.parametrize("story", STORIES.values(), ids=[*STORIES])
async def test_closing_is_set_when_the_conversation_is_over(story: Story) -> None:
    """On every row of the table of endings, for a task that does nothing but wait for it, and not before."""
    lent: list[trioecho.WebSocket] = []
    before: list[bool] = []

    async def handler(ws: trioecho.WebSocket) -> None:
        lent.append(ws)
        before.append(ws.closing.is_set())
        await story.handler(ws)

    options = {"close_timeout": 0.2, "answer_timeout": 100, "max_message_size": 1000, **story.options}
    async with serving(handler, **options) as server, connected(server) as client:
        await until(lambda: before or server.records)
        with trio.fail_after(SOON):
            await story.client(client, server)
            await lent[0].closing.wait()
    assert before == [False]


@plain_tcp
async def test_closing_is_set_at_the_end_of_tcp() -> None:
    """A client that half-closes will say no more."""
    lent: list[trioecho.WebSocket] = []

    async def handler(ws: trioecho.WebSocket) -> None:
        lent.append(ws)
        await trio.sleep_forever()

    async with serving(handler, answer_timeout=100) as server, connected(server) as client:
        assert isinstance(client.stream, trio.SocketStream)
        await until(lambda: lent)
        await client.stream.send_eof()
        with trio.fail_after(SOON):
            await lent[0].closing.wait()


async def test_closing_is_set_when_serve_is_cancelled() -> None:
    """A handler's cleanup can tell that it is the connection that ends, not only a scope of its own."""
    seen: list[bool] = []

    async def handler(ws: trioecho.WebSocket) -> None:
        try:
            await trio.sleep_forever()
        finally:
            seen.append(ws.closing.is_set())

    # The client is still there when `serving` has cancelled the server.
    async with contextlib.AsyncExitStack() as clients:
        async with serving(handler, close_timeout=0.2) as server:
            await clients.enter_async_context(connected(server))
            await trio.testing.wait_all_tasks_blocked(0.02)
        assert seen == [True]


async def test_closing_stays_unset_while_all_is_well() -> None:
    """Messages, Pings and a cancelled receive are no end."""
    seen: list[bool] = []

    async def handler(ws: trioecho.WebSocket) -> None:
        for _ in range(10):
            with trio.move_on_after(0):
                await ws.receive()
            await ws.send(await ws.receive())
            seen.append(ws.closing.is_set())

    async with serving(handler) as server, connected(server) as client:
        for _ in range(10):
            await client.send_frame(BINARY, b"x")
            assert await client.receive() == b"x"
    assert seen == [False] * 10
