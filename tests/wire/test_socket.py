"""What the kernel is asked and told about one TCP connection, and how it is ended without a reset."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import sys
from collections.abc import Iterator

import pytest
import trio
import trio.testing
from serving import certificates, until

from trioecho._wire.poller import Poller
from trioecho._wire.socket import (
    DISCARDED_BYTES,
    SocketWire,
    await_hang_up,
    half_close,
    in_flight,
    keep_alive,
    pending_error,
    tcp_of,
    unread,
)

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
needs_epoll = pytest.mark.skipif(not Poller.available, reason="this platform has no epoll")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a TCP connection; who reads from them has a timeout."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs = listener.accept()[0]
    with ours, theirs:
        theirs.settimeout(10)
        yield ours, theirs


def stream_of(ours: socket.socket) -> trio.SocketStream:
    return trio.SocketStream(trio.socket.from_stdlib_socket(ours))


def reset(theirs: socket.socket) -> None:
    """End TCP as a crash does."""
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    theirs.close()


async def test_unread_bytes_and_an_unread_end_are_seen(pair: tuple[socket.socket, socket.socket]) -> None:
    """Without reading them; and of a socket that is closed nothing can be."""
    ours, theirs = pair
    tcp = stream_of(ours)
    assert not unread(tcp)
    theirs.sendall(b"x")
    await until(lambda: unread(tcp))
    assert await tcp.receive_some() == b"x"
    assert not unread(tcp)
    theirs.shutdown(socket.SHUT_WR)
    await until(lambda: unread(tcp))
    await tcp.aclose()
    assert not unread(tcp)


@on_linux
async def test_in_flight_is_what_was_not_acknowledged(pair: tuple[socket.socket, socket.socket]) -> None:
    """All of what the kernel still has; nothing once the peer's has it, nor of a socket that is closed."""
    ours, theirs = pair
    tcp = stream_of(ours)
    assert in_flight(tcp) == 0
    with trio.move_on_after(0.05):
        await tcp.send_all(bytes(20_000_000))
    assert in_flight(tcp) > 0
    theirs.setblocking(False)
    while in_flight(tcp):
        with contextlib.suppress(BlockingIOError):
            theirs.recv(1_000_000)
        await trio.lowlevel.checkpoint()
    await trio.aclose_forcefully(tcp)
    assert in_flight(tcp) == 0


async def test_a_reset_is_an_error_that_waits_to_be_told(pair: tuple[socket.socket, socket.socket]) -> None:
    """Before anybody reads or writes; it is told once."""
    ours, theirs = pair
    tcp = stream_of(ours)
    assert pending_error(tcp) is None
    reset(theirs)
    await until(lambda: unread(tcp))
    error = pending_error(tcp)
    assert error is not None
    assert error.errno == errno.ECONNRESET
    assert error.strerror
    await trio.aclose_forcefully(tcp)
    error = pending_error(tcp)
    assert error is not None
    assert error.errno == errno.EBADF


@on_linux
@pytest.mark.parametrize(
    ("times", "told"),
    [
        ((120.0, 30.0), [120, 10, 3]),
        ((0.2, 0.2), [1, 1, 1]),
        ((19.5, 2.0), [20, 1, 2]),
        ((1e6, 1e6), [32_767, 32_767, 3]),
    ],
)
async def test_the_kernel_is_told_the_times(
    times: tuple[float, float], told: list[int], pair: tuple[socket.socket, socket.socket]
) -> None:
    """Silence before the first probe, time between two, and their number: at least one, at most what it takes."""
    tcp = stream_of(pair[0])
    keep_alive(tcp, *times)
    assert tcp.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    assert [tcp.getsockopt(socket.IPPROTO_TCP, name) for name in names] == told


@pytest.mark.parametrize("times", [(float("inf"), 30.0), (120.0, float("inf"))])
async def test_without_an_end_the_kernel_is_told_nothing(
    times: tuple[float, float], pair: tuple[socket.socket, socket.socket]
) -> None:
    """Keep-alive is off, or its patience has no end. Nor does it harm to ask it of a socket that is closed."""
    tcp = stream_of(pair[0])
    keep_alive(tcp, *times)
    assert tcp.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
    await tcp.aclose()
    keep_alive(tcp, 20.0, 9.0)


async def test_tcp_is_found_under_tls(pair: tuple[socket.socket, socket.socket]) -> None:
    """And is the stream itself where there is no TLS."""
    tcp = stream_of(pair[0])
    memory, _ = trio.testing.memory_stream_pair()
    assert tcp_of(trio.SSLStream(tcp, certificates()[0], server_side=True)) is tcp
    assert tcp_of(tcp) is tcp
    assert tcp_of(memory) is memory


async def test_half_closed_the_peer_hears_the_end_and_can_still_speak(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """Twice is as good as once, and the peer may have gone already."""
    ours, theirs = pair
    tcp = stream_of(ours)
    for _ in range(2):
        with trio.testing.assert_checkpoints():
            await half_close(tcp)
    assert theirs.recv(10) == b""
    theirs.sendall(b"still here")
    assert await tcp.receive_some() == b"still here"
    await tcp.aclose()
    await half_close(tcp)


class OneDirection(trio.abc.Stream):
    """A stream that cannot end one direction only."""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        raise AssertionError("nothing is sent")

    async def wait_send_all_might_not_block(self) -> None:
        raise AssertionError("nothing is sent")

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        raise trio.BrokenResourceError

    async def aclose(self) -> None:
        raise AssertionError("it is not closed")


async def test_what_has_no_halves_is_left_as_it_is() -> None:
    """And it is a checkpoint all the same."""
    with trio.testing.assert_checkpoints():
        await half_close(OneDirection())
    await await_hang_up(OneDirection())


async def test_what_the_peer_still_sends_is_thrown_away_until_it_hangs_up(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """So that no reset destroys what was said last."""
    ours, theirs = pair
    tcp = stream_of(ours)
    await tcp.send_all(b"the last word")
    theirs.sendall(bytes(100_000))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(await_hang_up, tcp)
        await trio.testing.wait_all_tasks_blocked()
        assert theirs.recv(13, socket.MSG_WAITALL) == b"the last word"
        assert theirs.recv(1) == b"", "it was not told that this was all"
        theirs.close()
    assert not unread(tcp) or await tcp.receive_some() == b""


async def test_whoever_goes_on_for_ever_is_not_listened_to_for_ever() -> None:
    """A mebibyte, and it is closed over the rest."""
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(bytes(DISCARDED_BYTES + 1000))
    with trio.fail_after(60):
        await await_hang_up(ours)
    assert 0 < len(await ours.receive_some()) <= 1000


@needs_epoll
async def test_it_is_not_closed_over_what_lies_unread(pair: tuple[socket.socket, socket.socket]) -> None:
    """The kernel would answer that by a reset, and what was said last would be lost."""
    ours, theirs = pair
    poller = Poller()
    try:
        tcp = stream_of(ours)
        wire = SocketWire(tcp, tcp, poller, "a peer")
        write, sink = wire.writer()
        assert write(sink, b"the last word") == 13
        theirs.sendall(bytes(100_000))
        await until(lambda: unread(tcp))
        wire.stop()
        await wire.close()
    finally:
        poller.close()
    assert theirs.recv(100, socket.MSG_WAITALL) == b"the last word"


@needs_epoll
async def test_once_stopped_it_says_what_has_to_be_read_by_oneself(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """After a loss nothing announces what the kernel still holds."""
    poller = Poller()
    try:
        tcp = stream_of(pair[0])
        wire = SocketWire(tcp, tcp, poller, "a peer")
        async with trio.open_nursery() as nursery:
            wire.start(nursery, lambda events, now: None)
        wire.pause(lost=False)
        assert not wire.resume()
        wire.pause(lost=True)
        assert wire.more
        assert wire.resume()
    finally:
        poller.close()
