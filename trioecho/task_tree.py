"""The tree of a Trio run, live: tasks, their nurseries, their cancel scopes and deadlines.

    print(task_tree.snapshot())                          # from inside a run
    print(live.run(task_tree.settled_snapshot))          # of a LiveServer, from anywhere

A snapshot is a value: it does not change, it holds nothing alive, and two of the same moment's shape are equal. So it
can be printed before, during and after something, compared in a test, and carried to another thread. Nothing in it
depends on memory addresses or on the order of sets; deadlines are relative to the moment of the snapshot.

How to read it. Indented below a task stand the blocks that it is inside of, outermost first, each inside the one
before: ``nursery`` for ``async with trio.open_nursery()``, ``cancel scope`` for ``with trio.CancelScope()``,
``move_on_after``, ``fail_after``, and for the `trio.sleep` that a task is in. The tasks that a nursery holds stand
below it, the oldest first. Behind a task's name is what it is doing: the caller's own functions, and the Trio or
trioecho function that the innermost of them waits in. A task that trioecho has started for a function of the caller's,
as for a handler, has the name of that function.

What is trioecho's own is left out, and counted: ``(2 tasks of trioecho)`` stands for tasks below this one, with all
below them, in which none of the caller's functions runs. The snapshot itself holds everything:
``print(tree.draw(fold=()))`` draws it. Whose tasks are counted is `FOLDED`, of the packages in `LIBRARIES`, whose
functions are not taken for the caller's.

What it is made from. Public: `trio.lowlevel.current_root_task`, ``Task.child_nurseries``, ``Task.parent_nursery``,
``Task.iter_await_frames``, ``Nursery.child_tasks``, ``Nursery.cancel_scope``. Trio has no public way to the cancel
scopes that are not nurseries', nor to the age of a task; for these two, `_enclosing_scopes` and `_age` read one
private attribute each, and where a Trio has it no more the tree shows nurseries only, and tasks by name.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import trio
import trio.testing

from trioecho._protocol.counted import counted

__all__ = ["FOLDED", "LIBRARIES", "BlockSnapshot", "TaskSnapshot", "settled_snapshot", "snapshot"]

LIBRARIES = ("trio", "trioecho", "trio_websocket", "outcome", "contextlib", "asyncio")
"""Packages whose functions are not the caller's own: of them only the one that the caller's own function called is
named, and ``async for`` where that is what it waits in."""

FOLDED = ("trioecho",)
"""Packages whose own tasks are counted in a drawing, and not shown."""


@dataclass(frozen=True, slots=True)
class BlockSnapshot:
    """One nursery or cancel scope that a task was inside of."""

    tasks: tuple[TaskSnapshot, ...] | None
    """The tasks of a nursery, the oldest first; None for a plain cancel scope."""
    deadline: float
    """Seconds from the snapshot to the deadline, negative if it has passed; `math.inf` if there is none."""
    shield: bool
    """Whether cancellation from outside stops here."""
    cancelled: bool
    """Whether it had been cancelled, or its deadline had passed."""
    left_out: int = 0
    """How many tasks of the nursery there were besides `tasks`, younger ones, where `snapshot` was told to take few."""

    def __str__(self) -> str:
        """``"cancel scope, deadline in 1.5 s, shielded"``: this block alone, without its tasks."""
        parts = ["cancel scope" if self.tasks is None else "nursery"]
        if self.deadline != math.inf:
            # Adding 0.0 makes a zero of -0.0.
            parts.append(f"deadline in {round(self.deadline, 1) + 0.0:g} s")
        if self.shield:
            parts.append("shielded")
        if self.cancelled:
            parts.append("cancelled")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class TaskSnapshot:
    """One task, and through its nurseries all tasks below it. `str` draws the tree, as `draw` does.

    Example:

        from trioecho.task_tree import FOLDED, LIBRARIES, BlockSnapshot, TaskSnapshot, settled_snapshot, snapshot

        async def main() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep, 60)
                tree: TaskSnapshot = await settled_snapshot()
                assert str(tree) == tree.draw(fold=FOLDED)
                print(tree.draw(fold=LIBRARIES))
                block: BlockSnapshot = tree.find("main").blocks[0]
                assert block.tasks == (tree.find("sleep"),)
                nursery.cancel_scope.cancel()
            assert snapshot() != tree
    """

    name: str
    """The task's function, without leading underscores, module and enclosing function; a method with its class."""
    doing: tuple[str, ...]
    """The caller's own functions that the task was in, outermost first, then the library function that they wait in.
    Empty for a task in which there is no function of the caller's, and for the task that took the snapshot."""
    blocks: tuple[BlockSnapshot, ...]
    """Nurseries and cancel scopes that the task was inside of, outermost first."""
    package: str
    """The package of the task's function, such as ``"trioecho"``; for Trio's own, that of the task that started it,
    unless it is the caller's. Empty if it cannot be told."""

    def __iter__(self) -> Iterator[TaskSnapshot]:
        """This task and all tasks below it, each before its children."""
        yield self
        for block in self.blocks:
            for task in block.tasks or ():
                yield from task

    def find(self, name: str) -> TaskSnapshot:
        """The first task of that name, this one or below. Raises LookupError, with the names there are."""
        for task in self:
            if task.name == name:
                return task
        names = ", ".join(sorted({task.name for task in self}))
        raise LookupError(f"no task is named {name!r}; there are: {names}")

    def draw(self, *, fold: Collection[str] = FOLDED) -> str:
        """The tree below this task, one line for each task and block.

        Tasks of the packages in `fold`, which are some of `LIBRARIES`, are only counted, except this one and those
        that lead to a function of the caller's. Of these the blocks are left out in which nothing is shown, unless
        they have a deadline, which may be the caller's.
        """
        return "\n".join(self._lines(fold))

    def __str__(self) -> str:
        return self.draw()

    def _hides(self, fold: Collection[str]) -> bool:
        """Whether no function of the caller's runs in this task, nor in any below it."""
        return all(task.package in fold and not task.doing for task in self)

    def _lines(self, fold: Collection[str]) -> Iterator[str]:
        folded = self.package in fold
        name = self.doing[0] if folded and self.doing else self.name
        yield f"{name} ({' → '.join(self.doing)})" if self.doing else name
        shown = [
            (block, [task for task in block.tasks or () if not task._hides(fold)]) for block in self.blocks
        ]
        hidden = Counter(
            below.package
            for block in self.blocks
            for task in block.tasks or ()
            if task._hides(fold)
            for below in task
        )
        if folded:
            shown = [(block, tasks) for block, tasks in shown if tasks or block.deadline != math.inf]
        branches = [_block_lines(shown, fold)] if shown else []
        branches += [iter([f"({counted(n, 'task')} of {package})"]) for package, n in sorted(hidden.items())]
        yield from _indented(branches)


def _block_lines(
    blocks: list[tuple[BlockSnapshot, list[TaskSnapshot]]], fold: Collection[str]
) -> Iterator[str]:
    (block, tasks), *inner = blocks
    yield str(block)
    branches = [task._lines(fold) for task in tasks]
    if block.left_out:
        branches.append(iter([f"(and {counted(block.left_out, 'younger task')})"]))
    if inner:
        branches.append(_block_lines(inner, fold))
    yield from _indented(branches)


def _indented(branches: list[Iterator[str]]) -> Iterator[str]:
    for number, branch in enumerate(branches, 1):
        first, other = ("└─ ", "   ") if number == len(branches) else ("├─ ", "│  ")
        for index, line in enumerate(branch):
            yield (other if index else first) + line


def snapshot(task: trio.lowlevel.Task | None = None, *, most: int | None = None) -> TaskSnapshot:
    """The tree below `task`, this moment; below the run's main task if None.

    Of each nursery the `most` oldest tasks are looked at, all if None: a server has one for each connection. Changes
    nothing and is no checkpoint. Trio's own system tasks are not part of the main task's tree. Raises
    RuntimeError outside of a Trio run.
    """
    return _task_snapshot(task if task is not None else _main_task(), trio.current_time(), most)


async def settled_snapshot(task: trio.lowlevel.Task | None = None, *, cushion: float = 0.0) -> TaskSnapshot:
    """`snapshot`, once every other task of the run has been waiting for `cushion` real seconds.

    For a server that has just been given something to do, and as the async function that `LiveServer.run` and
    `trio.from_thread.run` ask for. Where bytes are on their way between sockets of one run, a task that waits for
    them does not count as busy; give a `cushion`, shorter than the ``autojump_threshold`` of a `MockClock`. Waits for
    ever in a run that never settles: put it under `trio.fail_after`. Cancelled at any time without consequences.
    """
    await trio.testing.wait_all_tasks_blocked(cushion)
    return snapshot(task)


def _main_task() -> trio.lowlevel.Task:
    root = trio.lowlevel.current_root_task()
    assert root is not None  # only before the run's first step
    # The root opens a nursery for system tasks, and inside of it one for the main task alone.
    (main,) = root.child_nurseries[-1].child_tasks
    return main


def _task_snapshot(task: trio.lowlevel.Task, now: float, most: int | None, owner: str = "") -> TaskSnapshot:
    doing, package = _doing(task), _package(task)
    if package in LIBRARIES and package not in FOLDED:
        package = owner or package
    nurseries = {id(nursery.cancel_scope): nursery for nursery in task.child_nurseries}
    blocks = []
    for scope in _enclosing_scopes(task):
        nursery = nurseries.get(id(scope))
        tasks, left_out = None, 0
        if nursery is not None:
            children = sorted(nursery.child_tasks, key=_age)[:most]
            left_out = len(nursery.child_tasks) - len(children)
            # What a task with a function of the caller's has started may be the caller's doing.
            mine = "" if doing else package
            tasks = tuple(_task_snapshot(child, now, most, mine) for child in children)
        deadline = scope.deadline - now
        blocks.append(BlockSnapshot(tasks, deadline, scope.shield, scope.cancel_called, left_out))
    return TaskSnapshot(_short(task.name), doing, tuple(blocks), package)


def _package(task: trio.lowlevel.Task) -> str:
    frame = getattr(task.coro, "cr_frame", None) or getattr(task.coro, "gi_frame", None)
    name = frame.f_globals.get("__name__", "") if frame is not None else ""
    return str(name).partition(".")[0]


def _enclosing_scopes(task: trio.lowlevel.Task) -> list[trio.CancelScope]:
    """The cancel scopes that the task itself has entered, outermost first, those of its nurseries among them."""
    outside = task.parent_nursery.cancel_scope if task.parent_nursery is not None else None
    status = getattr(task, "_cancel_status", None)
    found: list[trio.CancelScope] = []
    while (
        status is not None and (scope := getattr(status, "_scope", None)) is not outside and scope is not None
    ):
        found.append(scope)
        status = status.parent
    return found[::-1] or [nursery.cancel_scope for nursery in task.child_nurseries]


def _age(task: trio.lowlevel.Task) -> tuple[int, str]:
    return getattr(task, "_counter", 0), task.name


def _doing(task: trio.lowlevel.Task) -> tuple[str, ...]:
    if task is trio.lowlevel.current_task():
        return ()
    names: list[str] = []
    called = None
    for frame, _line in task.iter_await_frames():
        name = frame.f_code.co_name
        module = frame.f_globals.get("__name__", "")
        if module.partition(".")[0] not in LIBRARIES:
            names.append(name)
            called = None
        elif names and called is None and not module.startswith("trio._core"):
            # Trio's core is where everything waits in the end; what was called to get there says more.
            if name == "__anext__":
                called = "async for"
            elif not name.startswith("_"):
                called = name
    return (*names, called) if called is not None else tuple(names)


def _short(name: str) -> str:
    *before, last = (part.lstrip("_") for part in name.split("."))
    return f"{before[-1]}.{last}" if before and before[-1][:1].isupper() else last
