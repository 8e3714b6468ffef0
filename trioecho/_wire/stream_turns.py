"""Whose chunk is taken next, where each stream is read by a task of its own and no poller sees to the order.

As long as taking chunks leaves half of the time to others, each is taken when it comes. Otherwise they wait here, and
in each round of Trio's loop one of the tasks that wait takes as many as `TURN` allows, for those first that have had
the least (`shares.py`). What has not come from the kernel yet is left there: who waits does not read.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol

import trio

from trioecho._wire import poller
from trioecho._wire.shares import Shares


class Taker(Protocol):
    """What has a chunk that was read."""

    @property
    def stopped(self) -> bool:
        """Nobody takes it any more."""

    def take(self) -> None:
        """Have it taken; returns at once."""


class StreamTurns:
    """The order among the streams of one Trio run."""

    __slots__ = ("_at", "_leader", "_shares", "_spent", "_waiting")

    def __init__(self) -> None:
        self._waiting: dict[Taker, trio.Event] = {}
        # Whose task takes them; it hands that on when its own has been taken.
        self._leader: Taker | None = None
        self._shares = Shares[Taker]()
        # Seconds that have been used, less half of those that have gone by since, at a time of `poller.clock`.
        self._spent = self._at = 0.0

    async def take(self, taker: Taker) -> None:
        """Have the chunk of `taker` taken when it is its turn, at once where there is time enough: then this is no
        checkpoint. Cancelled, or stopped meanwhile: it may not have been taken."""
        if not self._waiting and self._has_time():
            begun = poller.clock()
            taker.take()
            self._spent += poller.clock() - begun
            return
        told = self._waiting[taker] = trio.Event()
        try:
            if self._leader is None:
                self._leader = taker
            else:
                await told.wait()
            while taker in self._waiting and not taker.stopped:
                # It takes the chunks of others, too, so that it must not be cancelled here.
                await trio.lowlevel.cancel_shielded_checkpoint()
                self._take_some()
        finally:
            self._waiting.pop(taker, None)
            if self._leader is taker:
                self._leader = next(iter(self._waiting), None)
                if self._leader is not None:
                    self._waiting[self._leader].set()

    def enter(self, taker: Taker, group: Hashable) -> None:
        """It begins; of `group`, as an address is one."""
        self._shares.enter(taker, group, scarce=bool(self._waiting))

    def forget(self, taker: Taker) -> None:
        """It has stopped."""
        self._shares.forget(taker)

    def _has_time(self) -> bool:
        now = poller.clock()
        self._spent = max(0.0, self._spent - (now - self._at) / 2)
        self._at = now
        return self._spent < poller.ROUND

    def _take_some(self) -> None:
        shares = self._shares
        begun = at = poller.clock()
        for taker in sorted(self._waiting, key=shares.mark):
            told = self._waiting.pop(taker)
            taker.take()
            before, at = at, poller.clock()
            if not taker.stopped:
                shares.charge(taker, at - before)
            told.set()
            if at - begun > poller.TURN:
                break


_turns: trio.lowlevel.RunVar[StreamTurns] = trio.lowlevel.RunVar("turns")


def stream_turns() -> StreamTurns:
    """Those of this Trio run."""
    try:
        return _turns.get()
    except LookupError:
        turns = StreamTurns()
        _turns.set(turns)
        return turns
