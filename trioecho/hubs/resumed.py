"""The rest of a coroutine that has been begun by hand, to be awaited as if it had been awaited from its begin."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from types import FrameType
from typing import Any


class Resumed(Generator[Any, Any, Any]):
    """What is left of `running`, whose first ``send(None)`` has returned `trap`.

    `trap` is yielded first. `cr_frame` and `cr_await` are the coroutine's: what walks through the frames of a task, as
    `trio.lowlevel.Task.iter_await_frames` and so the task tree do, walks on into it.
    """

    __slots__ = ("_running", "_trap", "_trapped")

    def __init__(self, running: Coroutine[Any, Any, Any], trap: Any) -> None:
        self._running = running
        self._trap = trap
        self._trapped = False

    def __await__(self) -> Resumed:
        return self

    def send(self, value: Any) -> Any:
        if self._trapped:
            return self._running.send(value)
        self._trapped = True
        return self._trap

    def throw(self, *error: Any) -> Any:
        return self._running.throw(*error)

    def close(self) -> None:
        self._running.close()

    @property
    def cr_frame(self) -> FrameType | None:
        return self._running.cr_frame  # type: ignore[attr-defined, no-any-return]

    @property
    def cr_await(self) -> object:
        return self._running.cr_await  # type: ignore[attr-defined]
