"""Restart a server while clients connect without a pause, and count who was refused. Linux.

    python tests/benchmark/restart.py --connections 10000 --restarts 5 --way workers

Each client connects, sends a message, awaits the echo or a Close of 1001 or 1012, and closes. Whoever is answered
neither 101 nor anything counts as refused, by what happened. Ways: `workers` (SIGUSR2 to a supervisor), `socket` (one
listening socket, as systemd has it, at which the next server is started before the last one is told to stop), and
`own` (the same port, the next server is started when the last one has ended), which refuses some.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import trio

REQUEST = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
HELLO = b"\x81\x85\0\0\0\0hello"
CLOSE = b"\x88\x82\0\0\0\0\x03\xe8"
PATIENCE = 30.0


class Servers:
    """The server, and how it is restarted."""

    def __init__(self, way: str, *arguments: str) -> None:
        self.way, self.arguments = way, arguments
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self.listening.getsockname()[1]
        if way != "socket":
            self.listening.close()
        self.process = self.start()

    def start(self) -> subprocess.Popen[str]:
        place = ("--port", str(self.port))
        if self.way == "workers":
            place += ("--workers", "2")
        if self.way == "socket":
            place = ("--fd", str(self.listening.fileno()))
        process = subprocess.Popen(
            [sys.executable, "-m", "trioecho", *place, "--log-level", "error", *self.arguments],
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=[self.listening.fileno()] if self.way == "socket" else [],
        )
        assert process.stdout is not None
        assert process.stdout.readline()
        return process

    def restart(self) -> None:
        """Return when the new one serves, and the old one is leaving."""
        if self.way == "workers":
            before = self.workers()
            assert before
            self.process.send_signal(signal.SIGUSR2)
            while before & self.workers():
                time.sleep(0.02)
        elif self.way == "socket":
            old, self.process = self.process, self.start()
            end(old)
        else:
            end(self.process)
            self.process = self.start()

    def workers(self) -> set[str]:
        found = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return {pid for each in found for pid in each.read_text(encoding="ascii").split()}

    def close(self) -> None:
        end(self.process)
        self.listening.close()


def end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.wait(PATIENCE)
    assert process.stdout is not None
    process.stdout.close()


async def visit(port: int) -> str:
    """Return what became of one client."""
    try:
        with trio.fail_after(PATIENCE):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            async with stream:
                await stream.send_all(REQUEST)
                received = b""
                while b"\r\n\r\n" not in received:
                    data = await stream.receive_some()
                    if not data:
                        return "closed without an answer"
                    received += data
                status = received.split()[1].decode()
                if status != "101":
                    return status
                with contextlib.suppress(trio.BrokenResourceError):
                    await stream.send_all(HELLO)
                _, _, received = received.partition(b"\r\n\r\n")
                while not (b"\x81\x05hello" in received or received[:1] == b"\x88"):
                    data = await stream.receive_some()
                    if not data:
                        return "101, then gone"
                    received += data
                with contextlib.suppress(trio.BrokenResourceError):
                    await stream.send_all(CLOSE)
                    await stream.receive_some()
                return "101"
    except OSError as error:
        return f"refused: {error.strerror or error}"
    except (trio.BrokenResourceError, trio.TooSlowError) as error:
        return type(error).__name__


async def measure(way: str, connections: int, restarts: int, at_once: int) -> Counter[str]:
    """Return what became of how many clients."""
    servers = await trio.to_thread.run_sync(Servers, way)
    outcomes: Counter[str] = Counter()
    begun = 0

    async def clients() -> None:
        nonlocal begun
        while begun < connections:
            begun += 1
            outcomes[await visit(servers.port)] += 1

    async def restart() -> None:
        for number in range(restarts):
            while begun < connections * (number + 1) / (restarts + 2):
                await trio.sleep(0.01)
            await trio.to_thread.run_sync(servers.restart)

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(restart)
            for _ in range(at_once):
                nursery.start_soon(clients)
    finally:
        await trio.to_thread.run_sync(servers.close)
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--restarts", type=int, default=5)
    parser.add_argument("--at-once", type=int, default=20)
    parser.add_argument("--way", choices=("workers", "socket", "own"), default="workers")
    arguments = parser.parse_args()
    began = time.monotonic()
    outcomes = trio.run(measure, arguments.way, arguments.connections, arguments.restarts, arguments.at_once)
    print(
        f"{arguments.way}: {sum(outcomes.values())} connections, {arguments.restarts} restarts, "
        f"{time.monotonic() - began:.1f} s: {dict(outcomes)}"
    )


if __name__ == "__main__":
    main()
