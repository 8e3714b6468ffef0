"""Streams that take turns: whose chunk is taken, by whom, and when. The clock is the test's own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from trioecho._wire import poller
from trioecho._wire.poller import ROUND, TURN
from trioecho._wire.stream_turns import StreamTurns, stream_turns


class Clock:
    """Goes on when it is told to."""

    now = 0.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(poller, "clock", lambda: made.now)
    return made


class Stream:
    """One whose chunks take so long each."""

    def __init__(self, clock: Clock, name: str, seconds: float, taken: list[str]) -> None:
        self._clock, self._name, self._seconds, self._taken = clock, name, seconds, taken
        self.stopped = False

    def take(self) -> None:
        self._clock.now += self._seconds
        self._taken.append(self._name)


async def feed(turns: StreamTurns, stream: Stream) -> None:
    """Always have a chunk."""
    while not stream.stopped:
        await turns.take(stream)
        await trio.lowlevel.checkpoint()


@contextlib.contextmanager
def patience() -> Iterator[None]:
    with trio.fail_after(20):
        yield


async def test_a_chunk_is_taken_at_once_while_there_is_time(clock: Clock) -> None:
    """Half of it is others': then this is no checkpoint."""
    turns, taken = StreamTurns(), list[str]()
    with trio.testing.assert_no_checkpoints():
        for _ in range(100):
            await turns.take(Stream(clock, "a", ROUND / 2, taken))
            clock.now += ROUND
    assert len(taken) == 100


async def test_a_neighbour_waits_for_few_others_however_many_there_are(clock: Clock) -> None:
    """Who takes little goes first; the others have as many turns as each other."""
    turns, taken = StreamTurns(), list[str]()
    streams = [Stream(clock, f"dear {number}", 2 * TURN, taken) for number in range(100)]
    neighbour = Stream(clock, "neighbour", TURN / 100, taken)
    for stream in (neighbour, *streams):
        turns.enter(stream, "192.0.2.1")
    with patience():
        async with trio.open_nursery() as nursery:
            for stream in streams:
                nursery.start_soon(feed, turns, stream)
            # Each has had some turns, so that what is usual is known.
            while len(taken) < 500:
                await trio.lowlevel.checkpoint()
            await turns.take(neighbour)
            waits = []
            for _ in range(20):
                for _ in range(10):
                    await trio.lowlevel.checkpoint()
                before = len(taken)
                await turns.take(neighbour)
                waits.append(taken.index("neighbour", before) - before)
            counts = [taken.count(stream._name) for stream in streams]
            nursery.cancel_scope.cancel()
    assert max(waits) <= 2
    assert min(counts) >= 5
    assert max(counts) <= 2 * min(counts)


async def test_who_is_cancelled_or_stops_hands_the_lead_on(clock: Clock) -> None:
    """It is the task of one of those who wait that takes the others' chunks: they do not stay behind."""
    turns, taken = StreamTurns(), list[str]()
    first, second, third = (Stream(clock, name, 2 * ROUND, taken) for name in ("first", "second", "third"))
    for stream in (first, second, third):
        turns.enter(stream, "192.0.2.1")
    with patience():
        await turns.take(first)
        async with trio.open_nursery() as nursery:
            cancelled = trio.CancelScope()

            async def take(stream: Stream, scope: trio.CancelScope) -> None:
                with scope:
                    await turns.take(stream)

            nursery.start_soon(take, first, trio.CancelScope())
            await trio.lowlevel.checkpoint()
            first.stopped = True
            turns.forget(first)
            nursery.start_soon(take, second, cancelled)
            nursery.start_soon(take, third, trio.CancelScope())
            cancelled.cancel()
    assert "third" in taken
    assert not turns._waiting
    assert turns._leader is None


async def test_one_run_has_one_order() -> None:
    """Whoever asks is given the same."""
    assert stream_turns() is stream_turns()
