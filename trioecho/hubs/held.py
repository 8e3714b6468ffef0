"""What a client has sent and what nothing has room for yet: it waits in order, so much of it.

Only when there is too much is the client read no further. Until then acknowledgements, results and cancellations that
stand behind it are taken, on which the room may depend.
"""

from __future__ import annotations

from collections import deque

import trio
from msgspec import structs

from trioecho.hubs.messages import ABSENT, CancelInvocation, Completion, Invocation, Message, StreamItem

OVERHEAD = 100
"""Bytes that each message counts, and each id of a stream in it, beside those of what it says."""


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
        message = _alone(message)
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


def _alone(message: Message) -> Message:
    """Return it without the rest of the bytes that it came in, which its encoded part would keep in memory."""
    if isinstance(message, Invocation):
        return structs.replace(message, arguments=message.arguments.copy())
    if isinstance(message, StreamItem):
        return structs.replace(message, item=message.item.copy())
    if isinstance(message, Completion):
        # It ends an upload: a result that was awaited would have been taken.
        return structs.replace(message, result=ABSENT)
    return message


def _size_of(message: Message) -> int:
    # An id is of any length, too, and what nobody has asked for may be as large as what somebody has.
    size = OVERHEAD
    if isinstance(message, Invocation):
        size += _length(message.id) + len(message.target) + memoryview(message.arguments).nbytes
        size += sum(OVERHEAD + len(id) for id in message.streams)
    elif isinstance(message, StreamItem):
        size += len(message.id) + memoryview(message.item).nbytes
    elif isinstance(message, Completion):
        size += len(message.id) + _length(message.error)
    elif isinstance(message, CancelInvocation):
        size += len(message.id)
    return size


def _length(text: str | None) -> int:
    return 0 if text is None else len(text)
