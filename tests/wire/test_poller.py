"""The poller: who is called when, and when writes wait for its next step. Real sockets, real epoll."""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing
from serving import connected, serving, until

import trioecho
from trioecho._wire.poller import BUSY, GONE, QUIET_ROUNDS, READABLE, Poller
from trioecho.testing import TEXT, RawClient

pytestmark = pytest.mark.skipif(not Poller.available, reason="this platform has no epoll")


class Chatter:
    """Sockets with a byte to read on each, watched; nobody reads it until `calm`."""

    def __init__(self, poller: Poller, count: int) -> None:
        self._pairs = [socket.socketpair() for _ in range(count)]
        self.calls = 0
        for ours, theirs in self._pairs:
            theirs.send(b"x")
            poller.watch(ours.fileno(), self._called)
        self._poller = poller

    def _called(self, _events: int, _now: float) -> None:
        self.calls += 1

    def calm(self) -> None:
        """There is nothing more to read."""
        for ours, theirs in self._pairs:
            self._poller.forget(ours.fileno())
            ours.close()
            theirs.close()
        self._pairs.clear()


class Writer:
    """Counts the calls."""

    def __init__(self) -> None:
        self.calls = 0

    def write_now(self) -> None:
        """One more."""
        self.calls += 1


@contextlib.asynccontextmanager
async def polling(count: int) -> AsyncIterator[tuple[Poller, Chatter]]:
    """A running poller, and `count` sockets that keep it awake."""
    poller = Poller()
    chatter = Chatter(poller, count)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(poller.run)
            if count:
                await until(lambda: chatter.calls >= 3 * count)
            try:
                yield poller, chatter
            finally:
                chatter.calm()
                poller.stop()
    poller.close()


async def test_a_writer_is_called_once_in_the_next_step() -> None:
    """While it is awake, that is two rounds of Trio's loop at most."""
    async with polling(1) as (poller, _):
        assert poller.awake
        writer = Writer()
        poller.writers.append(writer)
        for _ in range(2):
            await trio.lowlevel.checkpoint()
        assert writer.calls == 1
        for _ in range(5):
            await trio.lowlevel.checkpoint()
        assert writer.calls == 1


async def test_it_does_not_fall_asleep_before_a_writer_had_its_turn() -> None:
    """Though there has been nothing to read for long enough, and the writer comes in the last moment."""
    writer, appended = Writer(), 0
    for _ in range(20):
        async with polling(1) as (poller, chatter):
            chatter.calm()
            while poller.awake:
                poller.writers.append(writer)
                appended += 1
                await trio.lowlevel.checkpoint()
            assert writer.calls == appended


@pytest.mark.parametrize(("count", "busy"), [(BUSY // 2 - 1, False), (BUSY // 2, True)])
async def test_it_is_busy_when_many_are_readable(count: int, busy: bool) -> None:
    """In two rounds together; and not any more when it sleeps."""
    async with polling(count) as (poller, chatter):
        for _ in range(10):
            await trio.lowlevel.checkpoint()
            assert poller.busy is busy
        chatter.calm()
        await trio.testing.wait_all_tasks_blocked()
        assert not poller.busy


async def test_what_many_send_at_once_goes_out_when_their_handlers_wait_for_anything() -> None:
    """Be it for nothing at all: nothing stays behind in a server that has become quiet. Each client gets its own."""

    async def answer_once(ws: trioecho.WebSocket) -> None:
        await ws.send(f"{await ws.receive()}!")
        await trio.sleep_forever()

    async with serving(answer_once) as server, contextlib.AsyncExitStack() as stack:
        clients: list[RawClient] = [
            await stack.enter_async_context(connected(server)) for _ in range(3 * BUSY)
        ]
        for client in clients:
            await client.stream.send_all(client.frame(TEXT, str(id(client)).encode()))
        for client in clients:
            assert await client.receive() == f"{id(client)}!"


class Failing(Writer):
    """A writer, and a reader, that fails each time."""

    def write_now(self) -> None:
        """Fail."""
        super().write_now()
        raise MemoryError("a writer that fails")

    def readable(self, _events: int, _now: float) -> None:
        """Fail."""
        self.calls += 1
        raise MemoryError("a reader that fails")


async def test_a_reader_that_fails_ends_only_its_own_watching(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, once; the others, ready in the same round, are called as before."""
    failing = Failing()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        async with polling(3) as (poller, chatter):
            theirs.send(b"x")
            poller.watch(ours.fileno(), failing.readable)
            await until(lambda: failing.calls)
            calls = chatter.calls
            await until(lambda: chatter.calls >= calls + 30)
            poller.forget(ours.fileno())  # does nothing more, and raises nothing
    assert failing.calls == 1
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [MemoryError]


async def test_a_writer_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged; the other writers have their turn, and every socket is watched on."""
    async with polling(3) as (poller, chatter):
        before, failing, behind = Writer(), Failing(), Writer()
        poller.writers.extend([before, failing, behind])
        await until(lambda: before.calls and failing.calls and behind.calls)
        calls = chatter.calls
        await until(lambda: chatter.calls >= calls + 30)
        assert (before.calls, failing.calls, behind.calls) == (1, 1, 1)
    assert len(caplog.records) == 1


async def test_a_paused_socket_is_only_called_for_its_loss() -> None:
    """Until it is resumed; and a forgotten one never."""
    told: list[int] = []
    async with polling(0) as (poller, _):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            poller.watch(ours.fileno(), lambda events, _now: told.append(events))
            poller.pause(ours.fileno())
            theirs.send(b"x")
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert told == []
            poller.resume(ours.fileno())
            await until(lambda: told)
            assert told[0] == READABLE
            poller.pause(ours.fileno())
            await trio.testing.wait_all_tasks_blocked(0.01)
            told.clear()
            theirs.close()
            await until(lambda: told)
            assert told[0] & GONE
            poller.forget(ours.fileno())
            await trio.testing.wait_all_tasks_blocked(0.01)
            told.clear()
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert told == []


async def test_lone_messages_pay_for_one_quiet_round_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Staying awake for an answer that never comes so soon is learnt from: later wakes are short ones."""
    polls: list[int] = []

    class CountedPoll:
        """Epoll, counting the looks at it."""

        def __init__(self, epoll: select.epoll) -> None:
            self._epoll = epoll

        def __getattr__(self, name: str) -> object:
            return getattr(self._epoll, name)

        def poll(self, timeout: float) -> list[tuple[int, int]]:
            polls.append(1)
            return self._epoll.poll(timeout)

    poller = Poller()
    poller._epoll = CountedPoll(poller._epoll)  # type: ignore[assignment]
    ours, theirs = socket.socketpair()
    looks = []
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            poller.watch(ours.fileno(), lambda _events, _now: ours.recv(1))
            nursery.start_soon(poller.run)
            for _ in range(5):
                await trio.sleep(0.002)
                await until(lambda: not poller.awake)
                polls.clear()
                theirs.send(b"x")
                await until(lambda: polls and not poller.awake)
                looks.append(len(polls))
            poller.stop()
    poller.close()
    ours.close()
    theirs.close()
    assert looks[0] == 1 + QUIET_ROUNDS
    assert looks[-1] == 2
