"""One message to many: all at once, in order, held up by none; what happens to who is slow is said and counted."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import trio
import trio.testing
from allocations import memory_within
from serving import connected, one_way, reset, serving, someone_else_is_served, until
from serving import way_of_reading as way_of_reading
from slow_client import fill, hold, joined, read

import trioecho
from trioecho import Prepared, broadcast
from trioecho.testing import TEXT

SOON = 30.0
"""Seconds that are far more than anything here takes, and far less than what it must not wait for."""


@pytest.mark.parametrize(
    ("message", "text", "heard"),
    [
        ("grüß dich", None, "grüß dich"),
        (b"\x00\xff", None, b"\x00\xff"),
        (bytearray(b"\x00\xff"), False, b"\x00\xff"),
        ("grüß dich".encode(), True, "grüß dich"),
        (Prepared("x" * 70_000), None, "x" * 70_000),
    ],
    ids=["text", "bytes", "bytearray", "bytes as text", "prepared"],
)
async def test_everybody_is_sent_the_message(message: Any, text: bool | None, heard: str | bytes) -> None:
    """It is counted as sent in each record, with its payload, and who calls is told how many were given it."""
    async with (
        serving(hold) as server,
        joined(server) as (one, _),
        joined(server) as (two, _),
        joined(server) as (three, _),
    ):
        assert await broadcast(server.connections, message, text=text) == 3
        for client in (one, two, three):
            assert await client.receive() == heard
        size = len(heard.encode() if isinstance(heard, str) else heard)
        for ws in server.connections:
            await until(lambda ws=ws: ws.record.messages_sent)
            record = ws.record
            assert (record.messages_sent, record.bytes_sent, record.messages_skipped) == (1, size, 0)


async def test_to_nobody_it_is_sent_all_the_same() -> None:
    """No connection, no delivery, and a checkpoint as ever."""
    with trio.testing.assert_checkpoints():
        assert await broadcast([], "hello") == 0


async def test_whoever_stands_there_twice_is_sent_it_twice() -> None:
    """Any iterable will do, and it is gone through once."""
    async with serving(hold) as server, joined(server) as (client, ws):

        def twice() -> Iterator[trioecho.WebSocket]:
            yield ws
            yield ws

        assert await broadcast(twice(), "hello") == 2
        assert [await client.receive(), await client.receive()] == ["hello", "hello"]


async def test_what_was_sent_before_comes_before() -> None:
    """Also where it was gathered: a broadcast never overtakes a message, nor is overtaken."""

    async def answer(ws: trioecho.WebSocket) -> None:
        async for message in ws:
            # More wait to be received, so this is gathered.
            await ws.send(f"answer to {message}")
            await broadcast([ws], f"about {message}")

    async with serving(answer) as server, connected(server) as client:
        frames = b"".join(client.frame(TEXT, str(number).encode()) for number in range(40))
        await client.stream.send_all(frames)
        for number in range(40):
            assert await client.receive() == f"answer to {number}"
            assert await client.receive() == f"about {number}"


# Who is slow.


async def test_who_is_slow_is_skipped_and_holds_up_nobody() -> None:
    """Nothing is queued for it, its record counts what it was not sent, and when it reads it is sent again."""
    async with serving(hold) as server, joined(server) as (quick, _), joined(server) as (client, slow):
        pieces = await fill(slow)
        waits = slow._outgoing.size
        for number in range(3):
            assert await broadcast(server.connections, f"{number}") == 1
            assert await quick.receive() == f"{number}"
        assert slow._outgoing.size == waits
        assert slow.record.messages_skipped == 3
        await read(client, pieces)
        await until(lambda: not slow._outgoing.blocked)
        assert await broadcast(server.connections, "again") == 2
        assert await client.receive() == "again"
        await client.close()
        await until(lambda: server.records)
        (record,) = server.records
    assert (record.messages_skipped, record.as_dict()["messages_skipped"]) == (3, 3)
    assert "3 messages skipped" in str(record)


async def test_who_is_slow_is_closed_and_not_waited_for() -> None:
    """With 1008: it hears why behind what it was sent before. Its handler is cancelled. The others go on."""
    cancelled = trio.Event()

    async def handler(ws: trioecho.WebSocket) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            cancelled.set()
            raise

    async with serving(handler) as server, joined(server) as (quick, _), joined(server) as (client, slow):
        pieces = await fill(slow)
        assert await broadcast(server.connections, "hello", slow="close") == 1
        assert await quick.receive() == "hello"
        # From here on it counts among those who are closing.
        assert await broadcast(server.connections, "more", slow="close") == 1
        assert await quick.receive() == "more"
        with trio.fail_after(SOON):
            await cancelled.wait()
        await read(client, pieces)
        assert await client.receive_close() == (1008, "too slow")
        await client.close(1008)
        await until(lambda: server.records)
        (record,) = server.records
    assert (record.cause, record.closed_first, record.clean) == ("too slow", "server", True)
    assert (record.messages_skipped, record.code_sent) == (1, 1008)


async def test_who_is_closed_and_reads_nothing_is_cut_off() -> None:
    """After `close_timeout` without a byte taken; that is shorter than `send_timeout`."""
    options = {"close_timeout": 0.2, "send_timeout": 100}
    async with serving(hold, **options) as server, joined(server) as (_, slow):
        await fill(slow)
        assert await broadcast([slow], "hello", slow="close") == 0
        with trio.fail_after(SOON):
            await until(lambda: server.records)
        (record,) = server.records
        assert (record.cause, record.clean, record.code_sent) == ("too slow", False, None)


async def test_a_handler_that_broadcasts_to_itself_may_be_closed_by_that() -> None:
    """The call returns as ever; the handler is cancelled at the next checkpoint."""
    counts = []
    called = trio.Event()

    async def handler(ws: trioecho.WebSocket) -> None:
        await ws.receive()
        await fill(ws)
        counts.append(await broadcast([ws], "hello", slow="close"))
        called.set()
        await trio.sleep_forever()

    async with serving(handler, close_timeout=0.2) as server, connected(server) as client:
        await client.send("go")
        with trio.fail_after(SOON):
            await called.wait()
            await until(lambda: server.records)
        assert counts == [0]
        assert server.records[0].cause == "too slow"


# Waiting.


async def test_who_is_slow_is_waited_for() -> None:
    """The others have the message at once; the call returns when the slow one has been given it, too."""
    counts = []
    async with serving(hold) as server, joined(server) as (quick, _), joined(server) as (client, slow):
        pieces = await fill(slow)

        async def call() -> None:
            counts.append(await broadcast(server.connections, "hello", slow="wait"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            assert await quick.receive() == "hello"
            await trio.testing.wait_all_tasks_blocked(0.02)
            assert not counts
            await read(client, pieces)
            assert await client.receive() == "hello"
        assert counts == [2]
        assert slow.record.messages_skipped == 0


@pytest.mark.parametrize("how", ["timeout", "no time at all", "cancelled"])
async def test_who_has_not_taken_it_in_time_is_skipped(how: str) -> None:
    """It is not sent it later, its record counts it, and the connection is as good as before."""
    async with serving(hold) as server, joined(server) as (quick, _), joined(server) as (client, slow):
        pieces = await fill(slow)
        if how == "cancelled":
            with trio.move_on_after(0.05) as scope:
                await broadcast(server.connections, "hello", slow="wait")
            assert scope.cancelled_caught
        else:
            seconds = 0.05 if how == "timeout" else 0
            assert await broadcast(server.connections, "hello", slow="wait", timeout=seconds) == 1
        assert await quick.receive() == "hello"
        assert slow.record.messages_skipped == 1
        await read(client, pieces)
        with trio.fail_after(SOON):
            await slow.send("later")
        assert await client.receive() == "later"


@pytest.mark.parametrize("how", ["reset", "closed by us"])
async def test_who_ends_meanwhile_is_no_longer_waited_for(how: str) -> None:
    """Nor is it counted as given the message, or as skipped."""
    counts = []
    async with serving(hold, close_timeout=0.2) as server, joined(server) as (client, slow):
        await fill(slow)

        async def call() -> None:
            counts.append(await broadcast(server.connections, "hello", slow="wait"))

        with trio.fail_after(SOON):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(call)
                await trio.testing.wait_all_tasks_blocked(0.02)
                if how == "reset":
                    reset(client)
                else:
                    nursery.start_soon(slow.aclose)
            await until(lambda: server.records)
        assert counts == [0]
        assert server.records[0].messages_skipped == 0


async def test_to_each_the_order_is_that_of_the_calls() -> None:
    """Whoever waits is not overtaken: not by a later broadcast, nor by a send, nor by what does not wait."""
    async with serving(hold) as server, joined(server) as (client, slow):
        pieces = await fill(slow)

        async def call(number: int) -> None:
            if number % 2:
                await slow.send(f"{number}")
            else:
                assert await broadcast([slow, slow], f"{number}", slow="wait") == 2

        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(call, number)
                await trio.testing.wait_all_tasks_blocked(0.005)
            assert not slow.try_send("overtaking")
            assert await broadcast([slow], "overtaking") == 0
            await read(client, pieces)
            heard = [await client.receive() for _ in range(15)]
        assert heard == [f"{number}" for number in range(10) for _ in range(2 - number % 2)]
        assert slow.record.messages_skipped == 1
        # Nobody waits any more.
        assert slow.try_send("at once")
        assert await client.receive() == "at once"


async def test_who_gives_up_waiting_frees_the_place() -> None:
    """Those behind move up: a cancelled send or broadcast holds nobody up."""
    async with serving(hold) as server, joined(server) as (client, slow):
        pieces = await fill(slow)
        scope = trio.CancelScope()

        async def given_up() -> None:
            with scope:
                await slow.send("given up")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(given_up)
            await trio.testing.wait_all_tasks_blocked(0.005)
            nursery.start_soon(slow.send, "first")
            await trio.testing.wait_all_tasks_blocked(0.005)
            assert await broadcast([slow], "given up", slow="wait", timeout=0.01) == 0
            nursery.start_soon(slow.send, "second")
            await trio.testing.wait_all_tasks_blocked(0.005)
            scope.cancel()
            await read(client, pieces)
            assert [await client.receive(), await client.receive()] == ["first", "second"]


# Who is not there any more.


async def test_who_has_ended_or_is_closing_is_left_out() -> None:
    """Silently: it is neither given the message nor skipped, and nothing is raised."""
    async with serving(hold) as server, joined(server) as (quick, _), joined(server) as (client, closing):
        everybody = set(server.connections)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(closing.aclose, 4000)
            assert await client.receive_close() == (4000, "")
            for how in ("skip", "close", "wait"):
                assert await broadcast(everybody, how, slow=how) == 1  # type: ignore[arg-type]
                assert await quick.receive() == how
            await client.close(4000)
        await until(lambda: server.records)
        assert await broadcast(everybody, "hello") == 1
        assert [frame.opcode for frame in await client.receive_rest()] == []
        assert server.records[0].messages_skipped == 0


async def test_who_has_said_close_is_left_out() -> None:
    """Answers that it is owed still go out, but this is none."""
    let = trio.Event()

    async def handler(ws: trioecho.WebSocket) -> None:
        await ws.receive()
        await let.wait()
        await ws.send("the answer")

    async with serving(handler) as server, joined(server) as (client, ws):
        await client.send("a question")
        await client.close(4000)
        await until(lambda: ws._outgoing.shut)
        assert await broadcast([ws], "news") == 0
        let.set()
        assert await client.receive() == "the answer"
        assert await client.receive_close() == (4000, "")


async def test_who_has_vanished_hurts_nobody() -> None:
    """The broadcast that finds out goes on to the next."""
    async with serving(hold) as server, contextlib.AsyncExitStack() as stack:
        clients = [(await stack.enter_async_context(joined(server)))[0] for _ in range(4)]
        everybody = list(server.connections)
        reset(clients[0])
        reset(clients[2])
        # Without a checkpoint in between, so that it is this call that finds out, where the kernel knows already.
        assert 2 <= await broadcast(everybody, "hello") <= 4
        for client in (clients[1], clients[3]):
            assert await client.receive() == "hello"
        await until(lambda: len(server.records) == 2)
        assert {record.cause for record in server.records} == {"peer vanished"}


# All in one go.


@one_way
async def test_nobody_else_runs_before_all_are_written_to() -> None:
    """One task that is ready runs only when every socket has the message."""
    async with serving(hold) as server, contextlib.AsyncExitStack() as stack:
        for _ in range(20):
            await stack.enter_async_context(joined(server))
        seen: list[set[int]] = []

        async def look() -> None:
            while True:
                seen.append({ws._outgoing.messages for ws in server.connections})
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            for _ in range(10):
                assert await broadcast(server.connections, "hello") == 20
            nursery.cancel_scope.cancel()
        assert all(len(counts) == 1 for counts in seen)
        assert len(seen) >= 9, "a broadcast is no checkpoint"


@one_way
async def test_cancelled_before_it_begins_nothing_is_sent() -> None:
    """To nobody, and nobody is skipped or closed."""
    async with serving(hold) as server, joined(server) as (_, ws), joined(server) as (_, slow):
        await fill(slow)
        for how in ("skip", "close", "wait"):
            with trio.CancelScope() as scope:
                scope.cancel()
                await broadcast(server.connections, "hello", slow=how)  # type: ignore[arg-type]
            assert scope.cancelled_caught
        assert ws.record.messages_sent == 0
        assert slow.record.messages_skipped == 0
        assert not slow.closing.is_set()


@one_way
async def test_many_slow_clients_share_one_frame() -> None:
    """Each that takes a part of it keeps a view of the rest, not a copy."""
    message = Prepared(bytes(30_000_000))
    async with serving(hold) as server, contextlib.AsyncExitStack() as stack:
        clients = [(await stack.enter_async_context(joined(server)))[0] for _ in range(5)]
        with memory_within(5_000_000):
            assert await broadcast(server.connections, message) == 5
            await trio.testing.wait_all_tasks_blocked(0.02)
            assert all(ws._outgoing.size > 1_000_000 for ws in server.connections)
            # A Close waits behind it, and does not make a copy of it.
            async with trio.open_nursery() as nursery:
                for ws in server.connections:
                    nursery.start_soon(ws.aclose)
                await trio.testing.wait_all_tasks_blocked(0.02)
                for client in clients:
                    for _ in range(50):
                        await client.stream.receive_some(100_000)
                await trio.testing.wait_all_tasks_blocked(0.02)
                assert all(ws._outgoing.size > 1_000_000 for ws in server.connections)
                nursery.cancel_scope.cancel()
        server.abort()


async def test_others_are_served_while_many_are_slow() -> None:
    """Neither those who are skipped nor those who are waited for hold the server."""
    handlers = {"/ws": trioecho.echo}
    async with serving(handlers) as server, joined(server) as (_, one), joined(server) as (_, two):
        await fill(one)
        await fill(two)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: broadcast([one], "hello", slow="wait"))
            assert await broadcast([one, two], "hello") == 0
            await someone_else_is_served(server)
            nursery.cancel_scope.cancel()


# Bad input.


@one_way
@pytest.mark.parametrize(
    ("arguments", "options", "error", "sentence"),
    [
        ((["x"], "hello"), {}, TypeError, "connections are WebSockets; you gave one of type str"),
        ((3, "hello"), {}, TypeError, "an iterable of WebSockets, such as server.connections; you gave int"),
        (([], 3), {}, TypeError, "a message is str or bytes, not int"),
        (([], "\ud800"), {}, ValueError, "text is sent as UTF-8, which has no surrogates"),
        (([], "x"), {"text": False}, TypeError, "a str goes as a text message, not with text=False"),
        (([], Prepared("x")), {"text": True}, TypeError, "a Prepared message is text or binary already"),
        (([], "x"), {"slow": "drop"}, ValueError, 'slow is "skip", "close" or "wait"; you gave \'drop\''),
        (([], "x"), {"timeout": 1}, ValueError, 'with slow="skip" nothing is waited for'),
        (([], "x"), {"slow": "wait", "timeout": -1}, ValueError, "timeout is 0 seconds or more; you gave -1"),
        (([], "x"), {"slow": "wait", "timeout": float("nan")}, ValueError, "you gave nan"),
        (([], "x"), {"slow": "wait", "timeout": "1"}, TypeError, "a number of seconds or None, not str"),
        (([], "x"), {"slow": "wait", "timeout": True}, TypeError, "a number of seconds or None, not bool"),
    ],
)
async def test_a_mistake_is_answered_by_a_sentence(
    arguments: tuple[Any, Any], options: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    """It says what was given, or what would be right."""
    with pytest.raises(error) as caught:
        await broadcast(*arguments, **options)
    assert sentence in str(caught.value)


@one_way
async def test_a_single_websocket_is_no_iterable_of_them() -> None:
    """And with one wrong connection among right ones, nobody is sent anything."""
    async with serving(hold) as server, joined(server) as (_, ws):
        with pytest.raises(TypeError, match="for a single one there is its send"):
            await broadcast(ws, "hello")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="you gave one of type NoneType"):
            await broadcast([ws, None], "hello")  # type: ignore[list-item]
        assert ws.record.messages_sent == 0


@one_way
async def test_a_websocket_of_another_run_gets_a_lesson() -> None:
    """Two threads would write at once."""
    async with serving(hold) as server, joined(server):

        async def elsewhere() -> None:
            with pytest.raises(RuntimeError, match="a WebSocket belongs to the Trio run of its server"):
                await broadcast(server.connections, "hello")

        await trio.to_thread.run_sync(trio.run, elsewhere)
        assert await broadcast(server.connections, "hello") == 1


@one_way
async def test_a_broadcast_out_of_a_messages_own_pieces_does_not_wait_for_itself() -> None:
    """As `send` does not."""
    lessons: list[str] = []

    async def handler(ws: trioecho.WebSocket) -> None:
        async def pieces() -> AsyncIterator[str]:
            yield "first"
            with pytest.raises(RuntimeError) as caught:
                await broadcast([ws], "between", slow="wait")
            lessons.append(str(caught.value))
            assert await broadcast([ws], "between") == 0
            yield "last"

        await ws.send(pieces())

    async with serving(handler) as server, connected(server) as client:
        assert await client.receive() == "firstlast"
    assert "this task is sending a message in pieces" in lessons[0]
