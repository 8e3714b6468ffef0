"""What SignalR's own JavaScript client calls and is called by, in detail: streams, groups and users, client results."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from hubs import npm_client
from serving import one_way, serving, until, way_of_reading  # noqa: F401 (a fixture)

import trioecho
from trioecho.hubs import Hub, HubException, HubOptions, HubServer, Target

pytestmark = [one_way, pytest.mark.keeps_open, pytest.mark.timeout(60)]


class Streams(Hub[Target]):
    ended: list[str] = []  # noqa: RUF012 (what the test looks at)

    async def mirror(self, numbers: AsyncIterator[int]) -> AsyncIterator[int]:
        async for number in numbers:
            yield -number

    async def tick(self) -> AsyncIterator[int]:
        try:
            for number in range(10**9):
                yield number
                await trio.sleep(0.001)
        finally:
            self.ended.append("tick")

    async def fail_after(self, count: int) -> AsyncIterator[int]:
        for number in range(count):
            yield number
        raise HubException("no more")

    async def zip(self, left: AsyncIterator[int], by: str, right: AsyncIterator[str]) -> list[str]:
        # The client overlooks a second stream directly behind a first one.
        lefts = [number async for number in left]
        rights = [text async for text in right]
        return [f"{number}{by}{text}" for number, text in zip(lefts, rights, strict=True)]

    async def take(self, count: int, numbers: AsyncIterator[int]) -> list[int]:
        taken: list[int] = []
        async for number in numbers:
            taken.append(number)
            if len(taken) == count:
                break
        return taken

    async def until_error(self, numbers: AsyncIterator[int]) -> str:
        try:
            async for _ in numbers:
                pass
        except HubException as error:
            return str(error)
        return "none"


STREAMS = """
const connection = builder().build();
await connection.start();
const all = (stream) => new Promise((resolve, reject) => {
    const items = [];
    stream.subscribe({ next: (item) => items.push(item), complete: () => resolve(items),
        error: (error) => resolve([items, error.message]) });
});
const subject = new signalR.Subject();
const mirrored = all(connection.stream("Mirror", subject));
for (let number = 1; number <= 300; number++) {
    subject.next(number);
    if (number % 100 === 0) await sleep(5);
}
subject.complete();
const got = await mirrored;
tell(got.length === 300 && got.every((number, place) => number === -place - 1));

let ticks = 0;
await new Promise((resolve) => {
    const subscription = connection.stream("Tick").subscribe({ next: () => {
        if (++ticks === 3) { subscription.dispose(); resolve(); }
    }, complete: () => {}, error: () => {} });
});
tell(ticks);
tell(await all(connection.stream("FailAfter", 2)));

const [left, right] = [new signalR.Subject(), new signalR.Subject()];
const zipped = connection.invoke("Zip", left, "-", right);
for (const number of [1, 2, 3]) { right.next("abc"[number - 1]); left.next(number); }
right.complete();
left.complete();
tell(await zipped);

const endless = new signalR.Subject();
const taken = connection.invoke("Take", 2, endless);
for (let number = 0; number < 50; number++) endless.next(number);
tell(await taken);
const broken = new signalR.Subject();
const told = connection.invoke("UntilError", broken);
broken.next(1);
broken.error("broken here");
tell(await told);
tell(await connection.invoke("Take", 1, "no stream").catch((error) => error.message.includes("streams")));
"""


@npm_client.rows
async def test_streams_go_either_way_and_both_and_end_where_either_side_ends_them(
    transport: str, protocol: str
) -> None:
    """Also in the middle of an item's way: by the client's dispose, by an exception, by a break, by an error."""
    npm_client.node()
    Streams.ended = []
    async with serving({"/hub": HubServer(Streams)}) as running:
        told = await npm_client.run(
            f"http://127.0.0.1:{running.port}/hub", STREAMS, transport=transport, protocol=protocol
        )
        await until(lambda: Streams.ended)
    failed = "An error occurred on the server while streaming results. HubException: no more"
    assert told == [True, 3, [[0, 1], failed], ["1-a", "2-b", "3-c"], [0, 1], "broken here", True]
    assert Streams.ended == ["tick"]


class Rooms(Hub[Target]):
    async def join(self, room: str) -> str:
        await self.groups.add(room)
        return self.connection_id

    async def leave(self, room: str) -> None:
        await self.groups.remove(room)

    async def to_rooms(self, rooms: list[str], text: str, but: list[str]) -> None:
        await self.clients.group(*rooms, exclude=but).send("heard", text)

    async def to_user(self, name: str, text: str) -> None:
        await self.clients.user(name).send("heard", text)

    async def to_client(self, id: str, text: str) -> None:
        await self.clients.client(id).send("heard", text)

    async def to_others(self, text: str) -> None:
        await self.clients.others.send("heard", text)

    async def all_are_told(self) -> None:
        await self.clients.all.send("done")


GROUPS = """
const heard = { ann: [], bob: [], cid: [] };
const names = Object.keys(heard);
const clients = {};
const done = [];
for (const name of names) {
    const client = clients[name] = builder(`?name=${name}`).build();
    client.on("heard", (text) => heard[name].push(text));
    done.push(new Promise((resolve) => client.on("done", resolve)));
    await client.start();
}
const { ann, bob, cid } = clients;
const ids = [await ann.invoke("Join", "red"), await bob.invoke("Join", "red"), await cid.invoke("Join", "blue")];
tell(ids[0] === ann.connectionId && new Set(ids).size === 3);
await ann.invoke("ToRooms", ["red"], "1: red", []);
await ann.invoke("ToRooms", ["red", "blue"], "2: all but bob", [ids[1]]);
await bob.invoke("Leave", "red");
await cid.invoke("ToRooms", ["red"], "3: ann", []);
await ann.invoke("ToUser", "bob", "4: bob");
await ann.invoke("ToClient", ids[2], "5: cid");
await ann.invoke("ToClient", "nobody", "6: nobody");
await bob.invoke("ToOthers", "7: ann and cid");
await ann.invoke("AllAreTold");
await Promise.all(done);
tell(heard);
for (const name of names) await clients[name].stop();
"""


@npm_client.rows
async def test_each_client_hears_what_goes_to_its_groups_and_its_user(transport: str, protocol: str) -> None:
    """Joined and left, several at once, without some connections; users, single clients, all others."""
    npm_client.node()

    def user(request: trioecho.Request) -> str | None:
        return request.query.get("name")

    async with serving({"/hub": HubServer(Rooms, user=user)}) as running:
        told = await npm_client.run(
            f"http://127.0.0.1:{running.port}/hub", GROUPS, transport=transport, protocol=protocol
        )
    assert told == [
        True,
        {
            "ann": ["1: red", "2: all but bob", "3: ann", "7: ann and cid"],
            "bob": ["1: red", "4: bob"],
            "cid": ["2: all but bob", "5: cid", "7: ann and cid"],
        },
    ]


class Asks(Hub[Target]):
    async def ask(self, name: str, value: Any) -> Any:
        try:
            return await self.clients.caller.invoke(name, value, type=int)
        except HubException as error:
            return f"failed: {error}"

    async def ask_all_at_once(self, count: int) -> list[int]:
        answers: dict[int, int] = {}

        async def one(number: int) -> None:
            answers[number] = await self.clients.caller.invoke("later", number, type=int)

        async with trio.open_nursery() as nursery:
            for number in range(count):
                nursery.start_soon(one, number)
        return [answers[number] for number in range(count)]

    async def ask_another(self, id: str) -> str:
        return await self.clients.client(id).invoke("name", type=str)


ASKED = """
const [one, two] = [builder().build(), builder().build()];
one.on("double", (value) => 2 * value);
one.on("wrong", () => "no number");
one.on("throws", () => { throw new Error("not today"); });
one.on("later", async (value) => { await sleep(20 - value); return value * value; });
two.on("name", () => "two");
await one.start();
await two.start();
tell(await one.invoke("Ask", "double", 21));
tell(await one.invoke("Ask", "throws", 1));
tell((await one.invoke("Ask", "wrong", 1)).startsWith("failed: "));
tell((await one.invoke("Ask", "nothing", 1)).startsWith("failed: "));
tell(await one.invoke("AskAllAtOnce", 10));
tell(await one.invoke("AskAnother", two.connectionId));
await one.stop();
await two.stop();
"""


@npm_client.rows
async def test_clients_answer_what_they_are_asked(transport: str, protocol: str) -> None:
    """The caller and another one, many questions at once, and answers that are errors or of another type."""
    npm_client.node()
    async with serving({"/hub": HubServer(Asks)}) as running:
        told = await npm_client.run(
            f"http://127.0.0.1:{running.port}/hub", ASKED, transport=transport, protocol=protocol
        )
    assert told == [42, "failed: Error: not today", True, True, [n * n for n in range(10)], "two"]


class Values(Hub[Target]):
    async def echo(self, value: Any) -> Any:
        return value

    async def length(self, data: bytes) -> int:
        return len(data)

    async def reversed(self, data: bytes) -> bytes:
        return data[::-1]

    async def add(self, left: int, right: int = 5) -> int:
        return left + right


VALUES = """
const connection = builder().build();
const message = (error) => error.message;
await connection.start();
const value = { "text": "üñ€𝄞", "numbers": [0, -1, 1.5, 2 ** 40], "null": null, "deep": { a: [{ b: [] }] } };
tell(await connection.invoke("Echo", value));
tell((await connection.invoke("Echo", "x".repeat(30000))).length);
if (protocol === "messagepack") {
    const data = await connection.invoke("Reversed", new Uint8Array([1, 2, 255]));
    tell(Array.from(data));
} else {
    tell([255, 2, 1]);
}
tell([await connection.invoke("Add", 1, 2), await connection.invoke("add", 1)]);
tell(await connection.invoke("Add", "x").catch(message));
tell(await connection.invoke("Add", 1, 2, 3).catch(message));
tell(await connection.invoke("NoSuch", 1).catch(message));
tell(await connection.invoke("_connected").catch(message));
const results = await Promise.all(Array.from({ length: 100 }, (_, number) => connection.invoke("Echo", number)));
tell(results.every((result, number) => result === number));
const closed = new Promise((resolve) => connection.onclose(resolve));
connection.send("Echo", "x".repeat(40000)).catch(() => {});
tell((await closed)?.message ?? "no reason");
"""


@npm_client.rows
async def test_values_and_errors_come_through(transport: str, protocol: str) -> None:
    """Any value, bytes in MessagePack, a hundred calls at once; wrong arguments, unknown names, too much at once."""
    npm_client.node()
    async with serving({"/hub": HubServer(Values, options=HubOptions(max_receive_size=2**15))}) as running:
        told = await npm_client.run(
            f"http://127.0.0.1:{running.port}/hub", VALUES, transport=transport, protocol=protocol
        )
    value = {"text": "üñ€𝄞", "numbers": [0, -1, 1.5, 2**40], "null": None, "deep": {"a": [{"b": []}]}}
    missing = "Failed to invoke '{}' due to an error on the server. HubException: Method does not exist."
    assert told[:4] == [value, 30_000, [255, 2, 1], [3, 6]]
    assert all(error.startswith("Failed to invoke 'Add' because of its arguments: ") for error in told[4:6])
    assert told[6:9] == [missing.format("NoSuch"), missing.format("_connected"), True]
    assert told[9] == ("Server returned an error on close: A message of more than 32768 bytes was received.")
