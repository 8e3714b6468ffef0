"""Room for a message: who waits, in which order, and who need not wait any more."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from trioecho._websocket.room import Room
from trioecho._websocket.turns import Shared


class Wire(Room):
    """Room on a wire that is opened and shut by hand; what is put is written down."""

    __slots__ = ("nursery", "put")

    def __init__(self, nursery: trio.Nursery) -> None:
        super().__init__()
        self.nursery = nursery
        self.put: list[str] = []

    def put_frame(self, frame: bytes, size: int, gather: object) -> bool:
        """Write it down."""
        self.put.append(frame.decode())
        return True

    def fill(self) -> None:
        """The peer does not read."""
        self.stuck = True
        self._settle()

    def drain(self) -> None:
        """The peer reads again."""
        self.stuck = False
        self._settle()
        self._wake_room()
        self._wake_drain()

    def refuse(self) -> None:
        """No message is taken any more."""
        self.shut = self.refused = True
        self._dismiss()
        self._wake_room()

    def _wake_drain(self) -> None:
        self.nursery.start_soon(self._call)

    async def _call(self) -> None:
        if self._may_call:
            self._call_next()


@contextlib.asynccontextmanager
async def wire() -> AsyncIterator[Wire]:
    """One wire; everything has ended on leaving."""
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            yield Wire(nursery)


async def send(room: Wire, name: str) -> None:
    """Put a message when it has its turn."""
    if room.blocked:
        await room.room(for_message=True)
    room.put.append(f"{name} let go" if room.refused else name)


async def send_in_pieces(room: Wire, name: str, end: trio.Event) -> None:
    """Hold the turn until `end`."""
    await room.begin_turn()
    room.put.append(f"{name}(")
    await end.wait()
    room.put.append(f"){name}")
    room.end_turn()


async def start(room: Wire, *calls: object) -> None:
    """Start them one after the other, each as far as it comes."""
    for call, *arguments in calls:  # type: ignore[misc]
        room.nursery.start_soon(call, room, *arguments)
        await trio.testing.wait_all_tasks_blocked()


async def test_nobody_waits_where_there_is_room() -> None:
    """Not even for a checkpoint."""
    async with wire() as room:
        with trio.CancelScope() as scope:
            scope.cancel()
            await room.room()
            await room.room(for_message=True)
            await room.begin_turn()
            room.end_turn()
        assert not scope.cancelled_caught
        assert not room.blocked


async def test_those_who_wait_go_on_in_their_order_whatever_they_are() -> None:
    """Tasks, messages in pieces and messages of a broadcast stand in one queue."""
    async with wire() as room:
        room.fill()
        end, shared = trio.Event(), Shared(b"shared", 6)
        await start(room, (send, "a"), (send_in_pieces, "b", end))
        room.put_later(shared)
        await start(room, (send, "c"))
        assert room.put == []
        room.drain()
        await trio.testing.wait_all_tasks_blocked()
        assert (room.put, room.blocked) == (["a", "b("], True)
        end.set()
        await trio.testing.wait_all_tasks_blocked()
        assert (room.put, room.blocked) == (["a", "b(", ")b", "shared", "c"], False)
        assert shared.settled.is_set()


async def test_a_message_in_pieces_holds_up_messages_and_no_control_frame() -> None:
    """RFC 6455 §5.4."""
    async with wire() as room:
        end = trio.Event()
        await start(room, (send_in_pieces, "a", end), (send, "b"))
        await room.room()
        assert room.put == ["a("]
        end.set()
        await trio.testing.wait_all_tasks_blocked()
        assert room.put == ["a(", ")a", "b"]


async def test_who_sends_in_pieces_again_and_again_lets_others_in() -> None:
    """Its next message stands behind those who wait."""
    async with wire() as room:
        others_wait = trio.Event()

        async def twice(room: Wire) -> None:
            for name in ("a", "d"):
                await room.begin_turn()
                room.put.append(name)
                await others_wait.wait()
                room.end_turn()

        await start(room, (twice,), (send, "b"), (send, "c"))
        others_wait.set()
        await trio.testing.wait_all_tasks_blocked()
        assert room.put == ["a", "b", "c", "d"]


async def test_a_cancelled_one_is_passed_over() -> None:
    """And nobody behind it is forgotten."""
    async with wire() as room:
        end = trio.Event()
        await start(room, (send_in_pieces, "a", end))
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send, room, "cancelled")
                nursery.start_soon(send_in_pieces, room, "cancelled", end)
                await trio.testing.wait_all_tasks_blocked()
                await start(room, (send, "b"))
                scope.cancel()
        end.set()
        await trio.testing.wait_all_tasks_blocked()
        assert room.put == ["a(", ")a", "b"]
        assert not room.blocked


async def test_who_has_the_turn_cannot_wait_for_itself() -> None:
    """A message from within the pieces of another would wait for ever, and is refused."""
    async with wire() as room:
        await room.begin_turn()
        with pytest.raises(RuntimeError, match="this task is sending a message in pieces"):
            await room.room(for_message=True)
        with pytest.raises(RuntimeError, match="this task is sending a message in pieces"):
            await room.begin_turn()
        room.end_turn()
        assert not room.blocked


async def test_when_no_message_is_taken_any_more_nobody_waits() -> None:
    """Neither a task, nor who has the turn and waits for the peer, nor a message of a broadcast."""
    async with wire() as room:
        shared = Shared(b"shared", 6)

        async def stuck(room: Wire) -> None:
            await room.begin_turn()
            room.fill()
            await room.unstuck()
            room.put.append("unstuck")
            room.end_turn()

        await start(room, (stuck,), (send, "b"))
        room.put_later(shared)
        room.refuse()
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(room.put) == ["b let go", "unstuck"]
        assert (shared.settled.is_set(), shared.given) == (True, 0)


async def test_a_withdrawn_message_counts_as_skipped() -> None:
    """As often as it waited."""
    async with wire() as room:
        room.fill()
        shared = Shared(b"shared", 6)
        room.put_later(shared)
        room.put_later(shared)
        room.withdraw(shared)
        assert (room.skipped, shared.settled.is_set()) == (2, True)
        room.drain()
        await trio.testing.wait_all_tasks_blocked()
        assert room.put == []
