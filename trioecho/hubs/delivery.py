"""Giving a message to the connections of this process: at once to who has room, and what becomes of the others.

What is sent here waits for slow clients, which slows down who sends too much. What comes from other processes can slow
down nobody: it waits by itself (`backlog.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

import trio

from trioecho.hubs.backlog import Backlog
from trioecho.hubs.backplane import Address, Backplane, NoConnection, Result
from trioecho.hubs.exceptions import HubException
from trioecho.hubs.groups import check_group
from trioecho.hubs.hub_options import HubOptions
from trioecho.hubs.members import Members
from trioecho.hubs.outgoing_call import EncodedCall, OutgoingCall

if TYPE_CHECKING:
    from trioecho.hubs.hub_connection import HubConnection

logger = logging.getLogger("trioecho.hubs")

GONE = (trio.BrokenResourceError, trio.ClosedResourceError)

TOO_SLOW = "The client did not read what it was sent."

OTHER_PROTOCOLS = "the processes of this hub do not have the same HubOptions.protocols"


class Delivery:
    """This process's half of a hub; what a backplane knows as `Local`. `nursery` is set while the hub runs."""

    nursery: trio.Nursery

    def __init__(self, name: str, members: Members, options: HubOptions, backplane: Backplane) -> None:
        self.name = name
        self._backlogs: dict[HubConnection, Backlog] = {}
        self._told_of_protocols = False
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
        self._members.join(connection, group)
        await self._backplane.subscribe(Address("group", group))

    def exit(self, connection: HubConnection, group: str) -> None:
        """Take a connection out of a group."""
        check_group(group)
        if self._members.leave(connection, group):
            self._backplane.unsubscribe(Address("group", group))

    def deliver(self, address: Address, message: Mapping[str, bytes], exclude: Collection[str] = ()) -> None:
        call = EncodedCall(message)
        for connection in self._members.find((address,), exclude):
            if connection.protocol.name not in message:
                self._tell_of_protocols()
                continue
            prepared = call.prepared(connection.protocol)
            backlog = self._backlogs.get(connection)
            try:
                if backlog is None and connection.try_send(prepared):
                    continue
            except GONE:
                continue
            if self._options.slow_client == "skip" or connection.over:
                continue
            if self._options.slow_client == "close":
                connection.end(TOO_SLOW, allow_reconnect=True)
                continue
            if backlog is None:
                backlog = self._backlogs[connection] = Backlog(self._options.max_backlog)
                self.nursery.start_soon(self._catch_up, connection, backlog)
            if not backlog.add(prepared):
                connection.end(TOO_SLOW, allow_reconnect=True)

    async def _catch_up(self, connection: HubConnection, backlog: Backlog) -> None:
        """Send what waits for a client, as it reads."""
        try:
            while backlog and not connection.over:
                with trio.move_on_after(self._options.send_timeout) as patience:
                    await connection.send(backlog.first)
                if patience.cancelled_caught:
                    connection.end(TOO_SLOW, allow_reconnect=True)
                    return
                backlog.remove_first()
        except GONE:
            return
        finally:
            del self._backlogs[connection]
            backlog.over.set()

    def _tell_of_protocols(self) -> None:
        if not self._told_of_protocols:
            self._told_of_protocols = True
            logger.error("%s: %s, so some clients miss messages", self.name, OTHER_PROTOCOLS)

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
        if connection.protocol.name not in arguments:
            raise HubException(OTHER_PROTOCOLS)
        backlog = self._backlogs.get(connection)
        if backlog is not None:
            # What was sent before is before it.
            await backlog.over.wait()
        return await connection.invoke(target, arguments)
