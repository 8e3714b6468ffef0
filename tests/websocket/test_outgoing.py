"""Bytes on their way: in order, gathered, bounded, counted truly, over real sockets on the poller and over memory."""

from __future__ import annotations

import contextlib
import functools
import socket
import struct
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from trioecho._protocol.frames import PONG, encode_frame
from trioecho._websocket.outgoing import GATHERED_BYTES, LARGE, Outgoing
from trioecho._websocket.turns import Shared
from trioecho._wire.choice import wire_of
from trioecho._wire.poller import Poller
from trioecho._wire.wire import Wire

PATIENCE = 60.0
"""Seconds after which a test gives up. Nothing is measured with it."""

HUGE = bytes(20_000_000)
"""More than the kernel takes from a sender whose peer does not read."""


class Line:
    """An `Outgoing`, its wire, and the other end."""

    def __init__(self, wire: Wire, other_end: trio.abc.Stream, nursery: trio.Nursery, timeout: float) -> None:
        self.wire, self.other_end, self.nursery = wire, other_end, nursery
        self.outgoing = Outgoing(wire, timeout)
        self.outgoing.start(nursery, self.outgoing.drain)

    async def read(self, size: int) -> bytes:
        """Exactly `size` bytes from the other end."""
        pieces, left = [], size
        while left:
            pieces.append(bytes(await self.other_end.receive_some(left)))
            assert pieces[-1], f"the line ended {left} bytes early"
            left -= len(pieces[-1])
        return b"".join(pieces)

    async def blocked(self) -> bytes:
        """Send until senders have to wait; what has to be read before anything else."""
        self.outgoing.put_message(b"", HUGE, False)
        assert self.outgoing.blocked
        await trio.testing.wait_all_tasks_blocked()
        return HUGE


@contextlib.asynccontextmanager
async def line(kind: str, send_timeout: float = 1000.0) -> AsyncIterator[Line]:
    """A line of sockets, on a poller that runs, or of memory streams that hold little."""
    poller = Poller() if kind == "poller" else None
    async with contextlib.AsyncExitStack() as stack:
        if poller is not None:
            stack.callback(poller.close)
        nursery = await stack.enter_async_context(trio.open_nursery())
        if poller is not None:
            ours, theirs = (trio.SocketStream(trio.socket.from_stdlib_socket(end)) for end in socket_pair())
            nursery.start_soon(poller.run)
        else:
            ours, theirs = trio.testing.lockstep_stream_pair()
        with trio.move_on_after(PATIENCE) as patience:
            async with ours, theirs:
                made = Line(wire_of(ours, "peer", poller), theirs, nursery, send_timeout)
                try:
                    yield made
                finally:
                    made.outgoing.close()
                    if poller is not None:
                        poller.stop()
        assert not patience.cancelled_caught


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected TCP sockets, which trio.SocketStream wants."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        return one, listener.accept()[0]


both = pytest.mark.parametrize(
    "kind",
    [
        pytest.param("poller", marks=pytest.mark.skipif(not Poller.available, reason="no epoll")),
        "memory",
    ],
)
on_sockets = pytest.mark.skipif(not Poller.available, reason="this platform has no epoll")


@both
async def test_order_is_the_order_of_the_calls(kind: str) -> None:
    """Gathered or not, message or control frame."""
    async with line(kind) as it:
        out = it.outgoing
        out.put_message(b"on", b"e ", False)
        out.put_message(b"", b"two ", True)
        out.put(b"control ")
        out.put_message(b"", b"three ", True)
        out.put_message(b"", b"four", False)
        assert await it.read(26) == b"one two control three four"
        await out.emptied()
        assert (out.sent_messages, out.sent_bytes) == (4, 16)


@both
@pytest.mark.parametrize("gather", [False, True])
@pytest.mark.parametrize("size", [0, 100, LARGE - 1, LARGE, 1_000_000])
async def test_a_header_is_never_parted_from_its_payload(kind: str, size: int, gather: bool) -> None:
    """Small ones are copied behind it, large ones written as they are: the same bytes in the same order."""
    async with line(kind) as it:
        payload = bytes(size)
        expected = b""
        for number in range(3):
            it.outgoing.put_message(b"%d[" % number, payload, gather)
            it.outgoing.put(b"]")
            expected += b"%d[%b]" % (number, payload)
            if not it.wire.immediate:
                assert await it.read(size + 3) == b"%d[%b]" % (number, payload)
        if it.wire.immediate:
            assert await it.read(len(expected)) == expected
        await it.outgoing.emptied()
        assert (it.outgoing.sent_messages, it.outgoing.sent_bytes) == (3, 3 * size)


@both
async def test_what_is_gathered_goes_out_when_the_task_waits(kind: str) -> None:
    """Nobody has to ask for it; until then it does not count as sent."""
    async with line(kind) as it:
        it.outgoing.put_message(b"gath", b"ered", True)
        assert (it.outgoing.empty, it.outgoing.size, it.outgoing.sent_messages) == (False, 8, 0)
        assert await it.read(8) == b"gathered"
        await it.outgoing.emptied()
        assert (it.outgoing.sent_messages, it.outgoing.sent_bytes) == (1, 4)


@both
async def test_gathering_is_bounded(kind: str) -> None:
    """At `GATHERED_BYTES` they are written, or room is refused, though more messages wait."""
    async with line(kind) as it:
        for _ in range(GATHERED_BYTES // 1024):
            assert not it.outgoing.blocked
            it.outgoing.put_message(b"", bytes(1024), True)
        assert it.outgoing.empty if it.wire.immediate else it.outgoing.blocked
        assert await it.read(GATHERED_BYTES) == bytes(GATHERED_BYTES)
        await it.outgoing.room()


@both
async def test_a_peer_that_does_not_read_holds_the_senders_and_a_cancelled_one_has_sent_nothing(
    kind: str,
) -> None:
    """When the peer reads, all of it arrives, and the others go on."""
    async with line(kind) as it:
        out, scope = it.outgoing, trio.CancelScope()
        ahead = await it.blocked()

        async def sender(name: bytes, scope: trio.CancelScope) -> None:
            with scope:
                await out.room()
                out.put_message(b"", name, False)

        async with trio.open_nursery() as senders:
            senders.start_soon(sender, b"cancelled", scope)
            senders.start_soon(sender, b"patient", trio.CancelScope())
            await trio.testing.wait_all_tasks_blocked()
            assert out.sent_messages == 0
            scope.cancel()
            assert await it.read(len(ahead)) == ahead
            assert await it.read(7) == b"patient"
        await out.emptied()
        assert (out.empty, out.blocked, out.sent_messages) == (True, False, 2)


@on_sockets
async def test_large_payloads_are_not_copied() -> None:
    """What the kernel does not take waits as a view of the payload itself."""
    async with line("poller") as it:
        payload = bytes(20_000_000)
        it.outgoing.put_message(b"header", payload, False)
        (rest,) = it.outgoing._waiting
        assert isinstance(rest, memoryview)
        assert rest.obj is payload


@on_sockets
async def test_only_the_latest_pong_waits_for_a_peer_that_does_not_read() -> None:
    """RFC 6455 §5.5.3: it goes out when the peer reads; where there is room, each Ping is answered."""
    async with line("poller") as it:
        it.outgoing.put_pongs([b"1", b"2"])
        assert await it.read(6) == encode_frame(PONG, b"1") + encode_frame(PONG, b"2")
        ahead = await it.blocked()
        size = it.outgoing.size
        for payload in (b"3", b"4", b"5"):
            it.outgoing.put_pongs([b"not", payload])
        assert it.outgoing.size == size
        assert await it.read(len(ahead)) == ahead
        assert await it.read(3) == encode_frame(PONG, b"5")


@both
async def test_close_is_the_last_thing_said(kind: str) -> None:
    """Behind the Pong that waited; no frame follows, and no message is taken."""
    async with line(kind) as it:
        ahead = await it.blocked()
        it.outgoing.put_pongs([b"late"])
        it.outgoing.put_close(b"Close")
        it.outgoing.put(b"behind")
        it.outgoing.put_pongs([b"behind"])
        assert it.outgoing.shut
        assert it.outgoing.refused
        expected = ahead + encode_frame(PONG, b"late") + b"Close"
        assert await it.read(len(expected)) == expected
        await it.outgoing.emptied()
        it.outgoing.put(b"behind")
        assert it.outgoing.empty


@both
async def test_those_who_wait_go_on_in_the_order_in_which_they_came(kind: str) -> None:
    """Senders and messages for many alike; whoever gives up is left out, and nobody else gets between."""
    async with line(kind) as it:
        out = it.outgoing
        ahead = await it.blocked()

        async def sender(number: int, scope: trio.CancelScope) -> None:
            with scope:
                await out.room(for_message=True)
                out.put_message(b"", b"%02d" % number, False)

        shared = [Shared(b"%02d" % number, 2) for number in range(30)]
        scopes = [trio.CancelScope() for _ in range(30)]
        async with trio.open_nursery() as senders:
            for number in range(30):
                if number % 3:
                    senders.start_soon(sender, number, scopes[number])
                    await trio.testing.wait_all_tasks_blocked()
                else:
                    out.put_later(shared[number])
            for given_up in (0, 9, 29):
                if given_up % 3:
                    scopes[given_up].cancel()
                else:
                    out.withdraw(shared[given_up])
            assert await it.read(len(ahead)) == ahead
            heard = await it.read(54)
        await out.emptied()
        assert heard == b"".join(b"%02d" % number for number in range(30) if number not in (0, 9, 29))
        assert [message.given for message in shared[::3]] == [0, 1, 1, 0, 1, 1, 1, 1, 1, 1]
        assert all(message.settled.is_set() for message in shared[::3])
        assert (out.blocked, out.skipped, out.sent_messages, out.sent_bytes) == (
            False,
            2,
            28,
            len(ahead) + 54,
        )


@both
async def test_there_is_room_when_what_waited_has_gone(kind: str) -> None:
    """Not when a part of it has: a peer that reads a little at a time is not given more on top of it."""
    async with line(kind) as it:
        out, shared = it.outgoing, Shared(b"shared", 6)
        ahead = await it.blocked()
        out.put_later(shared)
        for _ in range(5):
            await it.read(1_000_000)
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert (shared.waits, out.blocked, out.messages) == (1, True, 1)
        await it.read(len(ahead) - 5_000_000)
        assert await it.read(6) == b"shared"
        assert (shared.waits, shared.given) == (0, 1)


@both
async def test_a_turn_ends_with_the_connection(kind: str) -> None:
    """Whoever waits with a message need not, when none is taken any more; it is not counted as skipped."""
    async with line(kind) as it:
        out = it.outgoing
        await it.blocked()
        shared = Shared(b"shared", 6)
        async with trio.open_nursery() as senders:
            for _ in range(3):
                senders.start_soon(functools.partial(out.room, for_message=True))
            await trio.testing.wait_all_tasks_blocked()
            out.put_later(shared)
            out.put_later(shared)
            out.refuse()
            assert shared.settled.is_set()
        assert (shared.given, shared.waits, out.skipped) == (0, 0, 0)


@both
@pytest.mark.parametrize("how", ["break_off", "reset", "finish_by", "send_timeout"])
async def test_the_end_of_sending_frees_everybody(kind: str, how: str) -> None:
    """Told, found out, or at a deadline: room and emptied return, and what is put is not kept or counted as sent."""
    async with line(kind, 0.05 if how == "send_timeout" else 1000.0) as it:
        out = it.outgoing
        await it.blocked()
        async with trio.open_nursery() as waiting:
            waiting.start_soon(out.room)
            waiting.start_soon(out.emptied)
            await trio.testing.wait_all_tasks_blocked()
            if how == "break_off":
                out.break_off()
            elif how == "finish_by":
                out.finish_by(trio.current_time() + 0.01)
            elif how == "reset":
                if isinstance(it.other_end, trio.SocketStream):
                    it.other_end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                await trio.aclose_forcefully(it.other_end)
        assert (out.broken, out.refused, out.shut) == (True, True, True)
        assert out.timed_out is (how == "send_timeout")
        assert out.failure is None
        out.put(b"too late")
        assert (out.sent_messages, [*out._waiting]) == (0, [])


@on_sockets
async def test_a_slow_peer_is_given_its_time_again_with_each_byte() -> None:
    """`send_timeout` bounds the time without progress, not the time that a large message takes."""
    async with line("poller", 0.4) as it:
        begun = trio.current_time()
        await it.blocked()
        left = len(HUGE)
        while left and trio.current_time() < begun + 1.2:
            left -= len(await it.other_end.receive_some(300_000))
            await trio.sleep(0.03)
        assert not it.outgoing.broken
        assert await it.read(left) == bytes(left)
        await it.outgoing.emptied()
        assert (it.outgoing.sent_messages, it.outgoing.timed_out) == (1, False)
        assert it.outgoing.progress_at > begun


@on_sockets
@pytest.mark.parametrize("size", [1, LARGE])
async def test_a_message_that_finds_the_peer_gone_is_not_counted(size: int) -> None:
    """`sent_messages` are those handed to the kernel whole, and this one the kernel has refused."""
    async with line("poller") as it:
        assert isinstance(it.other_end, trio.SocketStream)
        it.other_end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await trio.aclose_forcefully(it.other_end)
        it.outgoing.put_message(b"", bytes(size), False)
        assert it.outgoing.broken
        assert (it.outgoing.sent_messages, it.outgoing.sent_bytes) == (0, 0)


@both
async def test_refuse_frees_those_who_wait_with_a_message_only(kind: str) -> None:
    """A keep-alive Ping may still wait for its room."""
    async with line(kind) as it:
        await it.blocked()
        it.outgoing.refuse()
        await it.outgoing.room(for_message=True)
        with trio.move_on_after(0) as scope:
            await it.outgoing.room()
        assert scope.cancelled_caught
