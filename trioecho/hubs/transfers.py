"""What waits to go one way of a connection over HTTP: transfers in order, bounded in bytes, the end behind them."""

from __future__ import annotations

from collections import deque
from typing import Final

import trio

OVERHEAD: Final = 64
"""Bytes that each transfer counts besides its own, so that empty ones are bounded too: about what an object takes."""


class Transfers:
    """A queue of `bytes`. Any number of tasks may put and take; those who wait for room go on in their order.

    `limit` is in bytes: whoever finds so much or more in it waits. So one transfer may be larger than the limit.
    """

    __slots__ = ("_handed", "_limit", "_news", "_room", "_size", "_waiting", "ended")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._waiting: deque[bytes] = deque()
        self._room = trio.lowlevel.ParkingLot()
        self._news = trio.lowlevel.ParkingLot()
        # Room is promised to a task that has been woken and has not run yet.
        self._handed = False
        self.ended = False
        """Nothing more is put; what waits can still be taken."""

    def __len__(self) -> int:
        return len(self._waiting)

    async def put(self, data: bytes) -> bool:
        """Put `data` when there is room. False: it has ended, and nothing was put. A checkpoint; cancelled, nothing
        was put."""
        await trio.lowlevel.checkpoint()
        if self.try_put(data):
            return True
        if not self.ended:
            await self._room.park()
            self._handed = False
        if self.ended:
            return False
        self._put(data)
        return True

    def try_put(self, data: bytes) -> bool:
        """Put `data` if there is room, and nobody waits for that; whether it was put."""
        if self.ended or self._full or self._room or self._handed:
            return False
        self._put(data)
        return True

    async def wait(self) -> None:
        """Wait until there is something to take, or nothing more will come. A checkpoint."""
        await trio.lowlevel.checkpoint()
        while not self._waiting and not self.ended:
            await self._news.park()

    async def take(self) -> bytes | None:
        """Take the next transfer, waiting for it; None at the end. A checkpoint; cancelled, nothing is lost."""
        await self.wait()
        if not self._waiting:
            return None
        data = self._waiting.popleft()
        self._size -= len(data) + OVERHEAD
        self._wake()
        return data

    def take_all(self) -> list[bytes]:
        """Take all that waits."""
        taken = list(self._waiting)
        self._waiting.clear()
        self._size = 0
        self._wake()
        return taken

    def end(self, *, discard: bool = False) -> None:
        """Let nothing more be put; with `discard`, forget what waits. Whoever waits is told."""
        self.ended = True
        if discard:
            self._waiting.clear()
            self._size = 0
        self._room.unpark_all()
        self._news.unpark_all()

    @property
    def _full(self) -> bool:
        return self._size >= self._limit

    def _put(self, data: bytes) -> None:
        self._waiting.append(data)
        self._size += len(data) + OVERHEAD
        self._news.unpark_all()
        self._wake()

    def _wake(self) -> None:
        if self._room and not self._full and not self._handed:
            self._handed = True
            self._room.unpark()
