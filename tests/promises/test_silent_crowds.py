"""Very many who connect and ask for nothing keep nobody out who asks for something, however few files may be open."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from command_line import Start
from server_process import PATIENCE

from trioecho.testing import RawClient

FILES = 1024
"""What ``ulimit -n`` says on most machines."""

CROWD = 1100
"""More than that."""

TRIES = 12

WITH_FEW_FILES = (
    "-c",
    f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({FILES}, {FILES}));"
    "import sys; from trioecho.cli.serve import main; main()",
    "--port",
    "0",
)


@pytest.fixture(autouse=True)
def many_files() -> Iterator[None]:
    """This process has the other end of each connection."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2 * CROWD:
        pytest.skip(f"this process may open {hard} files only")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * CROWD), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def stay(port: int, said: bytes, arrived: trio.MemorySendChannel[None]) -> None:
    """Connect, say this and no more, and connect anew whenever the server closes it."""
    while True:
        with trio.socket.socket() as sock:
            try:
                await sock.connect(("127.0.0.1", port))
                await sock.send(said)
                await arrived.send(None)
                await sock.recv(1)
            except OSError:
                await trio.sleep(0.01)


async def is_served(port: int) -> bool:
    """Whether a client is let in and has an answer before it loses patience."""
    with trio.move_on_after(PATIENCE / 2):
        try:
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                client = RawClient(stream)
                await client.handshake()
                await client.send("hello")
                return await client.receive() == "hello"
        except (OSError, trio.BrokenResourceError, AssertionError):
            pass
    return False


@pytest.mark.timeout(180)
@pytest.mark.parametrize("said", [b"", b"GET /ws HTTP/1.1\r\nHost: loca"], ids=["silent", "half a request"])
async def test_a_client_gets_in_past_a_crowd_that_asks_for_nothing(start_server: Start, said: bytes) -> None:
    """Of 12 tries 12, where 1 did; the server never has more files open than it may, and goes on afterwards."""
    server = start_server(command=WITH_FEW_FILES)
    served, most = 0, 0
    async with trio.open_nursery() as nursery:
        arrived, arrivals = trio.open_memory_channel[None](0)
        for _ in range(CROWD):
            nursery.start_soon(stay, server.port, said, arrived)
        for _ in range(CROWD):
            await arrivals.receive()
        nursery.start_soon(_drop, arrivals)
        for _ in range(TRIES):
            served += await is_served(server.port)
            most = max(most, len(os.listdir(Path("/proc", str(server.process.pid), "fd"))))
        nursery.cancel_scope.cancel()
    assert served == TRIES, f"{served} of {TRIES} got in"
    assert 700 < most < FILES
    assert "sockets are open" in server.wait_for_log("of which no request had come for the longest time")
    assert not [line for line in server.log if "cannot accept" in line]
    assert await is_served(server.port)


async def _drop(arrivals: trio.MemoryReceiveChannel[None]) -> None:
    async for _ in arrivals:
        pass


async def test_few_websockets_need_few_files(start_server: Start) -> None:
    """With `--max-connections 10` a crowd holds no more files than some, too."""
    server = start_server("--max-connections", "10")
    async with trio.open_nursery() as nursery:
        arrived, arrivals = trio.open_memory_channel[None](0)
        for _ in range(600):
            nursery.start_soon(stay, server.port, b"", arrived)
        for _ in range(600):
            await arrivals.receive()
        nursery.start_soon(_drop, arrivals)
        assert await is_served(server.port)
        assert len(os.listdir(Path("/proc", str(server.process.pid), "fd"))) < 300
        nursery.cancel_scope.cancel()
