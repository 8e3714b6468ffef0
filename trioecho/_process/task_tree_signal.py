"""SIGUSR1: the tree of tasks, written to the log, for whoever wonders what a server that runs is doing."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from itertools import islice
from types import FrameType
from typing import Any, Final, Self

import trio

from trioecho import task_tree
from trioecho._protocol.counted import counted

logger = logging.getLogger("trioecho")

NUMBER: Final = getattr(signal, "SIGUSR1", None)
"""The signal; None on Windows, which has no such."""

MOST_TASKS: Final = 100
"""Of a nursery: its oldest. With 10,000 connections all of them would take a second, in which nothing else happens, and
the log another 5 MB."""

MOST_LINES: Final = 1000
"""Of one tree."""


class TaskTreeSignal:
    """As a context manager: SIGUSR1 does nothing but what `writing` says, where it would end a process otherwise.

    What it did before is restored at the end, or if `last` it is ignored from then on. Does nothing on Windows. To be
    used in the main thread, where Python handles signals.
    """

    def __init__(self, *, last: bool) -> None:
        self._last = last
        self._before: Any = None
        self._write: Callable[[], object] | None = None

    def __enter__(self) -> Self:
        assert threading.current_thread() is threading.main_thread()
        if NUMBER is not None:
            self._before = signal.signal(NUMBER, self._came)
        return self

    def __exit__(self, *failure: object) -> None:
        if NUMBER is not None:
            # None stands for a handler that was not set by Python, which Python cannot set again.
            restored = signal.SIG_DFL if self._before is None else self._before
            signal.signal(NUMBER, signal.SIG_IGN if self._last else restored)

    @contextlib.contextmanager
    def writing(self, write: Callable[[], object] | None = None) -> Iterator[None]:
        """In Trio, in the main task: the signal has the tree written between the steps of tasks, or `write` called;
        many that come together, once."""
        token = trio.lowlevel.current_trio_token()
        self._write = lambda: token.run_sync_soon(write or write_task_tree, idempotent=True)
        try:
            yield
        finally:
            self._write = None

    def _came(self, number: int, frame: FrameType | None) -> None:
        if self._write is not None:
            self._write()


def write_task_tree() -> None:
    """Write the tree of this Trio run to the log, a line for each task, nursery and cancel scope; raises nothing.

    Somebody has asked for it, so it is written whatever level the log has.
    """
    level = max(logging.INFO, logger.getEffectiveLevel())
    try:
        living = trio.lowlevel.current_statistics().tasks_living
        lines = task_tree.snapshot(most=MOST_TASKS).draw(fold=()).splitlines()
        logger.log(level, "%s, of each nursery the %d oldest:", counted(living, "task"), MOST_TASKS)
        for line in islice(lines, MOST_LINES):
            logger.log(level, "%s", line)
        if len(lines) > MOST_LINES:
            logger.log(level, "(and %s)", counted(len(lines) - MOST_LINES, "more line"))
    except Exception:
        # Trio ends a run in which what was called so fails.
        logger.exception("the task tree could not be written")
