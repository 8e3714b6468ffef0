"""Who may still say what when a conversation ends, for how long, and what the two ends know of it afterwards."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing
from serving import connected, one_way, plain_tcp, reset, serving, until
from serving import way_of_reading as way_of_reading

import trioecho
from trioecho.testing import CLOSE, TEXT, RawClient, open_client

Clock = trio.testing.MockClock

SOON = 30.0
"""Seconds that are far more than anything here takes, and far less than what it must not wait for."""

ENDED = (trio.EndOfChannel, trio.BrokenResourceError, trio.ClosedResourceError)


async def settled() -> None:
    """Wait until every task of this run waits for something that does not come: all that was sent has been seen."""
    for _ in range(2):
        await trio.testing.wait_all_tasks_blocked(0.05)


async def half_close(client: RawClient) -> None:
    """End the client's direction of TCP."""
    assert isinstance(client.stream, trio.SocketStream)
    await client.stream.send_eof()


# Our own aclose, from any task.


async def close_and_stay(ws: trioecho.WebSocket) -> None:
    """The handler itself closes, and does not return."""
    await ws.aclose(4000, "that is all")
    await trio.sleep_forever()


async def close_in_a_child(ws: trioecho.WebSocket) -> None:
    """A task in the connection's nursery closes; the handler hears nothing of it."""
    ws.nursery.start_soon(ws.aclose, 4000, "that is all")
    await trio.sleep_forever()


async def close_from_outside(ws: trioecho.WebSocket) -> None:
    """A task of somebody else's closes; the handler hears nothing of it."""
    trio.lowlevel.spawn_system_task(ws.aclose, 4000, "that is all")
    await trio.sleep_forever()


@pytest.mark.parametrize("closing", [close_and_stay, close_in_a_child, close_from_outside])
@pytest.mark.parametrize("answered", [True, False])
async def test_a_close_of_ours_ends_the_connection_whoever_says_it(
    closing: trioecho.Handler, answered: bool
) -> None:
    """The handler does not return, but close_timeout later it is cancelled, and the record written."""
    cancelled = trio.Event()

    async def handler(ws: trioecho.WebSocket) -> None:
        try:
            await closing(ws)
        except trio.Cancelled:
            cancelled.set()
            raise

    async with serving(handler, close_timeout=0.2) as server, connected(server) as client:
        assert await client.receive_close() == (4000, "that is all")
        if answered:
            await client.close(4000, "indeed")
        with trio.fail_after(SOON):
            await until(lambda: server.records)
        assert cancelled.is_set()
        (record,) = server.records
    assert (record.cause, record.closed_first, record.code_sent) == ("application closed", "server", 4000)
    assert record.code_received == (4000 if answered else None)
    assert record.clean is answered


@one_way
async def test_a_close_of_ours_ends_the_connection_at_close_timeout(autojump_clock: Clock) -> None:
    """To the second, where nothing is in flight: 5 s after the Close that another task has said."""
    async with open_client(close_in_a_child) as client:
        assert await client.receive_close() == (4000, "that is all")
        begun = trio.current_time()
        await client.receive_rest()
        assert trio.current_time() - begun == pytest.approx(5, abs=0.5)
    assert client.record is not None
    assert client.record.cause == "application closed"


# The peer has closed, and answers are owed.


async def answer(ws: trioecho.WebSocket, message: str | bytes, told: trio.Event) -> None:
    """Answer a message when the handler has been told of the end."""
    await told.wait()
    await ws.send(f"answer to {message!s}")


async def start_in_a_nursery_of_its_own(ws: trioecho.WebSocket) -> None:
    """The obvious way to answer messages at the same time."""
    told = trio.Event()
    async with trio.open_nursery() as nursery:
        with contextlib.suppress(trio.BrokenResourceError):
            async for message in ws:
                nursery.start_soon(answer, ws, message, told)
        told.set()


async def start_in_the_connections_nursery(ws: trioecho.WebSocket) -> None:
    """The same in `ws.nursery`, which does not wait for its tasks: so the handler does."""
    told = trio.Event()
    answered: list[trio.Event] = []

    async def answer_and_tell(message: str | bytes, done: trio.Event) -> None:
        await answer(ws, message, told)
        done.set()

    with contextlib.suppress(trio.BrokenResourceError):
        async for message in ws:
            answered.append(trio.Event())
            ws.nursery.start_soon(answer_and_tell, message, answered[-1])
    told.set()
    for each in answered:
        await each.wait()


async def leave_it_to_somebody_else(ws: trioecho.WebSocket) -> None:
    """Messages go through a channel to a task that is none of the connection's, and it answers them."""
    told, done = trio.Event(), trio.Event()
    asked, asking = trio.open_memory_channel[str | bytes](math.inf)

    async def work() -> None:
        try:
            async for message in asking:
                await answer(ws, message, told)
        except ENDED:
            pass  # the test finds the answers missing
        done.set()

    trio.lowlevel.spawn_system_task(work)
    with contextlib.suppress(trio.BrokenResourceError):
        async for message in ws:
            asked.send_nowait(message)
    asked.close()
    told.set()
    await done.wait()


async def take_all_first(ws: trioecho.WebSocket) -> None:
    """One task that answers when it has heard everything."""
    taken = []
    with contextlib.suppress(trio.BrokenResourceError):
        while True:
            try:
                taken.append(await ws.receive())
            except trio.EndOfChannel:
                break
    for message in taken:
        await ws.send(f"answer to {message!s}")


ANSWERING = [
    start_in_a_nursery_of_its_own,
    start_in_the_connections_nursery,
    leave_it_to_somebody_else,
    take_all_first,
]
ANSWERS = ["answer to one", "answer to three", "answer to two"]


def three_messages(client: RawClient) -> bytes:
    return b"".join(client.frame(TEXT, text.encode()) for text in ("one", "two", "three"))


@pytest.mark.parametrize("handler", ANSWERING)
async def test_answers_go_out_after_the_end_was_told_and_before_the_close_is_answered(
    handler: trioecho.Handler,
) -> None:
    """Three messages with a Close right behind them: three answers, whoever gives them, then the mirrored Close."""
    async with serving(handler) as server, connected(server) as client:
        await client.stream.send_all(three_messages(client) + client.frame(CLOSE, b"\x0f\xa0bye"))
        assert sorted([str(await client.receive()) for _ in range(3)]) == ANSWERS
        assert await client.receive_close() == (4000, "bye")
        await until(lambda: server.records)
        (record,) = server.records
    assert (record.cause, record.clean, record.handler_cancelled) == ("peer closed", True, False)
    assert (record.messages_received, record.messages_sent) == (3, 3)


@pytest.mark.parametrize("handler", ANSWERING)
async def test_answers_go_out_after_a_protocol_error(handler: trioecho.Handler) -> None:
    """The same where the peer broke the protocol: three answers, then 1002."""
    async with serving(handler) as server, connected(server) as client:
        await client.stream.send_all(three_messages(client) + client.frame(3, b"wrong"))
        assert sorted([str(await client.receive()) for _ in range(3)]) == ANSWERS
        assert (await client.receive_close())[0] == 1002


@plain_tcp
@pytest.mark.parametrize("handler", ANSWERING)
async def test_answers_go_out_after_the_end_of_tcp(handler: trioecho.Handler) -> None:
    """The same where the peer has ended its direction of TCP and listens: three answers, then the end."""
    async with serving(handler) as server, connected(server) as client:
        await client.stream.send_all(three_messages(client))
        await half_close(client)
        frames = await client.receive_rest()
        await until(lambda: server.records)
    assert sorted(frame.payload.decode() for frame in frames) == ANSWERS
    assert server.records[0].cause == "peer vanished"


# ... but not for ever.


@one_way
async def test_each_message_taken_restarts_the_time_for_answers(autojump_clock: Clock) -> None:
    """Three messages that take 4 s each are answered, though answer_timeout is 5 s."""

    async def slow(ws: trioecho.WebSocket) -> None:
        async for message in ws:
            await trio.sleep(4)
            await ws.send(message)

    options = trioecho.WebSocketOptions(answer_timeout=5)
    async with open_client(slow, options=options) as client:
        await client.stream.send_all(three_messages(client) + client.frame(CLOSE, b"\x0f\xa0"))
        assert [await client.receive() for _ in range(3)] == ["one", "two", "three"]
        assert await client.receive_close() == (4000, "")
        assert trio.current_time() == pytest.approx(12, abs=0.5)


@one_way
async def test_sends_are_refused_when_the_time_for_answers_is_over(autojump_clock: Clock) -> None:
    """answer_timeout after the Close, whoever sends; a handler that then returns has not been cancelled."""
    refused: list[tuple[str, float]] = []

    async def push(ws: trioecho.WebSocket, who: str) -> None:
        try:
            while True:
                await ws.send(who)
                await trio.sleep(0.1)
        except trio.BrokenResourceError:
            refused.append((who, trio.current_time()))

    async def handler(ws: trioecho.WebSocket) -> None:
        await ws.receive()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(push, ws, "handler's nursery")
            nursery.start_soon(push, ws, "another's")

    options = trioecho.WebSocketOptions(answer_timeout=5)
    async with open_client(handler, options=options) as client:
        await client.send("subscribe")
        await client.close(4000)
        begun = trio.current_time()
        frames = await client.receive_rest()
        assert [frame.close for frame in frames if frame.opcode == CLOSE] == [(4000, "")]
        assert frames[-1].opcode == CLOSE
    assert [moment - begun for _, moment in refused] == pytest.approx([5, 5], abs=0.5)
    assert client.record is not None
    assert (client.record.handler_cancelled, client.record.clean) == (False, True)


@one_way
@pytest.mark.parametrize("end", ["Close", "protocol error", "end of TCP"])
async def test_a_handler_that_does_not_end_is_cancelled_after_twice_answer_timeout(
    end: str, autojump_clock: Clock
) -> None:
    """One answer_timeout to answer, another to end; the record says that it was cancelled."""
    cancelled: list[float] = []

    async def handler(ws: trioecho.WebSocket) -> None:
        await ws.receive()
        try:
            await trio.sleep_forever()
        finally:
            cancelled.append(trio.current_time())

    options = trioecho.WebSocketOptions(answer_timeout=5, close_timeout=1)
    async with open_client(handler, options=options) as client:
        await client.send("go")
        if end == "Close":
            await client.close(4000)
        elif end == "protocol error":
            await client.send_frame(3)
        else:
            await client.stream.send_eof()  # type: ignore[attr-defined]
        await client.receive_rest()
    assert cancelled == [pytest.approx(10, abs=0.5)]
    assert client.record is not None
    assert client.record.handler_cancelled


@one_way
async def test_who_never_sent_a_message_is_owed_no_answer(autojump_clock: Clock) -> None:
    """A push-only handler is told by its next send after the Close, however long answer_timeout is."""
    refused: list[float] = []

    async def push(ws: trioecho.WebSocket) -> None:
        try:
            while True:
                await ws.send("tick")
                await trio.sleep(0.1)
        except trio.BrokenResourceError:
            refused.append(trio.current_time())

    options = trioecho.WebSocketOptions(answer_timeout=50)
    async with open_client(push, options=options) as client:
        await trio.sleep(1)
        await client.close(4000)
        frames = await client.receive_rest()
    assert frames[-1].close == (4000, "")
    assert refused == [pytest.approx(1, abs=0.3)]


async def test_a_pusher_cannot_put_off_the_answer_to_a_close() -> None:
    """It took "subscribe" and pushes for ever: the Close is answered about answer_timeout later, not close_timeout."""

    async def push(ws: trioecho.WebSocket) -> None:
        await ws.receive()
        while True:
            await ws.send("tick")
            await trio.sleep(0.001)

    async with serving(push, answer_timeout=0.2, close_timeout=100) as server, connected(server) as client:
        await client.send("subscribe")
        assert await client.receive() == "tick"
        await client.close(4000, "enough")
        with trio.fail_after(SOON):
            frames = await client.receive_rest()
            await until(lambda: server.records)
        (record,) = server.records
    assert frames[-1].close == (4000, "enough")
    assert {frame.payload for frame in frames[:-1]} == {b"tick"}
    assert (record.cause, record.handler_cancelled, record.clean) == ("peer closed", False, True)


# Resets.


@pytest.mark.parametrize("heard", [True, False])
async def test_a_reset_behind_a_close_cancels_the_handler_at_once(heard: bool) -> None:
    """No message waits and nobody listens, so there is nothing to wait for, however long answer_timeout is."""
    at_work, told, cancelled = trio.Event(), trio.Event(), trio.Event()

    async def handler(ws: trioecho.WebSocket) -> None:
        await ws.receive()
        at_work.set()
        try:
            if heard:
                with contextlib.suppress(trio.EndOfChannel):
                    await ws.receive()
                told.set()
            await trio.sleep_forever()
        except trio.Cancelled:
            cancelled.set()
            raise

    async with serving(handler, answer_timeout=100, close_timeout=100) as server, connected(server) as client:
        await client.send("go")
        await at_work.wait()
        await client.close(4000)
        if heard:
            await told.wait()
        reset(client)
        with trio.fail_after(SOON):
            await cancelled.wait()
            await until(lambda: server.records)
        (record,) = server.records
    assert (record.closed_first, record.code_received, record.clean) == ("client", 4000, False)


async def send_now_and_then(ws: trioecho.WebSocket) -> None:
    """Small messages."""
    while True:
        await ws.send("tick")
        await trio.sleep(0.001)


async def send_without_end(ws: trioecho.WebSocket) -> None:
    """Large ones, so that it waits in `send`."""
    while True:
        await ws.send(bytes(1_000_000))


async def receive(ws: trioecho.WebSocket) -> None:
    """It waits for the next message."""
    await ws.receive()


@pytest.mark.parametrize("doing", [send_now_and_then, send_without_end, receive])
async def test_a_reset_is_told_at_once(doing: Callable[[trioecho.WebSocket], Awaitable[None]]) -> None:
    """Without a Close: BrokenResourceError in send and receive, however long answer_timeout is."""
    told = trio.Event()

    async def handler(ws: trioecho.WebSocket) -> None:
        await ws.receive()
        try:
            await doing(ws)
        except trio.BrokenResourceError:
            told.set()

    async with serving(handler, answer_timeout=100, close_timeout=100) as server, connected(server) as client:
        await client.send("go")
        await settled_or_busy()
        reset(client)
        with trio.fail_after(SOON):
            await told.wait()
            await until(lambda: server.records)
        (record,) = server.records
    assert (record.cause, record.handler_cancelled) == ("peer vanished", False)


async def settled_or_busy() -> None:
    """`settled`, but not waiting for a handler that never rests."""
    with trio.move_on_after(0.3):
        await settled()


async def test_a_handler_that_neither_sends_nor_receives_is_cancelled_after_a_reset() -> None:
    """After twice answer_timeout."""
    cancelled = trio.Event()

    async def handler(ws: trioecho.WebSocket) -> None:
        await ws.receive()
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            cancelled.set()
            raise

    async with serving(handler, answer_timeout=0.2, close_timeout=100) as server, connected(server) as client:
        await client.send("go")
        await settled()
        begun = trio.current_time()
        reset(client)
        with trio.fail_after(SOON):
            await cancelled.wait()
            assert trio.current_time() - begun > 0.3
            await until(lambda: server.records)
        (record,) = server.records
    assert (record.cause, record.handler_cancelled) == ("peer vanished", True)


# When the handler has returned.


async def test_who_answers_no_close_is_let_go_after_close_timeout() -> None:
    """Counted from the handler's return, where nothing is in flight; the record says that it was not clean."""

    async def handler(ws: trioecho.WebSocket) -> None:
        await ws.receive()

    options = {"close_timeout": 0.3, "answer_timeout": 100, "send_timeout": 100}
    async with serving(handler, **options) as server, connected(server) as client:
        await client.send("go")
        assert await client.receive_close() == (1000, "")
        begun = trio.current_time()
        with trio.fail_after(SOON):
            assert await client.receive_rest() == []
            await until(lambda: server.records)
        assert trio.current_time() - begun > 0.2
        (record,) = server.records
    assert (record.cause, record.code_received, record.clean) == ("handler returned", None, False)


@pytest.mark.parametrize("how", ["stop", "cancellation"])
async def test_what_is_in_flight_holds_a_stop_no_longer_than_close_timeout(how: str) -> None:
    """Megabytes that a client does not read, their handler long returned: no longer, whatever send_timeout is."""
    returned = trio.Event()

    async def handler(ws: trioecho.WebSocket) -> None:
        await ws.send(bytes(20_000_000))
        returned.set()

    # The client is still there when `serving` has cancelled the server.
    async with contextlib.AsyncExitStack() as clients:
        async with serving(handler, close_timeout=0.3, send_timeout=100) as server:
            await clients.enter_async_context(connected(server))
            await returned.wait()
            begun = trio.current_time()
            if how == "stop":
                server.stop(timeout=100)
                with trio.fail_after(SOON):
                    await until(lambda: server.records)
        assert trio.current_time() - begun < SOON
    (record,) = server.records
    assert (record.clean, record.code_sent) == (False, None)


# What is known of the end.


async def say_close(client: RawClient) -> None:
    await client.close(4000, "grüße")


async def say_empty_close(client: RawClient) -> None:
    await client.close(None)


async def reset_tcp(client: RawClient) -> None:
    reset(client)


async def break_the_protocol(client: RawClient) -> None:
    await client.send_frame(3)


KNOWN = [
    pytest.param(say_close, (4000, "grüße"), (4000, "grüße"), "peer closed", id="Close"),
    pytest.param(say_empty_close, (1005, ""), (1005, ""), "peer closed", id="empty Close"),
    pytest.param(reset_tcp, (1006, ""), (None, None), "peer vanished", id="reset"),
    pytest.param(break_the_protocol, (1006, ""), (None, None), "protocol error", id="protocol error"),
]


@pytest.mark.parametrize("iterates", [True, False])
@pytest.mark.parametrize(("end", "close", "received", "cause"), KNOWN)
async def test_who_is_told_of_the_end_can_ask_for_its_code(
    end: Callable[[RawClient], Awaitable[None]],
    close: tuple[int, str],
    received: tuple[int | None, str | None],
    cause: str,
    iterates: bool,
) -> None:
    """close_code and close_reason, and the record's part of it, when `receive` or the loop has told the end."""
    known: list[object] = []
    began = trio.Event()

    async def handler(ws: trioecho.WebSocket) -> None:
        assert (ws.close_code, ws.close_reason) == (None, None)
        assert await ws.receive() == "go"
        assert (ws.close_code, ws.close_reason) == (None, None)
        began.set()
        with contextlib.suppress(*ENDED):
            if iterates:
                async for _ in ws:
                    pass
            else:
                await ws.receive()
        record = ws.record
        known.append((ws.close_code, ws.close_reason))
        known.append((record.code_received, record.reason_received))
        known.extend([record.cause, record.closed_first])

    async with serving(handler) as server, connected(server) as client:
        await client.send("go")
        with trio.fail_after(SOON):
            await until(lambda: began.is_set() or server.records)
            await end(client)
            await until(lambda: known or server.records)
    assert known == [close, received, cause, "server" if cause == "protocol error" else "client"]


@plain_tcp
async def test_who_is_told_of_the_end_of_tcp_can_ask_for_its_code() -> None:
    """A client that half-closes has said no Close: 1006, which no Close can carry."""
    known: list[object] = []

    async def handler(ws: trioecho.WebSocket) -> None:
        with contextlib.suppress(*ENDED):
            await ws.receive()
        known.append((ws.close_code, ws.close_reason, ws.record.code_received, ws.record.cause))

    async with serving(handler) as server, connected(server) as client:
        await half_close(client)
        with trio.fail_after(SOON):
            await until(lambda: known or server.records)
    assert known == [(1006, "", None, "peer vanished")]


@pytest.mark.parametrize("answered", [True, False])
async def test_after_our_own_close_the_peers_answer_is_known(answered: bool) -> None:
    """Its own code and reason, not ours; 1006 where it gave no answer in time."""
    known: list[object] = []

    async def handler(ws: trioecho.WebSocket) -> None:
        await ws.aclose(4000, "ours")
        known.append((ws.close_code, ws.close_reason))
        known.append((ws.record.code_received, ws.record.reason_received))

    async with (
        serving(handler, close_timeout=SOON if answered else 0.2) as server,
        connected(server) as client,
    ):
        assert await client.receive_close() == (4000, "ours")
        if answered:
            await client.close(4001, "theirs")
        with trio.fail_after(SOON + 1):
            await until(lambda: known or server.records)
    assert known == ([(4001, "theirs")] * 2 if answered else [(1006, ""), (None, None)])


@plain_tcp
@pytest.mark.parametrize(("then", "clean"), [("nothing", True), ("FIN", False)])
async def test_an_end_is_clean_only_if_both_closes_went_before_tcp_ended(then: str, clean: bool) -> None:
    """A client that ends TCP behind its Close, while the handler is busy, has not waited for ours."""
    at_work, go_on = trio.Event(), trio.Event()

    async def handler(ws: trioecho.WebSocket) -> None:
        await ws.receive()
        at_work.set()
        await go_on.wait()

    async with serving(handler, answer_timeout=100) as server, connected(server) as client:
        await client.send("go")
        await at_work.wait()
        await client.close(4000)
        await settled()
        if then == "FIN":
            await half_close(client)
            await settled()
        go_on.set()
        await client.receive_rest()
        await until(lambda: server.records)
        (record,) = server.records
    assert (record.cause, record.closed_first, record.code_received) == ("peer closed", "client", 4000)
    assert record.clean is clean


# The empty Close.


async def test_an_empty_close_is_answered_with_an_empty_one() -> None:
    """Two bytes, 88 00; the record has 1005 for both, which stands for it (RFC 6455 section 7.1.5)."""
    async with serving() as server, connected(server) as client:
        await client.close(None)
        frame = await client.receive_frame()
        assert frame is not None
        assert (frame.fin, frame.opcode, frame.payload) == (True, CLOSE, b"")
        assert await client.receive_rest() == []
        await until(lambda: server.records)
        (record,) = server.records
    assert (record.code_received, record.reason_received) == (1005, "")
    assert (record.code_sent, record.clean) == (1005, True)
    assert not record.reason_sent


async def test_aclose_none_says_an_empty_close() -> None:
    """No code and no reason; what the peer answers is its own affair."""

    async def handler(ws: trioecho.WebSocket) -> None:
        await ws.receive()
        await ws.aclose(None)  # type: ignore[arg-type]

    async with serving(handler) as server, connected(server) as client:
        await client.send("go")
        frame = await client.receive_frame()
        assert frame is not None
        assert (frame.fin, frame.opcode, frame.payload) == (True, CLOSE, b"")
        await client.close(4000)
        await until(lambda: server.records)
        (record,) = server.records
    assert (record.cause, record.code_sent, record.code_received) == ("application closed", 1005, 4000)
    assert record.clean
