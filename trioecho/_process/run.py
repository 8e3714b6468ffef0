"""`run`: a server as a process: its first line, its signals, its exit status.

What scripts and supervisors can rely on, of `trioecho.run` and of the command line:

- One line on standard output as soon as connections are accepted. It contains the server's URL, where it
  answers plain HTTP, and the first WebSocket's, with the real port, so that port 0 can be scripted; of a server
  without TCP, ``unix:`` and the path. Where the server can be reached at more than one address, each further one has
  a line below it. Nothing else is written there; the log goes to standard error.
- SIGINT, SIGTERM or SIGHUP stops gracefully: no new connections, 1001 to everyone, handlers get
  `shutdown_timeout`. A second signal stops at once, more change nothing. The exit status is 0.
- SIGUSR1 writes the tree of tasks to the log, and changes nothing.
- Exit status 2: the command line makes no sense. 3: this machine does not give what was asked for (a port
  in use, an unreadable certificate, no room for the first line). Both say so in one line that tells what would be
  right; a supervisor need not try again. 1: a crash, with a traceback. (uvicorn has told these apart since 0.50.)
"""

from __future__ import annotations

import functools
import logging
import math
import ssl
import sys
from collections.abc import Callable, Sequence
from typing import Any

import trio

from trioecho._process.announcement import announce, warn_if_open_to_every_page
from trioecho._process.garbage import short_collections
from trioecho._process.logs import LOG_FORMATS, LOG_LEVELS, configure_logging, configured_elsewhere
from trioecho._process.metrics_listener import MetricsListener
from trioecho._process.ports import advice
from trioecho._process.signals import StopSignals
from trioecho._process.standard_input import call_at_end_of_input
from trioecho._process.task_tree_signal import TaskTreeSignal
from trioecho._server.listening import NOT_GIVEN, Host, ListenAt, NotGiven, Unix
from trioecho._server.routes import Route, Routes
from trioecho._server.serve import serve
from trioecho._server.server import Server
from trioecho.options import WebSocketOptions

logger = logging.getLogger("trioecho")

COULD_NOT_START = 3
"""The exit status when this machine does not give what was asked for."""


class CannotStartError(Exception):
    """This machine does not give what was asked for. Its text is one sentence for the user."""


def run(
    handler: Route | Routes | None = None,
    *,
    host: Host | NotGiven = NOT_GIVEN,
    port: int | NotGiven = NOT_GIVEN,
    unix: Unix | None = None,
    fd: int | None = None,
    listeners: Sequence[trio.SocketListener] | None = None,
    backlog: int | None = None,
    options: WebSocketOptions | None = None,
    ssl_context: ssl.SSLContext | None = None,
    shutdown_timeout: float = 10.0,
    log_level: str = "info",
    log_format: str = "text",
    access_log: bool = True,
    metrics_port: int | None = None,
    metrics_host: str = "127.0.0.1",
) -> None:
    """Serve until Ctrl-C or another signal, as the command line does, and return when all has ended.

    All parameters but the last six are those of `trioecho.serve`, and the same mistakes raise the same `TypeError`
    or `ValueError`. As soon as connections are accepted, a line on standard output names the URLs, or the Unix socket.

    SIGINT (Ctrl-C), SIGTERM and SIGHUP stop it: no new connection, 1001 to every client, and `shutdown_timeout`
    seconds for the handlers (0: none). A second one stops it at once. Then `run` returns, signals do what they did
    before, and a program that ends here has exit status 0.

    SIGUSR1 writes the tree of tasks to the log (not on Windows). With `metrics_port` the server's figures can be read
    by Prometheus at ``/metrics`` there, of `metrics_host`, by whoever can connect to it; 0 takes any free port.

    The log goes to standard error: `log_level` is "debug", "info" (one line for each connection and each HTTP
    exchange), "warning", "error" or "critical"; without `access_log` these lines are left out. `log_format` is "text",
    or "json" for one object a line. Nobody waits for its reader: up to 1 MiB of
    lines wait for one, more are lost, and the log says how many, as it does after a disk was full. A program that has
    configured `logging` itself keeps what it has, and these three are not used.

    If it cannot listen, or standard output takes no line, it says so in one line on standard error and raises
    `SystemExit` with status 3. Must be called in the main thread (RuntimeError), outside of any Trio run; within one,
    use `trioecho.serve`. ModuleNotFoundError with `metrics_port` where prometheus-client is not installed.
    """
    _check_seconds("shutdown_timeout", shutdown_timeout)
    level = _chosen("log_level", log_level, LOG_LEVELS)
    layout = _chosen("log_format", log_format, LOG_FORMATS)
    metrics = None if metrics_port is None else MetricsListener(metrics_port, metrics_host)
    if not configured_elsewhere():
        configure_logging(level, layout, access=access_log)
    try:
        run_process(
            handler,
            host=host,
            port=port,
            unix=unix,
            fd=fd,
            listeners=listeners,
            backlog=backlog,
            options=options,
            ssl_context=ssl_context,
            shutdown_timeout=shutdown_timeout,
            words=_as_argument,
            last=False,
            metrics=metrics,
        )
    except CannotStartError as error:
        print(f"trioecho: {error}", file=sys.stderr)
        raise SystemExit(COULD_NOT_START) from None


def run_process(
    handler: Route | Routes | None,
    *,
    host: Host | NotGiven,
    port: int | NotGiven,
    unix: Unix | None,
    fd: int | None,
    listeners: Sequence[trio.SocketListener] | None,
    backlog: int | None,
    options: WebSocketOptions | None,
    ssl_context: ssl.SSLContext | None,
    shutdown_timeout: float,
    words: Callable[[str, Any], str],
    last: bool,
    ready_json: bool = False,
    exit_on_eof: bool = False,
    ca_file: str | None = None,
    metrics: MetricsListener | None = None,
) -> None:
    """`run` without its logging and exit status: raises `CannotStartError`.

    `words` is how the user writes a setting, such as ``--port 0`` for ``("port", 0)``. With `last`, signals are ignored
    from its end on. With `ready_json` the first line is JSON; with `exit_on_eof` the end of standard input stops the
    server as the first signal does. `ca_file` is told in the first line. With `metrics` its figures are served beside
    it, until it has ended. What crashes the server leaves as Trio raised it.
    """
    place: dict[str, Any] = {"unix": unix, "fd": fd, "listeners": listeners, "backlog": backlog}
    listen_at = ListenAt.of(host, port, **place)
    start = functools.partial(
        serve, handler, host=host, port=port, **place, options=options, ssl_context=ssl_context
    )
    with StopSignals(last=last) as signals, TaskTreeSignal(last=last) as tree, short_collections():
        process = _Process(start, listen_at, options, shutdown_timeout, words, signals, tree)
        process.ready_json, process.exit_on_eof, process.ca_file = ready_json, exit_on_eof, ca_file
        process.metrics = metrics
        trio.run(process.run)


class _Process:
    """One server from its start to its end."""

    def __init__(
        self,
        start: Callable[..., Any],
        listen_at: ListenAt,
        options: WebSocketOptions | None,
        shutdown_timeout: float,
        words: Callable[[str, Any], str],
        signals: StopSignals,
        task_tree_signal: TaskTreeSignal,
    ) -> None:
        self._start = start
        self._listen_at = listen_at
        self._options = options
        self._shutdown_timeout = shutdown_timeout
        self._words = words
        self._signals = signals
        self._task_tree_signal = task_tree_signal
        self.ready_json = False
        self.exit_on_eof = False
        self.ca_file: str | None = None
        self.metrics: MetricsListener | None = None
        self._input_ended = False
        self._stopping = False
        self._aborting = False
        self._starting = trio.CancelScope()
        self._server: Server | None = None
        # What runs beside the server, and ends with it.
        self._beside = trio.CancelScope()
        self._figures: Server | None = None

    async def run(self) -> None:
        failure: Exception | None = None
        with self._signals.calling(self._obey), self._task_tree_signal.writing():
            async with trio.open_nursery() as nursery:
                try:
                    with self._starting:
                        self._server = await nursery.start(self._serve)
                except (OSError, UnicodeError) as error:
                    failure = self._cannot_listen(error, self._listen_at)
                except Exception as error:
                    failure = error
                if self._server is not None:
                    failure = await self._start_metrics(nursery) or self._tell(self._server)
                    if self.exit_on_eof:
                        call_at_end_of_input(self._end_of_input)
                    # A signal may have come while the server started, too late to cancel that.
                    self._obey()
        if failure is not None:
            # Only here, outside of the nursery: it would make a group of it.
            raise failure

    async def _serve(self, *, task_status: trio.TaskStatus[Server]) -> None:
        try:
            await self._start(task_status=task_status)
        finally:
            self._beside.cancel()

    async def _start_metrics(self, nursery: trio.Nursery) -> Exception | None:
        """Serve the figures, if that is asked for. Where that is not possible, so is the server stopped."""
        server, metrics = self._server, self.metrics
        if server is None or metrics is None:
            return None

        async def serve_metrics(*, task_status: trio.TaskStatus[Server]) -> None:
            with self._beside:
                await metrics.serve(server, task_status=task_status)

        try:
            self._figures = await nursery.start(serve_metrics)
        except (OSError, UnicodeError) as error:
            server.abort()
            return self._cannot_listen(error, metrics.listen_at, " for metrics", "metrics_port")
        except RuntimeError:
            # It has not started: the server has ended before.
            if not self._beside.cancel_called:
                raise
        return None

    def _tell(self, server: Server) -> Exception | None:
        origins = () if self._options is None else self._options.allowed_origins
        warn_if_open_to_every_page(server.hosts, origins, self._words)
        try:
            announce(server, as_json=self.ready_json, ca_file=self.ca_file, figures=self._figures)
        except OSError as error:
            server.abort()
            return CannotStartError(f"cannot write to standard output: {why(error)}")
        return None

    def _obey(self) -> None:
        """Does what the signals so far ask for. Called again, it does what is new."""
        if self._server is None:
            if self._signals.count:
                self._starting.cancel()
            return
        if (self._signals.count or self._input_ended) and not self._stopping:
            self._stopping = True
            logger.info("stopping: %s", self._who_is_left(len(self._server.connections)))
            self._server.stop(timeout=self._shutdown_timeout)
        if self._signals.count >= 2 and not self._aborting:
            self._aborting = True
            logger.info("stopping at once")
            self._server.abort()

    def _end_of_input(self) -> None:
        self._input_ended = True
        self._obey()

    def _who_is_left(self, connections: int) -> str:
        if connections == 0:
            return "no connection is open"
        get = "connection gets" if connections == 1 else "connections get"
        return f"{connections} {get} {self._shutdown_timeout:g} s to finish; a second signal stops at once"

    def _cannot_listen(
        self, error: Exception, listen_at: ListenAt, what_for: str = "", setting: str = "port"
    ) -> CannotStartError:
        named = isinstance(error, OSError) and error.filename is not None
        hint = "" if named else advice(error, listen_at.port, self._words(setting, 0))
        return CannotStartError(f"cannot listen on {listen_at.blame(error)}{what_for}: {why(error)}{hint}")


def why(error: Exception) -> str:
    """The system's own words, without errno and without repeating the file."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        return error.strerror
    return str(error)


def _as_argument(name: str, value: Any) -> str:
    if name == "allowed_origins":
        return f"options=WebSocketOptions(allowed_origins=[{value!r}])"
    return f"{name}={value!r}"


def _chosen(name: str, value: object, choices: Sequence[str]) -> str:
    if isinstance(value, str) and value.lower() in choices:
        return value.lower()
    raise ValueError(f"{name} is one of {', '.join(choices)}; you gave {value!r}")


def _check_seconds(name: str, value: object) -> None:
    sentence = f"{name} takes seconds, 0 or more; you gave {value!r}"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(sentence)
    if math.isnan(value) or value < 0:
        raise ValueError(sentence)
