"""Stateful reconnect: what was sent comes once and in order, whatever is lost on the way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from hubs.memory_connection import JsonClient, running, settled

from trioecho.hubs import Hub, HubOptions, HubServer, Target
from trioecho.hubs.messages import ABSENT, Ack, BadMessage, Completion, Invocation, Ping, Sequence
from trioecho.hubs.stateful import ReceivedMessages, SentMessages

CALL = Invocation(None, "a", ABSENT, [])


def test_what_is_acknowledged_is_forgotten() -> None:
    sent = SentMessages(100)
    assert sent.first == 1
    for data in (b"a", b"b", b"c"):
        sent.add(data)
    sent.acknowledged(2)
    sent.acknowledged(1)
    assert (sent.first, sent.again()) == (3, (b"c",))
    sent.add(b"d")
    sent.acknowledged(4)
    assert (sent.first, sent.again()) == (5, ())
    with pytest.raises(BadMessage):
        sent.acknowledged(5)


def test_what_comes_again_is_kept_until_something_behind_it_has_arrived() -> None:
    """The client may be cut off while it comes again, having acknowledged it: it was there before."""
    sent = SentMessages(4)
    for data in (b"a", b"b", b"c", b"d"):
        sent.add(data)
    sent.acknowledged(1)
    assert (sent.first, sent.again()) == (2, (b"b", b"c", b"d"))
    sent.acknowledged(4)
    assert (sent.first, sent.again()) == (2, (b"b", b"c", b"d"))
    assert not sent.full
    for data in (b"e", b"f", b"g"):
        sent.add(data)
    assert not sent.full
    sent.acknowledged(6)
    assert (sent.first, sent.again()) == (7, (b"g",))
    assert not sent.full


def test_what_was_not_sent_is_taken_back() -> None:
    sent = SentMessages(5)
    sent.add(b"a")
    sent.add(b"bbbb")
    assert sent.full
    sent.take_back()
    assert not sent.full
    assert sent.again() == (b"a",)


async def test_senders_wait_for_acknowledgements(nursery: trio.Nursery) -> None:
    sent = SentMessages(2)
    sent.add(b"aa")
    for _ in range(3):
        nursery.start_soon(sent.room)
    await settled()
    assert len(nursery.child_tasks) == 3
    sent.acknowledged(1)
    await settled()
    assert not nursery.child_tasks


def test_what_comes_again_is_taken_once() -> None:
    received = ReceivedMessages()
    assert [received.take(CALL) for _ in range(3)] == [True] * 3
    assert received.take(Ping())
    assert received.acknowledge() == 3
    assert received.acknowledge() is None
    received.reattached()
    assert not received.take(CALL)
    assert not received.take(Ack(1))
    assert not received.take(Sequence(2))
    assert [received.take(Completion("1")) for _ in range(3)] == [False, False, True]
    assert received.acknowledge() == 4


def test_nothing_is_acknowledged_while_messages_come_again() -> None:
    received = ReceivedMessages()
    for _ in range(3):
        received.take(CALL)
    received.reattached()
    received.take(Sequence(1))
    received.take(CALL)
    assert received.acknowledge() is None
    received.reattached()
    # A client that took an earlier word for it goes on behind what came before.
    assert not received.take(Sequence(4))
    assert received.take(CALL)
    assert received.acknowledge() == 4


def test_a_duplicate_is_acknowledged_again() -> None:
    received = ReceivedMessages()
    received.take(CALL)
    assert received.acknowledge() == 1
    received.reattached()
    received.take(Sequence(1))
    received.take(CALL)
    assert received.acknowledge() == 1


def test_a_gap_ends_the_connection() -> None:
    received = ReceivedMessages()
    received.take(CALL)
    received.reattached()
    with pytest.raises(BadMessage, match="goes on with message 3, but 2 comes next"):
        received.take(Sequence(3))


class Mirror(Hub[Target]):
    async def mirror(self, numbers: AsyncIterator[int]) -> AsyncIterator[int]:
        async for number in numbers:
            yield number


async def test_acknowledgements_are_taken_behind_what_has_no_room() -> None:
    """Sending waits for them, the stream for sending, and what was received for the stream."""
    async with running(HubServer(Mirror, options=HubOptions(stateful_buffer=500, stream_buffer=2))) as hub:
        client = await hub.client(stateful=True)
        client.say(type=4, invocationId="1", target="mirror", arguments=[], streamIds=["2"])
        for number in range(200):
            client.say(type=2, invocationId="2", item=number)
        client.say(type=3, invocationId="2")
        for number in range(200):
            assert (await client.hear())["item"] == number
            client.say(type=8, sequenceId=number + 1)
        assert await client.hear() == {"type": 3, "invocationId": "1"}


async def test_acknowledgements_are_taken_while_answers_wait_for_them() -> None:
    async with running(HubServer(Numbers, options=HubOptions(stateful_buffer=200))) as hub:
        client = await hub.client(stateful=True)
        for number in range(50):
            client.say(type=1, invocationId=str(number), target="all_of_it", arguments=[])
        client.say(type=1, invocationId="x", target="AllOfIt", arguments=["too many"])
        for number in range(50):
            assert (await client.hear())["invocationId"] == str(number)
            client.say(type=8, sequenceId=number + 1)
        assert (await client.hear())["invocationId"] == "x"


class Numbers(Hub[Target]):
    def __init__(self) -> None:
        self.got: list[int] = []

    async def put(self, number: int) -> None:
        self.got.append(number)
        await self.clients.caller.send("number", number)

    async def all_of_it(self) -> list[int]:
        return self.got


async def numbers(client: JsonClient) -> list[int]:
    """The numbers that wait for the client."""
    found = []
    while client.connection.sent:
        message = await client.hear()
        if message["type"] == 1:
            found.append(message["arguments"][0])
    return found


def put(number: int) -> dict[str, Any]:
    return {"type": 1, "target": "put", "arguments": [number]}


async def test_what_was_lost_is_sent_again_and_what_was_not_is_not_taken_twice() -> None:
    async with running(HubServer(Numbers)) as hub:
        client = await hub.client(stateful=True)
        for number in range(3):
            client.say(**put(number))
        await settled()
        assert await numbers(client) == [0, 1, 2]
        client.say(type=8, sequenceId=2)
        client.connection.lose()
        await hub.server.clients.all.send("number", 3)
        client.connection.reattach()
        await settled()
        assert await client.hear() == {"type": 9, "sequenceId": 3}
        client.say(type=1, target="put", arguments=["to be ignored"])
        client.say(type=9, sequenceId=2)
        for number in (1, 2, 4):
            client.say(**put(number))
        await settled()
        assert await numbers(client) == [2, 3, 4]
        assert await client.result("AllOfIt") == [0, 1, 2, 4]


async def test_a_client_of_the_first_version_is_not_counted() -> None:
    async with running(HubServer(Numbers)) as hub:
        client = JsonClient(hub.connect(stateful=True))
        await client.shake_hands(version=1)
        for number in range(50):
            client.say(**put(number))
        await settled()
        assert await numbers(client) == list(range(50))


async def test_messages_are_acknowledged_once_a_second(autojump_clock: trio.testing.MockClock) -> None:
    async with running(HubServer(Numbers)) as hub:
        client = await hub.client(stateful=True)
        for number in range(100):
            client.say(**put(number))
        await trio.sleep(5)
        acks = [each for each, _ in client.connection.sent if msgspec.json.decode(each[:-1])["type"] == 8]
        assert acks == [b'{"type":8,"sequenceId":100}\x1e']


async def test_the_buffer_is_bounded_and_a_slow_client_waited_for() -> None:
    async with running(HubServer(Numbers, options=HubOptions(stateful_buffer=500))) as hub:
        client = await hub.client(stateful=True)
        for number in range(100):
            client.say(**put(number))
        await settled()
        some = await numbers(client)
        assert 5 < len(some) < 15
        got = some
        while len(got) < 100:
            client.say(type=8, sequenceId=len(got))
            await settled()
            got += await numbers(client)
        assert got == list(range(100))


async def test_cancelled_while_it_waits_a_message_is_not_counted() -> None:
    async with running(HubServer(Numbers)) as hub:
        client = await hub.client(stateful=True, window=1)
        target = hub.server.clients.client("c1")
        await target.send("number", 0)
        with trio.move_on_after(0.01):
            await target.send("number", 1)
        client.connection.window = 100
        await target.send("number", 2)
        client.connection.lose()
        client.connection.reattach()
        client.say(type=9, sequenceId=1)
        await settled()
        assert await numbers(client) == [0, 2]


async def test_an_acknowledgement_of_what_was_never_sent_ends_the_connection() -> None:
    async with running(HubServer(Numbers)) as hub:
        client = await hub.client(stateful=True)
        client.say(type=8, sequenceId=5)
        assert "Message 5 was acknowledged" in (await client.hear())["error"]
