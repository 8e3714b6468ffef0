"""Streams that clients upload: items go into a method as they come, a few at a time."""

from __future__ import annotations

from collections import deque
from typing import Any

import trio

from trioecho.hubs.exceptions import HubException


class Upload:
    """What a method gets for a parameter of type ``AsyncIterator``: the items that its client sends.

    It ends when the client has sent the last. Raises `HubException` with the client's words where the client tells of
    an error, or has sent an item of another type. At most `size` items wait; others wait with what the client has sent
    behind them.
    """

    __slots__ = ("_ended", "_error", "_items", "_news", "_room", "_size", "kind")

    def __init__(self, kind: Any, size: int) -> None:
        self.kind = kind
        self._size = size
        self._items: deque[Any] = deque()
        self._ended = False
        self._error: str | None = None
        self._news = trio.Event()
        self._room = trio.Event()

    def __aiter__(self) -> Upload:
        return self

    async def __anext__(self) -> Any:
        """Return the next item. A checkpoint. Cancelled: no item is lost."""
        await trio.lowlevel.checkpoint()
        while not self._items:
            if self._ended:
                if self._error is not None:
                    raise HubException(self._error)
                raise StopAsyncIteration
            self._news = trio.Event()
            await self._news.wait()
        item = self._items.popleft()
        self._room.set()
        return item

    async def aclose(self) -> None:
        """Do nothing: a method may close it as it would a generator. What comes is thrown away when the call ends."""
        await trio.lowlevel.checkpoint()

    @property
    def full(self) -> bool:
        """Whether as many items wait as may. Not where nobody takes them any more: then they are thrown away."""
        return len(self._items) >= self._size and not self._ended

    def put(self, item: Any) -> None:
        """Add an item; for whoever has seen that it is not full."""
        if not self._ended:
            self._items.append(item)
            self._news.set()

    async def room(self) -> None:
        """Wait until it is not full. A checkpoint if it is."""
        while self.full:
            self._room = trio.Event()
            await self._room.wait()

    def end(self, error: str | None = None) -> None:
        """Let it end behind the items that wait, by an error where one is given."""
        if not self._ended:
            self._ended = True
            self._error = error
            self._news.set()
            self._room.set()

    def close(self) -> None:
        """Take no more, and let go whoever waits for room: the call has ended."""
        self._items.clear()
        self.end("The call has ended.")
