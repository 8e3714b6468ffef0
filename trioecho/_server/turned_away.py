"""Who is turned away in a flood: counted one by one, told once a second."""

from __future__ import annotations

import logging
import math

import trio

logger = logging.getLogger("trioecho")

TELL_EVERY = 1.0
"""Seconds between two lines of the log about one reason. A flood has thousands in each."""


class TurnedAway:
    """How many connections and requests one server has turned away, by reason."""

    __slots__ = ("_told", "counts")

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        # By reason: when it was told last, and how many there were.
        self._told: dict[str, tuple[float, int]] = {}

    def count(self, reason: str, sentence: str, *, level: int = logging.WARNING) -> None:
        """Count one more, and log `sentence`, which tells about this one, unless one of the same `reason` has been told
        within `TELL_EVERY` seconds."""
        number = self.counts[reason] = self.counts.get(reason, 0) + 1
        now = trio.current_time()
        last, before = self._told.get(reason, (-math.inf, 0))
        if now - last < TELL_EVERY:
            return
        self._told[reason] = now, number
        more = f" ({number - before:,} such since the last line, {number:,} in all)" if number > 1 else ""
        logger.log(level, "%s%s", sentence, more)
