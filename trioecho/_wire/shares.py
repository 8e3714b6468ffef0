"""Who goes first where there is more to do than one turn has time for: whoever has had the least of it.

This is start-time fair queueing (Goyal, Vin and Cheng 1996), with processor time in the place of a line's. Each
connection that has been served has a mark: where it began, plus the seconds that it took. The lowest mark is served
first, and where that one began is where the queue has got to; who is not marked, because it had nothing to say before,
begins there. So a client that wants a few microseconds now and then is served before all that always want more, however
many they are, and nobody waits for ever: a mark moves only when its connection is served.
"""

from __future__ import annotations

from typing import Generic, TypeVar

USUAL = 0.0001
"""Seconds that a turn is taken to take before any has been measured."""

_Who = TypeVar("_Who")


class Shares(Generic[_Who]):
    """What each has had, while there is not enough for all. No method waits."""

    __slots__ = ("_got_to", "_marks", "usual")

    def __init__(self) -> None:
        self._marks: dict[_Who, float] = {}
        self._got_to = 0.0
        self.usual = USUAL
        """Seconds that a turn has taken lately, on average."""

    def place(self, who: _Who) -> float:
        """Where `who` stands: whoever has the lowest place is next, and among equals whoever came first."""
        return max(self._marks.get(who, 0.0), self._got_to)

    def in_order(self, events: list[tuple[_Who, int]]) -> list[tuple[_Who, int]]:
        """Those who are named first in `events`, in the order in which they are to be served.

        Without `place`, which would take most of the time of it where hundreds are ready: who is not marked stands
        before whoever is, and where the queue has got to is not asked.
        """
        mark = self._marks.get
        return sorted(events, key=lambda event: mark(event[0], 0.0))

    def charge(self, who: _Who, seconds: float) -> None:
        """`who` has been served, and that took so long. Half of what is usual is free: who waits for each answer goes
        before those who always have more, also where it takes more than the share that so many leave to each."""
        self._got_to = began = self.place(who)
        self._marks[who] = began + max(0.0, seconds - self.usual / 2)
        self.usual += (seconds - self.usual) / 64

    def forget(self, who: _Who) -> None:
        """`who` has gone: another of that name begins anew."""
        self._marks.pop(who, None)

    def clear(self) -> None:
        """There is enough for all again."""
        self._marks.clear()
        self._got_to = 0.0
