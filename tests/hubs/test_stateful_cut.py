"""Stateful reconnect over real sockets: TCP is cut at random moments, and every item comes once, in order."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator

import pytest
import trio
from hubs import npm_client
from hubs.cut_wire import CutWire, cut_wire
from serving import one_way, serving, way_of_reading  # noqa: F401 (a fixture)

from trioecho.hubs import ConnectionOptions, Hub, HubOptions, HubServer, Target

ITEMS = 2_000
CUTS = 12
"""At most; the exchange may be over before."""

SEEDS = int(os.environ.get("TRIOECHO_CUT_SEEDS", "2"))
"""Runs of each protocol, by hand 20."""

pytestmark = [one_way, pytest.mark.keeps_open]


class Mirror(Hub[Target]):
    begun = trio.Event()

    async def mirror(self, numbers: AsyncIterator[int]) -> AsyncIterator[int]:
        self.begun.set()
        async for number in numbers:
            yield number

    async def say(self, number: int) -> int:
        await self.clients.caller.send("said", number)
        return number


def server() -> HubServer[Target]:
    return HubServer(
        Mirror,
        options=HubOptions(waiting_invocations=1000),
        connection_options=ConnectionOptions(stateful=True),
    )


PROGRAM = """
const count = %d;
const connection = builder().withStatefulReconnect().build();
connection.onclose((error) => { console.error("closed", error); process.exit(2); });
const said = [], got = [], results = [];
connection.on("said", (number) => said.push(number));
await connection.start();
const subject = new signalR.Subject();
const mirrored = new Promise((resolve, reject) =>
    connection.stream("Mirror", subject).subscribe({ next: (n) => got.push(n), complete: resolve, error: reject }));
const calls = [];
for (let number = 0; number < count; number++) {
    subject.next(number);
    if (number %% 4 === 0) calls.push(connection.invoke("Say", number).then((n) => results.push(n)));
    if (number %% 10 === 0) await sleep(4);
}
subject.complete();
await mirrored;
await Promise.all(calls);
tell({ got, said, results });
"""


async def cut_now_and_then(wire: CutWire, chance: random.Random, most: int) -> None:
    # The client gives up where it is cut off while it starts.
    await Mirror.begun.wait()
    while wire.cuts < most:
        # Any moment of the exchange, whatever is on its way.
        await trio.sleep(chance.uniform(0.02, 0.3))
        wire.cut()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("protocol", ["json", "messagepack"])
async def test_every_item_comes_once_and_in_order_whenever_tcp_is_cut(protocol: str, seed: int) -> None:
    npm_client.node()
    Mirror.begun = trio.Event()
    with trio.fail_after(60):
        async with serving({"/hub": server()}) as running, cut_wire(running.port) as wire:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cut_now_and_then, wire, random.Random(seed), CUTS)
                url = f"http://127.0.0.1:{wire.port}/hub"
                [told] = await npm_client.run(url, PROGRAM % ITEMS, protocol=protocol)
                nursery.cancel_scope.cancel()
    assert told["got"] == list(range(ITEMS))
    assert told["said"] == told["results"] == list(range(0, ITEMS, 4))
    assert wire.cuts >= 3
