"""Two clients of SignalR in Python, each in a thread of its own: pysignalr and signalrcore."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from trioecho import LiveServer
from trioecho.hubs import Hub, HubOptions, HubServer, Target

QUICK = HubOptions(keep_alive=0.5)
"""signalrcore stops only when it has heard something more."""

pytestmark = [
    pytest.mark.keeps_open,
    pytest.mark.timeout(60),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]


@pytest.fixture(autouse=True)
def what_the_clients_leave_open_is_collected_here() -> Iterator[None]:
    yield
    gc.collect()


class Chat(Hub[Target]):
    @asynccontextmanager
    async def life(self) -> AsyncIterator[None]:
        self._may_count = trio.Event()
        yield

    async def go(self) -> None:
        self._may_count.set()

    async def echo(self, text: str) -> str:
        return text

    async def say(self, text: str) -> None:
        await self.clients.all.send("said", text)

    async def count(self, to: int) -> AsyncIterator[int]:
        # signalrcore asks for a stream before it knows whom to tell of its items.
        await self._may_count.wait()
        for number in range(to):
            yield number


def test_pysignalr_calls_is_called_and_streams() -> None:
    # It wants an older websockets than the newest, which the other tests need.
    wanted = "needs pysignalr, which goes with websockets 16 only: pip install pysignalr"
    signalr_client = pytest.importorskip("pysignalr.client", reason=wanted).SignalRClient

    async def talk(url: str) -> dict[str, Any]:
        client = signalr_client(url)
        told: dict[str, Any] = {"items": []}
        said, opened, counted = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def on_said(arguments: list[str]) -> None:
            told["said"] = arguments
            said.set()

        async def on_open() -> None:
            opened.set()

        async def on_next(item: Any) -> None:
            told["items"].append(item)

        async def on_complete(_: Any) -> None:
            counted.set()

        async def on_error(message: Any) -> None:
            told["error"] = message.error

        client.on("said", on_said)
        client.on_open(on_open)
        client.on_error(on_error)
        running = asyncio.create_task(client.run())
        await opened.wait()
        await client.send("Say", ["hello"])
        await said.wait()
        await client.stream("Count", [5], on_next, on_complete)
        await client.send("Go", [])
        await counted.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return told

    with LiveServer({"/hub": HubServer(Chat, options=QUICK)}) as server:
        url = server.url.rstrip("/") + "/hub"
        told = asyncio.run(asyncio.wait_for(talk(url), 20))
    assert told == {"items": [0, 1, 2, 3, 4], "said": ["hello"]}


@pytest.mark.parametrize("protocol", ["json", "messagepack"])
def test_signalrcore_calls_is_called_and_streams(protocol: str) -> None:
    from signalrcore.hub_connection_builder import HubConnectionBuilder
    from signalrcore.protocol.messagepack_protocol import MessagePackHubProtocol

    opened, said, answered, counted = (threading.Event() for _ in range(4))
    told: dict[str, Any] = {"items": []}
    with LiveServer({"/hub": HubServer(Chat, options=QUICK)}) as server:
        builder = HubConnectionBuilder().with_url(server.url.rstrip("/") + "/hub")
        if protocol == "messagepack":
            builder = builder.with_hub_protocol(MessagePackHubProtocol())
        connection = builder.build()
        connection.on_open(opened.set)
        connection.on("said", lambda arguments: (told.update(said=arguments), said.set()))
        connection.start()
        try:
            assert opened.wait(10)
            connection.send("Say", ["hello"])
            assert said.wait(10)
            connection.send("Echo", ["x"], lambda answer: (told.update(echo=answer.result), answered.set()))
            assert answered.wait(10)
            connection.stream("Count", [5]).subscribe(
                {
                    "next": told["items"].append,
                    "complete": lambda _: counted.set(),
                    "error": lambda error: told.update(error=error),
                }
            )
            connection.send("Go", [])
            assert counted.wait(10)
        finally:
            connection.stop()
    assert told == {"items": [0, 1, 2, 3, 4], "said": ["hello"], "echo": "x"}
