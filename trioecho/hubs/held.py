"""What a client has sent and what nothing has room for yet: it waits in order, so much of it.

Only when there is too much is the client read no further. Until then acknowledgements, results and cancellations that
stand behind it are taken, on which the room may depend.
"""

from __future__ import annotations

from collections import deque

import trio

from trioecho.hubs.messages import Invocation, Message, StreamItem

OVERHEAD = 100
"""Bytes that each message counts, beside those of its arguments or its item."""


class HeldMessages:
    """Messages that wait, `limit` bytes of them before whoever reads waits, too."""

    __slots__ = ("_limit", "_room", "_size", "messages")

    def __init__(self, limit: int) -> None:
        self.messages: deque[Message] | None = None
        """None until the first one: most connections never have one, and an empty queue takes 760 bytes."""
        self._limit = limit
        self._size = 0
        self._room: trio.Event | None = None

    def add(self, message: Message) -> None:
        """Let one more wait."""
        if self.messages is None:
            self.messages = deque()
        self.messages.append(message)
        self._size += _size_of(message)

    def remove_first(self) -> None:
        """Take out the one that has waited the longest."""
        assert self.messages is not None
        self._size -= _size_of(self.messages.popleft())
        if self._room is not None and self._size < self._limit:
            self._room.set()

    async def room(self) -> None:
        """Wait until there is room for one more. A checkpoint only where there is none."""
        while self._size >= self._limit:
            self._room = trio.Event()
            await self._room.wait()
            self._room = None


def _size_of(message: Message) -> int:
    if isinstance(message, Invocation):
        return OVERHEAD + memoryview(message.arguments).nbytes
    if isinstance(message, StreamItem):
        return OVERHEAD + memoryview(message.item).nbytes
    return OVERHEAD
