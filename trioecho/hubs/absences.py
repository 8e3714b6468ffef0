"""Who is away, and until when: one task for all connections of a route whose transport may come back."""

from __future__ import annotations

from typing import NoReturn, Protocol

import trio


class Absent(Protocol):
    """A connection without a transport."""

    def lose(self) -> None:
        """It has been away too long."""


class Absences:
    """Connections that are away. Each may be so for `timeout` seconds; then `watch` loses it."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        # All have as long, so the first to go stands in front.
        self._until: dict[Absent, float] = {}
        self._somebody = trio.Event()

    def add(self, absent: Absent) -> None:
        """From now on it is away."""
        self._until.pop(absent, None)
        self._until[absent] = trio.current_time() + self._timeout
        self._somebody.set()

    def discard(self, absent: Absent) -> None:
        """It is back, or gone."""
        self._until.pop(absent, None)

    async def watch(self) -> NoReturn:
        """Lose whoever has been away too long."""
        while True:
            if not self._until:
                self._somebody = trio.Event()
                await self._somebody.wait()
                continue
            absent, until = next(iter(self._until.items()))
            await trio.sleep_until(until)
            if self._until.get(absent) == until:
                del self._until[absent]
                absent.lose()
