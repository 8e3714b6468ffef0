"""Whose turn it is to send: those who wait for room on one connection, in the order in which they came.

Two kinds wait. A sender is a task that puts its message itself when it is called (`Sender`). A message for many waits
without a task of its own: it is put for whoever has sent it (`Shared`), and may stand in many connections' queues at
once. `Outgoing` keeps the queue, and calls the first when there is room; as long as anybody waits, whoever comes later
waits behind.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from trioecho._websocket.prepared import Prepared


class Sender:
    """A task's place. `called` is set when it is the first and there is room, or there is no sense in waiting."""

    __slots__ = ("called",)

    def __init__(self) -> None:
        self.called = trio.Event()


class Shared:
    """A message that waits for room on one or more connections: the whole frame, the `size` of its payload, and where
    it may be compressed, what it was `prepared` from."""

    __slots__ = ("frame", "given", "prepared", "settled", "size", "waits")

    def __init__(self, frame: bytes, size: int, prepared: Prepared | None = None) -> None:
        self.frame = frame
        self.size = size
        self.prepared = prepared
        self.given = 0
        """How many connections have taken it after all."""
        self.waits = 0
        """On how many it still waits."""
        self.settled = trio.Event()
        """Set when it waits nowhere any more."""

    def leave(self, *, given: bool) -> None:
        """One connection has taken it, or has ended."""
        self.given += given
        self.waits -= 1
        if not self.waits:
            self.settled.set()


class Turns(deque[Sender | Shared]):
    """Who waits on one connection, the first in front."""

    __slots__ = ()

    def call(self) -> Shared | None:
        """There is room for the first, and there is one: a sender is told, and stays until it has put its message; a
        message leaves the queue and is returned."""
        first = self[0]
        if isinstance(first, Sender):
            first.called.set()
            return None
        self.popleft()
        return first

    def dismiss(self) -> None:
        """No message is taken any more, so nobody needs to wait."""
        while self:
            turn = self.popleft()
            if isinstance(turn, Sender):
                turn.called.set()
            else:
                turn.leave(given=False)
