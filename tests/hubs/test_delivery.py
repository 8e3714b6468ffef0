"""A message to several clients: at once to who has room; what becomes of the others."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from hubs.memory_connection import JsonClient, running, settled

from trioecho.hubs import Address, Hub, HubException, HubOptions, HubServer, Target


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


EVERYBODY = Address("all")


def from_elsewhere(server: HubServer[Target], text: str) -> None:
    """Let a message come as from another process."""
    message = b'{"type":1,"target":"shout","arguments":["%s"]}\x1e' % text.encode()
    server._delivery.deliver(EVERYBODY, {"json": message})


async def test_what_comes_from_another_process_waits_for_a_slow_client_by_itself() -> None:
    server = HubServer(Chat)
    async with running(server) as hub:
        fast, slow = await hub.client("fast"), await hub.client("slow", window=3)
        for number in range(50):
            from_elsewhere(server, str(number))
        assert await heard(fast) == [str(number) for number in range(50)]
        got = []
        while len(got) < 50:
            got.append((await slow.hear())["arguments"][0])
            if len(got) == 20:
                from_elsewhere(server, "50")
            await settled()
        assert got == [str(number) for number in range(50)]
        assert await heard(slow) == ["50"]
        assert server.connection_ids == ("fast", "slow")
        assert not server._delivery._backlogs


async def test_a_result_is_asked_for_behind_what_waits() -> None:
    server = HubServer(Chat)
    async with running(server) as hub:
        slow = await hub.client("slow", window=1)
        from_elsewhere(server, "a")
        from_elsewhere(server, "b")
        hub.nursery.start_soon(server._delivery.invoke, "slow", "Pick", {"json": b"[]"})
        await settled()
        assert [(await slow.hear())["target"] for _ in range(3)] == ["shout", "shout", "Pick"]
        slow.say(type=3, invocationId="s1", result=1)
        await settled()


async def test_for_too_much_and_for_too_long_nothing_waits(autojump_clock: trio.testing.MockClock) -> None:
    server = HubServer(Chat, options=HubOptions(send_timeout=2, max_backlog=10_000))
    async with running(server) as hub:
        fast = await hub.client("fast")
        slow = [await hub.client(f"slow {number}", window=1) for number in range(2)]
        from_elsewhere(server, "a")
        from_elsewhere(server, "b")
        assert await heard(slow[0]) == ["a"]
        await settled()
        for _ in range(100):
            from_elsewhere(server, "c")
        goodbyes = []
        for client in slow:
            while (message := await client.hear())["type"] != 7:
                pass
            goodbyes.append(message)
        assert [each["allowReconnect"] for each in goodbyes] == [True, True]
        begun = trio.current_time()
        await hub.client("late", window=1)
        from_elsewhere(server, "d")
        from_elsewhere(server, "e")
        while "late" in server.connection_ids:
            await trio.sleep(0.01)
        assert trio.current_time() - begun == pytest.approx(2, abs=0.1)
        await settled()
        assert server.connection_ids == ("fast",)
        assert (await heard(fast))[-2:] == ["d", "e"]
        assert not server._delivery._backlogs


@pytest.mark.parametrize(("policy", "there"), [("skip", True), ("close", False)])
async def test_who_is_slow_is_treated_as_the_options_say_wherever_it_comes_from(
    policy: Any, there: bool
) -> None:
    server = HubServer(Chat, options=HubOptions(slow_client=policy))
    async with running(server) as hub:
        slow = await hub.client("slow", window=1)
        from_elsewhere(server, "a")
        from_elsewhere(server, "b")
        assert (await slow.hear())["arguments"] == ["a"]
        await settled()
        assert server.connection_ids == (("slow",) if there else ())


async def test_who_speaks_what_another_process_does_not_is_left_out_and_told_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = HubServer(Chat)
    async with running(server) as hub:
        client = await hub.client("a")
        for _ in range(2):
            server._delivery.deliver(EVERYBODY, {"messagepack": b"\x02\x91\x06"})
        with pytest.raises(HubException, match="do not have the same"):
            await server._delivery.invoke("a", "Pick", {"messagepack": b"\x90"})
        await settled()
        assert not client.connection.sent
        assert len(caplog.records) == 1
