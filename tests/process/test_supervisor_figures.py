"""The figures of several processes as one: sums that do not fall when one of them ends."""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
import urllib.request
from contextlib import ExitStack

import pytest
import trio
import trio.lowlevel
import trio.testing
from command_line import client, echoes
from process.test_supervisor import INF, Fake, Start, supervising, wait_until, workers
from process.test_supervisor import fakes as fakes
from server_process import PATIENCE

from trioecho._server.figures import nothing

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells who the workers are")


def test_figures_are_the_sum_of_all_workers(start_server: Start) -> None:
    """At the port of the supervisor's, which serves nobody else."""
    server = start_server("--workers", "2", "--metrics-port", "0", "--ready-json")
    told = json.loads(server.banner)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with ExitStack() as clients:
        for _ in range(8):
            clients.enter_context(client(told["websocket_url"]))
        with opener.open(told["metrics_url"], timeout=PATIENCE) as answer:
            text = answer.read().decode()
    assert "\ntrioecho_connections_open 8.0\n" in text
    assert "\ntrioecho_workers 2.0\n" in text
    assert server.stop() == 0


def test_what_replaced_workers_have_counted_stays_in_the_sum(start_server: Start) -> None:
    """They tell it as they end, whether or not somebody has asked before."""
    server = start_server("--workers", "2", "--metrics-port", "0", "--ready-json")
    told = json.loads(server.banner)
    for _ in range(8):
        assert echoes(told["websocket_url"]) == "hello"
    before = workers(server)
    server.signal(signal.SIGUSR2)
    server.wait_for_log("all workers are new")
    wait_until(lambda: not workers(server) & before)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(told["metrics_url"], timeout=PATIENCE) as answer:
        text = answer.read().decode()
    assert "\ntrioecho_connections_total 8.0\n" in text
    assert "\ntrioecho_connections_open 0.0\n" in text
    assert server.stop() == 0


async def test_figures_are_those_of_all_who_live(
    autojump_clock: trio.testing.MockClock, fakes: list[Fake]
) -> None:
    async with supervising(3, [(0.0, INF)]) as (ours, _):
        await trio.sleep(1)
        figures = await ours.figures()
        assert (figures.connections_open, figures.workers) == (0 + 1 + 2, 3)
        assert ours.pids == [1000, 1001, 1002]


async def test_counters_do_not_fall_when_a_worker_ends_or_is_busy(
    autojump_clock: trio.testing.MockClock, fakes: list[Fake]
) -> None:
    """To Prometheus a sum that falls is a process that has begun anew, and all that is left of it has just happened."""
    async with supervising(2, [(0.0, INF)]) as (ours, _):
        await trio.sleep(1)
        assert (await ours.figures()).connections == 20
        fakes[1].busy = True
        figures = await ours.figures()
        assert (figures.connections, figures.connections_open, figures.workers) == (20, 1, 1)
        fakes[1].kill()
        await trio.lowlevel.checkpoint()
        figures = await ours.figures()
        assert (figures.connections, figures.connections_open, figures.workers) == (20, 0, 1)
        await trio.sleep(1)
        figures = await ours.figures()
        assert (figures.connections, figures.connections_open, figures.workers) == (30, 1, 2)
        assert figures.memory_limit == 2000


async def test_workers_of_a_newer_version_are_added_up_without_those_before(
    autojump_clock: trio.testing.MockClock, fakes: list[Fake]
) -> None:
    """Where their distributions have other bounds."""
    async with supervising(1, [(0.0, INF)]) as (ours, _):
        await trio.sleep(1)
        await ours.figures()
        ours._ended = dataclasses.replace(ours._ended, connections=5, round_trips=nothing((1.0, 2.0)))
        assert (await ours.figures()).connections == 10
        assert (await ours.figures()).connections == 10
