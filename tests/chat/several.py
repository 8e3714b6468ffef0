"""Several servers of the chat in one process, joined by a wire, with clients in memory."""

from __future__ import annotations

from typing import Any

import trio
from hubs.memory_connection import JsonClient, Running
from hubs.test_backplane import Wire

from trioecho.chat.hub import chat_hub
from trioecho.chat.people import People
from trioecho.chat.presence import Presence
from trioecho.chat.routes import HUB_OPTIONS
from trioecho.hubs import Backplane, HubServer, LocalBackplane


class ChatServer(Running):
    """A server of the chat that runs, with what it knows."""

    def __init__(self, nursery: trio.Nursery, backplane: Backplane | None = None) -> None:
        self.people = People()
        self.presence = Presence(backplane or LocalBackplane(), self.people)
        hub: HubServer[Any] = HubServer(
            chat_hub(self.people, self.presence), backplane=self.presence, options=HUB_OPTIONS
        )
        super().__init__(hub, nursery)
        self.scope = trio.CancelScope()

    async def start(self) -> ChatServer:
        await self.nursery.start(self._run)
        return self

    async def _run(self, *, task_status: trio.TaskStatus[None]) -> None:
        with self.scope:
            await self.server.run(trio.Event(), task_status=task_status)

    async def person(self, name: str, room: str = "Lobby", **options: Any) -> JsonClient:
        """A client that is in a room."""
        client = await self.client(name.lower(), **options)
        client.say(type=1, invocationId="enter", target="Enter", arguments=[name, room])
        while (await client.hear()).get("invocationId") != "enter":
            pass
        return client


async def joined(nursery: trio.Nursery, number: int = 2) -> tuple[list[ChatServer], list[Wire]]:
    """So many servers that are one chat, and their wires."""
    wires: list[Wire] = []
    return [await ChatServer(nursery, Wire(wires)).start() for _ in range(number)], wires


async def heard(client: JsonClient, target: str) -> list[Any]:
    """The arguments of the next call of a method of the client's; other calls are passed over."""
    while True:
        message = await client.hear()
        if message.get("target") == target:
            return message["arguments"]  # type: ignore[no-any-return]


async def answered(client: JsonClient, target: str, *arguments: Any, id: str = "1") -> dict[str, Any]:
    """The completion of a call; calls of the client that come before it are passed over."""
    client.say(type=1, invocationId=id, target=target, arguments=arguments)
    while True:
        message = await client.hear()
        if message.get("invocationId") == id and message["type"] == 3:
            return message
