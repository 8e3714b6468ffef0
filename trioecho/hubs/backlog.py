"""What has come from other processes for a client that has no room for it: it waits in order, so much of it.

Nobody can be asked to send more slowly, as the others have room, and whoever sends is elsewhere.
"""

from __future__ import annotations

from collections import deque

import trio

from trioecho import Prepared

OVERHEAD = 100
"""Bytes that each message counts more."""


class Backlog:
    """Messages for one client, `limit` bytes of them."""

    __slots__ = ("_limit", "_messages", "_size", "over")

    def __init__(self, limit: int) -> None:
        self._messages: deque[Prepared] = deque()
        self._limit = limit
        self._size = 0
        self.over = trio.Event()
        """Set when nothing waits any more, or for nobody."""

    def __bool__(self) -> bool:
        return bool(self._messages)

    @property
    def first(self) -> Prepared:
        """The one that has waited the longest."""
        return self._messages[0]

    def add(self, message: Prepared) -> bool:
        """Let one more wait; False where that is too much. The first may be of any size."""
        if self._messages and self._size + message.size + OVERHEAD > self._limit:
            return False
        self._messages.append(message)
        self._size += message.size + OVERHEAD
        return True

    def remove_first(self) -> None:
        """Take out the one that has waited the longest."""
        self._size -= self._messages.popleft().size + OVERHEAD
