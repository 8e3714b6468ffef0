"""Stop a server with many clients, and draw when each of them got its Close. Linux.

    python tests/benchmark/draining.py --clients 2000 --delay 2 --window 10 [--workers 2]

It also asks /readyz and for a WebSocket every tenth of a second, and says when each first got another answer.
"""

from __future__ import annotations

import argparse
import re
import resource
import signal
import subprocess
import sys
import time
from collections import Counter

import trio
from restart import CLOSE, REQUEST

WIDTH = 60


async def client(port: int, closes: list[float], *, task_status: trio.TaskStatus[None]) -> None:
    """Connect, and take down when the server's Close comes."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(REQUEST)
        received = b""
        while b"\r\n\r\n" not in received:
            received += await stream.receive_some()
        assert received.startswith(b"HTTP/1.1 101"), received
        task_status.started()
        frame = await stream.receive_some()
        assert frame[:1] == b"\x88", frame
        closes.append(time.monotonic())
        await stream.send_all(CLOSE)


async def status(port: int, request: bytes) -> int:
    """Return the status of one request; 0 where nobody answers."""
    try:
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(request)
            return int((await stream.receive_some()).split()[1])
    except (OSError, trio.BrokenResourceError, IndexError):
        return 0


async def look(port: int, name: str, request: bytes, changes: list[tuple[float, str]]) -> None:
    """Take down each change of the answer."""
    last = -1
    while last != 0:
        now = await status(port, request)
        if now != last:
            changes.append((time.monotonic(), f"{name}: {now or 'nobody answers'}"))
            last = now
        await trio.sleep(0.1)


async def watch(
    process: subprocess.Popen[str],
    port: int,
    clients: int,
    closes: list[float],
    changes: list[tuple[float, str]],
) -> float:
    """Connect all and stop the server; return when, once nobody is connected any more."""
    async with trio.open_nursery() as nursery:
        for _ in range(clients):
            await nursery.start(client, port, closes)
        ready = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        nursery.start_soon(look, port, "/readyz", ready, changes)
        nursery.start_soon(look, port, "newcomers", REQUEST, changes)
        await trio.sleep(0.3)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
    return began


def measure(arguments: argparse.Namespace) -> None:
    """Start the server; connect all, stop, and print."""
    options = ["--drain-delay", str(arguments.delay), "--drain-window", str(arguments.window)]
    if arguments.workers:
        options += ["--workers", str(arguments.workers)]
    with subprocess.Popen(
        [sys.executable, "-m", "trioecho", "--port", "0", "--log-level", "error", *options],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        found = re.search(r":(\d+)", process.stdout.readline())
        assert found is not None
        closes: list[float] = []
        changes: list[tuple[float, str]] = []
        began = trio.run(watch, process, int(found[1]), arguments.clients, closes, changes)
        process.wait()
        ended = time.monotonic()
    for when, what in sorted(changes):
        print(f"{when - began:6.1f} s  {what}")
    times = [each - began for each in closes]
    bars = Counter(int(each * 2) for each in times)
    print(
        f"{len(times)} Closes from {min(times):.2f} s to {max(times):.2f} s; process ended at {ended - began:.2f} s"
    )
    for half in range(max(bars) + 1):
        bar = "#" * round(WIDTH * bars[half] / max(bars.values()))
        print(f"{half / 2:5.1f} s {bars[half]:5d} {bar}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clients", type=int, default=2000)
    parser.add_argument("--delay", type=float, default=2.0)
    parser.add_argument("--window", type=float, default=10.0)
    parser.add_argument("--workers", type=int, default=0)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    measure(parser.parse_args())


if __name__ == "__main__":
    main()
