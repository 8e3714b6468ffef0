"""The tree of a Trio run, live: tasks, their nurseries, their cancel scopes and deadlines.

    print(task_tree.snapshot())                          # from inside a run
    print(live.run(task_tree.settled_snapshot))          # of a `LiveServer`, from anywhere

A snapshot is a value: it does not change, it holds nothing alive, and two of the same moment's shape are equal. So it
can be printed before, during and after something, compared in a test, and carried to another thread. Nothing in it
depends on memory addresses or on the order of sets; deadlines are relative to the moment of the snapshot.

How to read it. Indented below a task stand the blocks that it is inside of, outermost first, each inside the one
before: ``nursery`` for ``async with trio.open_nursery()``, ``cancel scope`` for ``with trio.CancelScope()``,
``move_on_after``, ``fail_after``, and for the `trio.sleep` that a task is in. The tasks that a nursery holds stand
below it, the oldest first. Behind a task's name is what it is doing: the caller's own functions, and the Trio or
trioecho function that the innermost of them waits in.

What it is made from. Public: `trio.lowlevel.current_root_task`, ``Task.child_nurseries``, ``Task.parent_nursery``,
``Task.iter_await_frames``, ``Nursery.child_tasks``, ``Nursery.cancel_scope``. Trio has no public way to the cancel
scopes that are not nurseries', nor to the age of a task; for these two, `_enclosing_scopes` and `_age` read one
private attribute each, and where a Trio has it no more the tree shows nurseries only, and tasks by name.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import trio
import trio.testing

LIBRARIES = ("trio", "trioecho", "trio_websocket", "outcome", "contextlib", "asyncio")
"""Packages whose functions are not the caller's own: of them only the one that the caller's own function called is
named, and ``async for`` where that is what it waits in."""


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
    """One task, and through its nurseries all tasks below it. `str` draws the tree."""

    name: str
    """The task's function, without leading underscores, module and enclosing function; a method with its class."""
    doing: tuple[str, ...]
    """The caller's own functions that the task was in, outermost first, then the library function that they wait in.
    Empty for a task in which there is no function of the caller's, and for the task that took the snapshot."""
    blocks: tuple[BlockSnapshot, ...]
    """Nurseries and cancel scopes that the task was inside of, outermost first."""

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

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"{self.name} ({' → '.join(self.doing)})" if self.doing else self.name
        yield from _indented([self._block_lines(0)] if self.blocks else [])

    def _block_lines(self, index: int) -> Iterator[str]:
        block = self.blocks[index]
        yield str(block)
        branches = [task._lines() for task in block.tasks or ()]
        if index + 1 < len(self.blocks):
            branches.append(self._block_lines(index + 1))
        yield from _indented(branches)


def _indented(branches: list[Iterator[str]]) -> Iterator[str]:
    for number, branch in enumerate(branches, 1):
        first, other = ("└─ ", "   ") if number == len(branches) else ("├─ ", "│  ")
        for index, line in enumerate(branch):
            yield (other if index else first) + line


def snapshot(task: trio.lowlevel.Task | None = None) -> TaskSnapshot:
    """The tree below `task`, this moment; below the run's main task if None.

    Changes nothing and is no checkpoint. Trio's own system tasks are not part of the main task's tree. Raises
    RuntimeError outside of a Trio run.
    """
    return _task_snapshot(task if task is not None else _main_task(), trio.current_time())


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


def _task_snapshot(task: trio.lowlevel.Task, now: float) -> TaskSnapshot:
    nurseries = {id(nursery.cancel_scope): nursery for nursery in task.child_nurseries}
    blocks = []
    for scope in _enclosing_scopes(task):
        nursery = nurseries.get(id(scope))
        tasks = None
        if nursery is not None:
            children = sorted(nursery.child_tasks, key=_age)
            tasks = tuple(_task_snapshot(child, now) for child in children)
        blocks.append(BlockSnapshot(tasks, scope.deadline - now, scope.shield, scope.cancel_called))
    return TaskSnapshot(_short(task.name), _doing(task), tuple(blocks))


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
