"""Faults of Ping and Pong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest
from fault_clients import at, fault_server, seen, seen_by, serving_faults, visit
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

import trioecho
from trioecho.faults.keeping_alive import MOST_LATE
from trioecho.testing import PING, PONG, Frame

pytestmark = pytest.mark.keeps_open


@pytest.fixture(scope="module")
def live() -> Iterator[trioecho.LiveServer]:
    with fault_server() as server:
        yield server


async def test_pongs_come_late_and_echoes_do_not() -> None:
    """Each as late as it was told, however many wait."""
    async with serving_faults() as server:
        async with at(server, "/pong?delay=0.3") as client:
            await client.send_frame(PING, b"a")
            await client.send_frame(PING, b"b")
            await client.send("echo")
            assert await client.receive() == "echo"
            assert await client.receive_frame() == Frame(True, PONG, b"a")
            assert await client.receive_frame() == Frame(True, PONG, b"b")
            await client.close(1000)
            assert await client.receive_close() == (1000, "")
        told = await seen_by(server)
    frames = {(frame["by"], frame["kind"]): frame["at"] for frame in told["frames"]}
    assert 0.3 <= frames["server", "pong"] - frames["client", "ping"] < 2


@pytest.mark.parametrize(("query", "answer"), [("drop", None), ("wrong", b"not what was sent")])
async def test_pongs_do_not_come_or_are_wrong(query: str, answer: bytes | None) -> None:
    """The next thing that comes is the echo, or a Pong of another payload."""
    async with serving_faults() as server, at(server, f"/pong?{query}=1") as client:
        await client.send_frame(PING, b"x")
        await client.send("echo")
        if answer is not None:
            assert await client.receive_frame() == Frame(True, PONG, answer)
        assert await client.receive() == "echo"


async def test_no_more_pongs_wait_than_are_bounded() -> None:
    """Of a client that pings without end, some hundred Pings are remembered."""
    async with serving_faults() as server, at(server, "/pong?delay=1") as client:
        await client.stream.send_all(client.frame(PING) * 5000)
        await client.send("echo")
        assert await client.receive() == "echo"
        for _ in range(MOST_LATE):
            assert await client.receive_frame() == Frame(True, PONG, b"")
        await client.close(1000)
        rest = await client.receive_rest()
        # One more may have been taken out of the queue.
        assert len(rest) <= 2


async def test_the_server_pings_and_reports() -> None:
    """How long a Pong took, or null; the payload is as long as it was told."""
    async with serving_faults() as server, at(server, "/ping?every=0.2&size=125&count=2") as client:
        ping = await client.receive_frame()
        assert ping is not None
        assert (ping.opcode, len(ping.payload)) == (PING, 125)
        await client.send_frame(PONG, ping.payload)
        report = json.loads(str(await client.receive()))
        assert report["ping"] == 1
        assert 0 <= report["pong"] < 0.2
        assert (await client.receive_frame()).opcode == PING  # type: ignore[union-attr]
        assert json.loads(str(await client.receive())) == {"ping": 2, "pong": None}
        await client.send("still an echo")
        assert await client.receive() == "still an echo"


def test_a_client_that_pings_gives_up(live: trioecho.LiveServer) -> None:
    """`websockets` closes with 1011 when its Ping is not answered, or answered with another payload."""

    async def story(query: str) -> int | None:
        url = f"ws{live.url.removeprefix('http')}/pong?{query}"
        async with connect(url, proxy=None, ping_interval=0.1, ping_timeout=0.3, close_timeout=1) as ws:
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(ws.recv(), 10)
            return ws.protocol.close_sent.code if ws.protocol.close_sent else None

    for query in ("drop=1", "wrong=1", "delay=5"):
        assert asyncio.run(story(query)) == 1011


@pytest.mark.parametrize("client", ["websockets", "aiohttp", "ws"])
def test_clients_answer_pings(client: str, live: trioecho.LiveServer) -> None:
    """The report has a time for each."""
    told = visit(client, live, f"/ping?every=0.1&count=2&id={client}", close_after=2)
    assert [json.loads(report)["ping"] for report in told.heard] == [1, 2]
    assert all(json.loads(report)["pong"] is not None for report in told.heard)
    assert sum(frame["kind"] == "pong" for frame in seen(live, client)["frames"]) == 2
