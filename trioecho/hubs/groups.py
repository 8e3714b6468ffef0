"""Groups: names under which connections are called together. One that nobody is in is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trioecho.hubs.exceptions import HubException

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trioecho.hubs.hub_connection import HubConnection
    from trioecho.hubs.server import HubServer

LONGEST_NAME = 256
"""Characters of a group's name. Clients often say what it is."""


class OwnGroups:
    """The groups of one connection. It leaves them by itself when it ends. Iterating gives their names.

    Example:

        from trioecho.hubs import Hub, HubServer, OwnGroups, Target

        async def move(groups: OwnGroups, room: str) -> None:
            for other in groups:
                await groups.remove(other)
            await groups.add(room)

        class Rooms(Hub[Target]):
            async def go(self, room: str) -> None:
                await move(self.groups, room)
                await self.clients.group(room).send("came", self.connection_id)

        routes = {"/rooms": HubServer(Rooms)}
    """

    __slots__ = ("_connection", "_server")

    def __init__(self, server: HubServer, connection: HubConnection) -> None:  # type: ignore[type-arg]
        self._server = server
        self._connection = connection

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._connection.groups))

    def __contains__(self, group: object) -> bool:
        return group in self._connection.groups

    def __len__(self) -> int:
        return len(self._connection.groups)

    async def add(self, group: str) -> None:
        """Join a group; what is sent to it behind this comes here. Doing it twice changes nothing.

        A checkpoint only where a backplane has to be told. Raises `HubException` for a name of more than 256 characters
        and for more groups than `HubOptions.max_groups`, `TypeError` for a name that is no string.
        """
        await self._server.join(self._connection, group)

    async def remove(self, group: str) -> None:
        """Leave a group. Not a checkpoint."""
        self._server.leave(self._connection, group)


class Groups:
    """The groups of a hub, for any of its connections, also those of other processes.

    Example:

        from functools import partial
        from trioecho.hubs import Groups, Hub, HubServer, Target

        class Games(Hub[Target]):
            pass

        async def pair(groups: Groups, one: str, other: str) -> bool:
            return await groups.add(one, "game 1") and await groups.add(other, "game 1")

        async def main() -> None:
            games = HubServer(Games)
            async with trio.open_nursery() as nursery:
                server = await nursery.start(partial(trioecho.serve, {"/games": games}, port=0))
                assert not await pair(games.groups, "nobody", "nobody else")
                server.stop()
    """

    __slots__ = ("_server",)

    def __init__(self, server: HubServer) -> None:  # type: ignore[type-arg]
        self._server = server

    async def add(self, connection_id: str, group: str) -> bool:
        """Put a connection into a group; False where there is no such connection. Raises as `OwnGroups.add`, and what
        the backplane raises for the connection of another process."""
        check_group(group)
        connection = self._server.members.connections.get(connection_id)
        if connection is None:
            return await self._server.backplane.join(connection_id, group)
        await self._server.join(connection, group)
        return True

    async def remove(self, connection_id: str, group: str) -> bool:
        """Take a connection out of a group; False where there is no such connection. Raises as `add`."""
        check_group(group)
        connection = self._server.members.connections.get(connection_id)
        if connection is None:
            return await self._server.backplane.leave(connection_id, group)
        self._server.leave(connection, group)
        return True


def check_group(group: object) -> None:
    """Raise `TypeError` or `HubException` for what cannot be a group's name."""
    if not isinstance(group, str):
        raise TypeError(f"a group is named by a string; you gave {group!r}")
    if not 0 < len(group) <= LONGEST_NAME:
        raise HubException(f"the name of a group has 1 to {LONGEST_NAME} characters")
