"""The bytes that one server holds for its peers, and how many it may: a number that everybody counts into.

What is counted is what waits: a message that has not come whole, messages that nobody takes, bytes that a peer does not
read, heads and bodies of requests, and what each connection takes by itself. What passes through at once is not, so
that counting costs an echo nothing. The counts are of memory, as far as it can be told, and not of bytes on the wire: a
character takes up to four bytes of a ``str``, an object some fifty.

Three marks lie below each other, so that the dearest remedy is the last: see `Budget`. What is done when one is passed
is `trioecho._websocket.memory`'s.
"""

from __future__ import annotations

import math
from typing import Final

SCARCE: Final = 1 / 8
"""Share of the budget above which the echo lets go of a message before it waits for the next one. Below, it may as well
keep it: a large one that is freed at once costs glibc, which gives its pages back, as much as the message."""

TIGHT: Final = 5 / 8
"""Share of the budget above which those that hold most are not read from."""

FULL: Final = 6 / 8
"""Share above which new connections and requests are refused."""

OVER: Final = 7 / 8
"""Share above which is given up what there is most of. The rest is for what passes through without being counted, and
for what lies unused between the things that are held."""

RELIEVED: Final = 13 / 16
"""Share down to which it is given up."""

CHUNK: Final = 65_536
"""Bytes that one connection may read at once."""

SMALL_CHUNK: Final = 4096
"""The same above `TIGHT`: a chunk of tiny messages takes ten times its bytes, and many connections may read in one step
before any handler can take what came."""


class Budget:
    """Bytes held, and the marks. Without `most` there is no limit, and they are only counted."""

    __slots__ = ("_frames", "chunk", "full", "held", "most", "over", "scarce", "tight")

    def __init__(self, most: float = math.inf) -> None:
        self.most = most
        self.held = 0
        self.chunk = CHUNK
        """Bytes that may be read at once now."""
        self.scarce = False
        """Above `SCARCE`."""
        self.tight = False
        """Above `TIGHT`: whoever holds much and can let go of it is not read from."""
        self.full = False
        """Above `FULL`: nobody new is let in."""
        self.over = False
        """Above `OVER`: something has to be given up."""
        # Of frames that several connections may have to send: by identity, on how many they wait.
        self._frames: dict[int, int] = {}

    def add(self, size: int) -> None:
        """Count `size` bytes more, or less."""
        held = self.held = self.held + size
        most = self.most
        self.scarce = held > most * SCARCE
        self.tight = held > most * TIGHT
        self.chunk = SMALL_CHUNK if self.tight else CHUNK
        self.full = held > most * FULL
        self.over = held > most * OVER

    def hold(self, frame: bytes) -> None:
        """Count a frame that waits on a connection; on several, it is one all the same."""
        name = id(frame)
        holders = self._frames.get(name, 0)
        self._frames[name] = holders + 1
        if not holders:
            self.add(len(frame))

    def release(self, frame: bytes) -> None:
        """`frame` waits on one connection less. It must not have been freed meanwhile."""
        name = id(frame)
        holders = self._frames.pop(name) - 1
        if holders:
            self._frames[name] = holders
        else:
            self.add(-len(frame))

    def share(self, frame: bytes) -> int:
        """What of a frame that is held falls to one of its connections."""
        return len(frame) // self._frames.get(id(frame), 1)

    def relieve(self) -> None:
        """It is `over`: give up what can be given up. Nobody can here."""
