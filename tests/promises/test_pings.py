"""Every Ping has its Pong, in order and at once; a peer that does not read the Pongs costs one of them."""

from __future__ import annotations

import contextlib

import pytest
import trio
import trio.testing
from allocations import memory_within
from serving import connected, one_way, serving, someone_else_is_served, until
from serving import way_of_reading as way_of_reading

import trioecho
from trioecho.testing import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, RawClient, open_client

MUCH = 20_000_000
"""Bytes: more than the kernel holds for a client that does not read."""


async def heard(client: RawClient, count: int) -> list[tuple[int, bytes]]:
    """Opcode and payload of the next frames."""
    frames = []
    for _ in range(count):
        frame = await client.receive_frame()
        assert frame is not None, f"the server hung up after {frames}"
        frames.append((frame.opcode, frame.payload))
    return frames


async def nobody_moves() -> None:
    """Wait until every task of this run waits for something that does not come."""
    await trio.testing.wait_all_tasks_blocked(0.05)


# Each is answered.


@pytest.mark.parametrize("payload", [b"", b"?", bytes(range(125))])
async def test_a_ping_is_answered_with_what_it_carries(payload: bytes) -> None:
    """A Pong with the Ping's payload (RFC 6455 section 5.5.3), whether or not anybody receives."""

    async def sleep(ws: trioecho.WebSocket) -> None:
        await trio.sleep_forever()

    async with serving({"/ws": trioecho.echo, "/sleep": sleep}) as server:
        for path in ("/ws", "/sleep"):
            async with connected(server, path=path) as client:
                for _ in range(3):
                    await client.send_frame(PING, payload)
                    assert await heard(client, 1) == [(PONG, payload)]


async def test_ten_pings_in_one_packet_have_ten_pongs_in_order() -> None:
    """And the echo of the message behind them comes behind the Pongs."""
    async with serving() as server, connected(server) as client:
        pings = [str(number).encode() for number in range(10)]
        packet = b"".join(client.frame(PING, payload) for payload in pings) + client.frame(TEXT, b"behind")
        for _ in range(3):
            await client.stream.send_all(packet)
            assert await heard(client, 11) == [*((PONG, payload) for payload in pings), (TEXT, b"behind")]


@pytest.mark.parametrize("at_once", [True, False])
async def test_pings_between_the_fragments_of_a_message_are_answered_before_its_echo(at_once: bool) -> None:
    """Control frames may stand in the middle of a message (RFC 6455 section 5.4): in one packet or in many."""
    async with serving() as server, connected(server) as client:
        frames = [
            client.frame(TEXT, b"a", fin=False),
            client.frame(PING, b"one"),
            client.frame(CONTINUATION, b"b", fin=False),
            client.frame(PING, b"two"),
            client.frame(PING, b"three"),
            client.frame(CONTINUATION, b"c"),
        ]
        if at_once:
            await client.stream.send_all(b"".join(frames))
        else:
            for frame in frames:
                await client.stream.send_all(frame)
                await nobody_moves()
        assert await heard(client, 4) == [(PONG, b"one"), (PONG, b"two"), (PONG, b"three"), (TEXT, b"abc")]


async def test_each_of_a_thousand_pings_of_a_client_that_reads_is_answered_in_order() -> None:
    """Between a thousand messages: no Pong is left out, none comes behind the echo of what was sent after its Ping."""
    async with serving() as server, connected(server) as client, trio.open_nursery() as nursery:
        frames = [(PING if number % 2 else TEXT, str(number).encode()) for number in range(2000)]
        data = b"".join(client.frame(*frame) for frame in frames)
        nursery.start_soon(client.stream.send_all, data)
        answers = await heard(client, 2000)
    place = {int(payload): index for index, (_, payload) in enumerate(answers)}
    assert [int(payload) for opcode, payload in answers if opcode == PONG] == [*range(1, 2000, 2)]
    assert [int(payload) for opcode, payload in answers if opcode == TEXT] == [*range(0, 2000, 2)]
    assert all(place[number] < place[number + 1] for number in range(1, 1999, 2))


@one_way
async def test_pings_after_any_pause_are_answered(autojump_clock: trio.testing.MockClock) -> None:
    """However long the client was silent between two of them."""
    options = trioecho.WebSocketOptions(keep_alive_interval=0)
    async with open_client(options=options) as client:
        for number in range(100):
            await client.send_frame(PING, bytes([number]))
            assert await heard(client, 1) == [(PONG, bytes([number]))]
            await trio.sleep(number / 10)


async def test_a_pong_that_nobody_asked_for_is_not_answered() -> None:
    """It may come at any time (RFC 6455 section 5.5.3), and means nothing."""
    async with serving() as server, connected(server) as client:
        await client.send_frame(PONG, b"unasked")
        await client.send("hello")
        assert await heard(client, 1) == [(TEXT, b"hello")]


async def test_pings_are_answered_while_messages_wait_for_a_slow_handler() -> None:
    """A few messages that nobody has taken yet do not stand in the way."""

    async def sleep(ws: trioecho.WebSocket) -> None:
        await trio.sleep_forever()

    async with serving(sleep) as server, connected(server) as client:
        await client.stream.send_all(client.frame(TEXT, b"waits") * 10 + client.frame(PING, b"?"))
        assert await heard(client, 1) == [(PONG, b"?")]


# A client that does not read.


async def test_of_the_pings_of_a_client_that_does_not_read_the_latest_is_answered() -> None:
    """A Pong may answer for all Pings before it (RFC 6455 section 5.5.3): it comes when the client reads again."""

    async def much(ws: trioecho.WebSocket) -> None:
        await ws.send(bytes(MUCH))
        await ws.receive()
        await ws.send("that was all")

    async with serving(much) as server, connected(server) as client:
        await nobody_moves()
        for number in range(500):
            await client.send_frame(PING, str(number).encode())
        await nobody_moves()
        ((opcode, message),) = await heard(client, 1)
        assert (opcode, len(message)) == (BINARY, MUCH)
        # One for each time that the kernel took a little more, which it may though the client does not read.
        pongs: list[int] = []
        while 499 not in pongs:
            ((opcode, payload),) = await heard(client, 1)
            assert opcode == PONG
            pongs.append(int(payload))
        assert pongs == sorted(pongs)
        assert len(pongs) <= 20
        # It reads, so each is answered again, and the rest is as it would have been.
        await client.stream.send_all(
            client.frame(PING, b"a") + client.frame(PING, b"b") + client.frame(TEXT, b"x")
        )
        assert await heard(client, 3) == [(PONG, b"a"), (PONG, b"b"), (TEXT, b"that was all")]


async def test_a_client_that_pings_without_end_and_reads_no_pong_costs_no_memory() -> None:
    """Megabytes of Pings, of which it takes no answer, and others are served meanwhile."""
    async with serving(close_timeout=0.1) as server, connected(server) as client:
        chunk = client.frame(PING, b"x" * 125) * 500
        pushed = trio.Event()

        async def push() -> None:
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                for _ in range(150):
                    await client.stream.send_all(chunk)
            pushed.set()

        with memory_within(4_000_000):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(push)
                # Whether the server reads on, or leaves them to the kernel, is its own affair.
                with trio.move_on_after(1):
                    await pushed.wait()
                await someone_else_is_served(server)
                nursery.cancel_scope.cancel()


# The end.


async def test_a_ping_before_the_peers_close_is_answered_before_it() -> None:
    """In one packet: Pong, then the mirrored Close, then nothing."""
    async with serving() as server, connected(server) as client:
        packet = client.frame(PING, b"one") + client.frame(PING, b"two") + client.frame(CLOSE, b"\x0f\xa0")
        await client.stream.send_all(packet)
        frames = [(frame.opcode, frame.payload) for frame in await client.receive_rest()]
        assert frames == [(PONG, b"one"), (PONG, b"two"), (CLOSE, b"\x0f\xa0")]


async def test_no_pong_comes_behind_our_close() -> None:
    """Nothing does (RFC 6455 section 5.5.1): Pings that are on their way when we close are read, not answered."""

    async def once(ws: trioecho.WebSocket) -> None:
        await ws.receive()

    async with serving(once) as server, connected(server) as client:
        await client.send("go")
        assert await client.receive_close() == (1000, "")
        await client.stream.send_all(client.frame(PING, b"?") * 10)
        await nobody_moves()
        await client.stream.send_all(client.frame(PING, b"?") * 10 + client.frame(CLOSE, b"\x03\xe8"))
        assert await client.receive_rest() == []
        await until(lambda: server.records)
        assert server.records[0].clean


async def test_a_ping_behind_the_peers_close_is_not_answered() -> None:
    """A Close is the last that a peer says."""
    async with serving() as server, connected(server) as client:
        await client.stream.send_all(client.frame(CLOSE, b"\x0f\xa0") + client.frame(PING, b"?") * 10)
        assert [frame.close for frame in await client.receive_rest()] == [(4000, "")]


async def test_a_ping_in_any_step_of_the_end_harms_nobody() -> None:
    """Whatever the connection is doing when a Ping comes while it takes its leave, the server goes on."""

    async def once(ws: trioecho.WebSocket) -> None:
        await ws.receive()

    async with serving({"/ws": trioecho.echo, "/once": once}) as server:
        for steps in [*range(12)] * 3:
            async with connected(server, path="/once") as client:
                await client.send("go")
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                await client.send_frame(PING)
        await someone_else_is_served(server)
