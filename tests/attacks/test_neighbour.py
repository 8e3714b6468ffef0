"""The neighbour of the attacks, whose figures are what is judged, sees what a server does to it."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

import trioecho

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="the attacks need Linux")

ATTACKS = Path(__file__).parent

PATIENCE = 50.0
"""Seconds after which a test gives up. Nothing is measured with it."""

LIVE = """
import dataclasses, json, multiprocessing, sys, threading
attacks, benchmark, port, server = sys.argv[1:]
sys.path[:0] = [attacks, benchmark]
from neighbour import live

ours, theirs = multiprocessing.Pipe()
threading.Thread(target=live, args=(int(port), int(server), None, 0.2, 2.0, theirs)).start()
print(json.dumps(dataclasses.asdict(ours.recv())), flush=True)
ours.send(sys.stdin.readline())
print(json.dumps(dataclasses.asdict(ours.recv())))
"""


def seen_by_the_neighbour(act: Callable[[trioecho.WebSocket], Awaitable[bool]]) -> dict[str, Any]:
    """What the neighbour has seen of an echo that, once the quiet is over, does `act` at a message, one time.

    It goes on if that returns true. Before that all is well.
    """
    quiet_is_over, acted = threading.Event(), threading.Event()

    async def echo(ws: trioecho.WebSocket) -> None:
        async for message in ws:
            if quiet_is_over.is_set() and not acted.is_set():
                goes_on = await act(ws)
                acted.set()
                if not goes_on:
                    await trio.sleep_forever()
            await ws.send(message)

    with trioecho.LiveServer(echo, options=trioecho.WebSocketOptions(close_timeout=0.5)) as live:
        arguments = [str(ATTACKS), str(ATTACKS.parent / "benchmark"), str(live.server.port), str(os.getpid())]
        command = [sys.executable, "-c", LIVE, *arguments]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            quiet = json.loads(process.stdout.readline())
            quiet_is_over.set()
            assert acted.wait(PATIENCE)
            said, _ = process.communicate("enough\n", timeout=PATIENCE)
    assert quiet["round_trips"]
    assert not quiet["dropped"]
    assert quiet["unanswered"] == 0
    during: dict[str, Any] = json.loads(said)
    assert len(during["costs"]) == len(during["round_trips"])
    return during


def test_the_neighbour_counts_each_message_of_a_stall() -> None:
    """Nobody is answered for 0.5 s: not one message is late, but many, and the longest is as late as that."""

    async def stall(_: trioecho.WebSocket) -> bool:
        time.sleep(0.5)  # noqa: ASYNC251 (a server whose loop stands still)
        return True

    during = seen_by_the_neighbour(stall)
    assert max(during["round_trips"]) >= 0.45
    assert sum(each > 0.1 for each in during["round_trips"]) >= 10
    assert not during["dropped"]
    assert during["unanswered"] == 0


def test_the_neighbour_counts_what_is_never_answered() -> None:
    """A server that has stopped to echo for good: each message counts with the time that it was waited for."""

    async def stop(_: trioecho.WebSocket) -> bool:
        return False

    during = seen_by_the_neighbour(stop)
    assert during["unanswered"] >= 1
    assert max(during["round_trips"]) >= 2
    assert not during["dropped"]


async def send_rubbish(ws: trioecho.WebSocket) -> bool:
    await ws.send("something else")
    return True


async def close(ws: trioecho.WebSocket) -> bool:
    ws.nursery.start_soon(ws.aclose, 4000, "go away")
    return False


@pytest.mark.parametrize(("act", "says"), [(send_rubbish, "wrong echo"), (close, "closed with 4000 go away")])
def test_the_neighbour_says_how_it_was_dropped(
    act: Callable[[trioecho.WebSocket], Awaitable[bool]], says: str
) -> None:
    """By an echo that is not its own, or by a Close."""
    assert says in seen_by_the_neighbour(act)["dropped"]
