"""Faults of traffic: backpressure on the client, fragments, one huge message, pushes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trio
from fault_clients import at, clients, fault_server, seen, seen_by, serving_faults, visit
from serving import someone_else_is_served

import trioecho
from trioecho.faults.traffic import MOST_FRAGMENTS
from trioecho.testing import BINARY, CONTINUATION, PING, TEXT, Frame

pytestmark = pytest.mark.keeps_open


@pytest.fixture(scope="module")
def live() -> Iterator[trioecho.LiveServer]:
    with fault_server() as server:
        yield server


async def test_a_slow_reader_is_slow_and_reads_any_size() -> None:
    """The client's sends wait; control frames are answered in their turn."""
    async with serving_faults() as server:
        async with at(server, "/slow?rate=20000000") as client:
            await client.send(bytes(3_000_000))
            await client.send_frame(PING, b"x")
            assert await client.receive_frame() == Frame(True, 10, b"x")
            await client.close(1000)
            assert await client.receive_close() == (1000, "")
        told = await seen_by(server)
        assert told["frames"][0]["length"] == 3_000_000
        async with at(server, "/slow?rate=20000") as client:
            began = trio.current_time()
            for _ in range(20):
                await client.send(bytes(1000))
            await client.send_frame(PING, b"x")
            assert await client.receive_frame() == Frame(True, 10, b"x")
            assert 0.8 < trio.current_time() - began < 5
        async with at(server, "/slow?rate=1000") as client:
            with trio.move_on_after(1) as scope:
                await client.send(bytes(20_000_000))
            assert scope.cancelled_caught
            await someone_else_is_served(server)


async def test_a_stalled_reader_reads_nothing_more() -> None:
    """Behind the messages that it echoes first."""
    async with serving_faults() as server, at(server, "/stall?after=1") as client:
        await client.send("one")
        assert await client.receive() == "one"
        await client.send("two")
        with trio.move_on_after(0.3):
            raise AssertionError(await client.receive_frame())
        told = await seen_by(server, wait=0)
        assert [frame["text"] for frame in told["frames"] if frame["by"] == "client"] == ["one"]
        with trio.move_on_after(1) as scope:
            await client.send(bytes(20_000_000))
        assert scope.cancelled_caught


async def test_replies_come_in_fragments_with_pings_between() -> None:
    """A message is whole when they are put together; its type is the first frame's."""
    async with serving_faults() as server, at(server, "/fragment?size=2&ping=1") as client:
        await client.send("hello")
        assert [await client.receive_frame() for _ in range(5)] == [
            Frame(False, TEXT, b"he"),
            Frame(True, PING, b"between fragments"),
            Frame(False, CONTINUATION, b"ll"),
            Frame(True, PING, b"between fragments"),
            Frame(True, CONTINUATION, b"o"),
        ]
        await client.send(b"")
        assert await client.receive_frame() == Frame(True, BINARY, b"")


async def test_fragments_are_bounded() -> None:
    """A long message comes in longer ones."""
    async with serving_faults() as server, at(server, "/fragment?size=1") as client:
        await client.send(bytes(100_000))
        frames = []
        while not frames or not frames[-1].fin:
            frames.append(await client.receive_frame())
            assert frames[-1] is not None
        assert len(frames) == MOST_FRAGMENTS
        assert sum(len(frame.payload) for frame in frames) == 100_000


@pytest.mark.parametrize("size", [0, 125, 126, 65_536, 3_000_001])
async def test_one_message_is_as_big_as_it_was_told(size: int) -> None:
    """Zeros, in one frame."""
    async with serving_faults() as server, at(server, f"/big?size={size}") as client:
        assert await client.receive_frame() == Frame(True, BINARY, bytes(size))
        await client.send("echo")
        assert await client.receive() == "echo"


async def test_a_burst_is_numbered() -> None:
    """Messages of the size that was told; the echo works meanwhile."""
    async with serving_faults() as server, at(server, "/burst?count=300&size=10") as client:
        assert [await client.receive() for _ in range(300)] == [str(n).rjust(10, ".") for n in range(300)]
        await client.send("echo")
        assert await client.receive() == "echo"


async def test_a_client_that_closes_in_a_burst_gets_its_answer() -> None:
    """Behind whole frames, and not behind all of the burst; one within a single message gets the end of TCP."""
    async with serving_faults() as server:
        async with at(server, "/burst?count=10000&size=65536") as client:
            assert len(str(await client.receive())) == 65_536
            # Until the server waits for us in the middle of a frame.
            before, now = -1, 0
            while before != now:
                await trio.sleep(0.05)
                before, now = now, (await seen_by(server, wait=0))["frames_left_out"]
            await client.close(4000, "enough")
            while (await seen_by(server, wait=0))["code_received"] != 4000:
                await trio.sleep(0.001)
            rest = await client.receive_rest()
            assert len(rest) < 1000
            assert {len(frame.payload) for frame in rest[:-1]} == {65_536}
            assert rest[-1].close == (4000, "enough")
        async with at(server, "/big?size=1000000000") as client:
            await client.stream.receive_some()
            await client.close(4000, "enough")
            received = 0
            while data := await client.stream.receive_some():
                received += len(data)
            assert received < 100_000_000


async def test_ticks_come_and_end_with_a_close() -> None:
    """Numbered from 1; echoes between them do not move them."""
    async with serving_faults() as server:
        async with at(server, "/tick?every=0.2&count=3") as client:
            assert await client.receive() == "1"
            await client.send("echo")
            assert await client.receive() == "echo"
            assert await client.receive() == "2"
            assert await client.receive() == "3"
            assert await client.receive_close() == (1000, "")
            await client.close(1000)
            assert await client.receive_rest() == []
        told = await seen_by(server)
    sent = [frame["at"] for frame in told["frames"] if frame.get("text") in ("1", "2", "3")]
    assert sent[2] - sent[0] >= 0.35


@clients
def test_clients_put_fragments_together(client: str, live: trioecho.LiveServer) -> None:
    """And answer the Pings between them."""
    text = f"grüße von {client}"
    told = visit(client, live, f"/fragment?size=1&ping=1&id={client}", text, close_after=1)
    assert told.heard == [text]
    pongs = [frame for frame in seen(live, client)["frames"] if frame["kind"] == "pong"]
    assert len(pongs) == len(text.encode()) - 1


@pytest.mark.parametrize(("client", "size"), [("websockets", 1_100_000), ("aiohttp", 5_000_000)])
def test_clients_refuse_what_is_over_their_limit(client: str, size: int, live: trioecho.LiveServer) -> None:
    """With 1009."""
    visit(client, live, f"/big?size={size}&id={client}big")
    assert seen(live, f"{client}big")["code_received"] == 1009


@clients
def test_clients_hear_a_burst(client: str, live: trioecho.LiveServer) -> None:
    """All of it, in order."""
    told = visit(client, live, "/burst?count=200", close_after=200)
    assert told.heard == [str(number) for number in range(200)]
