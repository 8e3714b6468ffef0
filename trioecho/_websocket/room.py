"""Room for a message: who has to wait before sending, in which order, and when nobody needs to any more.

A message waits while the peer does not read, behind those who wait already, and while another goes out in pieces, since
fragments of two may not be mixed (RFC 6455 §5.4). Control frames wait for the peer only.

What senders hold meanwhile counts into the server's budget.
"""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Iterator
from sys import getsizeof

import trio

from trioecho._protocol.budget import Budget
from trioecho._websocket.turns import Sender, Shared, Turns

COUNTED = 65_536
"""Bytes from which a message that came is counted as received, until its handler has caught up."""


class Room(abc.ABC):
    """The part of `Outgoing` that makes senders wait."""

    __slots__ = (
        "_budget",
        "_holder",
        "_room",
        "_senders",
        "_turns",
        "blocked",
        "broken",
        "refused",
        "shut",
        "skipped",
        "stuck",
    )

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        # Bytes of those who wait here with a message.
        self._senders = 0
        self._room: trio.Event | None = None
        self._turns: Turns | None = None
        # The task whose message goes out in pieces.
        self._holder: trio.lowlevel.Task | None = None
        self.stuck = False
        """The peer does not read as fast as we write: whoever has a frame waits in `room`."""
        self.blocked = False
        """Whoever has a message waits in `room`: it is `stuck`, others wait already, or one goes out in pieces."""
        self.broken = False
        """Nothing more can be sent: TCP was reset, or a frame was cut off midway at a deadline."""
        self.shut = False
        """Whoever has a message has to ask the connection whether it is still taken."""
        self.refused = False
        """No message is taken any more. Control frames still go out."""
        self.skipped = 0
        """Messages of `broadcast` that were not put, since they would have had to wait."""

    @abc.abstractmethod
    def put_frame(self, frame: bytes, size: int, gather: object) -> bool:
        """Queue a whole message; see `Outgoing`."""

    @abc.abstractmethod
    def _wake_drain(self) -> None:
        """Let the task that writes look again."""

    @property
    def held_here(self) -> bool:
        """Whether the calling task is sending a message in pieces: for another one it would wait for itself."""
        return self._holder is not None and self._holder is trio.lowlevel.current_task()

    async def room(self, *, for_message: bool = False) -> None:
        """Wait until a frame may be put, or, `for_message`, none may be any more. No checkpoint if there is room.

        For a message it is the turn of whoever came first; what may be put has to be put before the next checkpoint.
        Raises RuntimeError where the calling task is sending one in pieces: it would wait for itself.
        """
        if not for_message:
            while self.stuck and not self.broken:
                await self._until_woken()
        elif self.blocked and not self.refused:
            if self.held_here:
                raise RuntimeError(
                    "this task is sending a message in pieces, and another message would wait for its end: "
                    "send it from another task, or when the pieces have ended"
                )
            sender = Sender()
            self._queue(sender)
            try:
                await sender.called.wait()
            finally:
                self._leave(sender)

    async def room_for(self, message: object, payload: bytes) -> None:
        """`room` for a sender that is `holding` a message."""
        with self.holding(message, payload):
            await self.room(for_message=True)

    @contextlib.contextmanager
    def holding(self, message: object, payload: bytes) -> Iterator[None]:
        """Count what a sender has while it may wait: `message`, and `payload`, what it was encoded to."""
        # A large one that came in is counted there, until the handler has caught up.
        held = getsizeof(payload) + (getsizeof(message) if len(payload) < COUNTED else 0)
        self._senders += held
        self._budget.add(held)
        try:
            yield
        finally:
            # Where it is broken, that has been done.
            if self._senders:
                self._senders -= held
                self._budget.add(-held)

    def _forget_senders(self) -> None:
        """They are about to be told that nothing can be sent any more."""
        self._budget.add(-self._senders)
        self._senders = 0

    async def begin_turn(self) -> None:
        """Wait for the turn to send a message in pieces, or until no message is taken any more. Until `end_turn` the
        messages of others wait, since fragments of two may not be mixed (RFC 6455 §5.4); control frames do not. No
        checkpoint if nobody waits. Raises as `room`."""
        await self.room(for_message=True)
        if not self.refused:
            self._holder = trio.lowlevel.current_task()
            self.blocked = True

    def end_turn(self) -> None:
        """Let the next message go out, if this task has the turn."""
        if self._holder is trio.lowlevel.current_task():
            self._holder = None
            self._settle()
            if self._turns is not None and not self.stuck:
                self._wake_drain()

    async def unstuck(self) -> None:
        """Wait until the peer reads again, or no message is taken any more: for the task that has the turn, whose next
        piece may be put then, and for a Ping. No checkpoint if there is room."""
        while self.stuck and not self.refused:
            await self._until_woken()

    async def _until_woken(self) -> None:
        if self._room is None:
            self._room = trio.Event()
        await self._room.wait()

    def put_shared(self, message: Shared) -> bool:
        """`put_frame` for a message that has waited."""
        return self.put_frame(message.frame, message.size, False)

    def put_later(self, message: Shared) -> None:
        """Put `message`, a frame for many, as soon as there is room, behind those who wait already."""
        message.waits += 1
        self._queue(message)

    def withdraw(self, message: Shared) -> None:
        """Do not put `message`, where it still waits, and count it as skipped."""
        if self._turns is not None:
            skipped = self._turns.count(message)
            for _ in range(skipped):
                message.leave(given=False)
                self._leave(message)
            self.skipped += skipped

    def _queue(self, turn: Sender | Shared) -> None:
        if self._turns is None:
            self._turns = Turns()
        self._turns.append(turn)
        self.blocked = True

    def _leave(self, turn: Sender | Shared) -> None:
        """`turn` waits no more; who is behind it is called when what it has to put has been put."""
        if self._turns is not None and turn in self._turns:
            self._turns.remove(turn)
            self._settle()
            if self._turns is not None and not self.stuck:
                self._wake_drain()

    @property
    def _may_call(self) -> bool:
        return not self.stuck and self._holder is None

    def _call_next(self) -> None:
        """There is room: whoever waits may use it, in order."""
        while self._turns and self._may_call and (message := self._turns.call()) is not None:
            # To whom answers are owed, which has said Close, nothing else is sent.
            message.leave(given=not self.shut and self.put_shared(message))
        self._settle()

    def _settle(self) -> None:
        """Something has changed of what `blocked` is made of."""
        if not self._turns:
            self._turns = None
        self.blocked = self.stuck or self._turns is not None or self._holder is not None

    def _dismiss(self) -> None:
        """No message is taken any more: whoever waits with one need not."""
        if self._turns is not None:
            self._turns.dismiss()
            self._settle()

    def _wake_room(self) -> None:
        if self._room is not None:
            self._room.set()
            self._room = None
