"""What every backplane keeps, and what a hub asks of it. The contract is run on each backplane there is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import pytest
import trio
from hubs.memory_connection import Running, running, settled
from hubs.redis_server import running_redis

from trioecho.hubs import (
    Address,
    Backplane,
    BackplaneError,
    Hub,
    HubServer,
    Local,
    LocalBackplane,
    NoConnection,
    RedisBackplane,
    Result,
    Target,
)


class Chat(Hub[Target]):
    async def join(self, group: str) -> None:
        await self.groups.add(group)

    async def leave(self, group: str) -> None:
        await self.groups.remove(group)

    async def say(self, group: str, text: str) -> None:
        await self.clients.group(group).send("say", text)


@pytest.fixture(params=[LocalBackplane, RedisBackplane])
def backplane(request: pytest.FixtureRequest) -> Iterator[Backplane]:
    """A new backplane for one hub."""
    if request.param is LocalBackplane:
        yield LocalBackplane()
        return
    with running_redis() as redis:
        yield RedisBackplane(redis.url)


def test_it_is_one(backplane: Backplane) -> None:
    assert isinstance(backplane, Backplane)


async def test_what_is_here_is_delivered_whatever_the_backplane(backplane: Backplane) -> None:
    server = HubServer(Chat, backplane=backplane)
    async with running(server) as hub:
        a, b = await hub.client("a", user="ann"), await hub.client("b")
        await b.result("join", "red")
        for target in (server.clients.client("b"), server.clients.group("red"), server.clients.exclude("a")):
            await target.send("say", "hello")
            assert (await b.hear())["arguments"] == ["hello"]
        await server.clients.user("ann").send("say", "ann")
        assert (await a.hear())["arguments"] == ["ann"]
        await server.clients.all.send("say", "all")
        assert [(await each.hear())["arguments"] for each in (a, b)] == [["all"]] * 2
        assert not a.connection.sent


async def test_whoever_is_nowhere_is_nobody(backplane: Backplane) -> None:
    server = HubServer(Chat, backplane=backplane)
    async with running(server):
        assert server.healthy
        with trio.fail_after(5):
            assert not await server.groups.add("nobody", "red")
            assert not await server.groups.remove("nobody", "red")
            await server.clients.client("nobody").send("say")
            with pytest.raises(trio.BrokenResourceError):
                await server.clients.client("nobody").invoke("say")
            with pytest.raises(NoConnection):
                await backplane.invoke("nobody", "say", {"json": b"[]", "messagepack": b"\x90"})


class Wire:
    """A backplane between hubs of one test: what it is told, it tells the others."""

    healthy = True

    def __init__(self, others: list[Wire]) -> None:
        others.append(self)
        self.all = others
        self.addresses: Counter[Address] = Counter()
        self.published: list[tuple[Address, dict[str, bytes], set[str]]] = []
        self.local: Local | None = None
        self.away = False

    @property
    def others(self) -> list[Wire]:
        return [each for each in self.all if each is not self]

    async def run(
        self, local: Local, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        self.local = local
        task_status.started()
        await trio.sleep_forever()

    async def publish(
        self, address: Address, message: Mapping[str, bytes], exclude: Collection[str] = ()
    ) -> None:
        if self.away:
            raise BackplaneError("the wire is cut")
        self.published.append((address, dict(message), set(exclude)))
        for other in self.others:
            if address in other.addresses:
                assert other.local is not None
                other.local.deliver(address, dict(message), exclude)

    async def subscribe(self, address: Address) -> None:
        await trio.lowlevel.checkpoint()
        self.addresses[address] += 1

    def unsubscribe(self, address: Address) -> None:
        assert self.addresses[address] > 0
        self.addresses[address] -= 1
        # What nobody has any more is not there.
        self.addresses = +self.addresses

    async def join(self, connection_id: str, group: str) -> bool:
        return any([await other.local.join(connection_id, group) for other in self.others if other.local])

    async def leave(self, connection_id: str, group: str) -> bool:
        return any([await other.local.leave(connection_id, group) for other in self.others if other.local])

    async def invoke(self, connection_id: str, target: str, arguments: Mapping[str, bytes]) -> Result:
        for other in self.others:
            if Address("connection", connection_id) in other.addresses:
                assert other.local is not None
                return await other.local.invoke(connection_id, target, arguments)
        raise NoConnection(connection_id)


async def both(nursery: trio.Nursery) -> list[Running]:
    """Two hubs with a wire between them."""
    wires: list[Wire] = []
    hubs = []
    for _ in range(2):
        server: HubServer[Any] = HubServer(Chat, backplane=Wire(wires))
        await nursery.start(server.run, trio.Event())
        hubs.append(Running(server, nursery))
    return hubs


def told(hub: Running) -> Wire:
    assert isinstance(hub.server.backplane, Wire)
    return hub.server.backplane


async def test_groups_users_and_connections_are_reached_over_two_hubs(nursery: trio.Nursery) -> None:
    here, there = await both(nursery)
    a, b, c = await here.client("a"), await there.client("b", user="bob"), await there.client("c")
    await a.result("join", "red")
    await b.result("join", "red")
    await a.call("say", "red", "hello")
    assert {(await b.hear())["arguments"][0]} == {"hello"}
    for target in (here.server.clients.user("bob"), here.server.clients.client("b")):
        await target.send("say", "to b")
        assert (await b.hear())["arguments"] == ["to b"]
    await here.server.clients.exclude("b").send("say", "not to b")
    assert (await c.hear())["arguments"] == ["not to b"]
    await settled()
    assert not b.connection.sent


async def test_what_is_for_a_connection_of_this_process_is_not_published(nursery: trio.Nursery) -> None:
    here, _ = await both(nursery)
    a = await here.client("a")
    await here.server.clients.client("a").send("say", "x")
    assert (await a.hear())["arguments"] == ["x"]
    assert not told(here).published


async def test_groups_are_changed_and_results_asked_for_over_two_hubs(nursery: trio.Nursery) -> None:
    here, there = await both(nursery)
    b = await there.client("b")
    assert await here.server.groups.add("b", "red")
    await here.server.clients.group("red").send("say", "x")
    assert (await b.hear())["arguments"] == ["x"]
    assert await here.server.groups.remove("b", "red")
    await here.server.clients.group("red").send("say", "y")
    await settled()
    assert not b.connection.sent
    results: list[int] = []

    async def ask() -> None:
        results.append(await here.server.clients.client("b").invoke("Pick", type=int))

    nursery.start_soon(ask)
    asked = await b.hear()
    b.say(type=3, invocationId=asked["invocationId"], result=5)
    await settled()
    assert results == [5]


async def test_what_nobody_here_has_any_more_is_not_subscribed_to(nursery: trio.Nursery) -> None:
    here, _ = await both(nursery)
    a, b = await here.client("a", user="ann"), await here.client("b", user="ann")
    for client in (a, b):
        await client.result("join", "red")
    assert told(here).addresses == {
        Address("all"): 1,
        Address("connection", "a"): 1,
        Address("connection", "b"): 1,
        Address("user", "ann"): 2,
        Address("group", "red"): 2,
    }
    await b.result("leave", "red")
    b.connection.hang_up()
    await settled()
    assert told(here).addresses == {
        Address("all"): 1,
        Address("connection", "a"): 1,
        Address("user", "ann"): 1,
        Address("group", "red"): 1,
    }
    a.connection.hang_up()
    await settled()
    assert told(here).addresses == {Address("all"): 1}


async def test_a_backplane_that_is_away_is_told_to_the_caller_and_holds_up_nothing_here(
    nursery: trio.Nursery,
) -> None:
    here, _ = await both(nursery)
    a = await here.client("a")
    await a.result("join", "red")
    told(here).away = True
    a.say(type=1, invocationId="1", target="say", arguments=["red", "hello"])
    assert (await a.hear())["arguments"] == ["hello"]
    assert "error" in await a.hear()
    with pytest.raises(BackplaneError, match="the wire is cut"):
        await here.server.clients.all.send("say", "x")
