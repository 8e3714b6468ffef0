"""SignalR's own JavaScript client: each transport with each protocol, as its users have them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
import trio
from hubs import npm_client
from serving import one_way, serving, way_of_reading  # noqa: F401 (a fixture)

import trioecho
from trioecho.hubs import ConnectionOptions, Hub, HubException, HubServer, Target

pytestmark = [one_way, pytest.mark.keeps_open, pytest.mark.timeout(60)]


class Everything(Hub[Target]):
    @contextlib.asynccontextmanager
    async def life(self) -> AsyncIterator[None]:
        await self.groups.add("lobby")
        yield
        await self.clients.group("lobby").send("left", self.transport)

    async def echo(self, value: Any) -> Any:
        return value

    async def nothing(self) -> None: ...

    async def say(self, text: str) -> None:
        await self.clients.group("lobby").send("said", text)

    async def whisper(self, text: str) -> None:
        await self.clients.others.send("said", text)

    async def fail(self, text: str) -> None:
        raise HubException(text)

    async def count(self, to: int) -> AsyncIterator[int]:
        for number in range(to):
            yield number

    async def total(self, numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])

    async def ask(self) -> int:
        return await self.clients.caller.invoke("pick", 20, type=int)

    async def carried_by(self) -> str:
        return self.transport

    async def kick(self, again: bool) -> None:
        self.close("kicked", allow_reconnect=again)


PROGRAM = """
const [one, two] = [builder().build(), builder().build()];
const heard = { one: [], two: [] };
one.on("said", (text) => heard.one.push(text));
two.on("said", (text) => heard.two.push(text));
const left = new Promise((resolve) => two.on("left", resolve));
one.on("pick", (most) => most + 1);
await one.start();
await two.start();
tell(await one.invoke("CarriedBy"));
tell(await one.invoke("Echo", { a: [1, "ü", null, true] }));
tell((await one.invoke("Nothing")) === undefined || protocol + "null");
await one.invoke("Say", "to all");
await one.invoke("Whisper", "to two");
tell(await one.invoke("Fail", "no").catch((error) => error.message));
tell(await one.invoke("Ask"));
const items = [];
await new Promise((complete, error) =>
    one.stream("Count", 50).subscribe({ next: (n) => items.push(n), complete, error }));
tell(items.length === 50 && items[49] === 49);
const subject = new signalR.Subject();
const total = one.invoke("Total", subject);
for (let number = 1; number <= 100; number++) subject.next(number);
subject.complete();
tell(await total);
while (heard.two.length < 2) await sleep(5);
tell(heard);
await one.stop();
tell(await left);
await two.stop();
"""


@npm_client.rows
async def test_everything_that_a_client_can_do(transport: str, protocol: str) -> None:
    npm_client.node()
    server = HubServer(Everything)
    async with serving({"/hub": server}) as running:
        told = await npm_client.run(
            f"http://127.0.0.1:{running.port}/Hub", PROGRAM, transport=transport, protocol=protocol
        )
        assert told == [
            transport,
            {"a": [1, "ü", None, True]},
            True,
            "An unexpected error occurred invoking 'Fail' on the server. HubException: no",
            21,
            True,
            5050,
            {"one": ["to all"], "two": ["to all", "to two"]},
            transport,
        ]


KICKED = """
const connection = builder().withAutomaticReconnect([0, 10, 50]).build();
const closed = new Promise((resolve) => connection.onclose(resolve));
const again = new Promise((resolve) => connection.onreconnected(resolve));
await connection.start();
const before = connection.connectionId;
await connection.send("Kick", true);
const after = await again;
tell(before !== after);
tell(await connection.invoke("Echo", "back"));
await connection.send("Kick", false);
tell((await closed).message);
"""


@npm_client.rows
async def test_close_says_whether_to_reconnect(transport: str, protocol: str) -> None:
    npm_client.node()
    async with serving({"/hub": HubServer(Everything)}) as running:
        told = await npm_client.run(
            f"http://127.0.0.1:{running.port}/hub", KICKED, transport=transport, protocol=protocol
        )
        assert told == [True, "back", "Server returned an error on close: kicked"]


RESTARTED = """
const connection = builder().withAutomaticReconnect(Array(200).fill(25)).build();
const again = new Promise((resolve) => connection.onreconnected(resolve));
await connection.start();
await connection.invoke("Say", "ready");
await again;
tell(await connection.invoke("Echo", "back"));
await connection.stop();
"""


class Restarted(Everything):
    ready = trio.Event()

    async def say(self, text: str) -> None:
        self.ready.set()


@npm_client.rows
async def test_automatic_reconnect_works_through_a_restart_of_the_server(
    transport: str, protocol: str
) -> None:
    npm_client.node()
    Restarted.ready = trio.Event()
    told: list[Any] = []

    async def talk(port: int) -> None:
        url = f"http://127.0.0.1:{port}/hub"
        told.extend(await npm_client.run(url, RESTARTED, transport=transport, protocol=protocol))

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            async with trio.open_nursery() as first:
                start = partial(trioecho.serve, {"/hub": HubServer(Restarted)}, host="127.0.0.1", port=0)
                server = await first.start(start)
                port = server.port
                nursery.start_soon(talk, port)
                await Restarted.ready.wait()
                server.stop()
            while not told:
                # The old server's port may still be held for a moment.
                async with serving({"/hub": HubServer(Restarted)}, at={"host": "127.0.0.1", "port": port}):
                    while not told:
                        await trio.sleep(0.01)
    assert told == ["back"]


async def test_a_client_may_skip_the_negotiation() -> None:
    npm_client.node()
    options = ConnectionOptions(transports=("websockets",))
    async with serving({"/hub": HubServer(Everything, connection_options=options)}) as running:
        program = """
const connection = new signalR.HubConnectionBuilder()
    .withUrl(url, { skipNegotiation: true, transport: signalR.HttpTransportType.WebSockets })
    .configureLogging(signalR.LogLevel.None).build();
await connection.start();
tell(await connection.invoke("Echo", "direct"));
await connection.stop();
"""
        assert await npm_client.run(f"http://127.0.0.1:{running.port}/hub", program) == ["direct"]
