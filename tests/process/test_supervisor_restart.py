"""A restart refuses nobody, under load either: some hundreds of the clients of tests/benchmark/restart.py. At a stop
newcomers are refused at once."""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import ExitStack, closing
from typing import Any

import pytest
from benchmark.restart import measure
from command_line import Start, client, echoes
from process.test_supervisor import lives, wait_until, workers
from websockets.exceptions import InvalidStatus

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells who the workers are")


@pytest.mark.parametrize("way", ["workers", "socket"])
async def test_nobody_is_refused_while_servers_are_replaced(way: str) -> None:
    """Workers by a signal to their supervisor; servers that share a listening socket one by the other."""
    outcomes = await measure(way, connections=300, restarts=2, at_once=8)
    assert outcomes == {"101": 300}


def test_workers_leave_newcomers_at_an_inherited_socket_to_the_next(start_server: Start) -> None:
    """As one process does: none of them is told 503 while the clients of before are told to go."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening, ExitStack() as clients:
        listening.set_inheritable(True)
        place = ("--fd", str(listening.fileno()), "--drain-window", "5")
        how: dict[str, Any] = {"command": ("-m", "trioecho"), "close_fds": False}
        old = start_server("--workers", "2", *place, **how)
        for _ in range(8):
            clients.enter_context(client(old.websocket_url))
        new = start_server(*place, **how)
        old.signal(signal.SIGTERM)
        old.wait_for_log("stopping 2 workers")
        for _ in range(16):
            assert echoes(new.websocket_url) == "hello"
        clients.close()
        assert old.wait() == 0
        assert new.stop() == 0


def test_nobody_waits_for_a_worker_that_has_stopped_before_the_others(start_server: Start) -> None:
    """For those who still refuse, each newcomer is one of theirs: all get 503, and none waits where nobody accepts."""
    server = start_server("--workers", "2", "--drain-window", "1000")

    def is_refused() -> bool:
        try:
            with client(server.websocket_url):
                return False
        except InvalidStatus as refusal:
            return refusal.response.status_code == 503

    pids = workers(server)
    before = {pid: len(os.listdir(f"/proc/{pid}/fd")) for pid in pids}
    with ExitStack() as clients:
        for _ in range(8):
            clients.enter_context(client(server.websocket_url))
        fewest = min(pids, key=lambda pid: len(os.listdir(f"/proc/{pid}/fd")) - before[pid])
        server.signal(signal.SIGTERM)
        server.wait_for_log("stopping 2 workers")
        os.kill(fewest, signal.SIGKILL)
        wait_until(lambda: not lives(fewest))
        wait_until(is_refused)
        assert all(is_refused() for _ in range(16))
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
