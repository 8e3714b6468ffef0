"""Time in which we did not look is held against nobody: reading that pauses, a loop or a process that stands still."""

from __future__ import annotations

import contextlib
import fcntl
import signal
import socket
import sys
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import serving as ways
import trio
import trio.testing
from server_process import ServerProcess
from serving import certificates, one_way, plain_tcp, serving, until
from serving import way_of_reading as way_of_reading

import trioecho
from trioecho.testing import BINARY, CLOSE, PING, PONG, TEXT, Frame, RawClient, encode_frame, open_client

Clock = trio.testing.MockClock


# Reading that pauses, on virtual time.


async def next_frame(client: RawClient, opcode: int) -> tuple[Frame, float]:
    """The next frame, which has to be one of these, and the second it came."""
    frame = await client.receive_frame()
    assert frame is not None
    assert frame.opcode == opcode, f"expected opcode {opcode}, received {frame!r:.100}"
    return frame, trio.current_time()


@one_way
async def test_progress_while_reading_is_paused_is_not_counted_twice(autojump_clock: Clock) -> None:
    """A handler busy for 1,000 s sends now and then, which the client takes, and reads on: dead after 120 + 20 s."""
    read_on: list[float] = []

    async def handler(ws: trioecho.WebSocket) -> None:
        await ws.receive()
        for _ in range(10):
            await trio.sleep(100)
            await ws.send(bytes(300_000))
        await trio.sleep(1)
        read_on.append(trio.current_time())
        async for _ in ws:
            pass

    async with open_client(handler) as client:
        # More than may wait for a handler, so that reading pauses.
        await client.stream.send_all(client.frame(BINARY, bytes(1000)) * 200)
        for _ in range(10):
            await next_frame(client, BINARY)
        _, asked = await next_frame(client, PING)
        close, dead = await next_frame(client, CLOSE)
    assert close.close == (1011, "keep-alive timeout")
    assert (asked - read_on[0], dead - read_on[0]) == (pytest.approx(120, abs=2), pytest.approx(140, abs=2))


# A loop that stands still.

CLIENTS = 20


class LeapingClock(trio.abc.Clock):
    """Real time, to which may be added what nobody wants to wait for."""

    def __init__(self) -> None:
        self.leapt = 0.0

    def start_clock(self) -> None:
        """It runs already."""

    def current_time(self) -> float:
        return time.monotonic() + self.leapt

    def deadline_to_sleep_time(self, deadline: float) -> float:
        return deadline - self.current_time()


@pytest.fixture
def leaping_clock() -> LeapingClock:
    return LeapingClock()


class BlockingClient:
    """A client on a blocking socket, for a thread that goes on while Trio's loop stands still."""

    def __init__(self, port: int, *, encrypted: bool = False) -> None:
        sock = socket.create_connection(("127.0.0.1", port), timeout=ways.PATIENCE)
        self.socket: socket.socket = sock
        if encrypted:
            self.socket = certificates()[1].wrap_socket(sock, server_hostname="127.0.0.1")
        self._received = b""
        self.socket.sendall(
            b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        while b"\r\n\r\n" not in self._received:
            self._receive_more()
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101"), head

    def send_frame(self, opcode: int, payload: bytes) -> None:
        self.socket.sendall(encode_frame(opcode, payload, key=b"\x12\x34\x56\x78"))

    def receive_frame(self) -> tuple[int, bytes]:
        """Opcode and payload of the next frame, which has to be a short one; says so if the server hung up."""
        while len(self._received) < 2 or len(self._received) < 2 + self._received[1]:
            self._receive_more()
        end = 2 + self._received[1]
        frame, self._received = self._received[:end], self._received[end:]
        return frame[0] & 0x0F, frame[2:]

    def echo(self, text: bytes) -> None:
        """Send a message and receive it back."""
        self.send_frame(TEXT, text)
        self.expect(TEXT, text)

    def expect(self, opcode: int, payload: bytes) -> None:
        """This is the next frame but for Pings, which are answered."""
        frame = self.receive_frame()
        while frame[0] == PING:
            self.send_frame(PONG, frame[1])
            frame = self.receive_frame()
        assert frame == (opcode, payload), f"the server said {frame}"

    def delivered(self) -> bool:
        """Whether the server's kernel has all that was sent, where the system tells."""
        if not sys.platform.startswith("linux"):
            return True
        return not any(fcntl.ioctl(self.socket.fileno(), termios.TIOCOUTQ, bytes(4)))

    def _receive_more(self) -> None:
        data = self.socket.recv(65_536)
        assert data, "the server hung up"
        self._received += data


async def with_clients(
    clock: LeapingClock,
    options: dict[str, Any],
    rounds: int,
    seconds: float,
    before: Callable[[BlockingClient], bytes],
    during: Callable[[BlockingClient, bytes], None],
    after: Callable[[BlockingClient, bytes], None],
) -> None:
    """20 clients, in a thread, of an echo whose loop stands still `rounds` times for `seconds`.

    Each round, all are echoed something; then each client does what is to be done `before` and, while the loop stands
    still, `during` that; then `after`.
    """
    ready, standing, done = threading.Event(), threading.Event(), threading.Event()
    outcome: list[str | None] = []

    def talk(port: int, encrypted: bool) -> None:
        clients: list[BlockingClient] = []
        try:
            clients.extend(BlockingClient(port, encrypted=encrypted) for _ in range(CLIENTS))
            for _ in range(rounds):
                for client in clients:
                    client.echo(b"hello")
                prepared = [before(client) for client in clients]
                standing.clear()
                ready.set()
                assert standing.wait(ways.PATIENCE)
                for client, what in zip(clients, prepared, strict=True):
                    during(client, what)
                while not all(client.delivered() for client in clients):
                    time.sleep(0.001)
                done.set()
                for client, what in zip(clients, prepared, strict=True):
                    after(client, what)
            outcome.append(None)
        except (AssertionError, OSError) as error:
            outcome.append(f"{type(error).__name__}: {error}")
        finally:
            done.set()
            for client in clients:
                client.socket.close()

    async with serving(**options) as server, trio.open_nursery() as nursery:
        encrypted = server.url.startswith("https:")
        nursery.start_soon(trio.to_thread.run_sync, talk, server.port, encrypted)
        for _ in range(rounds):
            await until(lambda: ready.is_set() or outcome)
            if outcome:
                break
            ready.clear()
            # Nothing else happens in this thread, and with that in Trio's loop, as during a long computation.
            standing.set()
            assert done.wait(ways.PATIENCE)
            done.clear()
            clock.leapt += seconds
        await until(lambda: outcome)
        assert outcome == [None], f"{outcome[0]}; {[str(record) for record in server.records]}"


async def test_a_loop_that_stood_still_drops_nobody_for_being_idle(leaping_clock: LeapingClock) -> None:
    """20 clients have said something meanwhile, in time, and it lies in the kernel: they are echoed, not dropped."""

    def say(client: BlockingClient, _: bytes) -> None:
        client.send_frame(TEXT, b"in time")

    await with_clients(
        leaping_clock,
        {"idle_timeout": 10.0},
        rounds=3,
        seconds=11.0,
        before=lambda client: b"",
        during=say,
        after=lambda client, _: client.expect(TEXT, b"in time"),
    )


async def test_a_loop_that_stood_still_drops_nobody_for_a_pong_that_it_did_not_read(
    leaping_clock: LeapingClock,
) -> None:
    """20 clients have answered their Ping meanwhile, in time, and it lies in the kernel: they stay."""

    def await_ping(client: BlockingClient) -> bytes:
        opcode, payload = client.receive_frame()
        assert opcode == PING, f"the server said {opcode}, {payload!r}"
        return payload

    await with_clients(
        leaping_clock,
        {"keep_alive_interval": 0.5, "keep_alive_timeout": 10.0},
        rounds=2,
        seconds=11.0,
        before=await_ping,
        during=lambda client, payload: client.send_frame(PONG, payload),
        after=lambda client, _: client.echo(b"still here"),
    )


@plain_tcp
async def test_a_loop_that_stood_still_drops_nobody_whose_progress_it_did_not_see(
    leaping_clock: LeapingClock,
) -> None:
    """A client downloads without saying a word; while the loop stands still, it takes what the kernel holds."""

    async def send_without_end(ws: trioecho.WebSocket) -> None:
        while True:
            await ws.send(bytes(1_000_000))

    options = {"keep_alive_interval": 0.1, "keep_alive_timeout": 5.0}
    async with serving(send_without_end, **options) as server:
        client = await trio.to_thread.run_sync(BlockingClient, server.port)
        with contextlib.closing(client.socket) as sock:
            sock.setblocking(False)
            for _ in range(8):
                # It is asked whether it lives; the Ping waits behind the download.
                leaping_clock.leapt += 0.1
                await trio.testing.wait_all_tasks_blocked(0.05)
                with contextlib.suppress(BlockingIOError):
                    while True:
                        sock.recv(1_000_000)
                leaping_clock.leapt += 5.1
                await trio.testing.wait_all_tasks_blocked(0.05)
                assert not server.records


@one_way
def test_a_process_that_was_stopped_drops_nobody(start_server: Callable[..., ServerProcess]) -> None:
    """SIGSTOP, a message from each of 20 clients, and SIGCONT when idle_timeout is long over: each has its echo."""
    server = start_server("--idle-timeout", "3")
    clients: list[BlockingClient] = []
    try:
        clients.extend(BlockingClient(server.port) for _ in range(CLIENTS))
        for client in clients:
            client.echo(b"hello")
        server.signal(signal.SIGSTOP)
        stat = Path(f"/proc/{server.process.pid}/stat")
        if stat.exists():
            while stat.read_text().rpartition(")")[2].split()[0] != "T":
                time.sleep(0.001)
        for client in clients:
            client.send_frame(TEXT, b"in time")
        # What has to pass is real time, longer than the server's idle_timeout.
        time.sleep(3.1)
        server.signal(signal.SIGCONT)
        for client in clients:
            client.expect(TEXT, b"in time")
    finally:
        server.signal(signal.SIGCONT)
        for client in clients:
            client.socket.close()
    assert "idle timeout" not in "\n".join(server.log)
