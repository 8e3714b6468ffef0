"""`WebSocket.ping`: the seconds to the Pong, and an end of the waiting whatever happens to the connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing
from serving import PATIENCE, connected, one_way, reset, serving, until
from serving import way_of_reading as way_of_reading

import trioecho
from trioecho.testing import PING, PONG, TEXT, RawClient, open_client

AT_ONCE = 30.0
"""Seconds within which what happens at once has happened. Nothing is measured with it."""

Clock = trio.testing.MockClock


async def sleep(ws: trioecho.WebSocket) -> None:
    await trio.sleep_forever()


async def ping_of(client: RawClient) -> bytes:
    """The payload of the next frame, which has to be a Ping."""
    frame = await client.receive_frame()
    assert frame is not None
    assert frame.opcode == PING
    return frame.payload


class Pinger:
    """Pings in the background of a test, and what came of them, in the order in which they were answered."""

    def __init__(self, nursery: trio.Nursery, ws: trioecho.WebSocket) -> None:
        self._nursery, self._ws = nursery, ws
        self.answered: dict[bytes, float] = {}
        self.raised: list[trioecho.ConnectionEnded] = []

    def begin(self, payload: bytes) -> None:
        self._nursery.start_soon(self._ping, payload)

    async def _ping(self, payload: bytes) -> None:
        try:
            self.answered[payload] = await self._ws.ping(payload)
        except trioecho.ConnectionEnded as ended:
            self.raised.append(ended)


async def test_a_ping_goes_out_and_its_pong_comes_back() -> None:
    """On every way of reading: the payload that was given, or one of its own for each; a float of seconds."""
    took: list[float] = []

    async def handler(ws: trioecho.WebSocket) -> None:
        for payload in (b"are you there?", b"", b"", bytearray(b"x" * 125)):
            took.append(await ws.ping(payload))

    async with serving(handler) as server, connected(server) as client:
        payloads = []
        for _ in range(4):
            payloads.append(await ping_of(client))
            await client.send_frame(PONG, payloads[-1])
        assert await client.receive_close() == (1000, "")
    assert (payloads[0], payloads[3]) == (b"are you there?", b"x" * 125)
    assert payloads[1] != payloads[2]
    assert all(payloads)
    assert all(0 <= seconds < 5 for seconds in took)


@one_way
async def test_it_returns_the_seconds_to_the_pong(autojump_clock: Clock) -> None:
    """From the Ping's being sent; the keep-alive's latency is another thing."""
    took: list[float] = []

    async def handler(ws: trioecho.WebSocket) -> None:
        took.append(await ws.ping())
        assert ws.latency is None

    async with open_client(handler) as client:
        payload = await ping_of(client)
        await trio.sleep(2.5)
        await client.send_frame(PONG, payload)
        await client.receive_close()
    assert took == [pytest.approx(2.5)]


async def test_a_pong_answers_its_ping_and_those_before_it() -> None:
    """RFC 6455 §5.5.3: a peer may answer only the latest. A Pong that nobody asked for answers nothing."""
    async with serving(sleep) as server, connected(server) as client, trio.open_nursery() as nursery:
        await until(lambda: server.connections)
        (ws,) = server.connections
        pinger = Pinger(nursery, ws)
        for payload in (b"1", b"2", b"3"):
            pinger.begin(payload)
            assert await ping_of(client) == payload
        expected = ((b"4", []), (b"2", [b"1", b"2"]), (b"1", [b"1", b"2"]), (b"3", [b"1", b"2", b"3"]))
        for pong, answered in expected:
            await client.send_frame(PONG, pong)
            await client.send_frame(PING, b"have you read it?")
            frame = await client.receive_frame()
            assert frame is not None
            assert frame.opcode == PONG
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert sorted(pinger.answered) == answered


@one_way
async def test_keep_alive_and_a_handlers_pings_answer_each_other(autojump_clock: Clock) -> None:
    """Both are Pings of this side, so the Pong to the later one answers the earlier, whoever sent it."""
    lent: list[trioecho.WebSocket] = []

    async def handler(ws: trioecho.WebSocket) -> None:
        lent.append(ws)
        await trio.sleep_forever()

    options = trioecho.WebSocketOptions(keep_alive_interval=10, keep_alive_timeout=20)
    async with open_client(handler, options=options) as client, trio.open_nursery() as nursery:
        pinger = Pinger(nursery, lent[0])
        await trio.sleep(9)
        pinger.begin(b"handler's")
        assert await ping_of(client) == b"handler's"
        payload = await ping_of(client)
        assert payload != b"handler's"
        await trio.sleep(1)
        await client.send_frame(PONG, payload)
        await trio.testing.wait_all_tasks_blocked()
        assert pinger.answered == {b"handler's": pytest.approx(2)}
        assert lent[0].latency == pytest.approx(1)
        await ping_of(client)
        await trio.sleep(3)
        pinger.begin(b"later")
        assert await ping_of(client) == b"later"
        await client.send_frame(PONG, b"later")
        await trio.testing.wait_all_tasks_blocked()
        assert pinger.answered[b"later"] == pytest.approx(0)
        assert lent[0].latency == pytest.approx(3)


@one_way
async def test_a_cancelled_ping_awaits_nothing_and_its_pong_is_ignored(autojump_clock: Clock) -> None:
    """The payload may be used again; one that is awaited may not."""
    answered = trio.Event()

    async def handler(ws: trioecho.WebSocket) -> None:
        for _ in range(2):
            with trio.move_on_after(1) as scope:
                await ws.ping(b"same")
            assert scope.cancelled_caught
        await ws.receive()
        ws.nursery.start_soon(ws.ping, b"same")
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(
            ValueError, match="payload b'same' is still awaited; give another payload, or none"
        ):
            await ws.ping(b"same")
        await ws.ping(b"other")
        answered.set()

    async with open_client(handler) as client:
        for _ in range(2):
            assert await ping_of(client) == b"same"
        await trio.sleep(2)
        await client.send_frame(PONG, b"same")
        await client.send("go on")
        assert await ping_of(client) == b"same"
        assert await ping_of(client) == b"other"
        await client.send_frame(PONG, b"other")
        assert await client.receive_close() == (1000, "")
    assert answered.is_set()


@one_way
@pytest.mark.parametrize(
    ("payload", "error", "sentence"),
    [
        ("text", TypeError, "the payload of a Ping is bytes, not str"),
        (None, TypeError, "the payload of a Ping is bytes, not NoneType"),
        (bytes(126), ValueError, "the payload of a Ping has at most 125 bytes; this one has 126"),
    ],
)
async def test_what_no_ping_can_carry_is_refused(payload: Any, error: type[Exception], sentence: str) -> None:
    """At once, with one sentence."""

    async def handler(ws: trioecho.WebSocket) -> None:
        with pytest.raises(error) as refusal:
            await ws.ping(payload)
        assert str(refusal.value) == sentence

    async with open_client(handler) as client:
        assert await client.receive_close() == (1000, "")


async def close_from_here(client: RawClient, ws: trioecho.WebSocket) -> None:
    with trio.move_on_after(0.1):
        await ws.aclose(4000)


async def peer_closes(client: RawClient, ws: trioecho.WebSocket) -> None:
    await client.close(4001)


async def peer_vanishes(client: RawClient, ws: trioecho.WebSocket) -> None:
    await trio.aclose_forcefully(client.stream)


async def peer_resets(client: RawClient, ws: trioecho.WebSocket) -> None:
    reset(client)


async def peer_breaks_the_protocol(client: RawClient, ws: trioecho.WebSocket) -> None:
    await client.send_frame(0x3)


async def server_aborts(client: RawClient, ws: trioecho.WebSocket) -> None:
    ws.server.abort()


ENDS: list[
    tuple[Callable[[RawClient, trioecho.WebSocket], Awaitable[object]], type[trioecho.ConnectionEnded]]
]
ENDS = [
    (close_from_here, trioecho.WebSocketClosed),
    (peer_closes, trioecho.WebSocketBroken),
    (peer_vanishes, trioecho.WebSocketBroken),
    (peer_resets, trioecho.WebSocketBroken),
    (peer_breaks_the_protocol, trioecho.WebSocketBroken),
    (server_aborts, trioecho.WebSocketClosed),
]


@pytest.mark.parametrize(("end", "expected"), ENDS, ids=[end.__name__ for end, _ in ENDS])
async def test_whoever_awaits_a_pong_is_told_of_the_end(
    end: Callable[[RawClient, trioecho.WebSocket], Awaitable[object]],
    expected: type[trioecho.ConnectionEnded],
) -> None:
    """A task outside of the handler, which nothing cancels; before the end and after it, with the same exception."""
    async with (
        serving(sleep, answer_timeout=PATIENCE, close_timeout=PATIENCE) as server,
        connected(server) as client,
    ):
        await until(lambda: server.connections)
        (ws,) = server.connections
        async with trio.open_nursery() as nursery:
            pinger = Pinger(nursery, ws)
            pinger.begin(b"")
            await ping_of(client)
            await end(client, ws)
            with trio.fail_after(AT_ONCE):
                await until(lambda: pinger.raised)
        (told,) = pinger.raised
        assert type(told) is expected
        assert told.websocket is ws
        with pytest.raises(expected), trio.fail_after(AT_ONCE):
            await ws.ping()


async def test_while_the_server_stops_a_ping_is_still_answered() -> None:
    """The conversation goes on until the handler has ended."""
    took: list[float] = []

    async def handler(ws: trioecho.WebSocket) -> None:
        async for _ in ws:
            pass
        took.append(await ws.ping())

    async with serving(handler) as server, connected(server) as client:
        await until(lambda: server.connections)
        server.stop(timeout=10)
        await client.send_frame(PONG, await ping_of(client))
        assert await client.receive_close() == (1001, "server is stopping")
    assert len(took) == 1


async def fill(ws: trioecho.WebSocket) -> None:
    """Send until the peer, which does not read, takes no more."""
    taken = 1
    while taken:
        taken = 0
        with trio.move_on_after(0.1):
            while True:
                await ws.send(bytes(1_000_000))
                taken += 1


async def test_while_the_peer_does_not_read_a_ping_waits_and_has_not_been_sent() -> None:
    """One that is cancelled meanwhile never goes out."""
    async with serving(sleep) as server, connected(server) as client:
        await until(lambda: server.connections)
        (ws,) = server.connections
        await fill(ws)
        with trio.move_on_after(0.05) as scope:
            await ws.ping(b"not sent")
        assert scope.cancelled_caught
        async with trio.open_nursery() as nursery:
            Pinger(nursery, ws).begin(b"sent")
            frame = await client.receive_frame()
            while frame is not None and frame.opcode != PING:
                frame = await client.receive_frame()
            assert frame is not None
            assert frame.payload == b"sent"
            await client.send_frame(PONG, b"sent")


async def test_a_ping_that_waits_for_room_is_told_of_the_end() -> None:
    """A Close of our own, behind which nothing is sent."""
    async with serving(sleep, close_timeout=PATIENCE) as server, connected(server):
        await until(lambda: server.connections)
        (ws,) = server.connections
        await fill(ws)
        async with trio.open_nursery() as nursery:
            pinger = Pinger(nursery, ws)
            pinger.begin(b"waits")
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(ws.aclose)
            with trio.fail_after(AT_ONCE):
                await until(lambda: pinger.raised)
            nursery.cancel_scope.cancel()
        assert [type(told) for told in pinger.raised] == [trioecho.WebSocketClosed]


@one_way
async def test_messages_that_come_before_the_pong_are_not_lost(autojump_clock: Clock) -> None:
    """They wait for the handler meanwhile."""
    taken: list[str | bytes] = []

    async def handler(ws: trioecho.WebSocket) -> None:
        await ws.ping()
        taken.extend([await ws.receive(), await ws.receive()])

    async with open_client(handler) as client:
        payload = await ping_of(client)
        pong = client.frame(PONG, payload)
        await client.stream.send_all(client.frame(TEXT, b"one") + client.frame(TEXT, b"two") + pong)
        await client.receive_close()
    assert taken == ["one", "two"]


@one_way
async def test_a_pong_behind_messages_that_nobody_takes_is_seen_when_they_are_taken(
    autojump_clock: Clock,
) -> None:
    """While 64 KiB wait for the handler nothing is read: another task has to receive them."""
    took: list[float] = []

    async def take_later(ws: trioecho.WebSocket) -> None:
        await trio.sleep(10)
        async for _ in ws:
            pass

    async def handler(ws: trioecho.WebSocket) -> None:
        ws.nursery.start_soon(take_later, ws)
        took.append(await ws.ping())

    async with open_client(handler) as client:
        payload = await ping_of(client)
        for _ in range(20):
            await client.send(bytes(10_000))
        await client.send_frame(PONG, payload)
        await client.receive_close()
    assert took == [pytest.approx(10)]
