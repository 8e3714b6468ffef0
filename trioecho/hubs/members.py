"""Who is connected to one hub in this process: by connection, by user, by group."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from trioecho.hubs.backplane import ALL, Address

if TYPE_CHECKING:
    from trioecho.hubs.hub_connection import HubConnection


class Members:
    """The connections here. What it returns from removing them tells which addresses they have had."""

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
        """Take a connection out of everything. Returns all addresses that it has had."""
        id = connection.id
        del self.connections[id]
        left = own_addresses(connection)
        user = connection.user
        if user is not None:
            del self._users[user][id]
            if not self._users[user]:
                del self._users[user]
        for group in tuple(connection.groups):
            self.leave(connection, group)
            left.append(Address("group", group))
        return left

    def join(self, connection: HubConnection, group: str) -> None:
        """Put a connection into a group."""
        self._groups.setdefault(group, {})[connection.id] = connection
        connection.groups.add(group)

    def leave(self, connection: HubConnection, group: str) -> bool:
        """Take a connection out of a group. Returns whether it was in it."""
        if group not in connection.groups:
            return False
        connection.groups.discard(group)
        members = self._groups[group]
        del members[connection.id]
        if not members:
            del self._groups[group]
        return True

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


def own_addresses(connection: HubConnection) -> list[Address]:
    """Return the addresses that a connection has from its beginning to its end."""
    own = [Address("connection", connection.id)]
    if connection.user is not None:
        own.append(Address("user", connection.user))
    return own
