"""Who goes first where there is more to do than one turn has time for: whoever has had the least of it.

This is start-time fair queueing (Goyal, Vin and Cheng 1996), with processor time in the place of a line's. Each
connection that has been served has a mark: where it began, plus the seconds that it took. The lowest mark is served
first, and where that one began is where the queue has got to; who is not marked, because it has just come, begins a few
turns behind that. So a client that wants a few microseconds now and then is served before all that always want more,
also before hundreds that have just come and want much once; and nobody waits for ever, for a mark moves only when its
connection is served.

The clients of one address are a group, and groups share before their members do: a thousand connections from one
address get as much of what is scarce as one connection from another. Whoever has only its own address to share with,
as behind a proxy that is not trusted, shares with those.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

USUAL = 0.0001
"""Seconds that a turn is taken to take before any has been measured."""

LONGEST = 4
"""Times the usual that a turn counts at most. A longer one is seldom its connection's doing, for what is read in it is
bounded: the garbage was collected, or another program had the processor. With 100 others, one such turn of 20 ms kept
a client from being served for two seconds."""

OFTEN = 8
"""Turns of a connection of which the average is what it is charged. Also one that counted four times the usual, and
was not its connection's doing, kept it waiting until each of 100 others had had seven more: 800 ms."""

LEAST = 10_000
"""The part of the usual that each turn counts at least. epoll names those who are always ready in the same order each
time: with nothing to pay, the first of them would always be first."""

_Who = TypeVar("_Who")


class Queue(Generic[_Who]):
    """What each of some has had. No method waits."""

    __slots__ = ("_costs", "_entered", "_marks", "got_to", "usual")

    def __init__(self) -> None:
        self._marks: dict[_Who, float] = {}
        self._costs: dict[_Who, float] = {}
        self.got_to = 0.0
        # The mark of who has come last of those who came when there was not enough.
        self._entered = 0.0
        self.usual = USUAL
        """Seconds that a turn has taken lately, on average."""

    def enter(self, who: _Who) -> None:
        """`who` comes while there is enough for all: it stands before those who come when there is not."""
        # The queue goes on with those who come, or a million of them would stand behind whoever has stayed.
        self._marks[who] = self.got_to = self.got_to + self._step

    def _enter_late(self, who: _Who) -> float:
        """`who` has come, and there is not enough for all.

        One behind the other, by more than a turn costs at least: so who pays no more than that is before the next of
        hundreds who have come, and not behind the last of them. But none is more than twice `LONGEST` behind.
        """
        late = LONGEST * self.usual
        self._entered = mark = min(
            max(self._entered + self._step, self.got_to + late), self.got_to + 2 * late
        )
        self._marks[who] = mark
        return mark

    @property
    def _step(self) -> float:
        return 2 * self.usual / LEAST

    def mark(self, who: _Who) -> float:
        """Where `who` stands: whoever has the lowest mark is next, and among equals whoever came first.

        The mark of who was silent for long is behind where the queue has got to, and only `charge` looks at that: so
        whoever has waited longest is first of those who stand there.
        """
        mark = self._marks.get(who)
        return self._enter_late(who) if mark is None else mark

    def in_order(self, events: list[tuple[_Who, int]]) -> list[tuple[_Who, int]]:
        """Those who are named first in `events`, in the order in which they are to be served."""
        # Without `mark`, whose calls would take most of the time of it where hundreds are ready.
        marks = self._marks
        for who, _ in events:
            if who not in marks:
                self._enter_late(who)
        return sorted(events, key=lambda event: marks[event[0]])

    def charge(self, who: _Who, seconds: float) -> None:
        """`who` has been served, and that took so long. Half of what is usual is nearly free: who waits for each answer
        goes before those who always have more, also where it takes more than the share that so many leave to each.
        What is longer than `LONGEST` counts as that."""
        seconds = min(seconds, LONGEST * self.usual)
        cost = self._costs.get(who, seconds)
        self._costs[who] = cost = cost + (seconds - cost) / OFTEN
        self.got_to = began = max(self.mark(who), self.got_to)
        self._marks[who] = began + max(self.usual / LEAST, cost - self.usual / 2)
        self.usual += (seconds - self.usual) / 64

    def forget(self, who: _Who) -> None:
        """`who` has gone: another of that name begins anew."""
        self._marks.pop(who, None)
        self._costs.pop(who, None)


class Shares(Generic[_Who]):
    """What each member of each group has had, while there is not enough for all. No method waits."""

    __slots__ = ("_group_of", "_groups", "_members", "_sizes")

    def __init__(self) -> None:
        self._members = Queue[_Who]()
        self._groups = Queue[Hashable]()
        self._group_of: dict[_Who, Hashable] = {}
        self._sizes: dict[Hashable, int] = {}

    @property
    def usual(self) -> float:
        """Seconds that a turn has taken lately, on average."""
        return self._members.usual

    def enter(self, who: _Who, group: Hashable, *, scarce: bool) -> None:
        """`who`, of `group`, comes; `scarce`: while there is not enough for all."""
        self._group_of[who] = group
        size = self._sizes[group] = self._sizes.get(group, 0) + 1
        if not scarce:
            self._members.enter(who)
            if size == 1:
                self._groups.enter(group)

    def mark(self, who: _Who) -> tuple[float, float]:
        """Where `who` stands: whoever has the lowest mark is next, and among equals whoever came first. Who has left is
        before all others, and is not marked."""
        if who not in self._group_of:
            return 0.0, 0.0
        return self._groups.mark(self._group_of[who]), self._members.mark(who)

    def in_order(self, events: list[tuple[_Who, int]]) -> list[tuple[_Who, int]]:
        """Those who are named first in `events`, in the order in which they are to be served."""
        if len(self._sizes) <= 1:
            return self._members.in_order(events)
        group_of = self._group_of
        groups: dict[Hashable, list[tuple[_Who, int]]] = {}
        for event in events:
            # Who has left meanwhile is nobody's.
            groups.setdefault(group_of.get(event[0]), []).append(event)
        ordered: list[tuple[_Who, int]] = []
        for group in sorted(groups, key=self._groups.mark):
            own = groups[group]
            ordered += own if len(own) == 1 else self._members.in_order(own)
        return ordered

    def charge(self, who: _Who, seconds: float) -> None:
        """`who` has been served, and that took so long."""
        self._members.charge(who, seconds)
        self._groups.charge(self._group_of[who], seconds)

    def forget(self, who: _Who) -> None:
        """`who` has gone: another of that name begins anew. Does nothing for one that is not here."""
        if who not in self._group_of:
            return
        group = self._group_of.pop(who)
        self._members.forget(who)
        self._sizes[group] -= 1
        if not self._sizes[group]:
            del self._sizes[group]
            self._groups.forget(group)
