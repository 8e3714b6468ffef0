"""The poller: who is called when, and when writes wait for its next step. Real sockets, real epoll."""

from __future__ import annotations

import contextlib
import functools
import select
import socket
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing
from serving import connected, serving, until

import trioecho
from trioecho._wire import poller as poller_module
from trioecho._wire.poller import (
    BUSY,
    ENDED,
    ENDINGS,
    GONE,
    MOST,
    QUIET_ROUNDS,
    READABLE,
    ROUND,
    TURN,
    WOKEN,
    Poller,
)
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


async def test_a_server_says_once_that_its_connections_lack_memory(caplog: pytest.LogCaptureFixture) -> None:
    """Its poller is told where that is said, and adds no traceback of its own when a connection has just said it."""
    lent: list[trioecho.WebSocket] = []

    async def lend(ws: trioecho.WebSocket) -> None:
        lent.append(ws)
        await ws.receive()

    failing = Failing()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        async with serving(lend) as server, connected(server):
            await until(lambda: lent)
            connection = server.connections[0]._connection
            assert connection._shortage.due(trio.current_time())
            theirs.send(b"x")
            connection._wire.batch.watch(ours.fileno(), failing.readable)
            await until(lambda: failing.calls)
            await trio.testing.wait_all_tasks_blocked()
    assert [record for record in caplog.records if record.exc_info] == []


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

        def poll(self, timeout: float, most: int) -> list[tuple[int, int]]:
            polls.append(1)
            return self._epoll.poll(timeout, most)

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


class Rounds:
    """The poller's epoll, and a clock that goes on when it is told to: who was served in each round, by name."""

    def __init__(self, poller: Poller, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.served: list[list[str]] = []
        self._epoll = poller._epoll
        poller._epoll = self  # type: ignore[assignment]
        monkeypatch.setattr(poller_module, "clock", lambda: self.now)

    def __getattr__(self, name: str) -> object:
        return getattr(self._epoll, name)

    def poll(self, timeout: float, most: int) -> list[tuple[int, int]]:
        """A round begins."""
        self.served.append([])
        return self._epoll.poll(timeout, most)

    async def next(self, rounds: int) -> list[list[str]]:
        """Who is served in so many rounds from here on."""
        self.served.clear()
        await until(lambda: len(self.served) > rounds)
        return self.served[:rounds]


@contextlib.asynccontextmanager
async def sharing(
    monkeypatch: pytest.MonkeyPatch,
    seconds: dict[str, float],
    groups: dict[str, str] | None = None,
    *,
    ended: bool = False,
) -> AsyncIterator[tuple[Rounds, Poller, dict[str, int]]]:
    """A running poller with sockets that always have something to read, by name, of which each takes so long; `ended`:
    and behind that their end."""
    poller = Poller()
    rounds = Rounds(poller, monkeypatch)
    numbers: dict[str, int] = {}

    def readable(name: str, _events: int, _now: float) -> None:
        rounds.served[-1].append(name)
        rounds.now += seconds[name]

    with trio.fail_after(20), contextlib.ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            for name in seconds:
                ours, theirs = map(stack.enter_context, socket.socketpair())
                theirs.send(b"x")
                if ended:
                    theirs.shutdown(socket.SHUT_WR)
                numbers[name] = ours.fileno()
                poller.watch(ours.fileno(), functools.partial(readable, name), (groups or {}).get(name))
            nursery.start_soon(poller.run)
            try:
                yield rounds, poller, numbers
            finally:
                for number in numbers.values():
                    poller.forget(number)
                poller.stop()
    poller.close()


async def test_a_round_ends_when_its_time_is_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the handlers run. Those who take as much have as many turns."""
    dear = {f"dear {number}": 1.01 * ROUND for number in range(10)}
    async with sharing(monkeypatch, dear) as (rounds, _, _):
        served = await rounds.next(45)
        assert all(len(names) == 1 for names in served)
        turns = [names[0] for names in served]
        assert all(3 <= turns.count(name) <= 6 for name in dear)


async def test_a_neighbour_is_served_in_every_round_and_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are who always have more."""
    dear = {f"dear {number}": ROUND / 3 for number in range(200)}
    async with sharing(monkeypatch, dear | {"neighbour": ROUND / 1000}) as (rounds, _, _):
        # Until each has had a turn.
        await rounds.next(250)
        served = await rounds.next(60)
        assert all(names[0] == "neighbour" and len(names) == 2 for names in served)


async def test_those_who_fit_into_a_round_are_served_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short turns are not measured out: everybody is served in every round."""
    names = {f"client {number}": ROUND / 100 for number in range(MOST)}
    async with sharing(monkeypatch, names) as (rounds, _, _):
        assert all(sorted(served) == sorted(names) for served in await rounds.next(20))


async def test_sharing_ends_when_there_is_time_for_all_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """When who took so long has gone."""
    names = {f"client {number}": TURN / 4 for number in range(12)}
    async with sharing(monkeypatch, names | {"dear": 2 * ROUND}) as (rounds, poller, numbers):
        assert any(len(served) <= len(names) for served in await rounds.next(20))
        poller.forget(numbers["dear"])
        # Until what a turn takes has been learnt.
        await until(lambda: len(rounds.served[-1]) == len(names))
        assert all(sorted(served) == sorted(names) for served in await rounds.next(20))


async def test_more_ready_sockets_than_fit_have_their_turn_in_the_next_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And nobody is passed over."""
    names = {f"client {number}": 0.0 for number in range(3 * MOST)}
    async with sharing(monkeypatch, names) as (rounds, _, _):
        served = await rounds.next(30)
        assert {len(each) for each in served} == {MOST}
        assert all(len({*served[at], *served[at + 1], *served[at + 2]}) == 3 * MOST for at in range(28))


async def test_who_has_more_is_served_again_though_the_kernel_has_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was read and not taken yet: in the next rounds, and the poller does not sleep before."""
    monkeypatch.setattr(poller_module, "clock", lambda: 0.0)
    poller, calls = Poller(), 0
    ours, theirs = socket.socketpair()

    def readable(_events: int, _now: float) -> None:
        nonlocal calls
        calls += 1
        poller.again.discard(ours.fileno())
        if calls == 1:
            ours.recv(1)
        if calls < 10:
            poller.again.add(ours.fileno())

    with trio.fail_after(20), ours, theirs:
        async with trio.open_nursery() as nursery:
            poller.watch(ours.fileno(), readable)
            nursery.start_soon(poller.run)
            theirs.send(b"x")
            await until(lambda: calls == 10 and not poller.awake)
            poller.stop()
    poller.close()


async def test_tasks_that_wait_are_let_go_on_a_few_in_a_round() -> None:
    """However many sockets can be read at once; nobody is forgotten, and who is watched is served in between."""
    count = 10 * WOKEN
    async with polling(1) as (poller, chatter):
        pairs = [socket.socketpair() for _ in range(count)]
        woken_after: list[int] = []

        async def wait(ours: socket.socket) -> None:
            await poller.wait_readable(ours.fileno())
            woken_after.append(chatter.calls)

        async with trio.open_nursery() as nursery:
            for ours, _ in pairs:
                nursery.start_soon(wait, ours)
            await until(lambda: len(poller._wake) == count)
            for _, theirs in pairs:
                theirs.send(b"x")
        assert len(woken_after) == count
        assert all(woken_after.count(calls) <= 2 * WOKEN for calls in woken_after)
        assert len(set(woken_after)) >= count // (2 * WOKEN)
        for ours, theirs in pairs:
            ours.close()
            theirs.close()


async def test_a_task_that_is_cancelled_while_it_waits_leaves_nothing_behind() -> None:
    """Its socket can be waited for again, and be closed."""
    async with polling(0) as (poller, _):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            with trio.move_on_after(0.01) as scope:
                await poller.wait_readable(ours.fileno())
            assert scope.cancelled_caught
            theirs.send(b"x")
            with trio.fail_after(20):
                await poller.wait_readable(ours.fileno())
        assert not poller._wake


async def test_waiting_goes_on_when_the_kernel_has_once_no_memory_to_tell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One failure does not leave everybody waiting for ever who waits for its first bytes."""
    async with polling(0) as (poller, _):
        wake_some, failures = poller._wake_some, [MemoryError()]

        def fail_once(events: int, now: float) -> None:
            if failures:
                raise failures.pop()
            wake_some(events, now)

        poller._watched[poller._waiting.fileno()] = fail_once
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.send(b"x")
            with trio.fail_after(20):
                await poller.wait_readable(ours.fileno())
        assert not failures


async def test_of_those_who_hang_up_at_once_a_few_are_told_in_a_round() -> None:
    """And who has something to say is served in every round, however many they are."""
    count = 10 * ENDINGS
    async with polling(1) as (poller, chatter):
        pairs = [socket.socketpair() for _ in range(count)]
        told_after: list[int] = []

        def hang_up(ours: socket.socket, events: int, _now: float) -> None:
            assert events & ENDED
            told_after.append(chatter.calls)
            poller.forget(ours.fileno())

        for ours, _ in pairs:
            poller.watch(ours.fileno(), functools.partial(hang_up, ours))
        for _, theirs in pairs:
            theirs.close()
        await until(lambda: len(told_after) == count)
        assert max(map(told_after.count, told_after)) <= ENDINGS * 2
        assert len(set(told_after)) >= count // (ENDINGS * 2)
        for ours, _ in pairs:
            ours.close()


async def test_one_address_has_as_much_of_what_is_scarce_as_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many connections come from the one: who is alone is served in every second round at least."""
    crowd = {f"crowd {number}": ROUND / 3 for number in range(100)}
    groups = dict.fromkeys(crowd, "192.0.2.1") | {"alone": "192.0.2.2"}
    async with sharing(monkeypatch, crowd | {"alone": ROUND / 3}, groups) as (rounds, _, _):
        await rounds.next(150)
        served = await rounds.next(60)
        assert sum("alone" in names for names in served) >= 25
        assert sum("alone" not in names for names in served) >= 25


async def test_who_hangs_up_is_told_though_others_have_much_to_be_read_before_their_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are as many as are told in one round, and more, and epoll names them first."""
    crowd = {f"crowd {number}": ROUND / 3 for number in range(2 * ENDINGS)}
    groups = dict.fromkeys(crowd, "192.0.2.1") | {"alone": "192.0.2.2"}
    async with sharing(monkeypatch, crowd | {"alone": ROUND / 3}, groups, ended=True) as (rounds, _, _):
        served = await rounds.next(100)
        assert sum("alone" in names for names in served) >= 10
        assert {name for names in served for name in names} == {*crowd, "alone"}


async def test_a_socket_that_the_kernel_did_not_let_go_of_keeps_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody waits for it any more, and it can be read: the next ones are woken all the same, without a word."""
    async with polling(0) as (poller, _):
        pairs = [socket.socketpair() for _ in range(2)]
        for _, theirs in pairs:
            theirs.send(b"x")
        stale, awaited = (ours.fileno() for ours, _ in pairs)
        poller._waiting.register(stale, READABLE)
        with trio.fail_after(20):
            await poller.wait_readable(awaited)
            await until(lambda: not poller.awake)
        for ours, theirs in pairs:
            ours.close()
            theirs.close()
