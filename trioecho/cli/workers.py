"""``--workers``: the supervisor that serves with several processes, and what one of them was started with."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click
import trio

from trioecho._process.metrics_listener import MetricsListener
from trioecho._process.process import Worker
from trioecho._process.signals import StopSignals
from trioecho._process.supervisor import Supervisor
from trioecho._process.systemd import Notifier
from trioecho._process.task_tree_signal import TaskTreeSignal
from trioecho._process.worker_process import ROLE
from trioecho._server.draining import Steps
from trioecho._server.listening import NOT_GIVEN, ListenAt
from trioecho.cli.parameters import Declaration, Option, Refusal, stacked, whole_number
from trioecho.options import WebSocketOptions

MOST_WORKERS = 1024

worker_options: Declaration = stacked(
    click.option(
        "--workers",
        cls=Option,
        section="Processes",
        type=whole_number(1, MOST_WORKERS),
        show_default="no supervisor",
        help="Serve with so many processes on one port, which a supervisor starts, and follows by others when they die;"
        " SIGUSR2 replaces them, and refuses nobody. The limit on memory is for all of them together, each other limit "
        "for each of them.",
    ),
)


def role(environment: Mapping[str, str] = os.environ) -> Worker | None:
    """What this process is a worker with; None if it is none."""
    if ROLE not in environment:
        return None
    given = json.loads(environment[ROLE])
    return Worker(int(given["control"]), tuple(map(int, given["listen"])))


def place_of(worker: Worker) -> dict[str, Any]:
    """Where a worker listens, as arguments of `serve`: where its supervisor does."""
    nowhere_else = {"host": NOT_GIVEN, "port": NOT_GIVEN, "unix": None, "listeners": None, "backlog": None}
    return nowhere_else | {"fd": list(worker.listen)}


def share_of_memory(most: float | None, workers: int | None) -> float | None:
    """What one of the workers may hold of `--max-memory`."""
    if most is None or workers is None:
        return most
    return max(1, most // workers) if isinstance(most, int) else most / workers


def _python() -> tuple[str, ...]:
    """What runs the same Python. With ``-m`` it would import from the current directory, too, whatever that has by the
    name of a library: a worker is to do so only if this process does."""
    here = not sys.flags.safe_path and bool(sys.path) and sys.path[0] in ("", os.getcwd())
    return (sys.executable,) if here else (sys.executable, "-P")


def supervise(
    arguments: Sequence[str],
    workers: int,
    place: Mapping[str, Any],
    options: WebSocketOptions,
    steps: Steps,
    words: Callable[[str, Any], str],
    *,
    ready_json: bool,
    exit_on_eof: bool,
    reload: Callable[[], object] | None,
    metrics: MetricsListener | None,
) -> None:
    """Serve with several processes, each of which gets the same `arguments`, until told to stop.

    Raises `CannotStartError`, and `Refusal` (2) where processes cannot be started with open sockets.
    """
    if os.name != "posix":
        raise Refusal("--workers: this system cannot start a process with open sockets; leave it out", 2)
    listen_at = ListenAt.of(**place)
    command = (*_python(), "-m", "trioecho", *arguments)
    told = StopSignals(last=True, reload=reload is not None, renew=True)
    with told as signals, TaskTreeSignal(last=True) as task_tree_signal:
        supervisor = Supervisor(command, workers, listen_at, options, steps, words, signals)
        supervisor.ready_json, supervisor.exit_on_eof = ready_json, exit_on_eof
        supervisor.reload, supervisor.notifier = reload, Notifier()
        supervisor.metrics, supervisor.task_tree_signal = metrics, task_tree_signal
        trio.run(supervisor.run)
