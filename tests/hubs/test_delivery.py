"""A message to several clients: at once to who has room; what becomes of the others."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from hubs.memory_connection import JsonClient, running, settled

from trioecho.hubs import Hub, HubOptions, HubServer, Target


class Chat(Hub[Target]):
    async def shout(self, text: str) -> None:
        await self.clients.all.send("shout", text)


async def heard(client: JsonClient) -> list[str]:
    found = []
    while client.connection.sent:
        message = await client.hear()
        if message["type"] == 1:
            found.append(message["arguments"][0])
    return found


async def test_who_has_room_gets_it_at_once_and_who_reads_gets_everything() -> None:
    server = HubServer(Chat)
    async with running(server) as hub:
        fast, slow = await hub.client("fast"), await hub.client("slow", window=3)
        got: list[str] = []

        async def flood() -> None:
            for number in range(50):
                await server.clients.all.send("shout", str(number))

        hub.nursery.start_soon(flood)
        await settled()
        assert await heard(fast) == ["0", "1", "2", "3"]
        while len(got) < 50:
            got.append((await slow.hear())["arguments"][0])
            await settled()
        assert got == [str(number) for number in range(50)]
        assert server.connection_ids == ("fast", "slow")


async def test_who_does_not_read_is_disconnected_in_time_and_may_come_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    server = HubServer(Chat, options=HubOptions(send_timeout=2))
    async with running(server) as hub:
        fast = await hub.client("fast")
        slow = [await hub.client(f"slow {number}", window=1) for number in range(2)]
        await server.clients.all.send("shout", "a")
        begun = trio.current_time()
        await server.clients.all.send("shout", "b")
        assert trio.current_time() - begun == pytest.approx(2, abs=0.1)
        assert await heard(fast) == ["a", "b"]
        for client in slow:
            assert (await client.hear())["arguments"] == ["a"]
            goodbye = await client.hear()
            assert goodbye["allowReconnect"]
            assert "did not read" in goodbye["error"]
        await settled()
        assert server.connection_ids == ("fast",)


async def test_who_is_slow_may_be_left_out() -> None:
    server = HubServer(Chat, options=HubOptions(slow_client="skip"))
    async with running(server) as hub:
        fast, slow = await hub.client("fast"), await hub.client("slow", window=1)
        for text in ("a", "b", "c"):
            await server.clients.all.send("shout", text)
        assert await heard(fast) == ["a", "b", "c"]
        assert await heard(slow) == ["a"]


async def test_who_is_slow_may_be_disconnected_at_once() -> None:
    server = HubServer(Chat, options=HubOptions(slow_client="close"))
    async with running(server) as hub:
        slow = await hub.client("slow", window=1)
        await server.clients.all.send("shout", "a")
        await server.clients.all.send("shout", "b")
        assert (await slow.hear())["arguments"] == ["a"]
        assert (await slow.hear())["allowReconnect"]


async def test_who_has_gone_is_left_out() -> None:
    server = HubServer(Chat)
    async with running(server) as hub:
        gone, there = await hub.client("gone"), await hub.client("there")
        gone.connection.closed = True
        there.say(type=1, invocationId="1", target="shout", arguments=["a"])
        assert (await there.hear())["arguments"] == ["a"]
        assert await there.hear() == {"type": 3, "invocationId": "1"}
