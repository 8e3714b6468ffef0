"""What `Wire` promises, of each wire: plain TCP and TLS on the poller, and any Trio stream."""

from __future__ import annotations

import contextlib
import functools
import socket
from collections.abc import AsyncIterator, Callable

import pytest
import trio
import trio.testing
from serving import certificates, until

from trioecho._wire.choice import wire_of
from trioecho._wire.poller import Poller
from trioecho._wire.socket import SocketWire
from trioecho._wire.stream import StreamWire
from trioecho._wire.tls import TlsStream, TlsWire
from trioecho._wire.wire import CHUNK, Wire

RECORD = 16_384
"""The most plain bytes in one record of TLS."""

needs_epoll = pytest.mark.skipif(not Poller.available, reason="this platform has no epoll")

KINDS: list[type[Wire]] = [SocketWire, TlsWire, StreamWire]


@pytest.fixture(
    params=[pytest.param(kind, marks=() if kind is StreamWire else needs_epoll) for kind in KINDS]
)
def kind(request: pytest.FixtureRequest) -> type[Wire]:
    """Every test of this file runs with each."""
    assert issubclass(request.param, Wire)
    return request.param


class End:
    """A wire whose connection reads what it can, as `Connection` does, and the peer's end."""

    def __init__(self, wire: Wire, peer: trio.abc.Stream, tcp: trio.SocketStream) -> None:
        self.wire, self.peer, self.tcp = wire, peer, tcp
        read, source = wire.reader()
        self.read: Callable[[], bytes] = functools.partial(read, source, CHUNK)
        self.received, self.calls, self.largest = b"", 0, 0
        self.ended, self.lost = False, None
        self.paused = False

    def readable(self, _events: int, _now: float) -> None:
        """Read one chunk, or pause."""
        self.calls += 1
        if self.paused:
            self.wire.pause(lost=False)
            return
        try:
            data = self.read()
        except BlockingIOError:
            return
        except OSError as error:
            self.lost = error
            self.wire.stop()
            return
        self.received += data
        self.largest = max(self.largest, len(data))
        if not data:
            self.ended = True
            self.wire.stop()

    async def send(self, data: bytes) -> None:
        """As `Outgoing` does: sealed, at once as far as that goes, the rest by `send`."""
        rest = memoryview(data if self.wire.seal is None else self.wire.seal(data))
        with contextlib.suppress(BlockingIOError):
            write, sink = self.wire.writer()
            rest = rest[write(sink, bytes(rest)) :]
        while rest:
            rest = rest[await self.wire.send(rest) :]


@contextlib.asynccontextmanager
async def wired(kind: type[Wire]) -> AsyncIterator[End]:
    """A started wire over TCP; stopped and closed on leaving."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours = listener.accept()[0]
    tcp, peer_tcp = (trio.SocketStream(trio.socket.from_stdlib_socket(end)) for end in (ours, theirs))
    poller = Poller() if kind is not StreamWire else None
    transport: trio.abc.Stream = tcp
    peer: trio.abc.Stream = peer_tcp
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            if poller is not None:
                nursery.start_soon(poller.run)
            if kind is TlsWire:
                transport = TlsStream(tcp, certificates()[0])
                peer = trio.SSLStream(peer_tcp, certificates()[1], server_hostname="127.0.0.1")
                async with trio.open_nursery() as shaking:
                    shaking.start_soon(transport.do_handshake)
                    shaking.start_soon(peer.do_handshake)
            wire = wire_of(transport, "the peer", poller)
            assert type(wire) is kind
            end = End(wire, peer, tcp)
            wire.start(nursery, end.readable)
            if wire.more:
                end.readable(0, 0.0)
            try:
                yield end
            finally:
                if poller is not None:
                    poller.stop()
                wire.stop()
                await trio.aclose_forcefully(transport)
                await trio.aclose_forcefully(peer)
    if poller is not None:
        poller.close()


async def test_a_wire_says_what_it_is(kind: type[Wire]) -> None:
    """Whose bytes it carries, and whether they are encrypted."""
    async with wired(kind) as end:
        assert end.wire.peer == "the peer"


async def test_it_reads_in_order_and_then_tells_that_there_is_nothing(kind: type[Wire]) -> None:
    """All that the peer sends comes; and who reads without waiting is told when there is no more."""
    async with wired(kind) as end:
        data = bytes(range(256)) * 4000
        await end.peer.send_all(data)
        await until(lambda: len(end.received) >= len(data))
        assert end.received == data
        with pytest.raises(BlockingIOError):
            end.read()
        assert not end.wire.unread()


async def test_it_reads_no_more_than_a_chunk_at_once(kind: type[Wire]) -> None:
    """So that the other connections have their turn."""
    async with wired(kind) as end:
        await end.peer.send_all(bytes(2_000_000))
        await until(lambda: len(end.received) >= 2_000_000)
    # TLS may complete a record that an earlier chunk has begun.
    assert end.largest <= CHUNK + (RECORD if kind is TlsWire else 0)


def peeked(tcp: trio.SocketStream) -> bytes:
    """What lies unread in the kernel."""
    with socket.socket(fileno=socket.dup(tcp.socket.fileno())) as same:
        try:
            return same.recv(1_000_000, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return b""


async def test_what_is_written_arrives(kind: type[Wire]) -> None:
    """More than the kernel takes at once; and where large frames go by themselves, both of their parts."""
    async with wired(kind) as end:
        data, got = bytes(range(256)) * 20_000, b""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(end.send, data)
            while len(got) < len(data):
                got += await end.peer.receive_some()
        assert got == data
        if end.wire.immediate and end.wire.seal is None:
            assert end.wire.write_large(b"head", b"payload") == 11
            assert await end.peer.receive_some() == b"headpayload"


async def test_it_is_silent_between_pause_and_resume(kind: type[Wire]) -> None:
    """What comes meanwhile lies unread, which can be seen, and is read afterwards; either may be said twice."""
    async with wired(kind) as end:
        end.paused = True
        await end.peer.send_all(b"first")
        await until(lambda: end.wire.unread())
        end.wire.pause(lost=False)
        end.wire.pause(lost=False)
        await trio.testing.wait_all_tasks_blocked(0.01)
        calls = end.calls
        await end.peer.send_all(b" second")
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert (end.calls, end.received) == (calls, b"")
        assert end.wire.unread()
        end.paused = False
        for _ in range(2):
            if end.wire.resume():
                end.readable(0, 0.0)
        await until(lambda: end.received == b"first second")


@pytest.mark.parametrize("data", [b"", b"last words"])
async def test_the_peers_end_is_read_behind_its_bytes(kind: type[Wire], data: bytes) -> None:
    """As no bytes, and once."""
    async with wired(kind) as end:
        if data:
            await end.peer.send_all(data)
        await end.peer.aclose()
        await until(lambda: end.ended)
        assert (end.received, end.lost) == (data, None)


async def test_a_reset_is_an_error(kind: type[Wire]) -> None:
    """An OSError that is not BlockingIOError, whatever the stream below calls it."""
    async with wired(kind) as end:
        under = getattr(end.peer, "transport_stream", end.peer)
        under.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        await trio.aclose_forcefully(under)
        await until(lambda: end.lost)
        assert isinstance(end.lost, OSError)
        assert not isinstance(end.lost, BlockingIOError)


async def test_half_closed_it_still_reads(kind: type[Wire]) -> None:
    """The peer's TCP hears the end; what it sends after that comes."""
    async with wired(kind) as end:
        await end.wire.half_close()
        under = getattr(end.peer, "transport_stream", end.peer)
        while await under.receive_some():
            pass
        await end.peer.send_all(b"still here")
        await until(lambda: end.received == b"still here")


async def test_in_flight_is_what_the_peer_has_yet_to_take(kind: type[Wire]) -> None:
    """More than nothing while it does not read, nothing once it has; where the kernel can be asked."""
    async with wired(kind) as end:
        assert end.wire.error() is None
        with trio.move_on_after(0.05):
            await end.send(bytes(20_000_000))
        if end.wire.in_flight() == 0:
            pytest.skip("this kernel cannot be asked")
        under = getattr(end.peer, "transport_stream", end.peer)
        while end.wire.in_flight():
            await under.receive_some()


async def test_stopped_it_calls_nobody(kind: type[Wire]) -> None:
    """It may be stopped twice, and closed then; cancelled or not, it is closed."""
    async with wired(kind) as end:
        end.wire.stop()
        end.wire.stop()
        calls = end.calls
        await end.peer.send_all(b"to nobody")
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert end.calls == calls
        with trio.CancelScope() as scope:
            scope.cancel()
            await end.wire.close()
        assert end.tcp.socket.fileno() == -1


async def test_keep_alive_may_be_asked_for_again(kind: type[Wire]) -> None:
    """The kernel is told the times in seconds."""
    async with wired(kind) as end:
        assert end.tcp.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
        for _ in range(2):
            end.wire.keep_alive(20.0, 9.0)
        assert end.tcp.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
