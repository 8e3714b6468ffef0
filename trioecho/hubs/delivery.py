"""Giving a message to the connections of this process: at once to who has room, and what becomes of the others."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

import trio

from trioecho.hubs.backplane import Address, Backplane, NoConnection, Result
from trioecho.hubs.exceptions import HubException
from trioecho.hubs.groups import check_group
from trioecho.hubs.hub_options import HubOptions
from trioecho.hubs.members import Members
from trioecho.hubs.outgoing_call import EncodedCall, OutgoingCall

if TYPE_CHECKING:
    from trioecho.hubs.hub_connection import HubConnection

GONE = (trio.BrokenResourceError, trio.ClosedResourceError)

TOO_SLOW = "The client did not read what it was sent."


class Delivery:
    """This process's half of a hub; what a backplane knows as `Local`."""

    def __init__(self, members: Members, options: HubOptions, backplane: Backplane) -> None:
        self._members = members
        self._options = options
        self._backplane = backplane

    async def give(self, connections: Iterable[HubConnection], call: OutgoingCall | EncodedCall) -> None:
        """Send a call to connections. Everything that need not wait is sent before any other task runs.

        Raises what encoding raises, and never for what happens to a connection. Always a checkpoint.
        """
        slow = []
        protocol = message = None
        for connection in connections:
            if connection.protocol is not protocol or message is None:
                protocol = connection.protocol
                message = call.prepared(protocol)
            try:
                if not connection.try_send(message):
                    slow.append(connection)
            except GONE:
                continue
        if not slow or self._options.slow_client == "skip":
            await trio.lowlevel.checkpoint()
            return
        if self._options.slow_client == "close":
            for connection in slow:
                connection.end(TOO_SLOW, allow_reconnect=True)
            await trio.lowlevel.checkpoint()
        elif len(slow) == 1:
            await self._wait(slow[0], call)
        else:
            async with trio.open_nursery() as nursery:
                for connection in slow:
                    nursery.start_soon(self._wait, connection, call)

    async def _wait(self, connection: HubConnection, call: OutgoingCall | EncodedCall) -> None:
        with trio.move_on_after(self._options.send_timeout) as patience:
            try:
                await connection.send(call.prepared(connection.protocol))
            except GONE:
                return
        if patience.cancelled_caught:
            connection.end(TOO_SLOW, allow_reconnect=True)

    async def enter(self, connection: HubConnection, group: str) -> None:
        """Put a connection into a group. Raises `HubException`, or `TypeError` for a name that is no string."""
        check_group(group)
        if group in connection.groups or connection.over:
            return
        if len(connection.groups) >= self._options.max_groups:
            raise HubException(f"a client can be in {self._options.max_groups} groups")
        if self._members.join(connection, group):
            await self._backplane.subscribe(Address("group", group))

    def exit(self, connection: HubConnection, group: str) -> None:
        """Take a connection out of a group."""
        check_group(group)
        for address in self._members.leave(connection, group):
            self._backplane.unsubscribe(address)

    async def deliver(
        self, address: Address, message: Mapping[str, bytes], exclude: Collection[str] = ()
    ) -> None:
        await self.give(self._members.find((address,), exclude), EncodedCall(message))

    async def join(self, connection_id: str, group: str) -> bool:
        connection = self._members.connections.get(connection_id)
        if connection is None:
            return False
        await self.enter(connection, group)
        return True

    async def leave(self, connection_id: str, group: str) -> bool:
        connection = self._members.connections.get(connection_id)
        if connection is None:
            return False
        self.exit(connection, group)
        return True

    async def invoke(self, connection_id: str, target: str, arguments: Mapping[str, bytes]) -> Result:
        connection = self._members.connections.get(connection_id)
        if connection is None:
            raise NoConnection(f"there is no connection {connection_id!r}")
        return await connection.invoke(target, arguments)
