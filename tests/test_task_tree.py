"""The task tree: everything that a run holds, in an order and in words that are the same each time."""

from __future__ import annotations

import math
import re
from functools import partial

import pytest
import trio
import trio.testing

import trioecho
from trioecho import task_tree
from trioecho.testing import connect_raw


async def parent(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    with trio.CancelScope(), trio.move_on_after(90):
        async with trio.open_nursery() as outer:
            outer.start_soon(child)
            outer.start_soon(child, name="the second child")
            async with trio.open_nursery() as inner:
                inner.start_soon(shielded)
                task_status.started()
                await trio.sleep_forever()


async def child() -> None:
    await trio.sleep(2.5)


async def shielded() -> None:
    with trio.move_on_after(120, shield=True):
        await trio.sleep_forever()


async def test_the_tree_shows_tasks_nurseries_and_scopes_in_their_nesting(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Blocks stand in the order in which they were entered, tasks in the order in which they were started."""
    async with trio.open_nursery() as nursery:
        await nursery.start(parent)
        tree = await task_tree.settled_snapshot()
        assert (
            str(tree.find("parent"))
            == """\
parent (parent → sleep_forever)
└─ cancel scope
   └─ cancel scope, deadline in 90 s
      └─ nursery
         ├─ child (child → sleep)
         │  └─ cancel scope, deadline in 2.5 s
         ├─ the second child (child → sleep)
         │  └─ cancel scope, deadline in 2.5 s
         └─ nursery
            └─ shielded (shielded → sleep_forever)
               └─ cancel scope, deadline in 120 s, shielded"""
        )
        nursery.cancel_scope.cancel()


async def test_deadlines_are_relative_to_the_snapshot(autojump_clock: trio.testing.MockClock) -> None:
    """A second later, every deadline is a second nearer; a passed one shows as cancelled."""
    with trio.move_on_after(5) as scope:
        await trio.lowlevel.checkpoint()
        await trio.sleep(1)
        block = task_tree.snapshot(trio.lowlevel.current_task()).blocks[-1]
        assert str(block) == "cancel scope, deadline in 4 s"
        assert not block.cancelled
        with trio.CancelScope(shield=True):
            await trio.sleep(6)
            past = task_tree.snapshot(trio.lowlevel.current_task()).blocks[-2]
        assert str(past) == "cancel scope, deadline in -2 s, cancelled"
    assert scope.cancel_called


async def test_two_snapshots_of_one_state_are_equal(autojump_clock: trio.testing.MockClock) -> None:
    """So "nothing is left behind" is one comparison; a task more, and they differ."""
    async with trio.open_nursery() as nursery:
        await nursery.start(parent)
        one = await task_tree.settled_snapshot()
        assert one == await task_tree.settled_snapshot()
        nursery.start_soon(trio.sleep_forever)
        assert one != await task_tree.settled_snapshot()
        nursery.cancel_scope.cancel()


async def test_a_task_is_found_by_its_name(autojump_clock: trio.testing.MockClock) -> None:
    """`find` gives the task with everything below it, and names what there is where it finds nothing."""
    async with trio.open_nursery() as nursery:
        await nursery.start(parent)
        tree = await task_tree.settled_snapshot()
        assert tree.find("the second child").doing == ("child", "sleep")
        with pytest.raises(LookupError, match=r"'nobody'.*child, parent, shielded.*the second child"):
            tree.find("nobody")
        nursery.cancel_scope.cancel()


async def test_a_method_is_named_with_its_class() -> None:
    """``Sleeper.run`` says more than ``run``; module, outer function and underscores say less."""

    class _Sleeper:
        async def _run(self) -> None:
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(_Sleeper()._run)
        tree = await task_tree.settled_snapshot()
        assert tree.find("Sleeper.run").doing == ("_run", "sleep_forever")
        nursery.cancel_scope.cancel()


async def test_a_snapshot_is_no_checkpoint_and_does_not_show_the_taker_waiting() -> None:
    """The task that takes it is running, so it is not doing anything that could be named."""
    with trio.testing.assert_no_checkpoints():
        tree = task_tree.snapshot(trio.lowlevel.current_task())
    assert tree.doing == ()


def test_outside_of_a_run_there_is_no_tree() -> None:
    """Trio's own error, as from every function that needs a run."""
    with pytest.raises(RuntimeError, match="must be called from async context"):
        task_tree.snapshot()


async def ticking(ws: trioecho.WebSocket) -> None:
    ws.nursery.start_soon(child, name="ticker")
    await trioecho.echo(ws)


async def test_a_connection_leaves_the_tree_as_it_found_it() -> None:
    """A running server shows the handler and what it started below the connection, and afterwards nothing of it."""
    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(trioecho.serve, ticking, port=0))
        before = (await task_tree.settled_snapshot()).find("serve")
        client = await connect_raw(server.port)
        await client.send("here")
        assert await client.receive() == "here"
        during = await task_tree.settled_snapshot()
        assert during.find("ticker").doing == ("child", "sleep")
        assert any("ticking" in task.doing for task in during)
        await client.close(1000)
        assert await client.receive_close() == (1000, "")
        with trio.fail_after(30):
            assert await client.receive_frame() is None
            while (await task_tree.settled_snapshot()).find("serve") != before:
                await trio.testing.wait_all_tasks_blocked(0.001)
        await client.stream.aclose()
        nursery.cancel_scope.cancel()


async def test_what_is_the_librarys_own_is_drawn_as_one_line() -> None:
    """Between ``serve`` and the caller's functions stands what leads there; of all else is told how much it is."""
    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(trioecho.serve, ticking, port=0))
        before = (await task_tree.settled_snapshot()).find("serve")
        client = await connect_raw(server.port)
        await client.send("here")
        assert await client.receive() == "here"
        during = (await task_tree.settled_snapshot()).find("serve")
        await client.stream.aclose()
        nursery.cancel_scope.cancel()
    assert re.fullmatch(r"serve\n└─ \(\d+ tasks? of trioecho\)", str(before))
    drawn = re.sub(r"\d+ tasks?", "some tasks", re.sub(r"in [\d.]+ s", "soon", str(during)))
    ticker = """\
serve
├─ nursery
│  └─ ticking (ticking → echo)
│     ├─ nursery
│     │  └─ ticker (child → sleep)
│     │     └─ cancel scope, deadline soon
│     └─ (some tasks of trioecho)
└─ (some tasks of trioecho)"""
    assert drawn == ticker
    counted = sum(map(int, re.findall(r"(\d+) task", str(during))))
    assert counted + 3 == len(list(during)), "each task is drawn or counted"


async def test_the_whole_tree_can_be_drawn() -> None:
    """With nothing to fold, every task stands in the drawing under its own name."""
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(trioecho.serve, port=0))
        tree = (await task_tree.settled_snapshot()).find("serve")
        nursery.cancel_scope.cancel()
    drawing = tree.draw(fold=())
    assert "of trioecho" not in drawing
    assert all(task.name in drawing for task in tree)
    assert len(list(tree)) > 1


async def test_the_callers_own_tasks_are_never_folded(autojump_clock: trio.testing.MockClock) -> None:
    """Nor is a function of Trio's that the caller starts, or a scope that a handler has opened."""

    async def handler(ws: trioecho.WebSocket) -> None:
        ws.nursery.start_soon(trio.sleep, 7)
        with trio.move_on_after(60):
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(trioecho.serve, handler, port=0))
        client = await connect_raw(server.port)
        drawing = str(await task_tree.settled_snapshot(cushion=0.005))
        await client.stream.aclose()
        nursery.cancel_scope.cancel()
    assert "handler (handler → sleep_forever)\n" in drawing
    assert "sleep\n" in drawing
    assert "deadline in 7 s" in drawing
    assert "deadline in 60 s" in drawing


async def test_another_librarys_own_tasks_can_be_folded(autojump_clock: trio.testing.MockClock) -> None:
    """Whose tasks are only counted is the caller's choice; of one task is spoken in the singular."""

    async def starter() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 7)
            nursery.start_soon(child)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(starter)
        tree = (await task_tree.settled_snapshot()).find("starter")
        nursery.cancel_scope.cancel()
    ours = __name__.partition(".")[0]
    assert [task.package for task in tree] == [ours, "trio", ours]
    assert (
        tree.draw(fold=("trio",))
        == """\
starter (starter)
├─ nursery
│  └─ child (child → sleep)
│     └─ cancel scope, deadline in 2.5 s
└─ (1 task of trio)"""
    )
    assert str(tree) == tree.draw(fold=())


def test_the_tree_of_a_live_server_can_be_seen_from_another_thread() -> None:
    """`LiveServer.run` carries the snapshot over; it stays readable when the server has stopped."""
    with trioecho.LiveServer() as live:
        tree = live.run(task_tree.settled_snapshot)
    served = tree.find("serve")
    assert served.blocks[0].tasks
    assert served.blocks[0].deadline == math.inf
