"""The stop of a server, step by step: who is told when, who is let in, and who is sent away."""

from __future__ import annotations

import contextlib
from typing import Any, cast

import pytest
import trio
import trio.testing
from plain_http import PlainHttp
from serving import connected, one_way, open_stream, serving, until
from serving import way_of_reading as way_of_reading

import trioecho
from trioecho._server.draining import HANDOVER_GRACE, Draining, Steps
from trioecho._server.service import Service
from trioecho._server.sockets import Visit
from trioecho.testing import RawClient

pytestmark = one_way


class Told:
    """In the place of a connection: when it was told to stop, until when it may go on, and with which code."""

    def __init__(self, service: Service, *, leaves: bool = False) -> None:
        self.heard: list[tuple[float, float, int]] = []
        self._service, self._leaves = service, leaves
        service.connections[cast(Any, self)] = cast(Any, None)

    def stop(self, deadline: float, code: int) -> None:
        self.heard.append((round(trio.current_time(), 6), round(deadline, 6), code))
        if self._leaves:
            self._service.connections.pop(cast(Any, self), None)

    def abort(self) -> None:
        """Nothing more than `stop`, which came before."""


@contextlib.asynccontextmanager
async def draining() -> Any:
    """The stop of a server in virtual time, and what it is given to tell."""
    service = Service(cast(Any, {}), trioecho.WebSocketOptions())
    ours = Draining(service)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.run)
        yield ours
        ours.over()


async def test_without_a_delay_and_a_window_all_are_told_in_the_same_step() -> None:
    """And before `begin` returns, without anybody running."""
    service = Service(cast(Any, {}), trioecho.WebSocketOptions())
    ours = Draining(service)
    told = [Told(service) for _ in range(3)]
    ours.begin(Steps(10, 0, 0), handover=False)
    assert [len(each.heard) for each in told] == [1, 1, 1]
    assert ours.accepting.cancel_called
    assert (service.ready, service.stopping) == (False, True)


async def test_in_the_delay_nothing_has_changed_but_that_it_is_not_ready(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with draining() as ours:
        told = Told(ours.service)
        ours.begin(Steps(10, 5, 0), handover=False)
        await trio.sleep(4.9)
        assert (ours.service.ready, ours.service.room, told.heard) == (False, True, [])
        assert not ours.accepting.cancel_called
        await trio.sleep(0.2)
        assert (ours.service.room, len(told.heard) > 0) == (False, True)
        assert ours.accepting.cancel_called


async def test_in_the_window_one_is_told_after_the_other_and_each_has_the_whole_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The oldest first, at equal distances; newcomers are accepted, to be told that there is no room."""
    async with draining() as ours:
        told = [Told(ours.service, leaves=True) for _ in range(10)]
        begun = trio.current_time()
        ours.begin(Steps(7, 5, 20, restart=True), handover=False)
        await trio.sleep(5.5)
        assert (ours.service.room, ours.accepting.cancel_called) == (False, False)
        await trio.sleep(30)
        assert ours.accepting.cancel_called
    assert [each.heard for each in told] == [
        [(begun + 5 + 2 * number, begun + 12 + 2 * number, 1012)] for number in range(10)
    ]


async def test_who_leaves_by_itself_is_not_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    """Where nobody is left, the stop is over, whatever the window is."""
    async with draining() as ours:
        told = [Told(ours.service) for _ in range(10)]
        ours.begin(Steps(7, 0, 1000), handover=False)
        await trio.sleep(1)
        ours.service.connections.clear()
        await trio.sleep(101)
        assert ours.accepting.cancel_called
        assert [bool(each.heard) for each in told] == [True] + [False] * 9


async def test_a_second_stop_shortens_each_step(autojump_clock: trio.testing.MockClock) -> None:
    """The delay, the window and the time for handlers; a longer one changes nothing."""
    async with draining() as ours:
        told = [Told(ours.service, leaves=True) for _ in range(4)]
        begun = trio.current_time()
        ours.begin(Steps(7, 100, 100), handover=False)
        await trio.sleep(10)
        ours.begin(Steps(3, 10, 8), handover=False)
        ours.begin(Steps(1000, 1000, 1000), handover=False)
        await trio.sleep(15)
        ours.begin(Steps(3, 0, 1), handover=False)
        await trio.sleep(1.5)
    assert [each.heard[0][0] - begun for each in told] == pytest.approx([20, 22, 24, 25], abs=0.01)
    assert all(deadline - time == pytest.approx(3) for each in told for time, deadline, _ in each.heard)


async def test_a_stop_without_steps_ends_one_that_has_them(autojump_clock: trio.testing.MockClock) -> None:
    async with draining() as ours:
        told = [Told(ours.service) for _ in range(4)]
        ours.begin(Steps(7, 100, 100), handover=False)
        await trio.sleep(1)
        ours.begin(Steps(7, 0, 0), handover=False)
        assert [len(each.heard) for each in told] == [1] * 4


async def test_an_abort_ends_what_waits(autojump_clock: trio.testing.MockClock) -> None:
    """At once, in the delay and in the window."""
    for begun_before in (1.0, 5.0):
        async with draining() as ours:
            told = [Told(ours.service, leaves=True) for _ in range(4)]
            ours.begin(Steps(7, 2, 1000), handover=False)
            await trio.sleep(begun_before)
            ours.abort()
            assert all(each.heard for each in told)
            assert ours.accepting.cancel_called


# At a real server.


async def status(server: trioecho.Server, path: str) -> int:
    stream = await open_stream(server)
    async with stream:
        return (await PlainHttp(stream).ask(path)).status


async def test_readiness_goes_red_first_and_newcomers_are_let_in_until_then() -> None:
    """/readyz says 503 in the delay, /livez and /healthz 200; whoever comes all the same is served."""
    async with serving() as server:
        assert [await status(server, path) for path in ("/readyz", "/livez", "/healthz")] == [200, 200, 200]
        assert server.ready
        server.stop(delay=1000)
        assert not server.ready
        assert [await status(server, path) for path in ("/readyz", "/livez", "/healthz")] == [503, 200, 200]
        async with connected(server) as client:
            await client.send("still here")
            assert await client.receive() == "still here"


async def test_in_the_window_newcomers_are_told_when_to_come_back() -> None:
    """503 with Retry-After, until everybody has been told; /livez stays green."""
    async with serving() as server, connected(server) as first, connected(server) as second:
        await until(lambda: len(server.connections) == 2)
        server.stop(window=1000)
        assert await first.receive_close() == (1001, "server is stopping")
        with pytest.raises(AssertionError, match=r"HTTP/1.1 503 (.|\n|\r)*[Rr]etry-[Aa]fter: \d+"):
            async with connected(server):
                pass
        assert [await status(server, path) for path in ("/readyz", "/livez")] == [503, 200]
        await second.send("not yet told")
        assert await second.receive() == "not yet told"
        server.stop()
        assert await second.receive_close() == (1001, "server is stopping")


async def test_a_restart_says_so() -> None:
    """1012: clients that know it come back after a while of their own choosing."""
    async with serving() as server, connected(server) as client:
        await until(lambda: server.connections)
        server.stop(restart=True)
        assert await client.receive_close() == (1012, "server is restarting")
        await client.close(1012)
        await until(lambda: server.records)
        (record,) = server.records
        assert (record.cause, record.code_sent, record.clean) == ("server stopping", 1012, True)


async def test_who_was_accepted_before_a_handover_is_let_in() -> None:
    """Its connection is nobody else's any more; it is told to go right away, which is no refusal."""
    async with serving() as server:
        stream = await open_stream(server)
        client = RawClient(stream)
        await until(lambda: server.open_sockets == 1)
        server.stop(handover=True)
        await client.handshake()
        assert await client.receive_close() == (1001, "server is stopping")
        await trio.aclose_forcefully(stream)


@pytest.mark.parametrize(("age", "grace"), [(0.0, HANDOVER_GRACE), (HANDOVER_GRACE + 1, 0.0)])
async def test_a_handover_waits_for_nobody_who_asks_for_nothing(
    autojump_clock: trio.testing.MockClock, age: float, grace: float
) -> None:
    """A browser's connection that was opened ahead has `HANDOVER_GRACE`, one that has waited for long no time."""
    async with draining() as ours:
        ours.service.sockets.enter(Visit(trio.testing.memory_stream_pair()[0]))
        await trio.sleep(age)
        told, begun = Told(ours.service), trio.current_time()
        ours.begin(Steps(10, 0, 0), handover=True)
        await until(lambda: told.heard)
        assert told.heard[0][0] - begun == pytest.approx(grace, abs=0.1)


@pytest.mark.parametrize("name", ["timeout", "delay", "window"])
@pytest.mark.parametrize(
    ("value", "error"), [(-1, ValueError), (float("nan"), ValueError), ("3", TypeError), (True, TypeError)]
)
async def test_seconds_are_checked(name: str, value: object, error: type[Exception]) -> None:
    """With a sentence, before anything has begun."""
    async with serving() as server:
        with pytest.raises(error, match=f"{name} takes seconds, 0 or more; you gave {value!r}"):
            server.stop(**{name: value})  # type: ignore[arg-type]
        assert server.ready


async def test_a_delay_has_an_end() -> None:
    async with serving() as server:
        with pytest.raises(ValueError, match="delay takes a finite number of seconds; you gave inf"):
            server.stop(delay=float("inf"))
