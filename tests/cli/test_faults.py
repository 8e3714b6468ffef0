"""``--faults`` and what programs that start a server need."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from command_line import Start, close_code_seen, echoes, refused
from server_process import PATIENCE
from websockets.sync.client import connect

import trioecho
from trioecho.cli.faults import check_loopback, with_faults
from trioecho.cli.parameters import Refusal


def get(url: str) -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, headers={"Accept": "application/json"})
    with opener.open(request, timeout=PATIENCE) as answer:
        return json.load(answer)


def test_option_faults(start_server: Start) -> None:
    """--faults serves them beside the echo and its page; without it, they are not there."""
    server = start_server("--faults")
    assert echoes(server.websocket_url) == "hello"
    base = server.url.rstrip("/")
    with connect(f"ws{base.removeprefix('http')}/close/4001?reason=bye&id=mine", proxy=None) as ws:
        assert close_code_seen(ws) == (4001, "bye")
    assert get(f"{base}/seen/mine?wait=5")["code_received"] == 4001
    assert {"/reset", "/silent"} <= {row["path"] for row in get(f"{base}/faults")["faults"]}
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(base, timeout=PATIENCE) as page:
        assert b"<title>" in page.read()
    assert "fault /close/{code}; Close sent 4001, received 4001" in server.wait_for_log("fault /close")
    plain = start_server()
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(f"{plain.url.rstrip('/')}/faults")


def test_option_faults_beyond_loopback(start_server: Start) -> None:
    """Other machines are served only by who asks for it twice; a fault's path is not the echo's."""
    status, line = refused("--faults", "--host", "0.0.0.0")
    assert (status, line[:59]) == (2, "--faults: 0.0.0.0 may be reached from other machines, whose")
    assert line.endswith("add --faults-beyond-loopback if that is meant")
    assert refused("--faults", "--host", "*")[0] == 2
    assert refused("--faults-beyond-loopback")[1].startswith("--faults-beyond-loopback needs --faults")
    assert refused("--faults", "--path", "/echo")[1] == "--path: /echo is a path of --faults; choose another"
    server = start_server("--faults", "--faults-beyond-loopback", "--host", "0.0.0.0")
    assert "faults" in get(f"http://127.0.0.1:{server.port}/faults")


@pytest.mark.parametrize(
    ("hosts", "fd", "passes"),
    [
        (("127.0.0.1", "::1", "localhost", "127.9.9.9"), None, True),
        ((), None, True),
        (("127.0.0.1", "::"), None, False),
        (("example.com",), None, False),
        ((), 3, False),
    ],
)
def test_what_is_loopback(hosts: tuple[str, ...], fd: int | None, passes: bool) -> None:
    """All of the hosts have to be; of a socket nobody knows."""
    if passes:
        check_loopback(hosts, fd)
    else:
        with pytest.raises(Refusal):
            check_loopback(hosts, fd)


def test_the_sample_stays_the_sample() -> None:
    """Its routes are all there."""
    routes = with_faults(trioecho.WebSocketOptions(path="/ws"))
    assert {"/ws", "/", "/healthz", "/faults", "/close/{code}"} <= set(routes)


@pytest.fixture
def program() -> Iterator[subprocess.Popen[str]]:
    """A server as a program starts it, with its standard input."""
    with subprocess.Popen(
        [sys.executable, "-m", "trioecho", "--port", "0", "--ready-json", "--exit-on-eof"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


def test_option_ready_json(program: subprocess.Popen[str]) -> None:
    """The first line has what a program needs; signals stop it as ever."""
    assert program.stdout is not None
    ready = json.loads(program.stdout.readline())
    assert ready["pid"] == program.pid
    assert ready["urls"] == [ready["url"]]
    assert ready["unix"] == []
    assert echoes(ready["websocket_url"]) == "hello"
    program.send_signal(signal.SIGTERM)
    assert program.wait(PATIENCE) == 0


def test_option_exit_on_eof(program: subprocess.Popen[str]) -> None:
    """The end of its input stops it in good order, and what comes before that does not."""
    assert program.stdout is not None
    assert program.stdin is not None
    url = json.loads(program.stdout.readline())["websocket_url"]
    with connect(url, proxy=None) as ws:
        program.stdin.write("whatever\n")
        program.stdin.flush()
        ws.send("hello")
        assert ws.recv(PATIENCE) == "hello"
        program.stdin.close()
        assert close_code_seen(ws)[0] == 1001
    assert program.wait(PATIENCE) == 0
