"""SIGUSR1: the task tree in the log, however many tasks there are, and no harm whenever it comes."""

from __future__ import annotations

import json
import logging
import signal
from collections.abc import Callable

import pytest
import trio
from command_line import SilentClient, client, echoes
from server_process import ServerProcess

from trioecho._process import task_tree_signal
from trioecho._process.task_tree_signal import MOST_LINES, MOST_TASKS, TaskTreeSignal, write_task_tree

Start = Callable[..., ServerProcess]

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="this platform has no SIGUSR1")

DURING_START = """\
import os, signal, trioecho

class Slow(trioecho.RouteGroup):
    def routes(self):
        return {"": [trioecho.echo]}

    async def run(self, stopping, *, task_status):
        os.kill(os.getpid(), signal.SIGUSR1)
        task_status.started()
        await stopping.wait()

trioecho.run({"/": trioecho.echo, "/slow": Slow()}, port=0)
"""


def test_a_running_server_writes_its_task_tree(start_server: Start) -> None:
    """One line for each task, with the connections among them; it goes on as before."""
    server = start_server()
    with client(server.websocket_url):
        server.signal(signal.SIGUSR1)
        server.wait_for_log("serve_connection")
        assert "of each nursery the 100 oldest:" in server.log[0]
        assert " INFO Process.run" in server.log[1]
        assert any("└─ nursery" in line for line in server.log)
    assert echoes(server.websocket_url) == "hello"
    assert server.stop() == 0


def test_it_is_written_though_the_log_is_quiet_and_as_json(start_server: Start) -> None:
    """Somebody has asked for it; every line is an object of its own."""
    server = start_server("--log-level", "warning", "--log-format", "json")
    server.signal(signal.SIGUSR1)
    server.wait_for_log("accept_on")
    assert server.stop() == 0
    lines = [json.loads(line) for line in server.log]
    assert {line["level"] for line in lines} == {"warning"}
    assert lines[1]["message"] == "Process.run"


def test_it_does_no_harm_while_the_server_starts(start_server: Start) -> None:
    """The tree shows how far it has come, and the first line follows."""
    server = start_server(command=("-c", DURING_START))
    assert server.banner.startswith("trioecho serves ws://")
    server.wait_for_log("Service.run_group (run → ")
    assert server.stop() == 0


def test_it_does_no_harm_while_the_server_stops(start_server: Start) -> None:
    """However often it comes; whoever waits for what is seen, and the exit status is that of the stop."""
    server = start_server("--close-timeout", "1")
    silent = SilentClient(server)
    try:
        server.signal(signal.SIGTERM)
        server.wait_for_log("stopping")
        for _ in range(100):
            server.signal(signal.SIGUSR1)
        server.wait_for_log("of each nursery")
        assert server.wait() == 0
    finally:
        silent.close()
    trees = [line for line in server.log if "of each nursery" in line]
    assert 1 <= len(trees) <= 100


def test_before_and_after_a_run_it_does_nothing_and_then_what_it_did_before() -> None:
    """Where a process would otherwise end; a program's own handler comes back."""
    came: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: came.append(number))
    try:
        with TaskTreeSignal(last=False):
            signal.raise_signal(signal.SIGUSR1)
        assert came == []
        signal.raise_signal(signal.SIGUSR1)
        assert came == [signal.SIGUSR1]
        with TaskTreeSignal(last=True):
            pass
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGUSR1, before)


async def test_ten_thousand_tasks_are_a_few_lines(caplog: pytest.LogCaptureFixture) -> None:
    """The oldest ones of each nursery, and how many there are besides."""
    caplog.set_level(logging.INFO, "trioecho")
    async with trio.open_nursery() as nursery:
        for _ in range(10_000):
            nursery.start_soon(trio.sleep_forever)
        await trio.testing.wait_all_tasks_blocked()
        write_task_tree()
        nursery.cancel_scope.cancel()
    assert sum("sleep_forever" in line for line in caplog.messages) == MOST_TASKS
    assert any(line.endswith(f"(and {10_000 - MOST_TASKS} younger tasks)") for line in caplog.messages)
    assert len(caplog.messages) < MOST_TASKS + 30


async def test_nurseries_in_nurseries_are_bounded_too(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By lines; how many there would be is told."""
    caplog.set_level(logging.INFO, "trioecho")
    monkeypatch.setattr(task_tree_signal, "MOST_LINES", 50)

    async def parent() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(trio.sleep_forever)

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(parent)
        await trio.testing.wait_all_tasks_blocked()
        write_task_tree()
        nursery.cancel_scope.cancel()
    assert len(caplog.messages) == 1 + 50 + 1
    assert caplog.messages[-1].endswith("more lines)")
    assert MOST_LINES == 1000


async def test_a_tree_that_cannot_be_written_ends_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trio would end the run."""

    def fail(**given: object) -> None:
        raise RecursionError("too deep")

    monkeypatch.setattr(task_tree_signal.task_tree, "snapshot", fail)
    write_task_tree()
    assert "the task tree could not be written" in caplog.text
