"""Stateful reconnect: what was sent is kept until it is acknowledged, and what comes again is not taken twice.

The messages of types 1 to 5 are counted in each direction, from 1, without their numbers being sent. Over a new
WebSocket each side first says Sequence, the number of the first message that it sends again, or of the next one if it
has none to send again (HubProtocol.md words this differently; ASP.NET and its clients do it so), and then sends those.
"""

from __future__ import annotations

from collections import deque
from itertools import islice

import trio

from trioecho.hubs.connection import Transfer
from trioecho.hubs.messages import NUMBERED, BadMessage, Message, Sequence


class SentMessages:
    """What was sent and may have to be sent again, `limit` bytes of it before senders wait.

    SignalR's JavaScript client may acknowledge, while old messages still come to it again, all that had come before.
    Cut off then, it wants to go on where it was, and not behind. So what has once been sent again is kept until
    something is acknowledged that was sent behind it.
    """

    __slots__ = ("_acknowledged", "_again_until", "_kept", "_limit", "_room", "_size", "_total")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: deque[tuple[Transfer, int]] = deque()
        self._size = 0
        """Bytes of what is not acknowledged."""
        self._total = 0
        self._acknowledged = 0
        self._again_until = 0
        self._room = trio.Event()

    @property
    def full(self) -> bool:
        """Whether senders wait for the client's acknowledgement."""
        return self._size >= self._limit

    @property
    def first(self) -> int:
        """The number of the first message that is kept, or of the next one that is sent."""
        return self._total - len(self._kept) + 1

    def add(self, data: Transfer) -> None:
        """Keep what is about to be sent."""
        size = len(data) if isinstance(data, (str, bytes)) else data.size
        self._kept.append((data, size))
        self._size += size
        self._total += 1

    def take_back(self) -> None:
        """Forget the last one: it was not sent."""
        self._size -= self._kept.pop()[1]
        self._total -= 1

    def again(self) -> tuple[Transfer, ...]:
        """Return what is sent again, in order, behind a Sequence of `first`."""
        self._again_until = self._total
        return tuple([data for data, _ in self._kept])

    def acknowledged(self, sequence: int) -> None:
        """Take note that all up to the message `sequence` have arrived. Raises `BadMessage` where that has not been
        sent."""
        if sequence > self._total:
            raise BadMessage(f"Message {sequence} was acknowledged, but {self._total} have been sent.")
        first = self.first
        for _, size in islice(self._kept, self._acknowledged + 1 - first, max(sequence + 1 - first, 0)):
            self._size -= size
        self._acknowledged = max(self._acknowledged, sequence)
        if sequence > self._again_until:
            for _ in range(sequence + 1 - first):
                self._kept.popleft()
        if not self.full:
            self._room.set()

    async def room(self) -> None:
        """Wait until there is room. A checkpoint if there is none."""
        while self.full:
            if self._room.is_set():
                self._room = trio.Event()
            # Any number of senders wait for the same one.
            await self._room.wait()


class ReceivedMessages:
    """Which messages have been received, and which come again."""

    __slots__ = ("_acknowledged", "_latest", "_next", "_silent")

    def __init__(self) -> None:
        self._next = 1
        self._latest = 0
        self._acknowledged = 0
        self._silent = False

    def reattached(self) -> None:
        """Take nothing until the client has said from where it goes on."""
        self._silent = True

    def take(self, message: Message) -> bool:
        """Count a message; False for one that is to be ignored. Raises `BadMessage` for a gap."""
        if isinstance(message, Sequence):
            if not 0 < message.sequence <= self._latest + 1:
                raise BadMessage(
                    f"The client goes on with message {message.sequence}, but {self._latest + 1} comes next."
                )
            self._next = message.sequence
            self._silent = False
            return False
        if self._silent:
            return False
        if not isinstance(message, NUMBERED):
            return True
        number = self._next
        self._next += 1
        if number <= self._latest:
            # It comes again since no acknowledgement has arrived.
            self._acknowledged = min(self._acknowledged, number - 1)
            return False
        self._latest = number
        return True

    def acknowledge(self) -> int | None:
        """Return the number that is to be acknowledged, once; None where the client knows already."""
        if self._latest == self._acknowledged or self._silent or self._next <= self._latest:
            # While messages come again, an acknowledgement would let the client forget what is still to come.
            return None
        self._acknowledged = self._latest
        return self._latest
