"""What carries a hub's messages to the processes that share it, and the one that has nothing to carry.

A `HubServer` sends to its own connections itself. What a backplane is given is for the other processes alone, and what
it gets from them it hands to `Local`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import trio


@dataclass(frozen=True, slots=True)
class Address:
    """To whom a message goes: to all (with the name ""), a group, a user, or a connection by its id.

    What a backplane is given; `Backplane` has an example.
    """

    kind: Literal["all", "group", "user", "connection"]
    name: str = ""


ALL = Address("all")


@dataclass(frozen=True, slots=True)
class Result:
    """What a client has answered to a call: `error`, or `value`, encoded in its own protocol ("json",
    "messagepack")."""

    protocol: str
    value: bytes = b""
    error: str | None = None


class NoConnection(Exception):  # noqa: N818 (it is nobody's mistake)
    """There is no connection with this id, or it has ended before it answered."""


class BackplaneError(ConnectionError):
    """The other processes cannot be told now. What is said to clients of this process is not held up."""


class Local(Protocol):
    """One process's half of a hub, as a backplane sees it."""

    @property
    def name(self) -> str:
        """The name of the hub's class."""
        ...

    def deliver(self, address: Address, message: Mapping[str, bytes], exclude: Collection[str] = ()) -> None:
        """Send a message, whole and encoded by protocol, to the connections here but those with the ids `exclude`.

        Waits for nobody: for a client that has no room, the message waits by itself, as the hub's options have it.
        Never raises for what happens to a connection.
        """
        ...

    async def join(self, connection_id: str, group: str) -> bool:
        """Put a connection of this process into a group; False where it is not here."""
        ...

    async def leave(self, connection_id: str, group: str) -> bool:
        """Take a connection of this process out of a group; False where it is not here."""
        ...

    async def invoke(self, connection_id: str, target: str, arguments: Mapping[str, bytes]) -> Result:
        """Call a method of a client that is here and wait for what it answers; `arguments` are an array, encoded by
        protocol. Raises `NoConnection`."""
        ...


@runtime_checkable
class Backplane(Protocol):
    """What a `HubServer` asks of a backplane. One object serves one hub.

    What cannot be told to the other processes is raised by the call whose it is, as `BackplaneError`.

    Example:

        from collections.abc import Collection, Mapping
        from trioecho.hubs import (
            Address, Backplane, Hub, HubServer, Local, LocalBackplane, NoConnection, Result, Target
        )

        class InOneProcess(LocalBackplane):
            '''Between several hubs of one process. Over processes, `deliver` is done where the message comes in.'''

            def __init__(self, all_of_them: list[Local]) -> None:
                self.all = all_of_them

            async def run(self, local: Local, *, task_status: trio.TaskStatus[None]) -> None:
                self.local = local
                self.all.append(local)
                task_status.started()
                try:
                    await trio.sleep_forever()
                finally:
                    self.all.remove(local)

            async def publish(
                self, address: Address, message: Mapping[str, bytes], exclude: Collection[str] = ()
            ) -> None:
                for other in self.all:
                    if other is not self.local:
                        other.deliver(address, message, exclude)

            async def invoke(self, connection_id: str, target: str, arguments: Mapping[str, bytes]) -> Result:
                for other in self.all:
                    if other is not self.local:
                        try:
                            return await other.invoke(connection_id, target, arguments)
                        except NoConnection:
                            pass
                raise NoConnection(f"there is no connection {connection_id!r}")

        class Chat(Hub[Target]):
            async def say(self, text: str) -> None:
                await self.clients.all.send("message", text)

        def chat(backplane: Backplane) -> HubServer[Target]:
            return HubServer(Chat, backplane=backplane)

        hubs: list[Local] = []
        routes = {"/one": chat(InOneProcess(hubs)), "/two": chat(InOneProcess(hubs))}
    """

    @property
    def healthy(self) -> bool:
        """Whether what is published now would reach the other processes."""
        ...

    async def run(
        self, local: Local, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Carry messages until it is cancelled. Runs once, while the hub is served; started when it can be used."""
        ...

    async def publish(
        self, address: Address, message: Mapping[str, bytes], exclude: Collection[str] = ()
    ) -> None:
        """Send a message, whole and encoded by protocol, to the connections of all other processes."""
        ...

    async def subscribe(self, address: Address) -> None:
        """Take what comes for `address`, which one more connection here has. Returns when that is so, or soon where
        it has to be made up for later; where it is so already, not a checkpoint. Never raises. Cancelled: it counts
        all the same."""
        ...

    def unsubscribe(self, address: Address) -> None:
        """One connection fewer here has `address`; with the last one, take no more of it. Never raises."""
        ...

    async def join(self, connection_id: str, group: str) -> bool:
        """Put a connection of another process into a group; False where nobody has it. Acknowledged by that process."""
        ...

    async def leave(self, connection_id: str, group: str) -> bool:
        """Take a connection of another process out of a group; False where nobody has it."""
        ...

    async def invoke(self, connection_id: str, target: str, arguments: Mapping[str, bytes]) -> Result:
        """`Local.invoke` in the process that has the connection. Raises `NoConnection` where none has."""
        ...


class LocalBackplane:
    """One process alone: there is nobody to tell."""

    healthy = True

    async def run(
        self, local: Local, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Wait to be cancelled."""
        task_status.started()
        await trio.sleep_forever()

    async def publish(
        self, address: Address, message: Mapping[str, bytes], exclude: Collection[str] = ()
    ) -> None:
        """Do nothing. Not a checkpoint."""

    async def subscribe(self, address: Address) -> None:
        """Do nothing. Not a checkpoint."""

    def unsubscribe(self, address: Address) -> None:
        """Do nothing."""

    async def join(self, connection_id: str, group: str) -> bool:
        """Return False. Not a checkpoint."""
        return False

    async def leave(self, connection_id: str, group: str) -> bool:
        """Return False. Not a checkpoint."""
        return False

    async def invoke(self, connection_id: str, target: str, arguments: Mapping[str, bytes]) -> Result:
        """Raise `NoConnection`."""
        raise NoConnection(f"there is no connection {connection_id!r}")
