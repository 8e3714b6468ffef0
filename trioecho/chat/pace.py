"""How fast one client may speak: some at once, then as fast as people can read."""

from __future__ import annotations

BURST = 10
"""What may come at once: somebody who pastes some lines, or comes back and says who he is."""

PER_SECOND = 2.0
"""What may come for hours. Nobody reads faster."""


class Pace:
    """A bucket of allowances, which fills again by itself."""

    __slots__ = ("_left", "_then")

    def __init__(self, now: float) -> None:
        self._left = float(BURST)
        self._then = now

    def allows(self, now: float) -> bool:
        """Take one, if there is one. `now` is in seconds."""
        self._left = min(BURST, self._left + (now - self._then) * PER_SECOND)
        self._then = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
