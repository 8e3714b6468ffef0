"""What is done when a server's memory runs short: who is not read from, and what is given up.

In this order, by the marks of `trioecho._protocol.budget`:

1. `Budget.tight`: a connection that holds its share or more, and whose handler has yet to take what came, is not read
   from, so that the peer's TCP window closes. What it holds is its own to shrink. One whose handler waits for a message
   is read on: it can only shrink by completing what it has begun.
2. `Budget.full`: whoever is new is refused with 503. If something has been at a standstill for `STANDSTILL` then, the
   largest of it is given up, so that there is room when the refused come again: half messages that never go on would
   otherwise keep the door shut for ever.
3. `Budget.over`: the largest things are given up until there is room again: half messages with 1013 (what came before
   them is still delivered), and connections whose peers do not read, which are aborted. Nobody could be told to send
   less: what is unsent exists already, a Close would have to stand behind it, and its sender waits as it is.

So somebody can always go on. What is counted is half messages, which can be given up, unsent bytes, likewise, waiting
messages, which their handlers take, and what is refused when there is more of it. While all of it is used up, nobody is
read from whose handler does not wait for a message, so that handlers which take their time do not make it more.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Final

import trio

from trioecho._protocol.budget import OVER, RELIEVED, SCARCE, TIGHT, Budget

if TYPE_CHECKING:
    from trioecho._websocket.connection import Connection

logger = logging.getLogger("trioecho")

STANDSTILL: Final = 5.0
"""Seconds without a byte from the peer, or to it, after which something may be given up for the sake of newcomers: as
long as those are told to stay away."""

SAY_EVERY: Final = 1.0
"""Seconds between two lines of the log of one kind."""

LOOK_EVERY: Final = 0.1
"""Seconds between two looks for what is at a standstill: there may be thousands of newcomers in each second, and of
connections to look through."""

TRIM_EVERY: Final = 0.03
"""Seconds between two times when what was given up is given back to the system."""

WORTH_A_LOOK: Final = 1 / 64
"""Share of the budget by which more must be held, after nothing was found to be given up, for another look."""


@dataclass(frozen=True, slots=True)
class MemoryFigures:
    """What a server holds in memory for its peers, and what it has done to hold no more: `trioecho.Server.memory`.

    Bytes are estimates of memory, and without what handlers themselves keep.

    Example:

        async def handler(ws: trioecho.WebSocket) -> None:
            assert ws.server is not None
            memory: trioecho.MemoryFigures = ws.server.memory
            await ws.send(f"{memory.held} bytes are held, {memory.refused} newcomers were refused")
    """

    limit: int | None
    """`max_memory` in bytes; None: no limit."""
    held: int
    """Bytes held now."""
    pauses: int
    """How often a connection was not read from for the sake of memory."""
    refused: int
    """Connections and requests that were refused: with 503, or, with no memory left for an answer, without one."""
    messages_given_up: int
    """Half messages whose connections were ended with 1013."""
    connections_given_up: int
    """Connections that were aborted since their peers did not read."""


class Memory(Budget):
    """One server's budget, with the connections that count into it: those of its service, which come and go."""

    __slots__ = (
        "_connections",
        "_freeing",
        "_held_back",
        "_look_from",
        "_looked_at",
        "_lot",
        "_paused",
        "_said",
        "_scope",
        "_trimmed_at",
        "_unsaid",
        "connections_given_up",
        "messages_given_up",
        "pauses",
        "refused",
    )

    def __init__(self, most: float = math.inf, connections: Collection[Connection] = ()) -> None:
        super().__init__(most)
        self._connections = connections
        # Those that are not read from, until there is room again; and those that go on as soon as what has been given
        # up has been freed.
        self._paused: set[Connection] = set()
        self._held_back: set[Connection] = set()
        # Bytes of connections that were given up, and that are held until their tasks have ended.
        self._freeing = 0
        self._trimmed_at = -math.inf
        self._lot = trio.lowlevel.ParkingLot()
        self._scope = trio.CancelScope()
        # What has to be held before it is worth while to look again for what can be given up.
        self._look_from = 0.0
        # When something at a standstill was last looked for, on Trio's clock.
        self._looked_at = -math.inf
        # By kind of sentence: when it was last said, on Trio's clock, and what has happened since.
        self._said: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}
        self.pauses = self.refused = 0
        self.messages_given_up = self.connections_given_up = 0

    @property
    def figures(self) -> MemoryFigures:
        """What it has come to."""
        return MemoryFigures(
            None if self.most == math.inf else int(self.most),
            self.held,
            self.pauses,
            self.refused,
            self.messages_given_up,
            self.connections_given_up,
        )

    def add(self, size: int) -> None:
        """As `Budget.add`; lets those go on that have been paused, when there is room."""
        if not self.scarce and self.held + size <= self.most * SCARCE:
            # Nothing changes. So it is for nearly everybody, and each connection counts something seven times.
            self.held += size
            return
        super().add(size)
        if not self.over:
            self._look_from = 0.0
        if (self._held_back or self._paused) and self._may_go_on:
            self._lot.unpark_all()

    @property
    def _may_go_on(self) -> set[Connection] | None:
        """Those that were paused and need not be any more; None if there are none."""
        if self._held_back and not (self.over and self._freeing):
            return self._held_back
        return self._paused if self._paused and not self.tight else None

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Let those go on that were paused, whenever there is room again, until `stop`."""
        with self._scope:
            while True:
                if (paused := self._may_go_on) is None:
                    await self._lot.park()
                else:
                    # One after the other: what the first of them read may leave no room for the others.
                    paused.pop().room_again()
                    await trio.lowlevel.checkpoint()

    def stop(self) -> None:
        """End `run`."""
        self._scope.cancel()

    def must_wait(self, connection: Connection) -> bool:
        """It is `tight`, and `connection` has something to read: whether that has to wait. Then its incoming is full
        until its handler has caught up, or it is told that there is room again. Raises nothing."""
        if self.over:
            self.relieve()
        incoming = connection.incoming
        held = incoming.kept + incoming.half + connection.outgoing.unsent
        if incoming.full:
            # It has just been given up.
            pass
        elif self.over and self._freeing and held:
            self._held_back.add(connection)
            incoming.full = True
        elif self.tight and incoming.task is None:
            share = self.most * TIGHT / max(1, len(self._connections))
            if self.over or held > share / 2:
                self._paused.add(connection)
                incoming.full = True
                self.pauses += 1
                self._say("{} not read from for now: {}", "connection is", "connections are", 1)
        return incoming.full

    def forget(self, connection: Connection, freed: int) -> None:
        """`connection` has ended, and with it what of it was freed later."""
        self._paused.discard(connection)
        self._held_back.discard(connection)
        self._freeing -= freed
        self.add(-freed)

    def free_later(self, size: int) -> int:
        """`size` bytes that do not count any more are held for a moment yet. Returns `size`."""
        self._freeing += size
        self.add(size)
        return size

    def relieve(self) -> None:
        """It is `over`: give up the largest half messages and unsent bytes until there is room. Raises nothing."""
        if self.held >= self._look_from and self.held - self._freeing > self.most * OVER:
            self._give_up(self.most * RELIEVED)
            left = self.held - self._freeing
            self._look_from = self.held + self.most * WORTH_A_LOOK if left > self.most * OVER else 0.0

    def refuse(self) -> None:
        """It is `full`, and somebody new has been refused, or is about to be. Raises nothing."""
        self.refused += 1
        self._say("{} refused: {}", "newcomer was", "newcomers were", 1)
        now = trio.current_time()
        if now - self._looked_at >= LOOK_EVERY:
            self._looked_at = now
            self._give_up(-math.inf, 1, now - STANDSTILL)

    def _give_up(self, target: float, most: float = math.inf, still_since: float = math.inf) -> None:
        """Give up what is largest first, `most` of it, until `target` bytes are held; only what has been at a
        standstill since `still_since`, on Trio's clock."""
        found: list[tuple[int, bool, Connection]] = []
        for connection in self._connections:
            half, unsent = connection.incoming.half, connection.outgoing.unsent
            if unsent and connection.outgoing.still_since <= still_since:
                # With it goes all that waits there.
                unsent += half + connection.incoming.kept
            else:
                unsent = 0
            if connection.liveness.heard_at > still_since:
                half = 0
            if half or unsent:
                found.append((max(half, unsent), unsent >= half, connection))
        found.sort(key=itemgetter(0), reverse=True)
        messages = connections = 0
        for _, whole, connection in found:
            if self.held - self._freeing <= target or messages + connections >= most:
                break
            if whole:
                connections += 1
                connection.give_up_sending()
            else:
                messages += 1
                connection.give_up_message()
        if messages or connections:
            now = trio.current_time()
            if now - self._trimmed_at >= TRIM_EVERY:
                self._trimmed_at = now
                _give_back()
        self.messages_given_up += messages
        self.connections_given_up += connections
        if messages:
            self._say("{} given up with 1013: {}", "half message was", "half messages were", messages)
        if connections:
            one, many = "connection was aborted whose peer does", "connections were aborted whose peers do"
            self._say("{} not read: {}", one, many, connections)

    def _say(self, sentence: str, one: str, many: str, count: int) -> None:
        """Say what has happened, with what has happened since it was last said; once in `SAY_EVERY` at most."""
        count = self._unsaid[sentence] = self._unsaid.get(sentence, 0) + count
        now = trio.current_time()
        if now - self._said.get(sentence, -math.inf) >= SAY_EVERY:
            self._said[sentence], self._unsaid[sentence] = now, 0
            held = f"{self.held:,} bytes are held, and max_memory is {self.most:,.0f}"
            logger.warning(sentence.format(f"{count} {one if count == 1 else many}", held))


@functools.cache
def _malloc_trim() -> Callable[[int], object] | None:
    """The C library's function that gives free memory back, where it is glibc's."""
    try:
        import ctypes

        trim: Callable[[int], object] = ctypes.CDLL(None).malloc_trim
    except (ImportError, OSError, AttributeError, TypeError):  # another C library; Windows
        return None
    return trim


def _give_back() -> None:
    """Give free memory back to the system, some milliseconds: messages that were given up lie between others, and glibc
    by itself gives back only what is behind the last of them."""
    trim = _malloc_trim()
    if trim is not None:
        trim(0)
