"""The ticker: who reads gets each message, and who does not read is treated by the policy that was named."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from server_process import PATIENCE, ServerProcess
from websockets.asyncio.client import connect

TICKER = (str(Path(__file__).with_name("ticker.py")),)

CLOSE = b"\x88\x0a\x03\xf0too slow"  # 1008
ANSWER = b"\x88\x82\0\0\0\0\x03\xf0"

Start = Callable[..., ServerProcess]


@contextmanager
def who_does_not_read(server: ServerProcess) -> Iterator[socket.socket]:
    """A client that opens a WebSocket, has little room for what it is sent, and reads nothing."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(PATIENCE)
        sock.connect(("127.0.0.1", server.port))
        sock.sendall(
            b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        yield sock


def next_line(server: ServerProcess) -> str:
    """The next line of the program's output."""
    assert server.process.stdout is not None
    return server.process.stdout.readline()


async def ticks_until_told(server: ServerProcess) -> tuple[list[int], str]:
    """The numbers of the ticks that a client has got that reads, until the program tells of one that is slow and
    three ticks more have come; and what it tells."""
    numbers: list[int] = []
    async with asyncio.timeout(PATIENCE), connect(server.websocket_url, proxy=None) as ws:
        told = asyncio.create_task(asyncio.to_thread(next_line, server))
        behind = 0
        while behind < 3:
            message = await ws.recv()
            assert isinstance(message, str)
            numbers.append(int(message.removeprefix("tick ").partition(":")[0]))
            behind += told.done()
        return numbers, await told


@pytest.mark.parametrize("slow", ["skip", "wait"])
def test_who_reads_gets_each_tick_though_another_does_not(start_server: Start, slow: str) -> None:
    """The one that does not read misses some, which its record tells, and stays connected."""
    server = start_server("0", slow, command=TICKER)
    with who_does_not_read(server):
        numbers, told = asyncio.run(ticks_until_told(server))
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert re.fullmatch(r"tick \d+: [01] have it, 1 too slow\n", told)
        assert not [line for line in server.log if "skipped" in line], "it was disconnected"
    assert re.search(r" peer vanished.*; \d+ messages? skipped", server.wait_for_log("skipped"))
    assert server.stop() == 0


def test_who_does_not_read_is_disconnected_where_the_policy_says_so(start_server: Start) -> None:
    """It finds the reason, 1008 "too slow", behind the ticks that were on their way."""
    server = start_server("0", "close", command=TICKER)
    with who_does_not_read(server) as sock:
        assert re.fullmatch(r"tick \d+: 0 have it, 1 too slow\n", next_line(server))
        received = b""
        while not received.endswith(CLOSE) and (piece := sock.recv(65_536)):
            received = received[-100:] + piece
        assert received.endswith(CLOSE)
        sock.sendall(ANSWER)
        assert sock.recv(1) == b""
    server.wait_for_log("too slow, server first")
    assert server.stop() == 0
