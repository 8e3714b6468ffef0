"""A resource of the machine that has run out: said when it happens, once a minute while it lasts, and when it is over.

An event that repeats a thousand times a second must not fill the log, which may be what fills the disk.
"""

from __future__ import annotations

import errno
import logging
import math
import os

from trioecho._protocol.counted import counted

logger = logging.getLogger("trioecho")

NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
"""The process or the machine has no descriptor, or no memory, for one more."""

SAID_EVERY = 60.0
"""Seconds between two lines of the log about one shortage that goes on."""

OVER_AFTER = 1.0
"""Seconds without a failure after which the next success ends a shortage: near a limit they take turns."""


class Shortage:
    """One thing that cannot be done for lack of something. Times are seconds on any one clock."""

    __slots__ = ("_failed_at", "_over", "_said_at", "_since", "_what")

    def __init__(self, what: str, over: str) -> None:
        """`what` cannot be done, and what is said when it can again: ``"cannot accept"``, ``"connections are
        accepted again"``."""
        self._what = what
        self._over = over
        self._since = math.nan
        self._failed_at = self._said_at = -math.inf

    @property
    def lasts(self) -> bool:
        """Whether it has begun, and is not over."""
        return not math.isnan(self._since)

    def met(self, error: BaseException, now: float) -> None:
        """It could not be done, for this reason."""
        if self.due(now):
            logger.warning("%s: %s", self._what, _reason(error))

    def due(self, now: float) -> bool:
        """It could not be done; whether that is to be said, which whoever asks does instead of `met`."""
        self._failed_at = now
        if not self.lasts:
            self._since = now
        elif now - self._said_at < SAID_EVERY:
            return False
        self._said_at = now
        return True

    def done(self, now: float) -> None:
        """It could be done. Call it where `lasts`."""
        if now - self._failed_at >= OVER_AFTER:
            seconds = counted(round(self._failed_at - self._since, 1), "second")
            self._since = math.nan
            logger.warning("%s, after %s", self._over, seconds)


def lacks_room(error: BaseException) -> bool:
    """Whether it tells of a lack of descriptors, memory or threads, which may pass."""
    if isinstance(error, OSError):
        return error.errno in NO_ROOM
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and "can't start new thread" in str(error)
    )


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError):
        number = error.errno or 0
        words = os.strerror(number)
        if number == errno.EMFILE:
            return f"{words}; raise the limit (ulimit -n) or set max_sockets below it"
        return words
    return os.strerror(errno.ENOMEM) if isinstance(error, MemoryError) else str(error)
