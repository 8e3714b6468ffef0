"""Two clients of SignalR in Python, each in a thread of its own: pysignalr and signalrcore."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from trioecho import LiveServer
from trioecho.hubs import Hub, HubException, HubOptions, HubServer, Target

QUICK = HubOptions(keep_alive=0.1)
"""signalrcore stops only when it has heard something more, and looks at no more than one message of each poll."""

ROWS = [
    ("web_sockets", "json"),
    ("web_sockets", "messagepack"),
    ("server_sent_events", "json"),
    # With MessagePack it cuts what it polls at each byte 1E.
    ("long_polling", "json"),
]
"""What signalrcore has of transports and protocols."""

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

    async def say_to(self, room: str, text: str) -> None:
        await self.groups.add(room)
        await self.clients.group(room).send("said", text)
        await self.clients.group("another room").send("said", "not you")

    async def fail(self) -> None:
        raise HubException("told to")

    async def total(self, numbers: AsyncIterator[int]) -> None:
        await self.clients.caller.send("total", sum([number async for number in numbers]))

    async def ask(self) -> None:
        try:
            answer = await self.clients.caller.invoke("pick", 20, type=int)
        except HubException as error:
            answer = str(error)
        await self.clients.caller.send("asked", answer)

    async def count(self, to: int) -> AsyncIterator[int]:
        # signalrcore asks for a stream before it knows whom to tell of its items.
        await self._may_count.wait()
        for number in range(to):
            yield number


def test_pysignalr_calls_is_called_streams_and_answers() -> None:
    # It wants an older websockets than the newest, which the other tests need.
    wanted = "needs pysignalr, which goes with websockets 16 only: pip install pysignalr"
    signalr_client = pytest.importorskip("pysignalr.client", reason=wanted).SignalRClient

    async def talk(url: str) -> dict[str, Any]:
        client = signalr_client(url)
        told: dict[str, Any] = {"items": []}
        news = {
            name: asyncio.Event() for name in ("open", "said", "counted", "total", "asked", "error", "echo")
        }

        def teller(name: str) -> Callable[[Any], Awaitable[None]]:
            async def tell(value: Any) -> None:
                told[name] = value
                news[name].set()

            return tell

        async def on_open() -> None:
            news["open"].set()

        async def on_next(item: Any) -> None:
            told["items"].append(item)

        async def on_complete(_: Any) -> None:
            news["counted"].set()

        async def on_error(message: Any) -> None:
            await teller("error")(message.error)

        async def on_echo(message: Any) -> None:
            await teller("echo")(message.result)

        async def pick(arguments: list[int]) -> int:
            return arguments[0] + 1

        for name in ("said", "total", "asked"):
            client.on(name, teller(name))
        client.on("pick", pick)
        client.on_open(on_open)
        client.on_error(on_error)
        running = asyncio.create_task(client.run())
        await news["open"].wait()
        await client.send("SayTo", ["a room", "hello"])
        await news["said"].wait()
        await client.send("Echo", ["x"], on_echo)
        await news["echo"].wait()
        await client.stream("Count", [5], on_next, on_complete)
        await client.send("Go", [])
        await news["counted"].wait()
        async with client.client_stream("Total") as numbers:
            for number in range(101):
                await numbers.send(number)
        await news["total"].wait()
        await client.send("Ask", [])
        await news["asked"].wait()
        await client.send("Fail", [], on_echo)
        await news["error"].wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return told

    with LiveServer({"/hub": HubServer(Chat, options=QUICK)}) as server:
        url = server.url.rstrip("/") + "/hub"
        told = asyncio.run(asyncio.wait_for(talk(url), 20))
    # It calls back once more for a call that has failed.
    assert told.pop("echo") in ("x", None)
    assert told == {
        "items": [0, 1, 2, 3, 4],
        "said": ["hello"],
        "total": [5050],
        "asked": [21],
        "error": "An unexpected error occurred invoking 'Fail' on the server. HubException: told to",
    }


@pytest.mark.parametrize(("transport", "protocol"), ROWS, ids=["-".join(row) for row in ROWS])
def test_signalrcore_calls_is_called_and_streams(transport: str, protocol: str) -> None:
    from signalrcore.hub_connection_builder import HubConnectionBuilder
    from signalrcore.protocol.messagepack_protocol import MessagePackHubProtocol
    from signalrcore.subject import Subject
    from signalrcore.types import HttpTransportType

    told: dict[str, Any] = {"items": []}
    news = {name: threading.Event() for name in ("open", "said", "counted", "total", "failed", "echo")}

    def tell(name: str, value: Any) -> None:
        told[name] = value
        news[name].set()

    with LiveServer({"/hub": HubServer(Chat, options=QUICK)}) as server:
        builder = HubConnectionBuilder().with_url(
            server.url.rstrip("/") + "/hub", options={"transport": HttpTransportType[transport]}
        )
        if protocol == "messagepack":
            builder = builder.with_hub_protocol(MessagePackHubProtocol())
        connection = builder.build()
        connection.on_open(news["open"].set)
        connection.on("said", lambda arguments: tell("said", arguments))
        connection.on("total", lambda arguments: tell("total", arguments))
        connection.on_error(lambda message: tell("failed", message.error))
        connection.start()
        try:
            assert news["open"].wait(10)
            connection.send("SayTo", ["a room", "hello"])
            assert news["said"].wait(10)
            connection.send("Echo", ["x"], lambda answer: tell("echo", answer.result))
            assert news["echo"].wait(10)
            connection.stream("Count", [5]).subscribe(
                {
                    "next": told["items"].append,
                    "complete": lambda _: news["counted"].set(),
                    "error": lambda error: told.update(error=error),
                }
            )
            connection.send("Go", [])
            assert news["counted"].wait(10)
            if protocol == "json":
                # In MessagePack it leaves out the id of a call with a stream, and the server ends the connection.
                numbers = Subject()
                connection.send("Total", numbers)
                for number in range(21):
                    numbers.next(number)
                numbers.complete()
                assert news["total"].wait(10)
            connection.send("Fail", [])
            assert news["failed"].wait(10)
        finally:
            connection.stop()
    assert told == {
        "items": [0, 1, 2, 3, 4],
        "said": ["hello"],
        "echo": "x",
        **({"total": [210]} if protocol == "json" else {}),
        "failed": "An unexpected error occurred invoking 'Fail' on the server. HubException: told to",
    }
