"""trio-websocket sleeps until a Ping comes, answers every one, and falls asleep again."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from serving import connected, serving, someone_else_is_served

import trioecho
from trioecho import task_tree
from trioecho.testing import CLOSE, PING, PONG, RawClient, open_client

Clock = trio.testing.MockClock


async def awake() -> bool:
    """Whether trio-websocket has a task in this run."""
    return any("reader_task" in task.name for task in await task_tree.settled_snapshot())


async def pong(client: RawClient, payload: bytes) -> None:
    """The next frame is the Pong to the Ping with this payload."""
    frame = await client.receive_frame()
    assert frame is not None
    assert (frame.opcode, frame.payload) == (PONG, payload)


async def test_it_sleeps_until_the_first_ping_and_again_when_no_more_come(autojump_clock: Clock) -> None:
    """Neither messages nor Pongs wake it, and a second after the last Ping it is gone."""
    async with open_client() as client:
        await client.send("hello")
        assert await client.receive() == "hello"
        await client.send_frame(PONG, b"unasked")
        assert not await awake()
        for payload in (b"one", b"two", b""):
            await client.send_frame(PING, payload)
            await pong(client, payload)
            assert await awake()
            await trio.sleep(0.9)
            assert await awake()
            await trio.sleep(0.2)
            assert not await awake()


async def test_it_stays_awake_while_pings_come(autojump_clock: Clock) -> None:
    """Each Ping is a reason for another second."""
    async with open_client() as client:
        for number in range(20):
            await client.send_frame(PING, bytes([number]))
            await pong(client, bytes([number]))
            assert await awake()
            await trio.sleep(0.9)
        await trio.sleep(0.2)
        assert not await awake()


@pytest.mark.parametrize("after", [0.999_999, 1.0, 1.000_001])
async def test_a_ping_in_the_moment_of_falling_asleep_is_answered(
    autojump_clock: Clock, after: float
) -> None:
    """Trio may run the client before or after the deadline of the same moment: each Ping has its Pong."""
    async with open_client() as client:
        for number in range(50):
            await client.send_frame(PING, bytes([number]))
            await pong(client, bytes([number]))
            await trio.sleep(after)
        await client.send("hello")
        assert await client.receive() == "hello"


async def test_a_ping_that_finds_the_time_just_up_is_answered(mock_clock: Clock) -> None:
    """Between trio-websocket's being woken and its next step the second may pass; the Pong goes out all the same."""

    class TheSecondPasses(trio.abc.Instrument):
        def task_scheduled(self, task: trio.lowlevel.Task) -> None:
            if "reader_task" in task.name:
                mock_clock.jump(1.5)

    async with open_client() as client:
        await client.send_frame(PING, b"first")
        await pong(client, b"first")
        trio.lowlevel.add_instrument(TheSecondPasses())
        await client.send_frame(PING, b"second")
        await pong(client, b"second")


async def test_our_own_pings_do_not_wake_it(autojump_clock: Clock) -> None:
    """A quiet client is asked every 120 s, and takes no more memory for it."""
    async with open_client() as client:
        for _ in range(3):
            frame = await client.receive_frame()
            assert frame is not None
            assert frame.opcode == PING
            await client.send_frame(PONG, frame.payload)
            assert not await awake()


async def test_close_is_said_without_it_and_no_pong_comes_behind(autojump_clock: Clock) -> None:
    """Be it asleep, or awake with a Ping just before the peer's Close."""
    async with open_client() as client:
        await client.close(4000)
        assert await client.receive_close() == (4000, "")
        assert not await awake()
    async with open_client() as client:
        await client.stream.send_all(client.frame(PING, b"last") + client.frame(CLOSE, b"\x03\xe8"))
        await pong(client, b"last")
        assert await client.receive_close() == (1000, "")
        assert not await awake()
        assert await client.receive_rest() == []


async def test_a_ping_in_any_tick_of_the_end_harms_nobody() -> None:
    """While a connection takes its leave there is no nursery for trio-websocket to wake in; the server goes on."""

    async def once(ws: trioecho.WebSocket) -> None:
        await ws.receive()

    async with serving({"/ws": trioecho.echo, "/once": once}) as server:
        for ticks in [*range(12)] * 5:
            async with connected(server, path="/once") as client:
                await client.send("go")
                for _ in range(ticks):
                    await trio.lowlevel.checkpoint()
                await client.send_frame(PING)
        await someone_else_is_served(server)
