"""Who is connected to one hub in this process: by connection, by user, by group."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from trioecho.hubs.backplane import ALL, Address

if TYPE_CHECKING:
    from trioecho.hubs.hub_connection import HubConnection


class Members:
    """The connections here. What it returns from adding and removing tells which addresses begin or cease to matter
    to a backplane."""

    def __init__(self) -> None:
        self.connections: dict[str, HubConnection] = {}
        self._groups: dict[str, dict[str, HubConnection]] = {}
        self._users: dict[str, dict[str, HubConnection]] = {}

    def __len__(self) -> int:
        return len(self.connections)

    def connect(self, connection: HubConnection) -> None:
        """Add a connection, with its user."""
        self.connections[connection.id] = connection
        if connection.user is not None:
            self._users.setdefault(connection.user, {})[connection.id] = connection

    def disconnect(self, connection: HubConnection) -> list[Address]:
        """Take a connection out of everything. Returns the addresses that nobody here has any more."""
        id = connection.id
        del self.connections[id]
        left = [Address("connection", id)]
        user = connection.user
        if user is not None:
            del self._users[user][id]
            if not self._users[user]:
                del self._users[user]
                left.append(Address("user", user))
        for group in tuple(connection.groups):
            left += self.leave(connection, group)
        return left

    def join(self, connection: HubConnection, group: str) -> bool:
        """Put a connection into a group. Returns whether it is the first of it here."""
        members = self._groups.setdefault(group, {})
        first = not members
        members[connection.id] = connection
        connection.groups.add(group)
        return first

    def leave(self, connection: HubConnection, group: str) -> list[Address]:
        """Take a connection out of a group. Returns the address of the group if nobody here has it any more."""
        if group not in connection.groups:
            return []
        connection.groups.discard(group)
        members = self._groups[group]
        del members[connection.id]
        if members:
            return []
        del self._groups[group]
        return [Address("group", group)]

    def find(self, addresses: tuple[Address, ...], exclude: Collection[str] = ()) -> list[HubConnection]:
        """Return the connections that have any of the addresses, each once, but those with the ids `exclude`."""
        if not exclude and addresses == (ALL,):
            return list(self.connections.values())
        found: dict[str, HubConnection] = {}
        for address in addresses:
            if address.kind == "connection":
                connection = self.connections.get(address.name)
                if connection is not None:
                    found[address.name] = connection
            elif address.kind == "all":
                found.update(self.connections)
            else:
                table = self._groups if address.kind == "group" else self._users
                found.update(table.get(address.name, {}))
        if exclude:
            return [each for each in found.values() if each.id not in exclude]
        return list(found.values())
