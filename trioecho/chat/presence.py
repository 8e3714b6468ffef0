"""Who is there, over several servers: a backplane around a backplane, by which the servers also speak to each other.

Each server announces all of its people, every few seconds and soon after a change. What it hears from the others it
keeps until they say something else, or nothing for a while. So nothing has to be stored anywhere, a server that dies
takes its people along, and one that was cut off is right again a few seconds after it is back.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Mapping
from typing import Any

import trio

from trioecho.chat.people import MOST_PEOPLE, People, Person
from trioecho.chat.words import LONGEST_NAME
from trioecho.hubs import Address, Backplane, BackplaneError, Local, Result
from trioecho.hubs.backplane import ALL
from trioecho.hubs.outgoing_call import OutgoingCall

INTERVAL = 5.0
"""Seconds between two announcements of a server where nothing changes."""

CALM = 0.25
"""Seconds between two announcements at least, and between two lists that a page gets: a server that starts has
hundreds of people come in at once."""

GOODBYE = 1.0
"""Seconds that the last announcement of a server may take."""

SERVERS = Address("group", "servers")
"""To which servers speak. Rooms are groups whose names begin otherwise."""

_PROTOCOLS = ("json", "messagepack")
_LONGEST_ID = 100


def group_of(room: str) -> str:
    """Return the name of a room's group."""
    return f"room:{room}"


class Presence:
    """A `Backplane` that carries what `backplane` carries, and keeps `people` true on every server.

    It tells the clients of this server of each change: ``people`` of a room to those who are in it, ``rooms`` to all.
    """

    def __init__(self, backplane: Backplane, people: People) -> None:
        self._backplane = backplane
        self._people = people
        self._id = secrets.token_urlsafe(9)
        self._changed: set[str] = set()
        self._news = trio.Event()
        # Whether the other servers are to be told, which they need not be of what they have told themselves.
        self._due = True

    @property
    def healthy(self) -> bool:
        """That of the backplane inside."""
        return self._backplane.healthy

    def enter(self, person: Person) -> None:
        """Put somebody of this server into a room."""
        self._note(self._people.enter(person))

    def exit(self, id: str) -> None:
        """Take somebody of this server out of the room."""
        self._note(self._people.leave(id))

    def _note(self, rooms: set[str], *, ours: bool = True) -> None:
        if rooms:
            self._changed |= rooms
            self._due = self._due or ours
            self._news.set()

    async def run(
        self, local: Local, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Run the backplane inside, announce, and tell, until it is cancelled; then say goodbye, within a second."""
        async with trio.open_nursery() as nursery:
            carrying = await nursery.start(self._carry, local)
            try:
                await self._backplane.subscribe(SERVERS)
                task_status.started()
                await self._announce(ask=True)
                nursery.start_soon(self._keep_announcing)
                await self._keep_telling(local)
            finally:
                with trio.move_on_after(GOODBYE, shield=True):
                    await self._publish({"server": self._id, "people": []})
                carrying.cancel()

    async def _carry(self, local: Local, *, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
        """Run the backplane inside, until its scope is cancelled: it has to outlive what cancels the others."""
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._backplane.run, _Listener(local, self))
                scope.shield = True
                task_status.started(scope)

    async def _keep_announcing(self) -> None:
        while True:
            await trio.sleep(INTERVAL)
            await self._announce()
            self._note(self._people.forget(trio.current_time()), ours=False)

    async def _keep_telling(self, local: Local) -> None:
        while True:
            await self._news.wait()
            self._news = trio.Event()
            rooms, self._changed = self._changed, set()
            for room in rooms:
                people, number = self._people.in_room(room)
                listed = [(person.id, person.name) for person in people]
                call = OutgoingCall("people", (room, listed, number), _PROTOCOLS)
                local.deliver(Address("group", group_of(room)), call)
            local.deliver(ALL, OutgoingCall("rooms", (self._people.rooms(),), _PROTOCOLS))
            if self._due:
                await self._announce()
            await trio.sleep(CALM)

    async def _announce(self, *, ask: bool = False) -> None:
        """Tell the other servers who is here; with `ask`, have them do the same."""
        self._due = False
        people = [(person.id, person.name, person.room) for person in self._people.here]
        await self._publish({"server": self._id, "people": people} | ({"ask": True} if ask else {}))

    async def _publish(self, announcement: dict[str, Any]) -> None:
        try:
            await self._backplane.publish(SERVERS, {"json": json.dumps(announcement).encode()})
        except BackplaneError:
            # The backplane has told of it, and the next announcement says all of this again.
            return

    def hear(self, message: Mapping[str, bytes]) -> None:
        """Take what another server has announced; nothing, where it is no announcement."""
        try:
            announcement = json.loads(message["json"])
            server = announcement["server"]
            people = [Person(*map(_short, each)) for each in announcement["people"][:MOST_PEOPLE]]
            ask = announcement.get("ask") is True
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
            return
        if not isinstance(server, str) or len(server) > _LONGEST_ID or server == self._id:
            return
        self._note(self._people.hear(server, people, trio.current_time()), ours=False)
        if ask:
            self._due = True
            self._news.set()

    # The rest is the backplane's.

    async def publish(
        self, address: Address, message: Mapping[str, bytes], exclude: Collection[str] = ()
    ) -> None:
        """See `Backplane.publish`."""
        await self._backplane.publish(address, message, exclude)

    async def subscribe(self, address: Address) -> None:
        """See `Backplane.subscribe`."""
        await self._backplane.subscribe(address)

    def unsubscribe(self, address: Address) -> None:
        """See `Backplane.unsubscribe`."""
        self._backplane.unsubscribe(address)

    async def join(self, connection_id: str, group: str) -> bool:
        """See `Backplane.join`."""
        return await self._backplane.join(connection_id, group)

    async def leave(self, connection_id: str, group: str) -> bool:
        """See `Backplane.leave`."""
        return await self._backplane.leave(connection_id, group)

    async def invoke(self, connection_id: str, target: str, arguments: Mapping[str, bytes]) -> Result:
        """See `Backplane.invoke`."""
        return await self._backplane.invoke(connection_id, target, arguments)


def _short(text: object) -> str:
    """Return a name or an id. Raises `ValueError` for what is none, or could not be told to any client."""
    if not isinstance(text, str) or len(text) > max(_LONGEST_ID, LONGEST_NAME):
        raise ValueError("no name")
    text.encode()
    return text


class _Listener:
    """A server's half of the hub as the backplane inside sees it: what is for servers does not reach clients."""

    def __init__(self, local: Local, presence: Presence) -> None:
        self.name = local.name
        self.join = local.join
        self.leave = local.leave
        self.invoke = local.invoke
        self._presence = presence
        self._local = local

    def deliver(self, address: Address, message: Mapping[str, bytes], exclude: Collection[str] = ()) -> None:
        if address == SERVERS:
            self._presence.hear(message)
        else:
            self._local.deliver(address, message, exclude)
