"""What a page may call, and what it is told."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from chat.several import ChatServer, answered, heard, joined
from hubs.memory_connection import settled
from hubs.test_backplane import Wire

from trioecho.chat.pace import BURST
from trioecho.hubs import Address


class SlowWire(Wire):
    """One whose subscriptions take until `told`; `stubborn`, whatever is cancelled meanwhile."""

    told: trio.Event | None = None
    stubborn = False

    async def subscribe(self, address: Address) -> None:
        await super().subscribe(address)
        if self.told is not None:
            with trio.CancelScope(shield=self.stubborn):
                await self.told.wait()


async def test_who_enters_is_told_where_and_with_whom(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        server = await ChatServer(nursery).start()
        await server.person("Ada")
        bob = await server.client("b", transport="LongPolling")
        told = await answered(bob, "Enter", "  Bob ", "Lobby")
        assert told["result"] == {
            "id": "b",
            "name": "Bob",
            "room": "Lobby",
            "transport": "LongPolling",
            "people": [["ada", "Ada"], ["b", "Bob"]],
            "number": 2,
            "rooms": [["Lobby", 2]],
        }
        nursery.cancel_scope.cancel()


async def test_what_is_said_is_heard_in_the_room_and_nowhere_else(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        (one, two), _ = await joined(nursery)
        ada, bob, cleo = (
            await one.person("Ada"),
            await two.person("Bob"),
            await two.person("Cleo", "Trio"),
        )
        await answered(ada, "Say", "hello")
        assert await heard(bob, "message") == ["ada", "Ada", "hello"]
        await answered(bob, "Enter", "Robert", "Trio")
        await answered(ada, "Say", "nobody is here")
        await answered(cleo, "Say", "welcome")
        assert await heard(bob, "message") == ["cleo", "Cleo", "welcome"]
        await answered(bob, "Say", "thanks")
        assert await heard(cleo, "message") == ["bob", "Robert", "thanks"]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("target", "arguments", "sentence"),
    [
        ("Say", ["hello"], "HubException: Enter a room first."),
        ("Enter", ["", "Lobby"], "The name of a person has 1 to 32 characters"),
        ("Enter", ["Ada", "x" * 100], "The name of a room has 1 to 32 characters"),
        ("Enter", ["Ada"], "Enter"),
        ("Life", [], "Life"),
        ("_keep_pace", [], "_keep_pace"),
    ],
)
async def test_what_cannot_be_is_answered_with_a_sentence(
    target, arguments, sentence, autojump_clock: trio.testing.MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        server = await ChatServer(nursery).start()
        client = await server.client()
        assert sentence in (await answered(client, target, *arguments))["error"]
        assert server.people.rooms() == []
        assert "error" not in await answered(client, "Enter", "Ada", "Lobby")
        nursery.cancel_scope.cancel()


async def test_nobody_speaks_faster_than_people_read(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        server = await ChatServer(nursery).start()
        ada = await server.person("Ada")
        answers = [await answered(ada, "Say", "x", id=str(number)) for number in range(BURST + 1)]
        assert [("error" in answer) for answer in answers] == [False] * (BURST - 1) + [True] * 2
        assert answers[-1]["error"].endswith("This is faster than people can read: wait a moment.")
        await trio.sleep(1)
        assert "error" not in await answered(ada, "Say", "x")
        nursery.cancel_scope.cancel()


async def test_a_countdown_is_streamed_and_can_be_cancelled(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        server = await ChatServer(nursery).start()
        client = await server.client()
        client.say(type=4, invocationId="s", target="Countdown", arguments=[3])
        then = trio.current_time()
        items = [await client.hear() for _ in range(5)]
        assert [item.get("item") for item in items] == [3, 2, 1, 0, None]
        assert items[-1]["type"] == 3
        assert trio.current_time() - then == pytest.approx(3, abs=0.1)
        client.say(type=4, invocationId="t", target="Countdown", arguments=[30])
        assert (await client.hear())["item"] == 30
        client.say(type=5, invocationId="t")
        ended = await client.hear()
        assert (ended["type"], ended["invocationId"], "error" in ended) == (3, "t", False)
        client.say(type=4, invocationId="u", target="Countdown", arguments=[61])
        assert "takes 1 to 60 seconds" in (await client.hear())["error"]
        nursery.cancel_scope.cancel()


async def test_who_goes_is_out_of_the_room(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        server = await ChatServer(nursery).start()
        ada, bob = await server.person("Ada"), await server.person("Bob")
        ada.connection.hang_up()
        while (await heard(bob, "people"))[2] != 1:
            pass
        await settled()
        assert server.people.rooms() == [("Lobby", 1)]
        nursery.cancel_scope.cancel()


async def test_who_goes_while_the_other_servers_are_told_does_not_stay_behind(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        wire = SlowWire([])
        server = await ChatServer(nursery, wire).start()
        client = await server.person("Ada")
        wire.told, wire.stubborn = trio.Event(), True
        client.say(type=1, target="Enter", arguments=["Ada", "Trio"])
        await settled()
        client.connection.hang_up()
        await settled()
        wire.told.set()
        await settled()
        assert server.people.here == ()
        assert not server.server.connection_ids
        nursery.cancel_scope.cancel()


async def test_who_cancels_entering_can_enter_another_room(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        wire = SlowWire([])
        server = await ChatServer(nursery, wire).start()
        ada = await server.person("Ada")
        wire.told = trio.Event()
        ada.say(type=1, invocationId="2", target="Enter", arguments=["Ada", "Trio"])
        await settled()
        ada.say(type=5, invocationId="2")
        await settled()
        wire.told.set()
        assert (await answered(ada, "Enter", "Ada", "Hubs", id="3"))["result"]["rooms"] == [["Hubs", 1]]
        nursery.cancel_scope.cancel()


async def test_with_the_other_servers_away_those_here_hear_and_the_speaker_is_told(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        (one, _), wires = await joined(nursery)
        ada, bob = await one.person("Ada"), await one.person("Bob")
        wires[0].away = True
        answer = await answered(ada, "Say", "hello")
        assert answer["error"].endswith(
            "Only those on this server have got this: the other servers cannot be reached."
        )
        assert await heard(bob, "message") == ["ada", "Ada", "hello"]
        nursery.cancel_scope.cancel()
