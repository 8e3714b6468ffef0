"""One server as a process, from its start to its end: what signals, a supervisor and systemd have to do with it."""

from __future__ import annotations

import functools
import logging
import os
import re
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import trio

from trioecho._process.announcement import announce, ready, ready_lines, warn_if_open_to_every_page
from trioecho._process.control import Channel
from trioecho._process.metrics_listener import MetricsListener
from trioecho._process.ports import advice
from trioecho._process.signals import StopSignals
from trioecho._process.standard_input import call_at_end_of_input
from trioecho._process.systemd import Notifier
from trioecho._process.task_tree_signal import TaskTreeSignal
from trioecho._protocol.counted import counted
from trioecho._server.draining import Steps
from trioecho._server.figures import Figures
from trioecho._server.listening import ListenAt
from trioecho._server.server import Server
from trioecho.options import WebSocketOptions

logger = logging.getLogger("trioecho")

RELOADED = "the certificate was read anew, for connections from now on"
NOT_RELOADED = "the certificate stays as it was: %s"

LAST_WORDS_WITHIN = 1.0
"""Seconds that a supervisor has to take the last figures of a worker, which then ends without."""


class CannotStartError(Exception):
    """This machine does not give what was asked for. Its text is one sentence for the user."""


@dataclass(frozen=True, slots=True)
class Worker:
    """What makes a process one of several: the supervisor's end of `control`, a connected socket, tells it what to do.

    `listen` are the numbers of its listening sockets, which it closes once the server has duplicates.
    """

    control: int
    listen: tuple[int, ...]


class Process:
    """One server. `start` is `serve` with its arguments, to be started in a nursery."""

    def __init__(
        self,
        start: Callable[..., Any],
        listen_at: ListenAt,
        options: WebSocketOptions,
        steps: Steps,
        words: Callable[[str, Any], str],
        signals: StopSignals,
    ) -> None:
        self._start = start
        self._listen_at = listen_at
        self._options = options
        self._steps = steps
        self._words = words
        self._signals = signals
        self.ready_json = False
        self.exit_on_eof = False
        self.ca_file: str | None = None
        self.reload: Callable[[], ssl.SSLContext] | None = None
        self.worker: Worker | None = None
        self.notifier = Notifier({})
        self.metrics: MetricsListener | None = None
        self.task_tree_signal = TaskTreeSignal(last=False)
        self._input_ended = False
        self._stopping = False
        self._aborting = False
        self._reloads = 0
        self._starting = trio.CancelScope()
        self._beside = trio.CancelScope()
        self._server: Server | None = None
        self._supervisor: Channel | None = None

    async def run(self) -> None:
        """Serve until told to stop. Raises `CannotStartError`, and what crashes the server."""
        failure: Exception | None = None
        with self._signals.calling(self._obey), self.task_tree_signal.writing():
            async with trio.open_nursery() as beside:
                self._beside = beside.cancel_scope
                async with trio.open_nursery() as nursery:
                    try:
                        with self._starting:
                            self._server = await nursery.start(self._start)
                    except (OSError, UnicodeError) as error:
                        failure = self._cannot_listen(error)
                    except Exception as error:
                        failure = error
                    if self._server is not None:
                        failure = await self._tell(self._server, beside)
                        if self.exit_on_eof:
                            call_at_end_of_input(self._end_of_input)
                        # A signal may have come while the server started, too late to cancel that.
                        self._obey()
                if self._supervisor is not None and self._server is not None:
                    await self._tell_last(self._supervisor, self._server)
                beside.cancel_scope.cancel()
        if failure is not None:
            # Only here, outside of the nursery: it would make a group of it.
            raise failure

    async def _tell(self, server: Server, beside: trio.Nursery) -> Exception | None:
        """Tell whoever has started this that connections are accepted."""
        if self.worker is not None:
            for number in self.worker.listen:
                os.close(number)
            beside.start_soon(self._be_supervised, self.worker, server)
            return None
        warn_if_open_to_every_page(server.hosts, self._options.allowed_origins, self._words)
        try:
            figures = (
                None
                if self.metrics is None
                else await start_metrics(self.metrics, beside, self._words, server)
            )
            announce(server, as_json=self.ready_json, ca_file=self.ca_file, figures=figures)
        except CannotStartError as error:
            server.abort()
            return error
        except OSError as error:
            server.abort()
            return CannotStartError(f"cannot write to standard output: {why(error)}")
        self.notifier.ready(self._status())
        beside.start_soon(self.notifier.watch, self._status)
        return None

    # What signals ask for.

    def _obey(self) -> None:
        """Does what the signals so far ask for. Called again, it does what is new."""
        if self._server is None:
            if self._signals.count:
                self._starting.cancel()
            return
        if self._signals.reloads > self._reloads:
            self._reloads = self._signals.reloads
            self._reload(self._server)
        if self._signals.count or self._input_ended:
            self._stop(self._server, self._steps, handover=self._listen_at.inherited and self.worker is None)
        if self._signals.count >= 2:
            self._abort(self._server)

    def _end_of_input(self) -> None:
        self._input_ended = True
        self._obey()

    def _stop(self, server: Server, steps: Steps, *, handover: bool) -> None:
        if self._stopping:
            return
        self._stopping = True
        most = steps.delay + steps.window + steps.timeout + self._options.close_timeout
        self.notifier.stopping("stopping", most)
        logger.log(self._loudness, "stopping: %s", who_is_left(len(server.connections), steps))
        server.stop(
            timeout=steps.timeout,
            delay=steps.delay,
            window=steps.window,
            restart=steps.restart,
            handover=handover,
        )

    def _abort(self, server: Server) -> None:
        if not self._aborting:
            self._aborting = True
            logger.log(self._loudness, "stopping at once")
            server.abort()

    def _reload(self, server: Server) -> None:
        if self.reload is None or self._stopping:
            return
        self.notifier.reloading()
        try:
            server.renew_tls(self.reload())
        except Exception as error:
            logger.error(NOT_RELOADED, why(error))
        else:
            logger.log(self._loudness, RELOADED)
        self.notifier.ready(self._status())

    @property
    def _loudness(self) -> int:
        """The supervisor says for all of its workers what it has them do."""
        return logging.INFO if self.worker is None else logging.DEBUG

    def _status(self) -> str:
        assert self._server is not None
        what = "stopping" if self._stopping else "serving"
        return f"{what}: {counted(len(self._server.connections), 'connection')}"

    # What a supervisor asks for.

    async def _be_supervised(self, worker: Worker, server: Server) -> None:
        async with Channel.at(worker.control) as channel, trio.open_nursery() as nursery:
            self._supervisor = channel
            if self.metrics is not None:
                nursery.start_soon(self.metrics.looks.run, trio.Event())
            try:
                await channel.send({"ready": ready(server), "lines": ready_lines(server)})
                while (order := await channel.receive()) is not None:
                    await self._follow(order, worker, server, channel)
            except trio.BrokenResourceError:
                pass
            nursery.cancel_scope.cancel()
        logger.warning("the supervisor is gone, so this worker (process %d) stops", os.getpid())
        self._stopping = True
        server.stop(timeout=self._steps.timeout)

    async def _follow(
        self, order: Mapping[str, Any], worker: Worker, server: Server, channel: Channel
    ) -> None:
        match order.get("do"):
            case "stop" | "leave" as how:
                self._stop(server, self._steps, handover=how == "leave")
            case "hand over":
                # The others go on meanwhile, so nobody looks at whether this one is ready.
                steps = Steps(self._steps.timeout, 0.0, self._steps.window, restart=True)
                self._stop(server, steps, handover=True)
            case "abort":
                self._stop(server, self._steps, handover=False)
                self._abort(server)
            case "reload":
                self._reload(server)
            case "figures":
                await channel.send({"answer": order.get("number"), "figures": self._figures(server)})

    async def _tell_last(self, channel: Channel, server: Server) -> None:
        """What this one has counted is to stay in the sum of all."""
        with (
            trio.move_on_after(LAST_WORDS_WITHIN),
            suppress(trio.BrokenResourceError, trio.ClosedResourceError),
        ):
            await channel.send({"figures": self._figures(server)})

    def _figures(self, server: Server) -> dict[str, Any]:
        figures = server.figures if self.metrics is None else self.metrics.looks.figures(server)
        return figures.as_dict()

    def _cannot_listen(self, error: Exception) -> CannotStartError:
        return cannot_listen(error, self._listen_at, self._words)


async def start_metrics(
    metrics: MetricsListener,
    beside: trio.Nursery,
    words: Callable[[str, Any], str],
    server: Server | None = None,
    collect: Callable[[], Awaitable[Figures]] | None = None,
) -> Server:
    """Serve the figures of `server`, or what `collect` returns. Raises `CannotStartError` if it cannot listen."""
    try:
        found: Server = await beside.start(functools.partial(metrics.serve, server, collect=collect))
    except (OSError, UnicodeError) as error:
        raise cannot_listen(error, metrics.listen_at, words, " for metrics", "metrics_port") from None
    return found


def cannot_listen(
    error: Exception,
    listen_at: ListenAt,
    words: Callable[[str, Any], str],
    what_for: str = "",
    setting: str = "port",
) -> CannotStartError:
    """What to tell the user where `error` says that it is not possible to listen at `listen_at`."""
    place = listen_at.blame(error)
    named = isinstance(error, OSError) and error.filename is not None
    hint = "" if named else advice(error, listen_at.port, words(setting, 0))
    return CannotStartError(f"cannot listen on {place}{what_for}: {why(error)}{hint}")


def why(error: Exception) -> str:
    """The system's own words, without errno and without repeating the file."""
    if isinstance(error, ssl.SSLError):
        if error.reason:
            return error.reason.replace("_", " ").lower()
        # Without the line of Python's own source.
        return re.sub(r"^\[\w+\] | \(_ssl\.c:\d+\)$", "", str(error))
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        return error.strerror
    return str(error)


def who_is_left(connections: int, steps: Steps) -> str:
    """What the log says at the beginning of a stop."""
    if connections == 0 and not steps.delay:
        return "no connection is open"
    ready = f"not ready for {steps.delay:g} s; " if steps.delay else ""
    if connections == 0:
        left = "no connection is open"
    else:
        then = "then " if ready else ""
        told, each = (f", told over {steps.window:g} s,", " each") if steps.window else ("", "")
        get = "gets" if connections == 1 else "get"
        left = f"{then}{counted(connections, 'connection')}{told} {get} {steps.timeout:g} s{each} to finish"
    return f"{ready}{left}; a second signal stops at once"
