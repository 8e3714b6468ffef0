"""One call by a client, and the task that runs it."""

from __future__ import annotations

import msgspec
import trio

from trioecho.hubs.messages import Invocation
from trioecho.hubs.methods import Method
from trioecho.hubs.streams import Upload

NO_UPLOADS: list[Upload] = []


class Call:
    """One call that waits or runs."""

    __slots__ = ("arguments", "failure", "invocation", "method", "scope", "uploads")

    arguments: msgspec.Struct
    """Set when its turn has come."""

    def __init__(self, invocation: Invocation, method: Method | None, failure: str | None) -> None:
        self.invocation = invocation
        self.method = method
        self.failure = failure
        """What its caller is told instead of running it."""
        self.scope: trio.CancelScope | None = None
        self.uploads: list[Upload] = []


class Worker:
    """A task that reads, or works calls off, and what it is at."""

    __slots__ = ("_idle", "answer", "call", "scope", "task")

    scope: trio.CancelScope
    task: trio.lowlevel.Task

    def __init__(self, idle: list[Worker]) -> None:
        self._idle = idle
        self.call: Call | None = None
        self.answer: bytes | None = None

    def abort(self, _: object) -> trio.lowlevel.Abort:
        """Wait no more: it is cancelled."""
        self._idle.remove(self)
        return trio.lowlevel.Abort.SUCCEEDED
