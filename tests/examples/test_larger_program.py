"""A server inside a larger program: it stops when the work is done, or early, and every client is told."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from server_process import PATIENCE, ServerProcess
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

PROGRAM = (str(Path(__file__).with_name("larger_program.py")),)

Start = Callable[..., ServerProcess]


def ask(ws: ClientConnection) -> int:
    ws.send("how far?")
    found = re.fullmatch(r"(\d+) so far", str(ws.recv(PATIENCE)))
    assert found
    return int(found[1])


def last_words(ws: ClientConnection) -> str:
    """What the client is told last, before 1001."""
    words = str(ws.recv(PATIENCE))
    with pytest.raises(ConnectionClosed) as end:
        ws.recv(PATIENCE)
    assert end.value.rcvd is not None
    assert (end.value.rcvd.code, end.value.rcvd.reason) == (1001, "server is stopping")
    return words


def output(server: ServerProcess) -> str:
    assert server.process.stdout is not None
    return server.process.stdout.read()


def test_the_server_stops_when_the_work_is_done(start_server: Start) -> None:
    """A client that has asked while it went on is told the result, then 1001; the last line comes after that."""
    server = start_server("0", "300", command=PROGRAM)
    with connect(server.websocket_url, proxy=None) as ws:
        assert 0 <= ask(ws) <= 62
        assert last_words(ws) == "62 in the end"
    assert server.wait() == 0
    assert output(server) == "62 primes; asked by 1\n"
    assert not server.log


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_early_and_as_well(start_server: Start, number: int) -> None:
    """The work is cancelled, and the server stops as gracefully."""
    server = start_server("0", "1000000", command=PROGRAM)
    with connect(server.websocket_url, proxy=None) as ws, connect(server.websocket_url, proxy=None) as other:
        so_far = ask(ws)
        server.signal(number)
        words = [last_words(ws), last_words(other)]
        assert words[0] == words[1]
        assert int(words[0].removesuffix(" in the end")) >= so_far
    assert server.wait() == 0
    assert output(server).endswith("primes; asked by 2\n")
    assert not server.log


def test_a_client_that_leaves_before_is_no_failure(start_server: Start) -> None:
    """The last word cannot be sent to it, and nothing is logged."""
    server = start_server("0", "200", command=PROGRAM)
    with connect(server.websocket_url, proxy=None) as ws:
        ask(ws)
    assert server.wait() == 0
    assert output(server) == "46 primes; asked by 1\n"
    assert not server.log
