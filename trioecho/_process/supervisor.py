"""Several processes that serve at one place: started, watched, told together what signals say, replaced.

    supervisor ── one task a worker's place ── process ── a server as any other
        │                                        │
        └──────────── a channel each ────────────┘

A worker that dies is followed by another, after a pause that doubles while it goes on dying. When the supervisor dies,
its channels do, and the workers stop. It serves nobody itself, so nothing that a client does can stop it.

SIGUSR2 replaces the workers, one after the other: the new one accepts before the old one is told to leave, at the same
socket, so that nobody is refused, and it runs the code that is installed by then.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import signal
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import trio

from trioecho._process.announcement import metrics_url, warn_if_open_to_every_page, write
from trioecho._process.metrics_listener import MetricsListener
from trioecho._process.process import (
    NOT_RELOADED,
    RELOADED,
    CannotStartError,
    cannot_listen,
    start_metrics,
    why,
)
from trioecho._process.signals import StopSignals
from trioecho._process.standard_input import call_at_end_of_input
from trioecho._process.systemd import Notifier
from trioecho._process.task_tree_signal import TaskTreeSignal, write_task_tree
from trioecho._process.worker_process import WorkerProcess
from trioecho._process.worker_sockets import WorkerSockets
from trioecho._protocol.counted import counted
from trioecho._server.draining import Steps
from trioecho._server.figures import Figures
from trioecho._server.listening import ListenAt
from trioecho.options import WebSocketOptions

logger = logging.getLogger("trioecho")

READY_WITHIN = 60.0
"""Seconds from a worker's start to when it has to accept. Picked arbitrarily: half a second is usual."""

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0
"""Seconds before a worker that has died is followed by another: doubled from time to time, and bounded."""

LIVED_WELL = 60.0
"""Seconds that a worker has to live for its death to be the first again."""

KILL_AFTER = 5.0
"""Seconds that a worker has beyond its deadline, whose event loop may be held up by a handler that blocks it."""


class Supervisor:
    """All workers of one program. `command` starts one; what it is to be is in its environment."""

    def __init__(
        self,
        command: Sequence[str],
        count: int,
        listen_at: ListenAt,
        options: WebSocketOptions,
        steps: Steps,
        words: Callable[[str, Any], str],
        signals: StopSignals,
    ) -> None:
        self._command = command
        self._count = count
        self._listen_at = listen_at
        self._options = options
        self._steps = steps
        self._words = words
        self._signals = signals
        self.ready_json = False
        self.exit_on_eof = False
        self.reload: Callable[[], object] | None = None
        """Reads the certificate, to see whether it is any good before the workers are told to; what it raises says why
        it is none."""
        self.notifier = Notifier({})
        self.metrics: MetricsListener | None = None
        self.task_tree_signal = TaskTreeSignal(last=False)
        self._places: list[WorkerProcess] = []
        self._pauses = [FIRST_PAUSE] * count
        # Those who live, of whom some may be about to leave.
        self._alive: set[WorkerProcess] = set()
        self._serving = False
        self._input_ended = False
        self._stopping = trio.Event()
        self._aborting = self._renewing = False
        self._reloads = self._renewals = 0
        self._connections = 0
        # What those counted who have ended: a sum that fell would look as if all of them had begun again.
        self._ended = Figures().only_counters
        self._failure: CannotStartError | None = None
        self._sockets: WorkerSockets
        self._nursery: trio.Nursery

    async def run(self) -> None:
        """Serve until told to stop. Raises `CannotStartError` if the workers do not come up."""
        with self._signals.calling(self._obey), self.task_tree_signal.writing(self._write_task_trees):
            if self._signals.count:
                return
            try:
                self._sockets = await WorkerSockets.open(
                    self._listen_at, self._count, self._listen_at.backlog
                )
            except (OSError, UnicodeError) as error:
                raise cannot_listen(error, self._listen_at, self._words) from None
            try:
                await self._supervise()
            finally:
                with trio.CancelScope(shield=True):
                    await self._sockets.aclose()
        if self._failure is not None:
            raise self._failure

    @property
    def pids(self) -> list[int]:
        """The process ids of the workers that are in their places."""
        return [worker.pid for worker in self._places if worker.pid is not None and not worker.ended.is_set()]

    async def figures(self) -> Figures:
        """The sum over every worker that lives, those who are leaving among them, and, of what only grows, over those
        who have ended. Of one that does not answer it is what it told last; `workers` counts those who answer."""
        answered = 0

        async def ask_one(worker: WorkerProcess) -> None:
            nonlocal answered
            if await worker.ask_figures() is not None:
                answered += 1

        async with trio.open_nursery() as nursery:
            for worker in tuple(self._alive):
                nursery.start_soon(ask_one, worker)
        # All in one step, in which nobody ends: each is among the living or among the others.
        merged = self._add_up(
            Figures.from_dict(each.figures) for each in self._alive if each.figures is not None
        )
        return dataclasses.replace(merged, workers=answered, stopping=min(1, merged.stopping))

    def _add_up(self, living: Iterable[Figures]) -> Figures:
        figures = [*living]
        try:
            return Figures.merge([*figures, self._ended])
        except ValueError:
            # Workers of a newer version, whose distributions have other bounds.
            self._ended = Figures().only_counters
            return Figures.merge(figures)

    # Their lives.

    async def _supervise(self) -> None:
        async with trio.open_nursery() as beside, trio.open_nursery() as self._nursery:
            self._places = [self._start(number) for number in range(self._count)]
            if await self._all_ready():
                self._serving = True
                await self._announce(beside)
                beside.start_soon(self._look)
                beside.start_soon(self.notifier.watch, self._status)
                if self.exit_on_eof:
                    call_at_end_of_input(self._end_of_input)
                self._obey()
                await self._stopping.wait()
            else:
                self._stopping.set()
                self._nursery.start_soon(self._kill_after, KILL_AFTER)
                await self._tell_all("abort")
            while self._alive:
                await next(iter(self._alive)).ended.wait()
            self._nursery.cancel_scope.cancel()
            beside.cancel_scope.cancel()

    def _start(self, place: int) -> WorkerProcess:
        worker = WorkerProcess(self._command, place, self._sockets.of(place))
        self._alive.add(worker)
        self._nursery.start_soon(self._live, worker)
        return worker

    async def _live(self, worker: WorkerProcess) -> None:
        try:
            await worker.run()
        finally:
            self._alive.discard(worker)
            if worker.figures is not None:
                self._ended = self._add_up([Figures.from_dict(worker.figures)]).only_counters
        if self._serving and self._places[worker.number] is worker and not self._stopping.is_set():
            await self._follow(worker)

    async def _follow(self, dead: WorkerProcess) -> None:
        """Put another into the place of one that has died."""
        place = dead.number
        if trio.current_time() - dead.began_at >= LIVED_WELL:
            self._pauses[place] = FIRST_PAUSE
        pause, self._pauses[place] = self._pauses[place], min(2 * self._pauses[place], LONGEST_PAUSE)
        logger.error(
            "worker %d (process %s) %s; another is started in %g s",
            place + 1,
            dead.pid,
            dead.how_it_ended,
            pause,
        )
        with trio.move_on_after(pause):
            await self._stopping.wait()
        # Meanwhile all may have been replaced, or told to stop.
        if self._places[place] is dead and not self._stopping.is_set():
            self._places[place] = self._start(place)

    async def _all_ready(self) -> bool:
        for worker in self._places:
            await self._comes_up(worker)
        for worker in self._places:
            if worker.ended.is_set() and not self._stopping.is_set():
                why_not = f"worker {worker.number + 1} {worker.how_it_ended} before all served"
                self._failure = CannotStartError(why_not)
                return False
        return not self._stopping.is_set()

    async def _comes_up(self, worker: WorkerProcess) -> bool:
        """Wait until it accepts. False if it has died instead, or has been killed since it did neither."""
        async with trio.open_nursery() as nursery:

            async def wait_for(event: trio.Event) -> None:
                await event.wait()
                nursery.cancel_scope.cancel()

            for event in (worker.ready, worker.ended, self._stopping):
                nursery.start_soon(wait_for, event)
            nursery.cancel_scope.deadline = trio.current_time() + READY_WITHIN
        if not worker.ready.is_set() and not worker.ended.is_set():
            worker.kill()
            await worker.ended.wait()
        return worker.ready.is_set() and not worker.ended.is_set()

    async def _renew(self) -> None:
        """Put a new worker into each place, one after the other; the old one leaves when the new one accepts."""
        logger.info("replacing %s, one after the other", counted(self._count, "worker"))
        try:
            for place, old in enumerate(tuple(self._places)):
                if self._stopping.is_set():
                    return
                new = self._start(place)
                if not await self._comes_up(new):
                    if not self._stopping.is_set():
                        logger.error("a new worker %s; the old ones stay", new.how_it_ended)
                    return
                # Whoever lives there now: the old one may have died, and been followed, meanwhile.
                old, self._places[place] = self._places[place], new
                await old.tell("hand over")
            logger.info("all workers are new: processes %s", " ".join(map(str, self.pids)))
        finally:
            self._renewing = False

    # What signals ask for.

    def _obey(self) -> None:
        """Does what the signals so far ask for. Called again, it does what is new."""
        if (self._signals.count or self._input_ended) and not self._stopping.is_set():
            self._stopping.set()
            if self._serving:
                most = (
                    self._steps.delay + self._steps.window + self._steps.timeout + self._options.close_timeout
                )
                self.notifier.stopping("stopping", most + KILL_AFTER)
                logger.info("stopping %s; a second signal stops at once", counted(len(self._alive), "worker"))
                # Where others may accept at the same sockets, newcomers are theirs.
                self._nursery.start_soon(self._tell_all, "leave" if self._listen_at.inherited else "stop")
                self._nursery.start_soon(self._stop_listening)
                self._nursery.start_soon(self._kill_after, most + KILL_AFTER)
        if not self._serving or self._nursery.cancel_scope.cancel_called:
            return
        if self._signals.count >= 2 and not self._aborting:
            self._aborting = True
            logger.info("stopping at once")
            self._nursery.start_soon(self._tell_all, "abort")
            self._nursery.start_soon(self._kill_after, KILL_AFTER)
        if self._stopping.is_set():
            return
        if self._signals.reloads > self._reloads:
            self._reloads = self._signals.reloads
            self._reload()
        if self._signals.renewals > self._renewals:
            self._renewals = self._signals.renewals
            if not self._renewing:
                self._renewing = True
                self._nursery.start_soon(self._renew)

    def _end_of_input(self) -> None:
        self._input_ended = True
        self._obey()

    def _reload(self) -> None:
        assert self.reload is not None
        self.notifier.reloading()
        try:
            self.reload()
        except Exception as error:
            logger.error(NOT_RELOADED, why(error))
        else:
            logger.info(RELOADED)
            self._nursery.start_soon(self._tell_all, "reload")
        self.notifier.ready(self._status())

    async def _tell_all(self, order: str) -> None:
        async with trio.open_nursery() as nursery:
            for worker in tuple(self._alive):
                nursery.start_soon(worker.tell, order)

    async def _stop_listening(self) -> None:
        """No worker is followed by another any more: where one has stopped accepting, nobody is to wait for it. A Unix
        socket would lose its file, by which newcomers find those who still accept."""
        self._sockets.close_tcp()
        await trio.sleep(self._steps.delay + self._steps.window)
        await self._sockets.aclose()

    async def _kill_after(self, seconds: float) -> None:
        await trio.sleep(seconds)
        for worker in tuple(self._alive):
            logger.error("worker %d (process %s) does not stop, and is killed", worker.number + 1, worker.pid)
            worker.kill()

    # What it tells.

    async def _announce(self, beside: trio.Nursery) -> None:
        first = self._places[0].told
        warn_if_open_to_every_page(self._sockets.hosts, self._options.allowed_origins, self._words)
        try:
            url = await self._serve_metrics(beside)
            lines = [*first["lines"], *([] if url is None else [f"and metrics at {url}"])]
            if self.ready_json:
                told = first["ready"] | {"metrics_url": url, "pid": os.getpid(), "workers": self.pids}
                lines = [json.dumps(told)]
            write(lines)
        except (CannotStartError, OSError) as error:
            said = f"cannot write to standard output: {why(error)}"
            self._failure = error if isinstance(error, CannotStartError) else CannotStartError(said)
            self._stopping.set()
            self._nursery.start_soon(self._tell_all, "abort")
            return
        logger.info("%s: processes %s", counted(self._count, "worker"), " ".join(map(str, self.pids)))
        self.notifier.ready(self._status())

    async def _serve_metrics(self, beside: trio.Nursery) -> str | None:
        if self.metrics is None:
            return None
        return metrics_url(await start_metrics(self.metrics, beside, self._words, collect=self.figures))

    def _write_task_trees(self) -> None:
        """That of this process, and of each worker, which writes its own."""
        write_task_tree()
        for worker in tuple(self._alive):
            worker.pass_on(signal.SIGUSR1)

    def _status(self) -> str:
        what = "stopping" if self._stopping.is_set() else "serving"
        return f"{what}: {counted(self._connections, 'connection')}, {counted(len(self.pids), 'worker')}"

    async def _look(self) -> None:
        """Ask how many connections there are, where somebody wants to know."""
        while self.notifier.asked:
            await trio.sleep(5)
            self._connections = (await self.figures()).connections_open
