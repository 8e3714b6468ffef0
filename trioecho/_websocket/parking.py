"""Parking a task until it is woken, and seeing that it is cancelled, for less than what Trio's own way takes.

For each wait, `trio.lowlevel.wait_task_rescheduled` makes two coroutines and a trap (what is yielded to Trio's loop),
and `trio.lowlevel.reschedule` an outcome, which is used up when it is unwrapped. A message that is waited for pays
for all of them: 1.3 µs of the 10.7 µs of CPU that an echo took. Yet nothing in them differs from one wait to the next,
so here the trap and the outcome are made once.

The outcome is public: `reschedule` takes any `outcome.Outcome`, so `WOKEN` is one that can be unwrapped for ever. The
trap is got by public means too, it is what Trio's own coroutine yields; but that it may be yielded again is no promise
of Trio's. That is looked at when this module is imported, and with a Trio that does it otherwise there is no trap, and
`wait_task_rescheduled` is used.

Whether a task is cancelled: `trio.lowlevel.checkpoint_if_cancelled` makes a coroutine and calls three functions to read
one attribute, 0.35 µs, and an echo asks twice. ``context()["task"]._cancel_status.effectively_cancelled`` is that
attribute, 0.03 µs. It is Trio's own and no promise either, so it is looked for when this module is imported; where it
is missing, `context` answers by `trio.current_effective_deadline`, which is public.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from typing import Any, Final, TypeAlias, TypeVar

import outcome
import trio

Abort: TypeAlias = Callable[[Any], trio.lowlevel.Abort]
ResultT = TypeVar("ResultT")


class Woken(outcome.Outcome[None]):
    """The outcome None, as often as one likes. Stateless, so one is enough: `WOKEN`."""

    __slots__ = ()

    def unwrap(self) -> None:
        """Nothing."""

    def send(self, gen: Generator[ResultT, None, object]) -> ResultT:
        """Send None into `gen`."""
        return gen.send(None)

    async def asend(self, agen: AsyncGenerator[ResultT, None]) -> ResultT:
        """Send None into `agen`."""
        return await agen.asend(None)


WOKEN: Final = Woken()
"""What to wake a parked task with: ``trio.lowlevel.reschedule(task, WOKEN)``."""


def trap(abort: Abort) -> object:
    """What a task yields to Trio's loop to be parked, as often as it likes; None if this Trio's trap is used up by it.

    `abort` is called when the task is cancelled, as by `trio.lowlevel.wait_task_rescheduled`, which has the rules, and
    which is the way to wait where there is no trap. With it, in a function marked `types.coroutine`:

        if (woken := (yield trap)) is not WOKEN:
            woken.unwrap()

    As there, one task may be parked at a time, and it is a checkpoint.
    """
    return _trap(abort) if _REUSABLE else None


def _trap(abort: Abort) -> object:
    coroutine = trio.lowlevel.wait_task_rescheduled(abort)  # noqa: ASYNC105 (looked into, not awaited)
    trap: object = coroutine.send(None)
    coroutine.close()
    return trap


def _refuse(_raise_cancel: object) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.FAILED


_REUSABLE: Final = getattr(_trap(_refuse), "__dict__", None) == {"abort_func": _refuse}
"""Whether a trap holds the abort function and nothing else that could be used up."""


class _CancelStatus:
    """What Trio says in public of the calling task's cancellation."""

    @property
    def effectively_cancelled(self) -> bool:
        return trio.current_effective_deadline() == -math.inf


class PublicTask:
    """The calling task, as far as `context` is asked for it."""

    _cancel_status = _CancelStatus()


PUBLIC_CONTEXT: Final[Mapping[str, Any]] = {"task": PublicTask()}
"""`context` for a Trio that keeps its own elsewhere."""


def _runs_as_expected() -> bool:
    """Whether this Trio keeps what is asked of it where it is looked for."""
    try:
        from trio._core._run import GLOBAL_RUN_CONTEXT, CancelStatus, Task
    except ImportError:
        return False
    return (
        isinstance(getattr(GLOBAL_RUN_CONTEXT, "__dict__", None), dict)
        and hasattr(CancelStatus, "effectively_cancelled")
        and hasattr(Task, "_cancel_status")
    )


_EXPECTED: Final = _runs_as_expected()


def context() -> Mapping[str, Any]:
    """What Trio knows of the calling thread's run: ``context()["task"]._cancel_status.effectively_cancelled`` is
    whether the calling task would raise Cancelled at a checkpoint, now and whenever it is asked again.

    A KeyboardInterrupt that Trio has yet to deliver does not count. It is the dictionary behind Trio's thread-local
    object, which takes three times as long to ask: get it once for each connection, not for each message.
    """
    if not _EXPECTED:
        return PUBLIC_CONTEXT
    from trio._core._run import GLOBAL_RUN_CONTEXT

    found: dict[str, Any] = GLOBAL_RUN_CONTEXT.__dict__
    return found if "task" in found else PUBLIC_CONTEXT


def is_cancelled(nursery: trio.Nursery) -> bool:
    """Whether everything in `nursery` is cancelled, from inside or outside of it; only from inside where Trio keeps
    that elsewhere than is expected here."""
    if not _EXPECTED:
        return nursery.cancel_scope.cancel_called
    return nursery._cancel_status.effectively_cancelled
