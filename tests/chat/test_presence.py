"""Who is there, over several servers."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from chat.several import ChatServer, heard, joined
from hubs.memory_connection import settled
from hubs.test_backplane import Wire

from trioecho.chat.people import SILENCE
from trioecho.chat.presence import CALM, INTERVAL, SERVERS, Presence
from trioecho.hubs import Backplane


def names(server: ChatServer, room: str = "Lobby") -> list[str]:
    return [person.name for person in server.people.in_room(room)[0]]


def test_it_is_a_backplane() -> None:
    server = ChatServer(None)  # type: ignore[arg-type]
    assert isinstance(server.presence, Backplane)


async def test_everybody_is_seen_on_every_server(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        (one, two), _ = await joined(nursery)
        ada = await one.person("Ada")
        await two.person("Bob")
        await two.person("Cleo", "Trio")
        room, people, number = await heard(ada, "people")
        while number < 2:
            room, people, number = await heard(ada, "people")
        assert (room, people, number) == ("Lobby", [["ada", "Ada"], ["bob", "Bob"]], 2)
        await trio.sleep(2 * CALM)
        assert names(one) == names(two) == ["Ada", "Bob"]
        assert one.people.rooms() == two.people.rooms() == [("Lobby", 2), ("Trio", 1)]
        ada.connection.hang_up()
        await trio.sleep(2 * CALM)
        assert names(one) == names(two) == ["Bob"]
        nursery.cancel_scope.cancel()


async def test_a_server_that_comes_later_is_told_at_once(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        wires: list[Wire] = []
        one = await ChatServer(nursery, Wire(wires)).start()
        await one.person("Ada")
        await trio.sleep(1)
        two = await ChatServer(nursery, Wire(wires)).start()
        await trio.sleep(2 * CALM)
        assert names(two) == ["Ada"]
        nursery.cancel_scope.cancel()


async def test_a_server_that_stops_takes_its_people_along_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        (one, two), _ = await joined(nursery)
        await one.person("Ada")
        await trio.sleep(1)
        assert names(two) == ["Ada"]
        one.scope.cancel()
        await settled()
        assert names(two) == []
        nursery.cancel_scope.cancel()


async def test_a_server_that_is_cut_off_is_forgotten_and_found_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Its own people go on; what it cannot announce is announced when it is back."""
    async with trio.open_nursery() as nursery:
        (one, two), wires = await joined(nursery)
        ada = await one.person("Ada")
        await trio.sleep(1)
        wires[0].away = True
        ava = await one.person("Ava")
        await trio.sleep(SILENCE + 2 * INTERVAL)
        assert names(two) == []
        assert (await heard(ava, "people"))[2] == 2
        ada.say(type=6)
        wires[0].away = False
        await trio.sleep(INTERVAL + CALM)
        assert names(two) == ["Ada", "Ava"]
        nursery.cancel_scope.cancel()


async def test_many_changes_are_few_announcements(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        (one, _), wires = await joined(nursery)
        await trio.sleep(1)
        wires[0].published.clear()
        for number in range(100):
            await one.person(f"P{number}")
        await trio.sleep(2 * CALM)
        announced = [address for address, *_ in wires[0].published if address == SERVERS]
        assert 1 <= len(announced) <= 3
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"json": b"no JSON"},
        {"json": b"[]"},
        {"json": b"{}"},
        {"json": b'{"server": 1, "people": []}'},
        {"json": b'{"server": "s", "people": 1}'},
        {"json": b'{"server": "s", "people": [["a", "b"]]}'},
        {"json": b'{"server": "s", "people": [["a", "b", 3]]}'},
        {"json": b'{"server": "s", "people": [["a", "b", "' + b"x" * 1000 + b'"]]}'},
        {"json": b'{"server": "s", "people": [["a", "\\ud800", "c"]]}'},
        {"json": b'{"server": "' + b"s" * 1000 + b'", "people": [["a", "b", "c"]]}'},
        {"json": b"[" * 100_000},
    ],
)
async def test_what_is_no_announcement_changes_nothing(message: dict[str, bytes]) -> None:
    server = ChatServer(None)  # type: ignore[arg-type]
    server.presence.hear(message)
    assert list(server.people.everybody()) == []


async def test_what_is_for_servers_reaches_no_client(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        (one, two), _ = await joined(nursery)
        ada = await one.person("Ada")
        await two.person("Bob")
        await trio.sleep(1)
        targets: list[Any] = []
        while ada.connection.sent:
            targets.append((await ada.hear()).get("target"))
        assert set(targets) <= {"people", "rooms"}
        nursery.cancel_scope.cancel()


class Hanging(Wire):
    """A backplane to which nothing can be told."""

    async def publish(self, *_: Any) -> None:
        await trio.sleep_forever()


async def test_a_goodbye_that_nobody_takes_holds_up_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        presence = Presence(Hanging([]), ChatServer(nursery).people)
        await nursery.start(presence.run, ChatServer(nursery).server._delivery)
        then = trio.current_time()
        nursery.cancel_scope.cancel()
    assert trio.current_time() - then <= 1.1
