"""HubServer: a hub's class as a route, and its clients and groups for everybody else."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Collection, Coroutine, Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec
import trio

from trioecho import Route, RouteGroup, WebSocketOptions
from trioecho._server.routes import Admit
from trioecho.hubs.backplane import ALL, Address, Backplane, LocalBackplane, NoConnection
from trioecho.hubs.clients import Clients, client_methods
from trioecho.hubs.connection import Connection
from trioecho.hubs.connection_options import ConnectionOptions
from trioecho.hubs.connection_route import ConnectionRoute, User
from trioecho.hubs.delivery import Delivery
from trioecho.hubs.exceptions import HubException
from trioecho.hubs.groups import Groups
from trioecho.hubs.handshake import PROTOCOLS
from trioecho.hubs.hub import Hub
from trioecho.hubs.hub_connection import HubConnection
from trioecho.hubs.hub_options import HubOptions
from trioecho.hubs.members import Members, own_addresses
from trioecho.hubs.methods import Methods
from trioecho.hubs.outgoing_call import OutgoingArguments, OutgoingCall

T = TypeVar("T")

LOOK_INTERVAL = 1.0
"""Seconds between two looks at all connections for what is due; fewer where an option is shorter."""


class HubServer(RouteGroup, Generic[T]):
    """A hub, served at a path like any other route, to SignalR's clients over three transports.

    `hub` is a class that derives from `Hub`; each connection has an instance, made without arguments. `admit` and
    `user` are as of a `ConnectionRoute`: who may come, and who it is, which `Hub.user` and `Clients.user` go by.
    `options` are the hub's, `connection_options` those of the connections below it. `backplane` carries messages
    between processes that serve the same hub; None: this is the only one. One server at a time may serve it.

    `clients` and `groups` may be used from any task of the same Trio run. When the server stops, clients are told that
    they may reconnect, and those that do so by themselves do.

    Example:

        from trioecho.hubs import Hub, HubServer, Target

        class Chat(Hub[Target]):
            async def say(self, text: str) -> None:
                await self.clients.all.send("message", text)

        routes = {"/chat": HubServer(Chat)}

    Raises TypeError with one sentence for what will not do.
    """

    ignore_case = True

    def __init__(
        self,
        hub: type[Hub[T]],
        *,
        admit: Admit | None = None,
        user: User | None = None,
        options: HubOptions | None = None,
        connection_options: ConnectionOptions | None = None,
        backplane: Backplane | None = None,
    ) -> None:
        if not inspect.isclass(hub) or not issubclass(hub, Hub) or hub is Hub:
            raise TypeError(f"HubServer takes a class that derives from Hub; you gave {hub!r}")
        if options is None:
            options = HubOptions()
        elif not isinstance(options, HubOptions):
            raise TypeError(
                f"options takes a HubOptions such as HubOptions(keep_alive=10); you gave {options!r}"
            )
        if backplane is None:
            backplane = LocalBackplane()
        elif not isinstance(backplane, Backplane):
            raise TypeError(
                f"backplane takes a Backplane such as RedisBackplane(...); you gave {backplane!r}"
            )
        self.name = hub.__name__
        self.options = options
        self.backplane = backplane
        self.methods = Methods(hub, Hub)
        self.client_methods = client_methods(hub, Hub)
        self.members = Members()
        self._hub = hub
        self._delivery = Delivery(self.name, self.members, options, backplane)
        self._route = ConnectionRoute(
            self.handle, admit=admit, user=user, options=_patient(connection_options, options)
        )
        self._stopping = False
        self._all_gone = trio.Event()

    def __repr__(self) -> str:
        return f"HubServer({self.name})"

    @property
    def clients(self) -> Clients[T]:
        """The clients, for any task of the Trio run that serves the hub."""
        return Clients(self, self.client_methods)

    @property
    def groups(self) -> Groups:
        """The groups, for any connection by its id."""
        return Groups(self)

    @property
    def connection_ids(self) -> tuple[str, ...]:
        """The ids of the connections of this process, oldest first."""
        return tuple(self.members.connections)

    @property
    def healthy(self) -> bool:
        """Whether the backplane reaches the other processes; True where there is none."""
        return self.backplane.healthy

    def close(self, connection_id: str, error: str | None = None, *, allow_reconnect: bool = False) -> bool:
        """End a connection of this process, as `Hub.close` does; False where it is not here."""
        connection = self.members.connections.get(connection_id)
        if connection is None:
            return False
        connection.end(error, allow_reconnect=allow_reconnect)
        return True

    def routes(self) -> Mapping[str, Sequence[Route]]:
        """What stands where; see `RouteGroup`."""
        return self._route.routes()

    async def run(
        self, stopping: trio.Event, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Run what all connections share, the backplane and what is due at a time, until the last has ended."""
        self._stopping = False
        async with trio.open_nursery() as nursery:
            self._delivery.nursery = nursery
            await nursery.start(self.backplane.run, self._delivery)
            await self.backplane.subscribe(ALL)
            nursery.start_soon(self._look)
            async with trio.open_nursery() as connections:
                await connections.start(self._route.run, stopping)
                task_status.started()
                await stopping.wait()
                self._stopping = True
                self._all_gone = trio.Event()
                for connection in tuple(self.members.connections.values()):
                    connection.end(allow_reconnect=True)
                if self.members.connections:
                    # Those that live in the task of their WebSocket are not in the route's nursery.
                    await self._all_gone.wait()
            nursery.cancel_scope.cancel()

    @property
    def stopping(self) -> bool:
        """Whether the server has begun to stop."""
        return self._stopping

    async def _look(self) -> None:
        """One task looks after all: one for each connection would take some KiB of each."""
        options = self.options
        interval = min(LOOK_INTERVAL, options.keep_alive / 4, options.client_timeout / 4)
        while True:
            await trio.sleep(interval)
            now = trio.current_time()
            for connection in tuple(self.members.connections.values()):
                connection.look(now)

    def handle(self, connection: Connection) -> Coroutine[Any, Any, None]:
        """Serve one connection, to its end. No coroutine function of its own: each would cost every message."""
        return HubConnection(connection, self).run()

    def make_hub(self, connection: HubConnection) -> Hub[T]:
        """Make the hub of a connection."""
        hub = self._hub()
        hub._server = self
        hub._connection = connection
        return hub

    async def subscribe(self, connection: HubConnection) -> None:
        """Tell the backplane that a connection and its user are here. Cancelled: they are not."""
        told = []
        try:
            for address in own_addresses(connection):
                told.append(address)
                await self.backplane.subscribe(address)
        except BaseException:
            for address in told:
                self.backplane.unsubscribe(address)
            raise

    def forget(self, connection: HubConnection) -> None:
        """Take out a connection that has ended."""
        if self.members.connections.get(connection.id) is connection:
            for address in self.members.disconnect(connection):
                self.backplane.unsubscribe(address)
            if not self.members.connections:
                self._all_gone.set()

    async def join(self, connection: HubConnection, group: str) -> None:
        """Put a connection that is here into a group."""
        await self._delivery.enter(connection, group)

    def leave(self, connection: HubConnection, group: str) -> None:
        """Take a connection that is here out of a group."""
        self._delivery.exit(connection, group)

    async def send_to(
        self, addresses: tuple[Address, ...], exclude: Collection[str], name: str, arguments: tuple[Any, ...]
    ) -> None:
        """Call a method of all connections that have any of the addresses, wherever they are."""
        call = OutgoingCall(name, arguments, self.options.protocols)
        await self._delivery.give(self.members.find(addresses, exclude), call)
        for address in addresses:
            if address.kind != "connection":
                await self.backplane.publish(address, call, exclude)
            elif address.name not in self.members.connections and address.name not in exclude:
                await self.backplane.publish(address, call)

    async def invoke_on(self, address: Address, name: str, arguments: tuple[Any, ...], kind: Any) -> Any:
        """Call a method of one client, wherever it is, and return what it answers as a `kind`."""
        encoded = OutgoingArguments(arguments, self.options.protocols)
        here = address.name in self.members.connections
        place = self._delivery if here else self.backplane
        try:
            result = await place.invoke(address.name, name, encoded)
        except NoConnection as error:
            raise trio.BrokenResourceError(str(error)) from None
        if result.error is not None:
            raise HubException(result.error)
        try:
            return PROTOCOLS[result.protocol].parse(result.value, kind)
        except msgspec.DecodeError as error:
            raise HubException(f"the client answered {name} with what it should not: {error}") from None


def _patient(connections: ConnectionOptions | None, hub: HubOptions) -> ConnectionOptions:
    """Let WebSockets give a hub's life the time that it has, where the user has not said how long."""
    if connections is None:
        connections = ConnectionOptions()
    elif not isinstance(connections, ConnectionOptions):
        raise TypeError(f"connection_options takes a ConnectionOptions; you gave {connections!r}")
    if isinstance(connections.websocket, WebSocketOptions):
        return connections
    websocket = {"answer_timeout": hub.leave_timeout, **(connections.websocket or {})}
    return dataclasses.replace(connections, websocket=websocket)
