"""`trioecho.run`: a program with its own routes behaves as the command line does."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from server_process import PATIENCE, ServerProcess
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

import trioecho

Start = Callable[..., ServerProcess]

SHOUT = """\
import trioecho

async def shout(ws):
    async for message in ws:
        await ws.send(message.upper())

"""

LIBRARY = ("-c", SHOUT + "trioecho.run(shout, port=0)\n")
COMMAND_LINE = ("-m", "trioecho", "--port", "0")
PROGRAMS = pytest.mark.parametrize("command", [LIBRARY, COMMAND_LINE], ids=["library", "command line"])

needs_hangup = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this platform has no SIGHUP")
SIGNALS = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def client(server: ServerProcess) -> Any:
    return connect(server.websocket_url, proxy=None, open_timeout=PATIENCE, close_timeout=PATIENCE)


def ended(*command: str, stdout: Any = subprocess.PIPE) -> tuple[int, str]:
    """The exit status and standard error of a program that ends by itself."""
    with subprocess.Popen(
        [sys.executable, *command], stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, text=True
    ) as process:
        _, errors = process.communicate(timeout=PATIENCE)
    return process.returncode, errors


def test_a_handler_of_ones_own_is_served_with_the_ready_line(start_server: Start) -> None:
    """The first line of the output names its URL, that of the WebSocket where nothing else is served."""
    server = start_server(command=LIBRARY)
    assert server.banner == f"trioecho serves {server.websocket_url} (Ctrl-C stops it)\n"
    with client(server) as ws:
        ws.send("hello")
        assert ws.recv(PATIENCE) == "HELLO"
    assert "peer closed, client first; Close 1000" in server.wait_for_log("peer closed")


def test_everything_that_serve_takes_can_be_given(start_server: Start) -> None:
    """A mapping of routes, an address, options; and the log as JSON."""
    program = SHOUT + (
        "trioecho.run({'/shout': shout, '/echo': trioecho.echo}, host=['127.0.0.2'], port=0,\n"
        "    options=trioecho.WebSocketOptions(max_message_size=5), log_level='DEBUG', log_format='json')\n"
    )
    server = start_server(command=("-c", program))
    assert server.websocket_url == f"ws://127.0.0.2:{server.port}/shout"
    with client(server) as ws:
        ws.send("hello!")
        with pytest.raises(ConnectionClosed) as closed:
            ws.recv(PATIENCE)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
    assert server.stop() == 0
    assert [json.loads(line)["level"] for line in server.log]


@pytest.mark.parametrize("name", SIGNALS)
@PROGRAMS
def test_a_signal_says_goodbye_and_ends_with_status_0(
    start_server: Start, command: tuple[str, ...], name: str
) -> None:
    """Ctrl-C, SIGTERM, and SIGHUP (a terminal that is closed): 1001 to everybody, no traceback."""
    server = start_server(command=command)
    with client(server) as ws:
        ws.send("x")
        ws.recv(PATIENCE)
        server.signal(getattr(signal, name))
        with pytest.raises(ConnectionClosed) as closed:
            ws.recv(PATIENCE)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
    assert server.wait() == 0
    assert not [line for line in server.log if "Traceback" in line]
    assert server.wait_for_log("stopping: 1 connection gets 10 s to finish; a second signal stops at once")


def test_without_connections_the_log_does_not_count_them(start_server: Start) -> None:
    """Nobody connected: the line about stopping says that."""
    server = start_server()
    assert server.stop() == 0
    assert server.wait_for_log("stopping: no connection is open")


@pytest.mark.parametrize("name", SIGNALS)
def test_any_number_of_signals_ends_with_status_0(start_server: Start, name: str) -> None:
    """Whoever keeps pressing Ctrl-C until the process is gone gets no other exit status and no traceback."""
    server = start_server()
    with client(server) as ws:
        ws.send("x")
        ws.recv(PATIENCE)
        while server.process.poll() is None:
            server.signal(getattr(signal, name))
            time.sleep(0.001)  # a process that gets nothing but signals does nothing else
    assert server.wait() == 0
    assert not [line for line in server.log if "Traceback" in line]


@pytest.mark.parametrize("name", SIGNALS)
def test_a_burst_of_signals_ends_a_program_with_status_0(start_server: Start, name: str) -> None:
    """A third and fourth signal while a program's connections are being cut off change nothing."""
    server = start_server(command=LIBRARY)
    with client(server) as ws:
        ws.send("x")
        ws.recv(PATIENCE)
        for _ in range(6):
            server.signal(getattr(signal, name))
        assert server.wait() == 0
    assert not [line for line in server.log if "Traceback" in line]


@needs_hangup
def test_a_hangup_that_is_ignored_stays_ignored(start_server: Start) -> None:
    """Under nohup, which ignores SIGHUP before the program starts, the server goes on."""
    program = (
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "import trioecho.cli; trioecho.cli.main(['--port', '0'])\n"
    )
    server = start_server(command=("-c", program))
    server.signal(signal.SIGHUP)
    with client(server) as ws:
        ws.send("still here")
        assert ws.recv(PATIENCE) == "still here"
    assert server.stop() == 0


def test_a_signal_while_it_starts_ends_it(start_server: Start) -> None:
    """A name that takes long to resolve: Ctrl-C does not wait for it, and the status is 0."""
    program = (
        "import sys, trio, trioecho, trioecho._process.run as run\n"
        "async def slow(*arguments, task_status, **settings):\n"
        "    print(flush=True)\n"
        "    await trio.sleep_forever()\n"
        "run.serve = slow\n"
        "trioecho.run(port=0)\n"
    )
    server = start_server(command=("-c", program))
    assert server.banner == "\n"
    server.signal(signal.SIGINT)
    assert server.wait() == 0
    assert server.log == []


def test_afterwards_signals_do_what_they_did_before(start_server: Start) -> None:
    """A program goes on after `run`, and can even run a second server."""
    program = SHOUT + (
        "import signal, sys\n"
        "before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]\n"
        "trioecho.run(shout, port=0)\n"
        "assert before == [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]\n"
        "trioecho.run(shout, port=0, log_format='json')\n"
        "sys.exit(7)\n"
    )
    server = start_server(command=("-c", program))
    server.signal()
    assert server.process.stdout is not None
    assert server.process.stdout.readline().startswith("trioecho serves ")
    server.signal()
    assert server.wait() == 7, server.log
    assert json.loads(server.log[-1])["message"] == "stopping: no connection is open"


def test_a_port_in_use_is_one_line_and_status_3() -> None:
    """It names who holds the port, if that can be known, and what would be right in the program's own words."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        status, errors = ended("-c", f"import trioecho; trioecho.run(port={port})")
    assert status == 3
    assert errors.count("\n") == 1
    assert errors.startswith(f"trioecho: cannot listen on 127.0.0.1 port {port}: Address already in use")
    assert errors.endswith("; port=0 takes any free port\n")
    if sys.platform == "linux":
        assert f" (by process {os.getpid()}, " in errors


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this platform has no /dev/full")
@PROGRAMS
def test_a_full_disk_is_one_line_and_status_3(command: tuple[str, ...]) -> None:
    """The first line cannot be written: nobody could know where the server is, so there is none."""
    with open("/dev/full", "w") as full:
        status, errors = ended(*command, stdout=full)
    assert errors == "trioecho: cannot write to standard output: No space left on device\n"
    assert status == 3


@PROGRAMS
def test_a_closed_pipe_is_one_line_and_status_3(command: tuple[str, ...]) -> None:
    """Whoever should have read the first line has gone."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        status, errors = ended(*command, stdout=pipe)
    assert errors == "trioecho: cannot write to standard output: Broken pipe\n"
    assert status == 3


def test_without_standard_output_it_serves(start_server: Start) -> None:
    """Started with standard output closed, there is nobody to tell, and that is no failure."""
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port = probe.getsockname()[1]
    program = f"import os, sys; os.close(1); sys.stdout = None; import trioecho; trioecho.run(port={port})"
    server = start_server(command=("-c", program))
    assert server.banner == ""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with opener.open(f"http://127.0.0.1:{port}/healthz", timeout=PATIENCE) as answer:
                assert answer.status == 200
            break
        except OSError:
            assert server.process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert server.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "error", "lesson"),
    [
        ({"handler": 3}, TypeError, "a handler is an async function of one WebSocket, not int"),
        ({"port": "5000"}, TypeError, "port takes a whole number"),
        ({"options": {"path": "/x"}}, TypeError, r"write WebSocketOptions\(path='/x'\)"),
        (
            {"log_level": "loud"},
            ValueError,
            "log_level is one of debug, info, warning, error, critical; you gave 'loud'",
        ),
        ({"log_format": "xml"}, ValueError, "log_format is one of text, json; you gave 'xml'"),
        ({"shutdown_timeout": -1}, ValueError, "shutdown_timeout takes seconds, 0 or more; you gave -1"),
        ({"shutdown_timeout": "10"}, TypeError, "shutdown_timeout takes seconds, 0 or more; you gave '10'"),
    ],
)
def test_a_mistake_in_the_arguments_is_an_exception(
    arguments: dict[str, Any], error: type[Exception], lesson: str
) -> None:
    """The programmer's mistakes are raised, plainly, and not printed as the machine's are."""
    with pytest.raises(error, match=lesson):
        trioecho.run(**arguments)


def test_in_another_thread_it_says_what_to_use_instead() -> None:
    """Python handles signals in the main thread only."""
    raised: list[Exception] = []

    def run() -> None:
        try:
            trioecho.run(port=0)
        except RuntimeError as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(PATIENCE)
    assert "trioecho.LiveServer" in str(raised[0])


@pytest.mark.parametrize("logger", ["", "trioecho"])
def test_logging_that_the_program_has_configured_is_left_alone(start_server: Start, logger: str) -> None:
    """Where the program has handlers of its own, for all or for trioecho, `run` adds none and changes no level."""
    program = SHOUT + (
        "import logging\n"
        "handler = logging.StreamHandler()\n"
        "handler.setFormatter(logging.Formatter('MINE %(message)s'))\n"
        f"logging.getLogger({logger!r}).addHandler(handler)\n"
        "logging.getLogger('trioecho').setLevel('INFO')\n"
        "trioecho.run(shout, port=0, log_level='error', log_format='json')\n"
    )
    server = start_server(command=("-c", program))
    assert server.stop() == 0
    assert server.log == ["MINE stopping: no connection is open"]


def test_the_ready_lines_name_every_address(start_server: Start) -> None:
    """The first line as ever, then one for each further address; each can be opened."""
    server = start_server("--host", "127.0.0.2", "--host", "127.0.0.3")
    assert server.banner == f"trioecho serves {server.url} and {server.websocket_url} (Ctrl-C stops it)\n"
    assert server.url == f"http://127.0.0.2:{server.port}"
    assert server.process.stdout is not None
    assert server.process.stdout.readline() == f"and http://127.0.0.3:{server.port}\n"
