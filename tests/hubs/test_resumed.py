"""A coroutine that was begun by hand goes on as any other, and can be seen in its task."""

from __future__ import annotations

import functools
import json
from collections.abc import Coroutine
from typing import Any

import pytest
import trio
import trio.testing

import trioecho
from trioecho import task_tree
from trioecho.client import connect
from trioecho.hubs import Hub, HubServer, Target
from trioecho.hubs.resumed import Resumed


def begun(running: Coroutine[Any, Any, Any]) -> Resumed:
    return Resumed(running, running.send(None))


async def sleeps(seconds: float, times: int = 2) -> str:
    for _ in range(times):
        await trio.sleep(seconds)
    return "slept"


async def test_it_returns_what_the_coroutine_does(autojump_clock: trio.testing.MockClock) -> None:
    """However often it waits, for as long as it says."""
    assert await begun(sleeps(5)) == "slept"
    assert trio.current_time() == 10


async def test_it_raises_what_the_coroutine_does() -> None:
    async def fails() -> None:
        await trio.lowlevel.checkpoint()
        raise ValueError("no tea")

    with pytest.raises(ValueError, match="no tea"):
        await begun(fails())


async def test_it_is_cancelled_where_it_waits(autojump_clock: trio.testing.MockClock) -> None:
    """Its own scopes hold, and what is around it ends it."""
    ended = []

    async def waits() -> None:
        await trio.lowlevel.checkpoint()
        with trio.move_on_after(3):
            await trio.sleep_forever()
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time())

    with trio.move_on_after(7) as scope:
        await begun(waits())
    assert scope.cancelled_caught
    assert ended == [7]


def test_what_is_thrown_in_reaches_the_coroutine() -> None:
    """Also where nothing has been sent since."""
    running = sleeps(1)
    rest = Resumed(running, "trap")
    with pytest.raises(KeyError):
        rest.throw(KeyError("thrown"))
    rest.close()


async def test_a_call_that_waits_is_in_the_task_tree() -> None:
    """By the name of the hub's method, and with what that waits in."""

    class Kitchen(Hub[Target]):
        async def brew(self, seconds: float) -> None:
            await trio.sleep(seconds)

    async with trio.open_nursery() as nursery:
        serve = functools.partial(trioecho.serve, {"/kitchen": HubServer(Kitchen)}, port=0)
        server = await nursery.start(serve)
        async with connect(f"ws://127.0.0.1:{server.port}/kitchen") as ws:
            await ws.send('{"protocol":"json","version":1}\x1e')
            await ws.receive()
            call = {"type": 1, "invocationId": "1", "target": "brew", "arguments": [60]}
            await ws.send(json.dumps(call) + "\x1e")
            with trio.fail_after(10):
                while "brew → sleep" not in (tree := str(await task_tree.settled_snapshot(cushion=0.01))):
                    pass
        assert "deadline in 60 s" in tree
        nursery.cancel_scope.cancel()
