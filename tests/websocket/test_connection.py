"""One connection's life, on a wire in memory: what comes in, what ends the handler, and which ending it is."""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import pytest
import trio
import trio.testing

import trioecho
from trioecho._protocol.record import ConnectionRecord
from trioecho._websocket.connection import Connection
from trioecho._websocket.websocket import WebSocket
from trioecho._wire.poller import GONE, Readable, Writer
from trioecho._wire.wire import Wire
from trioecho.testing import BINARY, CLOSE, PING, PONG, TEXT, encode_frame

Clock = trio.testing.MockClock

OPENING = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
KEY = b"\x01\x02\x03\x04"
GOODBYE = encode_frame(CLOSE, b"\x0f\xa0bye", key=KEY)
"""The peer's Close: 4000."""


class Batch:
    """Nobody else writes."""

    busy = False
    awake = False

    def __init__(self) -> None:
        self.writers: list[Writer] = []


class MemoryWire(Wire):
    """Takes what is written as long as there is `room`; gives what `arrive` brings."""

    seal: Callable[[bytes], bytes] | None = None
    immediate = True

    def __init__(self) -> None:
        self.peer = "a test"
        self.batch = Batch()
        self.written = b""
        self.room = 1_000_000
        self.arrived: deque[bytes | Exception] = deque()
        self.readable: Readable | None = None
        self.told: list[str] = []

    def arrive(self, *chunks: bytes | Exception) -> None:
        """Tell the connection until everything is read, or it has paused."""
        self.arrived.extend(chunks)
        while self.arrived and self.readable is not None and self.told[-1:] != ["pause"]:
            self.readable(0, trio.current_time())

    def start(self, nursery: trio.Nursery, readable: Readable) -> None:
        self.readable = readable

    def reader(self) -> tuple[Callable[[Any, int], bytes], Any]:
        return MemoryWire._read, self

    def _read(self, _size: int) -> bytes:
        if not self.arrived:
            raise BlockingIOError
        chunk = self.arrived.popleft()
        if isinstance(chunk, Exception):
            raise chunk
        return chunk

    def writer(self) -> tuple[Callable[[Any, bytes], int], Any]:
        return MemoryWire._write, self

    def _write(self, data: bytes) -> int:
        if not self.room:
            raise BlockingIOError
        taken = data[: self.room]
        self.written += taken
        self.room -= len(taken)
        return len(taken)

    def write_large(self, header: bytes, payload: bytes) -> int:
        return self._write(header + payload)

    async def send(self, data: memoryview) -> int:
        while not self.room:
            await trio.sleep(1)
        return self._write(bytes(data))

    def pause(self, *, lost: bool) -> None:
        self.told.append("lost" if lost else "pause")

    def resume(self) -> bool:
        self.told.append("resume")
        return self.more

    @property
    def more(self) -> bool:
        return bool(self.arrived)

    def unread(self) -> bool:
        return bool(self.arrived)

    def in_flight(self) -> int:
        return 0

    def error(self) -> OSError | None:
        return None

    def keep_alive(self, interval: float, timeout: float) -> None:
        self.told.append("keep alive")

    async def half_close(self) -> None:
        self.told.append("half-close")
        await trio.lowlevel.checkpoint()

    def stop(self) -> None:
        self.readable = None

    async def close(self) -> None:
        self.told.append("close")
        await trio.lowlevel.checkpoint()


class Life:
    """A connection, its wire, what it is called by its handler, and whether its handler was cancelled."""

    def __init__(self, **options: Any) -> None:
        self.wire = MemoryWire()
        self.record = ConnectionRecord(peer="a test", path="/ws")
        self.connection = Connection(self.wire, trioecho.WebSocketOptions(**options), self.record)
        self.websocket = cast(WebSocket, object())
        self.cancelled = False
        self.ended = trio.Event()

    async def run(
        self, handler: Callable[[WebSocket], Awaitable[object]], early: bytes = b"", opening: bytes = OPENING
    ) -> None:
        async def noting(websocket: WebSocket) -> None:
            assert websocket is self.websocket
            try:
                await handler(websocket)
            except trio.Cancelled:
                self.cancelled = True
                raise

        try:
            self.connection.begin_with(opening, early)
            await self.connection.run(noting, self.websocket)
        finally:
            self.ended.set()

    @property
    def messages(self) -> list[str | bytes]:
        return list(self.connection.incoming.messages)

    @property
    def said(self) -> bytes:
        """What was written behind the response."""
        assert self.wire.written.startswith(OPENING)
        return self.wire.written.removeprefix(OPENING)


@contextlib.asynccontextmanager
async def living(
    handler: Callable[[WebSocket], Awaitable[object]], *, early: bytes = b"", **options: Any
) -> AsyncIterator[Life]:
    """A connection that runs; its end is waited for on leaving, at most an hour of the clock."""
    life = Life(**options)
    with trio.fail_after(3600):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(life.run, handler, early)
            await trio.testing.wait_all_tasks_blocked()
            yield life
            await life.ended.wait()


async def stay(_websocket: WebSocket) -> None:
    await trio.sleep_forever()


async def leave(_websocket: WebSocket) -> None:
    pass


def text(message: str) -> bytes:
    return encode_frame(TEXT, message.encode(), key=KEY)


# What comes in.


async def test_the_response_goes_first_and_what_came_with_the_request_is_read(autojump_clock: Clock) -> None:
    """A fast client's first frames have been read with its handshake, and are not lost."""
    seen: list[list[str | bytes]] = []

    async def look(_websocket: WebSocket) -> None:
        seen.append(life.messages)

    life = Life()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(life.run, look, text("early"))
        await trio.testing.wait_all_tasks_blocked()
        life.wire.arrive(GOODBYE)
    assert seen == [["early"]]
    assert life.said == encode_frame(CLOSE, b"\x03\xe8")
    assert (life.record.cause, life.record.clean) == ("handler returned", True)
    assert life.wire.told == ["close"]


async def test_reading_says_whether_there_was_something(autojump_clock: Clock) -> None:
    """A chunk at a time; nothing there is neither an end nor a failure."""
    async with living(stay) as life:
        life.wire.arrived.extend([text("one"), text("two")])
        now = trio.current_time()
        assert [life.connection.readable(0, now) for _ in range(3)] == [True, True, False]
        assert life.messages == ["one", "two"]
        life.connection.abort()


async def test_pings_are_answered_where_they_come(autojump_clock: Clock) -> None:
    """Whatever the handler does meanwhile; and not behind our own Close."""
    async with living(stay) as life:
        life.wire.arrive(encode_frame(PING, b"1", key=KEY) + encode_frame(PING, b"2", key=KEY))
        assert life.said == encode_frame(PONG, b"1") + encode_frame(PONG, b"2")
        life.connection.stop(trio.current_time(), 1001)
        await trio.testing.wait_all_tasks_blocked()
        said = life.said
        assert said.endswith(encode_frame(CLOSE, b"\x03\xe9server is stopping"))
        life.wire.arrive(encode_frame(PING, b"3", key=KEY))
        assert life.said == said


async def test_it_pauses_when_messages_wait_and_reads_on_when_they_are_taken(autojump_clock: Clock) -> None:
    """So backpressure reaches the peer; the kernel looks after it meanwhile, and what waits is read at once then."""
    async with living(stay) as life:
        large = encode_frame(BINARY, bytes(100_000), key=KEY)
        life.wire.arrive(large, text("behind it"))
        assert life.wire.told == ["keep alive", "pause"]
        assert [len(message) for message in life.messages] == [100_000]
        life.connection.incoming.messages.clear()
        life.connection.caught_up()
        assert life.wire.told[-1] == "resume"
        assert life.messages == ["behind it"]
        life.connection.abort()


async def test_a_loss_that_is_noticed_while_it_pauses_is_no_end_of_what_waits(autojump_clock: Clock) -> None:
    """What the kernel still holds is read when there is room; then the peer has vanished."""
    async with living(stay) as life:
        life.wire.arrive(encode_frame(BINARY, bytes(100_000), key=KEY))
        life.wire.arrived.extend([text("the last"), b""])
        life.connection.readable(GONE, trio.current_time())
        assert life.wire.told[-1] == "lost"
        life.connection.incoming.messages.clear()
        life.connection.caught_up()
        assert life.messages == ["the last"]
    assert (life.record.cause, life.record.handler_cancelled) == ("peer vanished", True)


async def test_a_lost_connection_is_paused_as_often_as_it_is_full(autojump_clock: Clock) -> None:
    """What its client had said goes on being read in parts: a wire that nobody pauses would read over what waits."""
    full = encode_frame(BINARY, bytes(100_000), key=KEY)
    async with living(stay) as life:
        life.wire.arrive(full)
        life.wire.arrived.append(full)
        life.connection.readable(GONE, trio.current_time())
        life.connection.incoming.messages.clear()
        life.connection.caught_up()
        assert (life.wire.told[-1], life.messages) == ("resume", [bytes(100_000)])
        life.wire.arrived.append(b"")
        life.connection.readable(0, trio.current_time())
        assert life.wire.told[-1] == "lost"
        life.connection.incoming.messages.clear()
        life.connection.caught_up()
        assert life.wire.told[-1] == "resume"


@pytest.mark.parametrize(
    ("last", "cause", "error", "said"),
    [
        (GOODBYE, "peer closed", None, encode_frame(CLOSE, b"\x0f\xa0bye")),
        (b"", "peer vanished", "TCP ended without a Close", b""),
        (ConnectionResetError("reset"), "peer vanished", "reset", b""),
        (
            encode_frame(CLOSE, b"\x03\xed", key=KEY),
            "protocol error",
            "Close frame has code 1005, which may not be sent",
            encode_frame(CLOSE, b"\x03\xeaClose frame has code 1005, which may not be sent"),
        ),
    ],
    ids=["Close", "end of TCP", "reset", "error"],
)
async def test_a_peer_that_has_done_leaves_the_handler_time_and_then_cancels_it(
    last: bytes | Exception, cause: str, error: str | None, said: bytes, autojump_clock: Clock
) -> None:
    """`answer_timeout` for answers, and as long again to end by itself; the record says how it was."""
    async with living(stay, answer_timeout=7) as life:
        life.wire.arrive(text("waits"), last)
        before = trio.current_time()
        await life.ended.wait()
    assert life.cancelled
    assert trio.current_time() - before >= 14
    assert (life.record.cause, life.record.error, life.said) == (cause, error, said)
    assert life.record.messages_discarded == 1


async def test_answers_are_owed_for_their_time_only(autojump_clock: Clock) -> None:
    """Each message taken gives them more of it; a lost connection is owed none."""
    async with living(stay, answer_timeout=7) as life:
        life.wire.arrive(text("a question"), GOODBYE)
        await trio.sleep(6)
        assert life.connection.owes_answers()
        life.connection.extend()
        await trio.sleep(6)
        assert life.connection.owes_answers()
        await trio.sleep(2)
        assert not life.connection.owes_answers()
    async with living(stay, answer_timeout=7) as life:
        life.wire.arrive(text("a question"), ConnectionResetError())
        assert not life.connection.owes_answers()


async def test_what_the_wire_does_not_take_at_once_is_written_when_it_does(autojump_clock: Clock) -> None:
    """By a task that runs only then; nothing of it is lost, and the Close stands behind it."""
    life = Life()
    life.wire.room = 10
    async with trio.open_nursery() as nursery:
        nursery.start_soon(life.run, leave)
        await trio.testing.wait_all_tasks_blocked()
        assert life.wire.written == OPENING[:10]
        life.wire.room = 1000
        await trio.sleep(2)
        assert life.said == encode_frame(CLOSE, b"\x03\xe8")
        life.wire.arrive(GOODBYE)


async def test_whoever_asks_is_told_that_the_end_has_come(autojump_clock: Clock) -> None:
    """As soon as the peer has closed, whether anybody receives or not."""
    async with living(stay) as life:
        closing = life.connection.closing
        life.wire.arrive(text("waits"))
        assert not closing.is_set()
        life.wire.arrive(GOODBYE)
        assert closing.is_set()
        life.connection.abort()


# What ends the handler.


async def test_a_stop_gives_the_handler_its_time_and_no_more(autojump_clock: Clock) -> None:
    """A second one can only shorten it."""
    async with living(stay) as life:
        before = trio.current_time()
        life.connection.stop(before + 5, 1001)
        life.connection.stop(before + 1000, 1001)
        await trio.sleep(4)
        assert not life.cancelled
        await trio.sleep(2)
        assert life.cancelled
        life.wire.arrive(GOODBYE)
    assert life.said == encode_frame(CLOSE, b"\x03\xe9server is stopping")
    assert (life.record.cause, life.record.clean) == ("server stopping", True)


async def test_an_abort_waits_for_nobody(autojump_clock: Clock) -> None:
    """The handler is cancelled, 1001 said, and no answer awaited."""
    async with living(stay) as life:
        before = trio.current_time()
        life.connection.abort()
        await life.ended.wait()
        assert trio.current_time() == before
    assert life.cancelled
    assert life.said == encode_frame(CLOSE, b"\x03\xe9server is stopping")
    assert (life.record.cause, life.record.clean) == ("server aborted", False)


async def test_an_abort_cuts_a_closing_handshake_short(autojump_clock: Clock) -> None:
    """Whose Close the peer has not answered: it gets half a second more."""
    async with living(leave, close_timeout=60) as life:
        await trio.sleep(1)
        before = trio.current_time()
        life.connection.abort()
        await life.ended.wait()
        assert trio.current_time() - before <= 0.5
    assert (life.record.cause, life.record.clean) == ("handler returned", False)


async def test_a_cancellation_from_outside_says_goodbye_and_goes_on(autojump_clock: Clock) -> None:
    """The peer has `close_timeout` to answer 1001."""
    life = Life(close_timeout=3)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(life.run, stay)
            await trio.testing.wait_all_tasks_blocked()
            before = trio.current_time()
            scope.cancel()
    assert scope.cancelled_caught
    assert trio.current_time() - before >= 3
    assert life.said == encode_frame(CLOSE, b"\x03\xe9server is stopping")
    assert life.record.cause == "server stopping"


async def test_children_are_cancelled_before_the_close_is_said(autojump_clock: Clock) -> None:
    """When the handler returns; what they still say goes out before it."""

    async def speak_when_cancelled() -> None:
        try:
            await trio.sleep_forever()
        finally:
            life.connection.outgoing.put(b"the last word")

    async def start_and_leave(_websocket: WebSocket) -> None:
        life.connection.nursery.start_soon(speak_when_cancelled)
        await trio.testing.wait_all_tasks_blocked()

    life = Life()
    await life.run(start_and_leave)
    assert life.said == b"the last word" + encode_frame(CLOSE, b"\x03\xe8")


# Failures.


class GoneError(Exception):
    """That a client has gone, as `WebSocketEnded` and its like tell it."""

    def __init__(self, websocket: object) -> None:
        self.websocket = websocket


async def test_what_the_handler_raises_is_logged_and_goes_no_further(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """The peer hears 1011; the log has the traceback, once."""

    async def fail(_websocket: WebSocket) -> None:
        raise LookupError("on purpose")

    life = Life()
    await life.run(fail)
    assert life.said == encode_frame(CLOSE, b"\x03\xf3internal error")
    assert (life.record.cause, life.record.error) == ("handler raised", "LookupError: on purpose")
    (entry,) = [entry for entry in caplog.records if entry.exc_info]
    assert entry.levelno == logging.ERROR
    assert "the handler raised at /ws, for a test" in entry.getMessage()


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("ours", [True, False])
async def test_that_this_client_went_away_is_no_failure(
    ours: bool, grouped: bool, autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Another's is one, such as that of a connection to which this handler forwards."""

    async def fail(websocket: WebSocket) -> None:
        gone = GoneError(websocket if ours else object())
        raise ExceptionGroup("tasks", [gone]) if grouped else gone

    life = Life()
    await life.run(fail)
    assert life.record.cause == ("handler returned" if ours else "handler raised")
    assert any(entry.exc_info for entry in caplog.records) is not ours


async def test_ctrl_c_in_a_handler_passes(autojump_clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """And what failed beside it is logged all the same."""

    async def interrupted(_websocket: WebSocket) -> None:
        raise BaseExceptionGroup("tasks", [KeyboardInterrupt(), LookupError("on purpose")])

    life = Life()
    with pytest.raises(BaseExceptionGroup) as passed:
        await life.run(interrupted)
    assert passed.value.split(KeyboardInterrupt)[1] is None
    assert "LookupError: on purpose" in (life.record.error or "")
    assert life.record.cause == "handler raised"


async def test_a_failure_of_the_servers_own_ends_this_connection_only(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """A wire that fails for no fault of the peer's: 1011, ERROR in the log, nothing raised."""
    async with living(stay) as life:
        life.wire.arrive(MemoryError("on purpose"))
    assert life.cancelled
    assert life.said == encode_frame(CLOSE, b"\x03\xf3internal error")
    assert (life.record.cause, life.record.error) == ("server failed", "MemoryError: on purpose")
    assert [entry.levelno for entry in caplog.records if entry.exc_info] == [logging.ERROR]


async def test_a_connection_that_cannot_be_opened_runs_no_handler(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the kernel has no room to watch one more socket."""

    def refuse(wire: MemoryWire, nursery: trio.Nursery, readable: Readable) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(MemoryWire, "start", refuse)
    ran: list[object] = []

    async def note(websocket: WebSocket) -> None:
        ran.append(websocket)

    life = Life()
    await life.run(note)
    assert ran == []
    assert life.record.cause == "server failed"
