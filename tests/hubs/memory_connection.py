"""A hub's connection in memory, with the client's end in the test's hands."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import trio
import trio.testing

import trioecho
from trioecho.hubs.connection import Reattached
from trioecho.hubs.server import HubServer

PATIENCE = 10.0
"""Seconds after which a test gives up."""


class MemoryConnection:
    """What a transport gives a hub. At most `window` transfers wait for the client; then there is no room."""

    def __init__(
        self,
        id: str = "c1",
        *,
        user: str | None = None,
        stateful: bool = False,
        transport: str = "WebSockets",
        window: float = 1000,
    ) -> None:
        self.id = id
        self.token = f"secret-{id}"
        self.request = trioecho.Request("GET", "/hub", "/hub?a=1", {"X-Name": "value"})
        self.transport = transport
        self.user = user
        self.stateful = stateful
        self.state: dict[str, Any] = {}
        self.window = window
        self.lost = False
        self.closed = False
        self.error: str | None = None
        self._up, self._up_end = trio.open_memory_channel[Any](1000)
        self.sent: list[tuple[bytes, bool]] = []
        """What waits for the client, and whether it went as text."""
        self.news = trio.Event()

    async def receive(self) -> bytes:
        item = await self._up_end.receive()
        if item is Reattached:
            raise Reattached
        return item  # type: ignore[no-any-return]

    async def send(self, data: Any, *, text: bool | None = None) -> None:
        await trio.lowlevel.checkpoint()
        while not self.try_send(data, text=text):
            await self._change()

    def try_send(self, data: Any, *, text: bool | None = None) -> bool:
        if self.closed:
            raise trio.ClosedResourceError
        if len(self.sent) >= self.window and not self.lost:
            return False
        if isinstance(data, trioecho.Prepared):
            assert text is None
            data, text = bytes(data.payload), data.text
        if not self.lost:
            self.sent.append((data, bool(text)))
            self._tell()
        return True

    async def aclose(self, error: str | None = None) -> None:
        await trio.lowlevel.checkpoint()
        self.error = error
        self.closed = True
        self._up.close()
        self._tell()

    # The client's end.

    def push(self, transfer: bytes) -> None:
        self._up.send_nowait(transfer)

    def hang_up(self) -> None:
        """The client has gone."""
        self._up.close()

    def lose(self) -> None:
        """The WebSocket is lost, with what was on its way to the client."""
        self.lost = True
        self.sent.clear()
        self._tell()

    def reattach(self) -> None:
        self.lost = False
        self._up.send_nowait(Reattached)

    async def pull(self) -> bytes:
        """The next transfer to the client."""
        while not self.sent:
            if self.closed:
                raise trio.EndOfChannel
            await self._change()
        data, _ = self.sent.pop(0)
        self._tell()
        return data

    async def _change(self) -> None:
        if self.news.is_set():
            self.news = trio.Event()
        await self.news.wait()

    def _tell(self) -> None:
        self.news.set()


class JsonClient:
    """A client that speaks JSON over a `MemoryConnection`."""

    def __init__(self, connection: MemoryConnection) -> None:
        self.connection = connection
        self._rest: list[dict[str, Any]] = []

    def say(self, **message: Any) -> None:
        self.connection.push(msgspec.json.encode(message) + b"\x1e")

    async def hear(self) -> dict[str, Any]:
        """The next message that is no ping."""
        while not self._rest:
            transfer = await self.connection.pull()
            assert transfer.endswith(b"\x1e")
            messages = [msgspec.json.decode(each) for each in transfer[:-1].split(b"\x1e")]
            self._rest += [each for each in messages if each != {"type": 6}]
        return self._rest.pop(0)

    async def shake_hands(self, protocol: str = "json", version: int = 1) -> None:
        self.say(protocol=protocol, version=version)
        assert await self.hear() == {}

    async def call(self, target: str, *arguments: Any, id: str = "1") -> dict[str, Any]:
        """Call a method and return what is heard next."""
        self.say(type=1, invocationId=id, target=target, arguments=arguments)
        return await self.hear()

    async def result(self, target: str, *arguments: Any, id: str = "1") -> Any:
        answer = await self.call(target, *arguments, id=id)
        assert answer["type"] == 3, answer
        assert answer["invocationId"] == id
        assert "error" not in answer, answer
        return answer.get("result")

    async def error(self, target: str, *arguments: Any, id: str = "1") -> str:
        answer = await self.call(target, *arguments, id=id)
        assert answer["type"] == 3, answer
        assert answer["invocationId"] == id
        return answer["error"]  # type: ignore[no-any-return]


class Running:
    """A hub that runs, and how to connect to it."""

    def __init__(self, server: HubServer[Any], nursery: trio.Nursery) -> None:
        self.server = server
        self.nursery = nursery

    def connect(self, id: str = "c1", **options: Any) -> MemoryConnection:
        connection = MemoryConnection(id, **options)
        self.nursery.start_soon(self.server.handle, connection)
        return connection

    async def client(self, id: str = "c1", **options: Any) -> JsonClient:
        client = JsonClient(self.connect(id, **options))
        await client.shake_hands(version=2 if options.get("stateful") else 1)
        return client


@contextlib.asynccontextmanager
async def running(server: HubServer[Any]) -> AsyncIterator[Running]:
    """Run a hub without any server or route."""
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            await nursery.start(server.run, trio.Event())
            yield Running(server, nursery)
            nursery.cancel_scope.cancel()


async def settled() -> None:
    """Let everything run that can."""
    await trio.testing.wait_all_tasks_blocked()
