"""How a server stops, step by step: not ready, then full, then one connection after the other, then all that is left.

    begin ──`delay`──▶ ──`window`──▶ ──`timeout`──▶ over
    still admits       503 to newcomers, and Close      accepts nobody; handlers may finish
                       to one connection after the other

From the beginning `Request.ready` is false, so that a load balancer looks elsewhere while this server still takes what
it is sent. With no `delay` and no `window` all of it happens at once.

A server that hands its listening sockets over to another that accepts at the same ones leaves the newcomers to that:
it accepts nobody from the end of `delay` on, and lets in whom it has accepted before.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import trio

from trioecho._server.service import RESTARTING, Service

HANDOVER_GRACE = 1.0
"""Seconds that a client whose connection was accepted before the handover has to ask for something. It has begun before
its request was answered by nobody, so it is let in; one that keeps a connection open for later is not waited for."""

LOOK_AGAIN_AFTER = 0.02
"""Seconds between two looks at whether all of those have been answered."""


@dataclass(frozen=True, slots=True)
class Steps:
    """How a stop is to go: the seconds of each step, as `Server.stop` has them; and whether it is for a restart."""

    timeout: float = 10.0
    delay: float = 0.0
    window: float = 0.0
    restart: bool = False

    def __post_init__(self) -> None:
        check_seconds("timeout", self.timeout)
        check_seconds("delay", self.delay, finite=True)
        check_seconds("window", self.window, finite=True)


class Draining:
    """The stop of one server. `accepting` is the scope in which it accepts connections."""

    __slots__ = (
        "_begun",
        "_handover",
        "_over",
        "_pause",
        "_refuse_at",
        "_timeout",
        "_told_at",
        "accepting",
        "service",
    )

    def __init__(self, service: Service) -> None:
        self.service = service
        self.accepting = trio.CancelScope()
        self._begun = trio.Event()
        self._over = False
        self._handover = False
        # On Trio's clock: when newcomers are refused, and when the last connection is told.
        self._refuse_at = self._told_at = math.inf
        self._timeout = math.inf
        self._pause: trio.CancelScope | None = None

    def begin(self, steps: Steps, *, handover: bool) -> None:
        """Begin, or let what has begun end sooner. Returns at once; what waits needs `run`."""
        now = trio.current_time()
        self.service.ready = False
        if steps.restart:
            self.service.stop_code = RESTARTING
        self._handover = self._handover or handover
        self._refuse_at = min(self._refuse_at, now + steps.delay)
        self._told_at = min(self._told_at, now + steps.delay + steps.window)
        self._timeout = min(self._timeout, steps.timeout)
        if steps.delay == steps.window == 0 and not handover:
            self._finish()
        self._begun.set()
        if self._pause is not None:
            self._pause.cancel()

    def abort(self) -> None:
        """Stop at once."""
        self.service.ready = False
        self.accepting.cancel()
        self.service.abort()
        self.over()

    def over(self) -> None:
        """There is nothing more to do for `run`."""
        self._over = True
        self._begun.set()
        if self._pause is not None:
            self._pause.cancel()

    async def run(self) -> None:
        """Do what waits for its time, from `begin` until everybody has been told, or until `over`."""
        await self._begun.wait()
        await self._until(lambda: self._refuse_at)
        if self._handover and not self._done:
            self.accepting.cancel()
            await self._let_in_who_was_accepted()
        if not self._done:
            self.service.refusing = True
            await self._tell_one_by_one()
        if not self._done:
            self._finish()

    @property
    def _done(self) -> bool:
        return self._over or self.service.stopping

    def _finish(self) -> None:
        self.accepting.cancel()
        self.service.stop(trio.current_time() + self._timeout)

    async def _until(self, when: Callable[[], float]) -> None:
        """Wait for a time that can be moved."""
        while not self._done and trio.current_time() < when():
            with trio.move_on_at(when()) as self._pause:
                await trio.sleep_forever()
            self._pause = None

    async def _let_in_who_was_accepted(self) -> None:
        until = trio.current_time() + HANDOVER_GRACE
        while True:
            with trio.move_on_after(LOOK_AGAIN_AFTER) as self._pause:
                await trio.sleep_forever()
            self._pause = None
            # The last one may have been accepted in the step of the cancellation. Its task begins in the next, behind
            # this one perhaps, however late that is.
            for _ in range(2):
                await trio.lowlevel.checkpoint()
            if self._done or not self._under_way or trio.current_time() >= until:
                return

    @property
    def _under_way(self) -> bool:
        """Whether somebody may still become a WebSocket: a request is being judged, or has just begun to be awaited."""
        sockets = self.service.sockets
        return sockets.served > len(self.service.connections) or sockets.waits_since(
            trio.current_time() - HANDOVER_GRACE
        )

    async def _tell_one_by_one(self) -> None:
        """Tell the connections, the oldest first, at equal distances until `_told_at`."""
        begun = trio.current_time()
        connections = tuple(self.service.connections)
        for number, connection in enumerate(connections):
            share = number / len(connections)

            def due(share: float = share) -> float:
                return begun + (self._told_at - begun) * share

            if connection in self.service.connections:
                await self._until(due)
            if self._done:
                return
            if connection in self.service.connections:
                connection.stop(trio.current_time() + self._timeout, self.service.stop_code)


def check_seconds(name: str, value: object, *, finite: bool = False) -> None:
    """Raise TypeError or ValueError with one sentence for what is no number of seconds, 0 or more."""
    sentence = f"{name} takes seconds, 0 or more; you gave {value!r}"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(sentence)
    if math.isnan(value) or value < 0:
        raise ValueError(sentence)
    if finite and value == math.inf:
        raise ValueError(f"{name} takes a finite number of seconds; you gave {value!r}")
