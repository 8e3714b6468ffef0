"""`run`: a server as a process: its first line, its signals, its exit status.

What scripts and supervisors can rely on, of `trioecho.run` and of the command line:

- One line on standard output as soon as connections are accepted. It contains the server's URL, where it
  answers plain HTTP, and the first WebSocket's, with the real port, so that port 0 can be scripted; of a server
  without TCP, ``unix:`` and the path. Where the server can be reached at more than one address, each further one has
  a line below it. Nothing else is written there; the log goes to standard error.
- SIGINT, SIGTERM or SIGHUP stops gracefully: not ready for `drain_delay`, then no new connections, 1001 to everyone
  within `drain_window`, handlers get `shutdown_timeout`. A second signal stops at once, more change nothing. The exit
  status is 0.
- Where the command line was given a certificate, SIGHUP reads it anew, and does not stop.
- SIGUSR1 writes the tree of tasks to the log, and changes nothing.
- systemd, if it asks, is told when connections are accepted, how many there are, when the stop begins, and, with
  ``WatchdogSec=``, that the event loop turns; sockets that it hands over are listened at if no other place is given.
- Exit status 2: the command line makes no sense. 3: this machine does not give what was asked for (a port
  in use, an unreadable certificate, no room for the first line). Both say so in one line that tells what would be
  right; a supervisor need not try again. 1: a crash, with a traceback. (uvicorn has told these apart since 0.50.)
"""

from __future__ import annotations

import functools
import ssl
import sys
from collections.abc import Callable, Sequence
from typing import Any

import trio

from trioecho._process.garbage import short_collections
from trioecho._process.logs import LOG_FORMATS, LOG_LEVELS, configure_logging, configured_elsewhere
from trioecho._process.metrics_listener import MetricsListener
from trioecho._process.process import CannotStartError, Process, Worker
from trioecho._process.signals import StopSignals
from trioecho._process.systemd import Notifier, sockets_handed_over
from trioecho._process.task_tree_signal import TaskTreeSignal
from trioecho._server.draining import Steps, check_seconds
from trioecho._server.listening import NOT_GIVEN, Host, ListenAt, NotGiven, Unix
from trioecho._server.routes import Route, Routes
from trioecho._server.serve import serve
from trioecho.options import WebSocketOptions

COULD_NOT_START = 3
"""The exit status when this machine does not give what was asked for."""


def run(
    handler: Route | Routes | None = None,
    *,
    host: Host | NotGiven = NOT_GIVEN,
    port: int | NotGiven = NOT_GIVEN,
    unix: Unix | None = None,
    fd: int | Sequence[int] | None = None,
    listeners: Sequence[trio.SocketListener] | None = None,
    backlog: int | None = None,
    options: WebSocketOptions | None = None,
    ssl_context: ssl.SSLContext | None = None,
    shutdown_timeout: float = 10.0,
    drain_delay: float = 0.0,
    drain_window: float = 0.0,
    restart_code: bool = False,
    log_level: str = "info",
    log_format: str = "text",
    access_log: bool = True,
    metrics_port: int | None = None,
    metrics_host: str = "127.0.0.1",
) -> None:
    """Serve until Ctrl-C or another signal, as the command line does, and return when all has ended.

    The parameters before `shutdown_timeout` are those of `trioecho.serve`, and the same mistakes raise the same
    `TypeError` or `ValueError`. As soon as connections are accepted, a line on standard output names the URLs, or the
    Unix socket. Where no place to listen at is given, sockets that systemd hands over are it.

    SIGINT (Ctrl-C), SIGTERM and SIGHUP stop it: no new connection, 1001 to every client, and `shutdown_timeout`
    seconds for the handlers (0: none). For `drain_delay` seconds before that it is only not ready (`trioecho.readyz`),
    and the clients are told over `drain_window` seconds; see `Server.stop`. With `restart_code` they are told 1012
    instead. A second signal stops it at once. Then `run` returns, signals do what they did before, and a program that
    ends here has exit status 0.

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
    check_seconds("shutdown_timeout", shutdown_timeout)
    check_seconds("drain_delay", drain_delay, finite=True)
    check_seconds("drain_window", drain_window, finite=True)
    level = _chosen("log_level", log_level, LOG_LEVELS)
    layout = _chosen("log_format", log_format, LOG_FORMATS)
    metrics = None if metrics_port is None else MetricsListener(metrics_port, metrics_host)
    if not configured_elsewhere():
        configure_logging(level, layout, access=access_log)
    place = (unix, fd, listeners)
    if place == (None, None, None) and isinstance(host, NotGiven) and isinstance(port, NotGiven):
        fd = [each.fd for each in sockets_handed_over()] or None
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
            steps=Steps(shutdown_timeout, drain_delay, drain_window, restart_code),
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
    fd: int | Sequence[int] | None,
    listeners: Sequence[trio.SocketListener] | None,
    backlog: int | None,
    options: WebSocketOptions | None,
    ssl_context: ssl.SSLContext | None,
    steps: Steps,
    words: Callable[[str, Any], str],
    last: bool,
    ready_json: bool = False,
    exit_on_eof: bool = False,
    reload: Callable[[], ssl.SSLContext] | None = None,
    worker: Worker | None = None,
    metrics: MetricsListener | None = None,
    ca_file: str | None = None,
) -> None:
    """`run` without its logging and exit status: raises `CannotStartError`.

    `words` is how the user writes a setting, such as ``--port 0`` for ``("port", 0)``. With `last`, signals are ignored
    from its end on. With `ready_json` the first line is JSON; with `exit_on_eof` the end of standard input stops the
    server as the first signal does. `ca_file` is told in the first line. SIGHUP calls `reload`, where there is one, for
    a new `ssl_context`; what that raises says in its text why there is none. A `worker` is one of several processes,
    and does what their supervisor says. With `metrics` its figures are served beside it, until it has ended; those of a
    worker its supervisor serves. What crashes the server leaves as Trio raised it.
    """
    place: dict[str, Any] = {"unix": unix, "fd": fd, "listeners": listeners, "backlog": backlog}
    listen_at = ListenAt.of(host, port, **place)
    start = functools.partial(
        serve, handler, host=host, port=port, **place, options=options, ssl_context=ssl_context
    )
    told = StopSignals(last=last, reload=reload is not None, only_term=worker is not None)
    with told as signals, TaskTreeSignal(last=last) as task_tree_signal, short_collections():
        process = Process(start, listen_at, options or WebSocketOptions(), steps, words, signals)
        process.ready_json, process.exit_on_eof, process.metrics = ready_json, exit_on_eof, metrics
        process.reload, process.worker, process.task_tree_signal = reload, worker, task_tree_signal
        process.ca_file = ca_file
        process.notifier = Notifier() if worker is None else Notifier({})
        trio.run(process.run)


def _as_argument(name: str, value: Any) -> str:
    if name == "allowed_origins":
        return f"options=WebSocketOptions(allowed_origins=[{value!r}])"
    return f"{name}={value!r}"


def _chosen(name: str, value: object, choices: Sequence[str]) -> str:
    if isinstance(value, str) and value.lower() in choices:
        return value.lower()
    raise ValueError(f"{name} is one of {', '.join(choices)}; you gave {value!r}")
