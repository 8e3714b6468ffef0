"""Who is in which room, here and on the other servers. Facts alone: nothing is sent, and nothing waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

MOST_PEOPLE = 1_000
"""People of one server; the route takes no more, and of another server no more are believed."""

MOST_SERVERS = 100
"""Other servers that are remembered: more than share one Redis in earnest."""

SILENCE = 15.0
"""Seconds after which a server that says nothing is taken for gone, and its people with it: three announcements."""

MOST_LISTED = 100
"""People of a room, and rooms, that pages are told of. Of the others they are told how many there are."""


@dataclass(frozen=True, slots=True)
class Person:
    """One connection in a room: its id, what its person is called, and the room's name."""

    id: str
    name: str
    room: str


class People:
    """What changes returns the names of the rooms whose people are others now."""

    def __init__(self) -> None:
        self._here: dict[str, Person] = {}
        self._elsewhere: dict[str, frozenset[Person]] = {}
        self._heard_at: dict[str, float] = {}

    @property
    def here(self) -> tuple[Person, ...]:
        """The people of this server."""
        return tuple(self._here.values())

    def enter(self, person: Person) -> set[str]:
        """Put somebody of this server into a room, and out of that where he was."""
        before = self._here.get(person.id)
        self._here[person.id] = person
        if before == person:
            return set()
        return {person.room} if before is None else {person.room, before.room}

    def leave(self, id: str) -> set[str]:
        """Take somebody of this server out."""
        person = self._here.pop(id, None)
        return set() if person is None else {person.room}

    def hear(self, server: str, people: Iterable[Person], now: float) -> set[str]:
        """Take what another server says of its people: all of them, each time. None: it has gone, or nobody is there.

        Of more than `MOST_PEOPLE` the rest are left out, and so are servers of more than `MOST_SERVERS`."""
        known = self._elsewhere.get(server, frozenset())
        if server not in self._heard_at and len(self._heard_at) >= MOST_SERVERS:
            return set()
        told = frozenset(tuple(people)[:MOST_PEOPLE])
        self._heard_at[server] = now
        self._elsewhere[server] = told
        return {person.room for person in known ^ told}

    def forget(self, now: float) -> set[str]:
        """Take out the servers that have said nothing for `SILENCE` seconds."""
        silent = [server for server, then in self._heard_at.items() if now - then > SILENCE]
        return {person.room for server in silent for person in self._without(server)}

    def _without(self, server: str) -> frozenset[Person]:
        del self._heard_at[server]
        return self._elsewhere.pop(server)

    def everybody(self) -> Iterable[Person]:
        """All people of all servers."""
        yield from self._here.values()
        for people in self._elsewhere.values():
            yield from people

    def in_room(self, room: str) -> tuple[list[Person], int]:
        """Return who is in a room, in the order of names, at most `MOST_LISTED`; and how many there are."""
        found = [person for person in self.everybody() if person.room == room]
        # The same order on every server.
        found.sort(key=lambda person: (person.name.casefold(), person.id))
        return found[:MOST_LISTED], len(found)

    def rooms(self) -> list[tuple[str, int]]:
        """Return the rooms with how many are in each, the fullest first, at most `MOST_LISTED`."""
        counts = Counter(person.room for person in self.everybody())
        return sorted(counts.items(), key=lambda each: (-each[1], each[0].casefold(), each[0]))[:MOST_LISTED]
