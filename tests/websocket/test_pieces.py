"""A message out of an iterator of pieces: each a fragment, at once, with nothing but control frames in between."""

from __future__ import annotations

import asyncio
import contextlib
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterable, Iterator

import pytest
import trio
import trio.testing
from serving import connected, one_way, pass_time, reset, serving, until
from serving import slow_clock as slow_clock
from serving import way_of_reading as way_of_reading
from websockets.asyncio.client import connect as connect_asyncio
from websockets.sync.client import connect

import trioecho
from trioecho.client import connect as connect_trio
from trioecho.testing import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, RawClient

CUT_OFF = (1011, "message cut off")
LARGE = bytes(1_000_000)


class Steps:
    """An async iterator of pieces that a test gives it one by one; what it is given to raise, it raises."""

    def __init__(self) -> None:
        self._give, self._take = trio.open_memory_channel[object](0)
        self.closed = False

    async def step(self, piece: object) -> None:
        await self._give.send(piece)

    def end(self) -> None:
        self._give.close()

    async def pieces(self) -> AsyncIterator[object]:
        try:
            async for piece in self._take:
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        finally:
            self.closed = True


@contextlib.asynccontextmanager
async def held(**options: object) -> AsyncIterator[tuple[trioecho.WebSocket, RawClient, trioecho.Server]]:
    """A connection's two ends, its WebSocket lent by a handler, and the server; the handler ends on leaving."""
    lent: list[trioecho.WebSocket] = []
    done = trio.Event()

    async def lend(ws: trioecho.WebSocket) -> None:
        lent.append(ws)
        await done.wait()

    async with serving(lend, **options) as server, connected(server) as client:
        await until(lambda: lent)
        yield lent[0], client, server
        done.set()


async def asynchronously(pieces: Iterable[str | bytes]) -> AsyncIterator[str | bytes]:
    """`pieces`, none of which takes time."""
    for piece in pieces:
        yield piece


@pytest.mark.parametrize("make", [list, tuple, iter, asynchronously], ids=["list", "tuple", "iter", "async"])
@pytest.mark.parametrize("pieces", [["a", "", "grün", "c" * 70_000], [b"a", b"b" * 200], [""], [b""]])
async def test_each_piece_is_a_fragment_and_the_last_frame_is_empty(
    make: Callable[[list[str | bytes]], object], pieces: list[str | bytes]
) -> None:
    """The first has the opcode, the others continue it; and it counts as one message."""
    opcode = TEXT if isinstance(pieces[0], str) else BINARY
    payloads = [piece.encode() if isinstance(piece, str) else piece for piece in pieces]
    async with held() as (ws, client, _):
        await ws.send(make(pieces))  # type: ignore[arg-type]
        for number, payload in enumerate(payloads):
            assert await client.receive_frame() == (False, CONTINUATION if number else opcode, payload)
        assert await client.receive_frame() == (True, CONTINUATION, b"")
        await until(lambda: ws.record.messages_sent)
        assert (ws.record.messages_sent, ws.record.bytes_sent) == (1, sum(map(len, payloads)))
        await ws.send("behind it")
        assert await client.receive() == "behind it"


async def test_a_piece_goes_out_before_the_next_is_there() -> None:
    """What is made slowly is seen as it is made."""
    steps = Steps()
    async with held() as (ws, client, _), trio.open_nursery() as nursery:
        nursery.start_soon(ws.send, steps.pieces())
        for number, piece in enumerate(["one", "two"]):
            await steps.step(piece)
            assert await client.receive_frame() == (False, CONTINUATION if number else TEXT, piece.encode())
        steps.end()
        assert await client.receive_frame() == (True, CONTINUATION, b"")


async def test_other_messages_wait_for_the_end_and_control_frames_do_not() -> None:
    """RFC 6455 §5.4: fragments of two messages are not mixed; a Ping is answered in between."""
    steps, other = Steps(), Steps()
    async with held() as (ws, client, _), trio.open_nursery() as nursery:
        nursery.start_soon(ws.send, steps.pieces())
        await steps.step(b"one")
        assert await client.receive_frame() == (False, BINARY, b"one")
        nursery.start_soon(ws.send, "another")
        await trio.testing.wait_all_tasks_blocked(0.01)
        nursery.start_soon(ws.send, other.pieces())
        await other.step("in pieces")
        await client.send_frame(PING, b"?")
        assert await client.receive_frame() == (True, PONG, b"?")
        await steps.step(b"two")
        steps.end()
        assert await client.receive_frame() == (False, CONTINUATION, b"two")
        assert await client.receive_frame() == (True, CONTINUATION, b"")
        assert await client.receive_frame() == (True, TEXT, b"another")
        assert await client.receive_frame() == (False, TEXT, b"in pieces")
        other.end()
        assert await client.receive_frame() == (True, CONTINUATION, b"")


async def test_who_sends_piece_by_piece_again_and_again_lets_others_in() -> None:
    """The turn goes round, so a task that never waits for anything else keeps nobody waiting for ever."""
    async with held() as (ws, client, _), trio.open_nursery() as nursery:

        async def flood() -> None:
            while True:
                await ws.send(["x"] * 3)

        nursery.start_soon(flood)
        await client.receive()
        nursery.start_soon(ws.send, "let me in")
        while await client.receive() != "let me in":
            pass
        nursery.cancel_scope.cancel()


async def test_who_has_waited_comes_before_who_has_just_sent() -> None:
    """Also where the next message of the one that had the turn is a whole one."""
    steps = Steps()
    async with held() as (ws, client, _), trio.open_nursery() as nursery:

        async def send_two() -> None:
            await ws.send(steps.pieces())  # type: ignore[arg-type]
            await ws.send("third")

        nursery.start_soon(send_two)
        await steps.step("first")
        nursery.start_soon(ws.send, "second")
        await trio.testing.wait_all_tasks_blocked(0.01)
        steps.end()
        assert [await client.receive() for _ in range(3)] == ["first", "second", "third"]


async def test_who_waits_for_a_turn_is_told_when_nothing_is_sent_any_more() -> None:
    """At once, though the message that is under way may be stuck in its iterator for long."""
    steps = Steps()
    async with held(close_timeout=60) as (ws, _, _), trio.open_nursery() as nursery:
        nursery.start_soon(ws.send, steps.pieces())
        await steps.step("first")
        told = trio.Event()

        async def wait_behind(message: object) -> None:
            with pytest.raises(trioecho.WebSocketClosed):
                await ws.send(message)  # type: ignore[arg-type]
            told.set()

        for message in ("second", ["second"]):
            told = trio.Event()
            nursery.start_soon(wait_behind, message)
            await trio.testing.wait_all_tasks_blocked(0.01)
            if message == "second":
                nursery.start_soon(ws.aclose, 4000)
            with trio.fail_after(30):
                await told.wait()
        nursery.cancel_scope.cancel()


async def test_a_message_from_within_its_own_pieces_is_refused() -> None:
    """It would wait for itself: RuntimeError; before the first piece nothing is under way, and it is sent."""
    begun = trio.Event()

    async with held() as (ws, client, _):

        async def pieces() -> AsyncIterator[str]:
            await ws.send("first")
            yield "a"
            # Another task waits for its turn.
            begun.set()
            await trio.testing.wait_all_tasks_blocked(0.01)
            for message in ("x", ["x"]):
                with pytest.raises(RuntimeError, match="send it from another task"):
                    await ws.send(message)
            yield "b"

        async with trio.open_nursery() as nursery:

            async def send_another() -> None:
                await begun.wait()
                await ws.send("another")

            nursery.start_soon(send_another)
            await ws.send(pieces())
        assert [await client.receive() for _ in range(3)] == ["first", "ab", "another"]


async def test_each_piece_waits_for_room() -> None:
    """While the peer does not read, the iterator is not asked; memory holds one piece."""
    asked = []

    def pieces() -> Iterator[bytes]:
        for number in range(30):
            asked.append(number)
            yield LARGE

    async with held() as (ws, client, _), trio.open_nursery() as nursery:
        nursery.start_soon(ws.send, pieces())
        await trio.testing.wait_all_tasks_blocked(0.1)
        before = len(asked)
        assert before < 20
        tracemalloc.start()
        try:
            size = 0
            while (frame := await client.receive_frame()) is not None and not frame.fin:
                size += len(frame.payload)
            assert tracemalloc.get_traced_memory()[1] < 12 * len(LARGE)
        finally:
            tracemalloc.stop()
        assert size == 30 * len(LARGE)


BREAKS = {
    "an exception of the iterator": (ZeroDivisionError("on purpose"), ZeroDivisionError, "on purpose"),
    "bytes after text": (b"bytes", TypeError, "the first was str, and another is bytes"),
    "no piece at all": (3, TypeError, "a piece of a message is str or bytes, not int"),
    "half of a surrogate pair": ("\ud83d", ValueError, "which has no surrogates"),
}


@pytest.mark.parametrize("fault", BREAKS)
async def test_what_was_begun_and_cannot_be_finished_ends_the_connection(fault: str) -> None:
    """1011 "message cut off" comes in place of the rest, and the exception goes on."""
    piece, kind, sentence = BREAKS[fault]
    raised, steps = [], Steps()

    async def handler(ws: trioecho.WebSocket) -> None:
        try:
            await ws.send(steps.pieces())  # type: ignore[arg-type]
        except kind as error:
            raised.append(str(error))
            await trio.sleep_forever()

    async with serving(handler) as server, connected(server) as client:
        await steps.step("one")
        assert await client.receive_frame() == (False, TEXT, b"one")
        await steps.step(piece)
        frame = await client.receive_frame()
        assert frame is not None
        assert (frame.opcode, frame.close) == (CLOSE, CUT_OFF)
        await client.close(*CUT_OFF)
        await until(lambda: server.records)
    (record,) = server.records
    assert (record.cause, record.clean) == ("message cut off", True)
    assert (record.messages_sent, record.bytes_sent) == (0, 0)
    (said,) = raised
    assert sentence in said
    assert steps.closed


@pytest.mark.parametrize("fault", [fault for fault in BREAKS if fault != "bytes after text"])
async def test_what_fails_before_the_first_fragment_has_sent_nothing(fault: str) -> None:
    """The connection is as good as before."""
    piece, kind, sentence = BREAKS[fault]
    steps = Steps()
    async with held() as (ws, client, _), trio.open_nursery() as nursery:
        nursery.start_soon(steps.step, piece)
        with pytest.raises(kind, match=sentence):
            await ws.send(steps.pieces())  # type: ignore[arg-type]
        assert steps.closed
        await ws.send("fine")
        assert await client.receive() == "fine"


@pytest.mark.parametrize("nothing", [[], iter([]), asynchronously([])], ids=["list", "iter", "async"])
@one_way
async def test_a_message_of_no_pieces_is_refused(nothing: object) -> None:
    """Nobody knows whether it is text; and a mapping is no message, though its keys are text."""
    async with held() as (ws, client, _):
        with pytest.raises(ValueError, match="at least one piece, which may be empty"):
            await ws.send(nothing)  # type: ignore[arg-type]
        await ws.send("fine")
        assert await client.receive() == "fine"


async def test_a_cancelled_wait_for_the_turn_or_the_first_piece_has_sent_nothing() -> None:
    """The other message goes on, and what is sent later comes behind it."""
    steps, never = Steps(), Steps()
    async with held() as (ws, client, _), trio.open_nursery() as nursery:
        with trio.move_on_after(0.01):
            await ws.send(never.pieces())  # type: ignore[arg-type]
        assert never.closed
        nursery.start_soon(ws.send, steps.pieces())
        await steps.step("one")
        for message in ("x", ["x"]):
            with trio.move_on_after(0.01) as scope:
                await ws.send(message)
            assert scope.cancelled_caught
        steps.end()
        assert await client.receive() == "one"
        await ws.send("two")
        assert await client.receive() == "two"


async def test_cancelling_a_message_that_was_begun_ends_the_connection() -> None:
    """What waited behind it is not sent, and its senders are told."""
    steps = Steps()
    told = []
    async with held() as (ws, client, server), trio.open_nursery() as nursery:

        async def wait_behind() -> None:
            with pytest.raises(trioecho.WebSocketClosed):
                await ws.send("never sent")
            told.append(True)

        with trio.CancelScope() as scope:
            async with trio.open_nursery() as sending:
                sending.start_soon(ws.send, steps.pieces())
                await steps.step("one")
                nursery.start_soon(wait_behind)
                await trio.testing.wait_all_tasks_blocked(0.01)
                scope.cancel()
        assert steps.closed
        assert await client.receive_frame() == (False, TEXT, b"one")
        frame = await client.receive_frame()
        assert frame is not None
        assert frame.close == CUT_OFF
        await client.close(*CUT_OFF)
        await until(lambda: server.records)
    assert told == [True]
    assert server.records[0].cause == "message cut off"


async def test_a_close_of_our_own_in_the_middle_is_what_was_asked_for(
    slow_clock: trio.testing.MockClock,
) -> None:
    """It goes out between the fragments; the sender is told at its next piece, and the cause is the application's."""
    steps = Steps()
    async with held() as (ws, client, server), trio.open_nursery() as nursery:

        async def send() -> None:
            with pytest.raises(trioecho.WebSocketClosed):
                await ws.send(steps.pieces())  # type: ignore[arg-type]

        nursery.start_soon(send)
        await steps.step("one")
        assert await client.receive_frame() == (False, TEXT, b"one")
        nursery.start_soon(ws.aclose, 4000)
        frame = await client.receive_frame()
        assert frame is not None
        assert frame.close == (4000, "")
        await steps.step("two")
        await client.close(4000)
        # `lend` stays until it is cancelled.
        await pass_time(slow_clock, 10, until=lambda: server.records)
    assert (server.records[0].cause, server.records[0].clean) == ("application closed", True)


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_peer_that_goes_in_the_middle_is_what_the_record_says(how: str) -> None:
    """The sender is told by an exception; it was not the handler who cut the message off."""
    steps = Steps()

    async def handler(ws: trioecho.WebSocket) -> None:
        await ws.send(steps.pieces())  # type: ignore[arg-type]

    async with serving(handler) as server, connected(server) as client, trio.open_nursery() as nursery:

        async def feed() -> None:
            while True:
                await steps.step(bytes(1000))

        nursery.start_soon(feed)
        await client.receive_frame()
        if how == "close":
            await client.close(4000)
        else:
            reset(client)
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while await client.receive_frame() is not None:
                pass
        await until(lambda: server.records)
        nursery.cancel_scope.cancel()
    assert server.records[0].cause == ("peer closed" if how == "close" else "peer vanished")
    assert server.records[0].error is None or "TCP" in server.records[0].error or how == "reset"


async def test_a_message_under_way_when_the_server_is_cancelled_is_the_servers_doing() -> None:
    """1001, as for every connection, between the fragments."""
    steps = Steps()

    async def handler(ws: trioecho.WebSocket) -> None:
        await ws.send(steps.pieces())  # type: ignore[arg-type]

    async with contextlib.AsyncExitStack() as clients:
        async with serving(handler, close_timeout=0.2) as server:
            client = await clients.enter_async_context(connected(server))
            await steps.step("one")
            assert await client.receive_frame() == (False, TEXT, b"one")
        frame = await client.receive_frame()
        assert frame is not None
        assert frame.close == (1001, "server is stopping")
    assert server.records[0].cause == "server stopping"


@one_way
async def test_real_clients_put_the_pieces_together() -> None:
    """websockets, in a thread and on asyncio, and trio-websocket hear one message."""
    pieces = ["a", "grün", "c" * 100_000]

    async def handler(ws: trioecho.WebSocket) -> None:
        await ws.send(asynchronously(pieces))
        await ws.send(piece.encode() for piece in pieces)
        await ws.receive()

    def in_a_thread(url: str) -> list[object]:
        with connect(url, proxy=None, max_size=None) as ws:
            return [ws.recv(10), b"".join(ws.recv_streaming())]

    async def on_asyncio(url: str) -> list[object]:
        async with connect_asyncio(url, proxy=None, max_size=None) as ws:
            return [await ws.recv(), await ws.recv()]

    async def on_trio(url: str) -> list[object]:
        async with connect_trio(url) as ws:
            return [await ws.receive(), await ws.receive()]

    whole = "".join(pieces)
    async with serving(handler) as server:
        url = server.url.replace("http", "ws", 1).rstrip("/") + "/ws"
        for heard in (
            await trio.to_thread.run_sync(in_a_thread, url),
            await trio.to_thread.run_sync(lambda: asyncio.run(on_asyncio(url))),
            await on_trio(url),
        ):
            assert heard == [whole, whole.encode()]
