"""Whose turn it is to send a message, where one goes out in pieces.

The fragments of two messages may not be mixed (RFC 6455 §5.4), so whoever sends a message in pieces has the turn until
the last of them is out, and other messages wait. Control frames go in between and ask nobody.

The turn is handed from task to task in the order in which they asked, so that a task that sends one message in pieces
after the other does not keep the others waiting for ever.
"""

from __future__ import annotations

import trio


class Turns:
    """The tasks that want to send on one connection, one of which may."""

    __slots__ = ("_holder", "_lot")

    def __init__(self) -> None:
        self._holder: trio.lowlevel.Task | None = None
        self._lot = trio.lowlevel.ParkingLot()

    @property
    def taken(self) -> bool:
        """Whether some task has the turn."""
        return self._holder is not None

    async def take(self) -> bool:
        """Wait for the turn, until `pass_on`. False if `clear` came first. No checkpoint if nobody has it.

        Raises RuntimeError where the calling task has it already: it would wait for itself. Cancelled: another gets it.
        """
        task = trio.lowlevel.current_task()
        if self._holder is task:
            raise RuntimeError(
                "this task is sending a message in pieces, and another message would wait for its end: "
                "send it from another task, or when the pieces have ended"
            )
        if self._holder is None:
            self._holder = task
        else:
            await self._lot.park()
        return self._holder is task

    def pass_on(self) -> None:
        """Give the turn to the task that has waited longest, if the calling task has it."""
        if self._holder is trio.lowlevel.current_task():
            woken = self._lot.unpark()
            self._holder = woken[0] if woken else None

    def clear(self) -> None:
        """No message is sent any more: let the tasks that wait go on without the turn."""
        self._lot.unpark_all()
