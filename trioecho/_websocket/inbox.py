"""Messages waiting for the handler: in order, bounded, and waking one task.

The sorter puts messages in as they are decoded; the handler takes them out. The end of the conversation (the
peer's Close, an error, the server stopping) is put in behind them and takes effect only when the handler has taken
what came before it.

Bound: when `WAITING_BYTES` have come in since the handler last caught up, the inbox is shut and `reading.py` stops
reading the socket, so that the backpressure reaches the peer's TCP window. Counting "since it last caught up" instead
of keeping the size of every waiting message overestimates what is waiting, costs nothing per message, and makes the
reader start again with a whole inbox free instead of one message's worth.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio
from trio.lowlevel import current_task, reschedule

from trioecho._websocket.parking import WOKEN, trap

if TYPE_CHECKING:
    from trioecho._protocol.endings import Ending

WAITING_BYTES = 65_536
"""Bytes on the wire (headers included, so that empty messages count) after which reading stops: one received chunk."""

BURST = 256
"""Messages that a handler may take before it has to let other tasks run: it does where the number that waits is a
multiple of this, which needs no counter. A received chunk of 64 KiB can hold ten thousand messages; without this, one
connection could hold the loop for all of them."""


class Inbox:
    """One connection's waiting messages. No method waits, but for `park`."""

    __slots__ = (
        "_bytes",
        "_task",
        "ending",
        "messages",
        "on_caught_up",
        "on_emptied",
        "on_taken",
        "shut",
        "trap",
    )

    def __init__(self) -> None:
        self.messages: deque[str | bytes] = deque()
        self.ending: Ending | None = None
        """What ends the conversation behind the waiting messages, once that is known."""
        self.on_caught_up: Callable[[], None] | None = None
        """Called when the handler has taken everything and waits; set while reading is paused."""
        self.on_emptied: Callable[[], None] | None = None
        """The same, but only if it has taken any since it last waited; set where idleness counts."""
        self.on_taken: Callable[[], None] | None = None
        """Called for each message taken, which is a checkpoint then; set while somebody counts on the handler's
        progress."""
        self._task: trio.lowlevel.Task | None = None
        self.trap = trap(self._abort)
        """What the task that has to wait yields to be parked (`parking.trap`); None: it awaits `park()`."""
        self.shut = False
        """Nothing more should be put in: it is full until the handler has caught up, or it has its ending."""
        self._bytes = 0

    def put_one(self, message: str | bytes, size: int) -> None:
        """`put`, for the one message that a client waits for an answer to: no call further on its way."""
        self.messages.append(message)
        self._bytes += size
        if self._bytes >= WAITING_BYTES:
            self.shut = True
        task = self._task
        if task is not None:
            self._task = None
            reschedule(task, WOKEN)

    def put(self, messages: list[str | bytes], size: int) -> None:
        """Add `messages`, which took `size` bytes on the wire, and wake the task that waits."""
        self.messages.extend(messages)
        self._bytes += size
        if self._bytes >= WAITING_BYTES:
            self.shut = True
        self._wake()

    def end(self, ending: Ending) -> None:
        """Say that nothing will come behind what is waiting. The first ending stands."""
        if self.ending is None:
            self.ending = ending
            self.shut = True
        self._wake()

    def discard(self) -> int:
        """Throw away what is waiting; returns how many messages that were, for the record."""
        count = len(self.messages)
        self.messages.clear()
        return count

    def begin_wait(self) -> bool:
        """The handler has taken everything and asks for more. Whether the calling task has to park itself for that.

        If so, it is woken when a message is there, or the end; if not, that is the case already. Raises
        `trio.BusyResourceError` when another task waits.
        """
        if self._task is not None:
            raise trio.BusyResourceError("another task is already in receive() on this WebSocket")
        taken, self._bytes = self._bytes, 0
        self.shut = self.ending is not None
        if self.on_caught_up is not None:
            self.on_caught_up()
        if self.on_emptied is not None and taken:
            self.on_emptied()
        if self.messages:
            # on_caught_up has read more from the socket, straight into the inbox.
            if self.on_taken is not None:
                self.on_taken()
            return False
        if self.ending is not None:
            return False
        self._task = current_task()
        return True

    async def park(self) -> None:
        """Wait without the trap: for where there is none."""
        await trio.lowlevel.wait_task_rescheduled(self._abort)

    def part(self) -> None:
        """Call nobody any more, and hold nothing that leads back here. It has its ending, so nobody will be parked."""
        self.on_caught_up = self.on_emptied = self.on_taken = None
        self.trap = None

    def _wake(self) -> None:
        if self._task is not None:
            task, self._task = self._task, None
            reschedule(task, WOKEN)

    def _abort(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED
