"""Parking as Trio's own waiting, for less: the same rules for waking, cancelling, and parking again."""

from __future__ import annotations

import types
from collections.abc import Generator
from typing import Any

import outcome
import pytest
import trio
import trio.testing

from trioecho._websocket import parking
from trioecho._websocket.parking import WOKEN


class Spot:
    """A place for one task, as `Inbox` is."""

    def __init__(self) -> None:
        self.task: trio.lowlevel.Task | None = None
        self.trap = parking.trap(self.abort)
        self.abortable = True

    async def wait(self) -> None:
        """Park here."""
        await self._wait()

    @types.coroutine
    def _wait(self) -> Generator[Any, Any, None]:
        # As `WebSocket.__anext__` does it.
        self.task = trio.lowlevel.current_task()
        if self.trap is None:
            yield from trio.lowlevel.wait_task_rescheduled(self.abort)  # noqa: ASYNC105 (a generator awaits so)
        elif (woken := (yield self.trap)) is not WOKEN:
            woken.unwrap()

    def wake(self) -> None:
        """Let the task go on."""
        task, self.task = self.task, None
        assert task is not None
        trio.lowlevel.reschedule(task, WOKEN)

    def abort(self, _raise_cancel: Any) -> trio.lowlevel.Abort:
        """Cancelled: it is free again."""
        if not self.abortable:
            return trio.lowlevel.Abort.FAILED
        self.task = None
        return trio.lowlevel.Abort.SUCCEEDED


@pytest.fixture(params=["cheap", "fallback"], autouse=True)
def way_of_parking(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test of this file runs with a trap of ours, and with Trio's own function."""
    if request.param == "fallback":
        monkeypatch.setattr(parking, "_REUSABLE", False)


def test_this_trio_lets_its_trap_be_used_again() -> None:
    """Otherwise Trio's own function is used, which works but is slower: better to know."""
    trap = parking._trap(parking._refuse)
    assert vars(trap) == {"abort_func": parking._refuse}


async def test_a_task_parks_and_is_woken_again_and_again() -> None:
    """One trap and one outcome do for all of them."""
    spot, woken = Spot(), []

    async def wait() -> None:
        for number in range(1000):
            await spot.wait()
            woken.append(number)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        for number in range(1000):
            await trio.testing.wait_all_tasks_blocked()
            assert len(woken) == number
            spot.wake()
    assert woken == [*range(1000)]


async def test_two_spots_do_not_know_each_other() -> None:
    """What wakes one leaves the other parked."""
    one, other = Spot(), Spot()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.wait)
        nursery.start_soon(other.wait)
        await trio.testing.wait_all_tasks_blocked()
        one.wake()
        await trio.testing.wait_all_tasks_blocked()
        assert other.task is not None
        other.wake()


async def test_a_cancelled_task_leaves_and_may_park_again() -> None:
    """Cancelled before or while it is parked, it raises Cancelled and not more."""
    spot = Spot()
    for _ in range(3):
        with trio.CancelScope() as scope:
            scope.cancel()
            await spot.wait()
        assert scope.cancelled_caught
        async with trio.open_nursery() as nursery:
            nursery.start_soon(spot.wait)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert spot.task is None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(spot.wait)
        await trio.testing.wait_all_tasks_blocked()
        spot.wake()


async def test_a_spot_that_refuses_keeps_its_task_until_it_is_woken() -> None:
    """The abort function decides, as in Trio."""
    spot, scope = Spot(), trio.CancelScope()
    spot.abortable = False

    async def wait() -> None:
        with scope:
            await spot.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert spot.task is not None
        spot.wake()
    assert not scope.cancelled_caught


async def test_another_outcome_is_unwrapped() -> None:
    """A task can be woken with an error."""
    spot = Spot()

    async def wait() -> None:
        with pytest.raises(KeyError, match="what for"):
            await spot.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        assert spot.task is not None
        trio.lowlevel.reschedule(spot.task, outcome.Error(KeyError("what for")))


async def test_woken_is_an_outcome_like_any() -> None:
    """It is None however it is asked, and never used up."""

    def generator() -> Any:
        yield (yield)

    async def asynchronous() -> Any:
        yield (yield)

    for _ in range(2):
        assert WOKEN.unwrap() is None
        begun = generator()
        next(begun)
        assert WOKEN.send(begun) is None
        running = asynchronous()
        await anext(running)
        assert await WOKEN.asend(running) is None
        await running.aclose()
