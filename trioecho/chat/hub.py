"""The chat's hub: what a page may call, and what it is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import trio

from trioecho.chat.pace import Pace
from trioecho.chat.people import People, Person
from trioecho.chat.presence import Presence, group_of
from trioecho.chat.words import check_seconds, name_of, text_of
from trioecho.hubs import BackplaneError, Hub, HubException


class Page(Protocol):
    """The methods of a client."""

    async def message(self, id: str, name: str, text: str) -> None:
        """Somebody in the room has said something: the id of the connection, what its person is called, what is
        said."""

    async def people(self, room: str, people: list[tuple[str, str]], number: int) -> None:
        """These are in the room now, ids and names, at most 100; and so many are they."""

    async def rooms(self, rooms: list[tuple[str, int]]) -> None:
        """There are these rooms, at most 100, with so many people in each."""


@dataclass(frozen=True, slots=True)
class Entered:
    """What somebody is told who has entered a room."""

    id: str
    name: str
    room: str
    transport: str
    people: list[tuple[str, str]]
    number: int
    rooms: list[tuple[str, int]]


class ChatHub(Hub[Page]):
    """One connection's part in the chat. A class of its own is derived for each server, by `chat_hub`."""

    _people: People
    _presence: Presence

    def __init__(self) -> None:
        self._person: Person | None = None
        self._gone = False
        self._pace = Pace(trio.current_time())

    @asynccontextmanager
    async def life(self) -> AsyncIterator[None]:
        """Be in no room, until `enter`; and in none any more when the client has gone."""
        try:
            yield
        finally:
            self._gone = True
            self._presence.exit(self.connection_id)

    async def enter(self, name: str, room: str) -> Entered:
        """Go into a room, out of that where one was, by a name, which others may have, too."""
        self._keep_pace()
        person = Person(self.connection_id, name_of("a person", name), name_of("a room", room))
        group = group_of(person.room)
        for other in self.groups:
            # One at most: also that of an `enter` that its client has cancelled.
            if other != group:
                await self.groups.remove(other)
        await self.groups.add(group)
        if self._gone:
            # Its client went while the other servers were told; nobody would take this person out any more.
            raise HubException("You have left.")
        self._person = person
        self._presence.enter(person)
        people, number = self._people.in_room(person.room)
        return Entered(
            id=person.id,
            name=person.name,
            room=person.room,
            transport=self.transport,
            people=[(each.id, each.name) for each in people],
            number=number,
            rooms=self._people.rooms(),
        )

    async def say(self, text: str) -> None:
        """Say something to everybody in the room, oneself included."""
        self._keep_pace()
        if self._person is None:
            raise HubException("Enter a room first.")
        said = text_of(text)
        room = self.clients.group(group_of(self._person.room))
        try:
            await room.message(self._person.id, self._person.name, said)
        except BackplaneError:
            raise HubException(
                "Only those on this server have got this: the other servers cannot be reached."
            ) from None

    async def countdown(self, seconds: int) -> AsyncIterator[int]:
        """Count down to 0, one a second; who no longer wants to hear it cancels the stream."""
        check_seconds(seconds)
        for left in range(seconds, 0, -1):
            yield left
            await trio.sleep(1)
        yield 0

    def _keep_pace(self) -> None:
        if not self._pace.allows(trio.current_time()):
            raise HubException("This is faster than people can read: wait a moment.")


def chat_hub(people: People, presence: Presence) -> type[ChatHub]:
    """Make the hub of one server, whose connections share what they know of who is there."""

    class Chat(ChatHub):
        _people = people
        _presence = presence

    return Chat
