"""Bytes on their way: in order, gathered, bounded, counted truly, over a real socket or any stream."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
import trio
import trio.testing

from trioecho._websocket.outbox import GATHERED_BYTES, LARGE, Outbox
from trioecho._wire.poller import Poller

PATIENCE = 20.0
"""Seconds after which a test gives up. Nothing is measured with it."""


class Line(NamedTuple):
    """An outbox, the other end of its line, and the nursery of its drain task."""

    outbox: Outbox
    other_end: trio.SocketStream
    nursery: trio.Nursery

    async def read(self, size: int) -> bytes:
        """Exactly `size` bytes from the other end."""
        data = b""
        while len(data) < size:
            piece = await self.other_end.receive_some(size - len(data))
            assert piece, f"the line ended after {len(data)} bytes of {size}"
            data += piece
        return data


@pytest.fixture(params=["socket", "stream"])
def straight(request: pytest.FixtureRequest) -> bool:
    """Whether the outbox may write to the socket itself, or has to use a Trio stream."""
    return bool(request.param == "socket")


@contextlib.asynccontextmanager
async def line(straight: bool) -> AsyncIterator[Line]:
    """A line of sockets with an outbox at one end."""
    ours, theirs = (trio.SocketStream(trio.socket.from_stdlib_socket(end)) for end in socket_pair())
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery, ours, theirs:
            poller = Poller() if straight else None
            outbox = Outbox(ours, poller, ours.socket.fileno(), nursery.start_soon, None)
            yield Line(outbox, theirs, nursery)
            outbox.finish(trio.current_time())
            if poller is not None:
                poller.close()
                await poller.run()


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected TCP sockets, which trio.SocketStream wants."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    return one, other


async def test_order_is_the_order_of_the_calls(straight: bool) -> None:
    """Gathered or not, message or control frame."""
    async with line(straight) as wire:
        outbox = wire.outbox
        outbox.put_message(b"on", b"e ", False)
        outbox.put_message(b"", b"two ", True)
        outbox.put(b"control ")
        outbox.put_message(b"", b"three ", True)
        outbox.put_message(b"", b"four", False)
        assert await wire.read(26) == b"one two control three four"


async def test_what_is_gathered_goes_out_when_the_task_waits(straight: bool) -> None:
    """Nobody has to ask for it."""
    async with line(straight) as wire:
        outbox = wire.outbox
        outbox.put_message(b"gath", b"ered", True)
        assert not outbox.empty
        assert await wire.read(8) == b"gathered"
        await trio.testing.wait_all_tasks_blocked()
        assert outbox.empty
        assert (outbox.sent_messages, outbox.sent_bytes) == (1, 4)


async def test_gathering_is_bounded(straight: bool) -> None:
    """At `GATHERED_BYTES` they are written, or room is refused, though more messages wait."""
    async with line(straight) as wire:
        outbox = wire.outbox
        frame = bytes(1000)
        count = GATHERED_BYTES // 1000 + 1
        for _ in range(count):
            outbox.put_message(b"", frame, True)
        assert outbox.empty if straight else outbox.blocked
        assert await wire.read(1000 * count) == bytes(1000 * count)
        await outbox.room()
        assert outbox.sent_messages == count


async def test_a_peer_that_does_not_read_holds_the_senders(straight: bool) -> None:
    """room waits; when the peer reads, all of it arrives, and room is there."""
    async with line(straight) as wire:
        outbox, nursery = wire.outbox, wire.nursery
        outbox.put_message(b"", bytes(20_000_000), False)
        assert outbox.blocked
        entered = []

        async def sender(name: bytes) -> None:
            await outbox.room()
            entered.append(name)
            outbox.put_message(b"", name, False)

        for name in (b"one", b"two"):
            nursery.start_soon(sender, name)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert entered == []
        assert outbox.sent_messages == 0
        assert await wire.read(20_000_000) == bytes(20_000_000)
        assert await wire.read(6) in (b"onetwo", b"twoone")
        await trio.testing.wait_all_tasks_blocked()
        assert (outbox.empty, outbox.blocked, outbox.sent_messages) == (True, False, 3)


async def test_cancelling_everybody_else_does_not_cut_a_frame(straight: bool) -> None:
    """The drain task is shielded: what has been put is written, up to the deadline of finish."""
    async with line(straight) as wire:
        outbox, nursery = wire.outbox, wire.nursery
        outbox.put_message(b"", bytes(20_000_000), False)
        await trio.testing.wait_all_tasks_blocked(0.01)
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            assert await wire.read(20_000_000) == bytes(20_000_000)


async def test_finish_bounds_the_drain_task(straight: bool) -> None:
    """At its deadline the drain task ends, whoever does not read."""
    async with line(straight) as (outbox, _, nursery):
        outbox.put_message(b"", bytes(20_000_000), False)
        await trio.testing.wait_all_tasks_blocked(0.01)
        outbox.finish(trio.current_time() + 0.05)
        while nursery.child_tasks:
            await trio.sleep(0.001)
        assert not outbox.empty
        assert outbox.sent_messages == 0


async def test_a_reset_breaks_it_and_frees_the_senders(straight: bool) -> None:
    """broken is set, room does not wait any more, and what is put is thrown away and not counted as sent."""
    async with line(straight) as (outbox, other_end, _):
        outbox.put_message(b"", bytes(20_000_000), False)
        await trio.testing.wait_all_tasks_blocked(0.01)
        other_end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        await trio.aclose_forcefully(other_end)
        await outbox.room()
        assert outbox.broken
        outbox.put_message(b"", b"too late", False)
        outbox.put(b"too late")
        assert outbox.sent_messages == 0


async def test_room_is_no_checkpoint_where_there_is_room(straight: bool) -> None:
    """A send that need not wait costs nothing."""
    async with line(straight) as (outbox, _, _):
        with trio.testing.assert_no_checkpoints():
            await outbox.room()


@pytest.mark.parametrize("gather", [False, True])
@pytest.mark.parametrize("size", [0, 100, LARGE - 1, LARGE, 1_000_000])
async def test_a_header_is_never_parted_from_its_payload(straight: bool, size: int, gather: bool) -> None:
    """Small ones are copied behind it, large ones written as they are: the same bytes in the same order."""
    async with line(straight) as wire:
        payload = bytes(size)
        for number in range(3):
            wire.outbox.put_message(b"%d[" % number, payload, gather)
            wire.outbox.put(b"]")
        expected = b"".join(b"%d[%b]" % (number, payload) for number in range(3))
        assert await wire.read(len(expected)) == expected
        await trio.testing.wait_all_tasks_blocked()
        assert (wire.outbox.sent_messages, wire.outbox.sent_bytes) == (3, 3 * size)
