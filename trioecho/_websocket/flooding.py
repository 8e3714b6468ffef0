"""What a client may send that is no message: frames that are cheap to send, and cost as much as one.

A token bucket that is filled when it is empty, and not each time that something is taken: who sent little for long may
thus send twice `BURST` at once, and nothing has to be reckoned for a Ping.
"""

from __future__ import annotations

import math

BURST = 150
"""Seconds of `flood_limit` that a client may use up at once. By default these are 150,000 frames, more than
`max_fragments`: one message in empty fragments is that limit's business."""


class Allowance:
    """Frames without a message that one client may still send, where it may send `limit` a second; None: any number."""

    __slots__ = ("_filled_at", "_limit", "left")

    def __init__(self, limit: int | None, now: float) -> None:
        self._limit = limit
        self.left: float = math.inf if limit is None else limit * BURST
        """For whoever counts frames, and asks `used_up` once it is below 0."""
        self._filled_at = now

    def __str__(self) -> str:
        """For a sentence: what is too much."""
        return f"more than {self._limit} Pings, unasked Pongs and short fragments a second"

    def used_up(self, now: float) -> bool:
        """Add what the time since this was last called has earned; whether it is below 0 all the same."""
        if self._limit is None:
            return False
        self.left = min(self.left + (now - self._filled_at) * self._limit, self._limit * BURST)
        self._filled_at = now
        return self.left < 0
