"""Parking as Trio's own waiting, for less: the same rules for waking, cancelling, and parking again."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import outcome
import pytest
import trio
import trio.testing

import trioecho
from trioecho._websocket import parking
from trioecho._websocket.parking import PUBLIC_CONTEXT, WOKEN, context
from trioecho.testing import RawClient, open_client


@pytest.fixture(params=["trap", "fallback"], autouse=True)
def way_of_parking(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test of this file runs with a trap of ours, and with Trio's own function."""
    if request.param == "fallback":
        monkeypatch.setattr(parking, "_REUSABLE", False)
    return str(request.param)


@contextlib.asynccontextmanager
async def held() -> AsyncIterator[tuple[trioecho.WebSocket, RawClient]]:
    """A WebSocket whose handler does nothing, so that the test may receive from it; and its client."""
    opened: list[trioecho.WebSocket] = []

    async def hold(ws: trioecho.WebSocket) -> None:
        opened.append(ws)
        await trio.sleep_forever()

    with trio.fail_after(60):
        async with open_client(hold) as client:
            await trio.testing.wait_all_tasks_blocked()
            yield opened[0], client
            opened[0].nursery.cancel_scope.cancel()


def test_this_trio_lets_its_trap_be_used_again() -> None:
    """Otherwise Trio's own function is used, which works but is slower: better to know."""
    trap = parking._trap(parking._refuse)
    assert vars(trap) == {"abort_func": parking._refuse}


async def test_the_way_is_the_one_that_was_asked_for(way_of_parking: str) -> None:
    """So that these tests run both."""
    async with held() as (ws, _):
        assert (ws._incoming.trap is None) is (way_of_parking == "fallback")


async def test_a_task_parks_and_is_woken_again_and_again() -> None:
    """One trap and one outcome do for all of them; each message wakes once."""
    async with held() as (ws, client):
        received: list[str | bytes] = []

        async def receive() -> None:
            for _ in range(600):
                received.append(await ws.receive())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            for number in range(600):
                await trio.testing.wait_all_tasks_blocked()
                assert len(received) == number
                await client.send(str(number))
        assert received == [str(number) for number in range(600)]


async def test_two_connections_do_not_know_each_other() -> None:
    """What wakes one leaves the other parked."""
    async with held() as (one, client), held() as (other, other_client):
        received: list[str | bytes] = []

        async def receive(ws: trioecho.WebSocket) -> None:
            received.append(await ws.receive())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive, one)
            nursery.start_soon(receive, other)
            await trio.testing.wait_all_tasks_blocked()
            await other_client.send("to the other")
            await trio.testing.wait_all_tasks_blocked()
            assert received == ["to the other"]
            await client.send("to the one")


async def test_a_cancelled_task_leaves_and_may_park_again() -> None:
    """Cancelled before or while it is parked, it raises Cancelled, loses no message, and another may wait."""
    async with held() as (ws, client):
        for number in range(3):
            with trio.CancelScope() as scope:
                scope.cancel()
                await ws.receive()
            assert scope.cancelled_caught
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ws.receive)
                await trio.testing.wait_all_tasks_blocked()
                with pytest.raises(trio.BusyResourceError):
                    await ws.receive()
                nursery.cancel_scope.cancel()
            await client.send(str(number))
            await trio.testing.wait_all_tasks_blocked()
            with trio.CancelScope() as scope:
                scope.cancel()
                await ws.receive()
            assert scope.cancelled_caught, "a message that waits must not hide a cancellation"
            assert await ws.receive() == str(number)


async def test_another_outcome_is_unwrapped() -> None:
    """A task can be woken with an error."""
    async with held() as (ws, _):

        async def receive() -> None:
            with pytest.raises(KeyError, match="what for"):
                await ws.receive()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            task, ws._incoming.task = ws._incoming.task, None
            assert task is not None
            trio.lowlevel.reschedule(task, outcome.Error(KeyError("what for")))


@pytest.mark.parametrize("public", [False, True])
async def test_a_task_knows_whether_it_is_cancelled(public: bool) -> None:
    """As a checkpoint would tell: by a scope around it, not through a shield, not before a deadline."""
    known = PUBLIC_CONTEXT if public else context()
    assert public or known is not PUBLIC_CONTEXT

    def cancelled() -> bool:
        return bool(known["task"]._cancel_status.effectively_cancelled)

    assert not cancelled()
    with trio.CancelScope() as outer:  # noqa: ASYNC100 (no checkpoint is meant)
        assert not cancelled()
        with trio.CancelScope(shield=True):  # noqa: ASYNC100 (no checkpoint is meant)
            outer.cancel()
            assert not cancelled()
        assert cancelled()
        with trio.CancelScope():  # noqa: ASYNC100 (no checkpoint is meant)
            assert cancelled()
    assert not cancelled()
    with trio.move_on_after(1000):  # noqa: ASYNC100 (no checkpoint is meant)
        assert not cancelled()


@pytest.mark.parametrize("public", [False, True])
async def test_send_and_receive_look_whether_they_are_cancelled(
    public: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where they need not wait, and wherever Trio keeps it."""
    if public:
        monkeypatch.setattr("trioecho._websocket.websocket.context", lambda: PUBLIC_CONTEXT)
    async with held() as (ws, client):
        for text in ("a", "b", "c"):
            await client.send(text)
        await trio.testing.wait_all_tasks_blocked()
        assert await ws.receive() == "a"
        await ws.send("first")
        for operation in (ws.receive, lambda: ws.send("cancelled")):
            with trio.CancelScope() as scope:
                scope.cancel()
                await operation()
            assert scope.cancelled_caught
        assert [await ws.receive(), await ws.receive()] == ["b", "c"]
        await ws.send("second")
        assert [await client.receive(), await client.receive()] == ["first", "second"]


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
