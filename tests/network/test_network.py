"""On a network that fails: a vanished peer is noticed in bounded time and costs nothing, a slow living one stays."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable

import trio
from server_process import PATIENCE
from websockets.sync.client import connect

from network.machines import LINGER, SLACK, Machines
from network.machines import machines as machines
from trioecho.testing import BINARY, PING, RawClient

QUICK = {"keep_alive_interval": 0.4, "keep_alive_timeout": 0.6}


async def greeted(client: RawClient) -> None:
    """The client says something and has it back."""
    await client.send("hello")
    assert await client.receive() == "hello"


async def test_a_pulled_cable_is_noticed_within_interval_and_timeout(machines: Machines) -> None:
    """20 clients, no FIN and no reset: after interval + timeout all have their record, and nothing of them is left."""
    machines.serve(**QUICK)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(20):
            await greeted(await stack.enter_async_context(machines.client()))
        machines.cable.pull()
        pulled = time.monotonic()
        causes = machines.wait_for_causes(20, 0.4 + 0.6 + LINGER + SLACK)
        assert time.monotonic() - pulled > 0.6
        assert set(causes) == {"keep-alive timeout"}
        await machines.wait_for_descriptors(SLACK)
        machines.cable.plug_in()
        async with machines.client() as another:
            await greeted(another)


async def test_a_pulled_cable_frees_everything_whatever_was_going_on(machines: Machines) -> None:
    """Silent, in a request, in a response, in a message, in the closing handshake: each has its deadline."""
    machines.serve(**QUICK, handshake_timeout=1, send_timeout=1, close_timeout=1)
    async with contextlib.AsyncExitStack() as stack:

        async def tcp(said: bytes = b"") -> trio.SocketStream:
            stream = await stack.enter_async_context(machines.tcp())
            await stream.send_all(said)
            return stream

        await tcp()
        await tcp(b"GET /ws HTTP/1.1\r\nHost: 10.77.")
        await tcp(b"POST /endless HTTP/1.1\r\nHost: 10.77.0.1\r\nContent-Length: 5\r\n\r\nab")
        answered = await tcp(b"GET /nothing HTTP/1.1\r\nHost: 10.77.0.1\r\n\r\n")
        assert (await answered.receive_some()).startswith(b"HTTP/1.1 404")
        endless = await tcp(b"GET /endless HTTP/1.1\r\nHost: 10.77.0.1\r\n\r\n")
        assert (await endless.receive_some()).startswith(b"HTTP/1.1 200")
        pushed = await stack.enter_async_context(machines.client("/push"))
        assert await pushed.receive() == bytes(16384)
        half = await stack.enter_async_context(machines.client())
        await half.send_frame(BINARY, b"half a message", fin=False)
        leaving = await stack.enter_async_context(machines.client("/leave"))
        await leaving.send("leave")
        assert await leaving.receive_close() == (1000, "enough")
        machines.cable.pull()
        # The pushing one is stuck for `send_timeout`, and silent for just as long.
        found = machines.wait_for_causes(3, 1 + 0.4 + 0.6 + LINGER + SLACK)
        assert set(found) - {"send timeout"} == {"application closed", "keep-alive timeout"}
        await machines.wait_for_descriptors(2 + SLACK)


async def test_a_peer_that_hears_us_and_is_not_heard_is_noticed(machines: Machines) -> None:
    """Half-open: our Pings arrive and its Pongs do not."""
    machines.serve(**QUICK)
    async with machines.client() as client:
        await greeted(client)
        machines.cable.to_first.blocked = True
        passed = machines.cable.to_second.passed
        assert machines.wait_for_causes(1, 0.4 + 0.6 + LINGER + SLACK) == ["keep-alive timeout"]
        assert machines.cable.to_second.passed > passed
        await machines.wait_for_descriptors(SLACK)


async def test_a_peer_that_is_heard_and_does_not_hear_us_is_noticed(machines: Machines) -> None:
    """Half-open the other way: what it says still arrives, so it lives; but it takes nothing for `send_timeout`."""
    machines.serve(send_timeout=1)
    async with machines.client("/large") as client:
        await client.send("one")
        assert len(await client.receive()) == 1_000_000
        machines.cable.to_second.blocked = True
        # A message every 0.1 s as long as the kernel sends any: only so much goes out without an acknowledgement.
        with trio.move_on_after(0.5):
            while True:
                await client.send("and another")
                await trio.sleep(0.1)
        assert machines.wait_for_causes(1, 1 + LINGER + SLACK) == ["send timeout"]
        await machines.wait_for_descriptors(SLACK)


async def test_a_peer_that_has_forgotten_us_is_noticed_at_the_next_ping(machines: Machines) -> None:
    """Reset while the cable was out, as by a crash: our Ping is answered with a reset, long before the timeout."""
    machines.serve(keep_alive_interval=1, keep_alive_timeout=60)
    async with machines.client() as client:
        await greeted(client)
        machines.cable.pull()
        assert isinstance(client.stream, trio.SocketStream)
        client.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    machines.cable.plug_in()
    assert machines.wait_for_causes(1, 1 + SLACK) == ["peer vanished"]
    await machines.wait_for_descriptors(SLACK)


async def test_a_cable_that_is_plugged_in_again_in_time_costs_nobody_anything(machines: Machines) -> None:
    """Out for longer than the interval, in again before the timeout: TCP sends the Ping again, and it is answered."""
    machines.serve(keep_alive_interval=0.3, keep_alive_timeout=10)
    async with machines.client() as client:
        await greeted(client)
        machines.cable.pull()
        await trio.sleep(1)
        assert machines.cable.to_second.dropped > 0
        machines.cable.plug_in()
        frame = await client.receive_frame()
        assert frame is not None
        assert frame.opcode == PING
        await greeted(client)
        assert machines.causes() == []


def in_threads(count: int, work: Callable[[int], object]) -> None:
    """Call `work` in so many threads; what one of them raises is raised."""
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(3 * PATIENCE)
    if failures:
        raise failures[0]


def conversation(machines: Machines, messages: list[bytes], keep: float = 0.0) -> None:
    """A client on `websockets`: all `messages` come back in order; after `keep` seconds it closes, and is answered."""
    theirs = machines.socket()
    theirs.connect(machines.address)
    with connect(
        "ws://10.77.0.1:5000/ws",
        sock=theirs,
        proxy=None,
        compression=None,
        ping_interval=None,
        open_timeout=PATIENCE,
        close_timeout=PATIENCE,
    ) as websocket:
        for message in messages:
            websocket.send(message)
        assert [websocket.recv(PATIENCE) for _ in messages] == messages
        time.sleep(keep)
        websocket.close(4000, "done")
        assert (websocket.close_code, websocket.close_reason) == (4000, "done")


def test_a_network_that_loses_three_packets_in_ten_drops_nobody(machines: Machines) -> None:
    """8 clients, each with 12 messages from 16 bytes to 4 KB: all come back, in order, and all leave in good order."""
    # The last packets may be lost several times, too.
    machines.serve(keep_alive_interval=0.5, keep_alive_timeout=15, close_timeout=PATIENCE)
    for direction in machines.cable.both:
        direction.loss = 0.3
    in_threads(
        8, lambda number: conversation(machines, [bytes([number, each]) * each**3 for each in range(2, 14)])
    )
    assert machines.wait_for_causes(8, PATIENCE) == ["peer closed"] * 8
    assert all(direction.dropped > 30 for direction in machines.cable.both)


def test_a_network_with_a_delay_of_400_ms_each_way(machines: Machines) -> None:
    """Handshake, echo, rounds of keep-alive and the closing handshake work, with all timeouts at their default."""
    machines.serve(keep_alive_interval=0.5)
    for direction in machines.cable.both:
        direction.delay = 0.4
    begun = time.monotonic()
    in_threads(5, lambda number: conversation(machines, [bytes([number]) * 1000, bytes(30_000)], keep=2))
    assert machines.wait_for_causes(5, SLACK) == ["peer closed"] * 5
    # TCP's handshake, ours, the echo, the pause, Close.
    assert time.monotonic() - begun > 4 * 0.8 + 2 - 0.4


async def test_a_peer_on_a_slow_line_is_alive_while_it_uploads_and_downloads(machines: Machines) -> None:
    """600 KB up and down at 150 KB/s, each some 4 s: no Pong can come meanwhile, and none is needed."""
    machines.serve(keep_alive_interval=0.5, keep_alive_timeout=1.5, send_timeout=1.5)
    for direction in machines.cable.both:
        direction.rate = 150_000
    begun = time.monotonic()
    async with machines.client() as client:
        await client.send(bytes(600_000))
        assert await client.receive() == bytes(600_000)
        assert time.monotonic() - begun > 7
        assert machines.causes() == []


async def test_a_window_that_stays_shut_ends_by_the_send_timeout_and_not_sooner(machines: Machines) -> None:
    """The client does not read, and its kernel answers each probe of TCP: it is alive, and takes nothing."""
    machines.serve(send_timeout=2)
    async with machines.client("/push", receive_buffer=8192) as client:
        begun = time.monotonic()
        assert await client.receive() == bytes(16384)
        assert machines.wait_for_causes(1, 2 + LINGER + SLACK) == ["send timeout"]
        assert time.monotonic() - begun > 2
        assert machines.cable.to_first.passed > 5
        await machines.wait_for_descriptors(SLACK)


async def test_a_window_that_opens_slowly_but_steadily_is_never_timed_out(machines: Machines) -> None:
    """4 KiB every 0.1 s, for much longer than the send timeout and keep-alive's times."""
    machines.serve(keep_alive_interval=0.5, keep_alive_timeout=1, send_timeout=1)
    async with machines.client("/push", receive_buffer=8192) as client:
        assert isinstance(client.stream, trio.SocketStream)
        for _ in range(40):
            await client.stream.receive_some(4096)
            await trio.sleep(0.1)
        assert machines.causes() == []
