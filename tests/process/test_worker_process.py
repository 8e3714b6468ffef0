"""One worker as its supervisor has it: what it says, what it is asked, how it ends."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import pytest
import trio
import trio.testing
from server_process import PATIENCE

from trioecho._process import worker_process
from trioecho._process.worker_process import WorkerProcess

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no process starts with open sockets there")

WORKER = """\
import json, os, socket, sys
role = json.loads(os.environ["_TRIOECHO_WORKER"])
control = socket.socket(fileno=role["control"])
said, heard = control.makefile("w"), control.makefile("r")
def say(**message):
    print(json.dumps(message), file=said, flush=True)
say(ready={"pid": os.getpid(), "role": role, "notify": "NOTIFY_SOCKET" in os.environ}, lines=["here"])
for line in heard:
    order = json.loads(line)
    if order["do"] == "figures":
        say(answer=order["number"], figures={"connections": 3})
    elif order["do"] == "stop":
        sys.exit(0)
"""
"""Speaks as a worker does, and serves nobody."""

SILENT = "import time; time.sleep(1000)"
DEAF = WORKER.partition("for line")[0] + SILENT


@asynccontextmanager
async def started(program: str, *listen: int) -> AsyncIterator[WorkerProcess]:
    worker = WorkerProcess((sys.executable, "-c", program), 4, listen)
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.run)
            yield worker
            nursery.cancel_scope.cancel()
    assert worker.ended.is_set()


async def test_it_has_its_sockets_and_says_when_it_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing of what the supervisor has from systemd."""
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/somewhere")
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        async with started(WORKER, listening.fileno()) as worker:
            await worker.ready.wait()
            assert worker.told["lines"] == ["here"]
            told = worker.told["ready"]
            assert told["pid"] == worker.pid
            assert told["role"]["number"] == 4
            assert told["role"]["listen"] == [listening.fileno()]
            assert not told["notify"]


async def test_it_is_asked_for_figures_by_several_at_a_time() -> None:
    async with started(WORKER) as worker:
        await worker.ready.wait()
        answers: list[object] = []

        async def ask() -> None:
            answers.append(await worker.ask_figures())

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)
        assert answers == [{"connections": 3}] * 3


async def test_one_that_does_not_answer_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor one that is not ready, or has ended."""
    monkeypatch.setattr(worker_process, "ANSWER_WITHIN", 0.05)
    async with started(DEAF) as worker:
        await worker.ready.wait()
        assert await worker.ask_figures() is None
        asked: list[object] = []

        async def ask() -> None:
            asked.append(await worker.ask_figures())

        monkeypatch.setattr(worker_process, "ANSWER_WITHIN", 1000)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            worker.kill()
        assert asked == [None]
        await worker.ended.wait()
        assert await worker.ask_figures() is None
    async with started(SILENT) as worker:
        assert await worker.ask_figures() is None


async def test_what_one_says_last_is_heard() -> None:
    """However soon it ends then."""
    farewell = f"{WORKER.partition('for line')[0]}say(figures={{'connections': 4}})\nos._exit(0)"
    async with started(farewell) as worker:
        await worker.ended.wait()
        assert worker.figures == {"connections": 4}


@pytest.mark.parametrize(
    ("program", "status", "words"),
    [
        ("", 0, "ended with status 0"),
        ("raise SystemExit(3)", 3, "ended with status 3"),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL, "was killed by SIGKILL"),
        ("import os; os.kill(os.getpid(), 40)", -40, "was killed by signal 40"),
    ],
)
async def test_its_end_is_told(program: str, status: int, words: str) -> None:
    async with started(program) as worker:
        await worker.ended.wait()
        assert (worker.status, worker.how_it_ended) == (status, words)
        assert not worker.ready.is_set()


async def test_one_that_cannot_be_started_has_ended() -> None:
    worker = WorkerProcess(("/nonexistent",), 0, ())
    await worker.run()
    assert worker.ended.is_set()
    assert (worker.pid, worker.how_it_ended) == (None, "could not be started")


async def test_one_that_is_told_to_stop_does() -> None:
    async with started(WORKER) as worker:
        await worker.ready.wait()
        await worker.tell("stop")
        await worker.ended.wait()
        assert worker.status == 0
        await worker.tell("abort")


async def test_one_that_is_not_ready_and_so_hears_nothing_is_killed() -> None:
    async with started(SILENT) as worker:
        while worker.pid is None:
            await trio.sleep(0.01)
        await worker.tell("reload")
        await worker.tell("stop")
        await worker.ended.wait()
        assert worker.status == -signal.SIGKILL


async def test_one_that_is_not_ready_reloads_when_it_is() -> None:
    """It may have read a certificate that is the old one by then."""
    late = "import time; time.sleep(0.3)\n" + WORKER.replace(
        'elif order["do"] == "stop"', 'elif order["do"] == "reload"'
    )
    async with started(late) as worker:
        await worker.tell("reload")
        assert not worker.ready.is_set()
        await worker.ended.wait()
        assert worker.status == 0


async def test_cancelled_it_leaves_no_process() -> None:
    """Whatever that does."""
    async with started(DEAF) as worker:
        await worker.ready.wait()
    assert worker.status == -signal.SIGKILL
