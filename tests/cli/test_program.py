"""The command line: scripts can rely on subcommands, output, signals and exit statuses."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import closing
from types import ModuleType

import click
import pytest
from command_line import (
    SilentClient,
    Start,
    client,
    close_code_seen,
    echoes,
    help_text,
    options_given,
    refused,
)
from server_process import PATIENCE
from websockets.exceptions import WebSocketException

import trioecho
import trioecho.cli.program
import trioecho.cli.serve
from trioecho._process.ports import holder
from trioecho.cli.parameters import Command, Refusal
from trioecho.cli.serve import main

# Subcommands.


def test_serve_is_the_long_form_of_no_command(start_server: Start) -> None:
    """``python -m trioecho serve`` takes the same options, from the environment too."""
    server = start_server(
        command=("-m", "trioecho", "serve", "--port", "0"),
        env={"TRIOECHO_PATH": "/env", "TRIOECHO_LOG_FORMAT": "json"},
    )
    assert server.websocket_url.endswith("/env")
    assert echoes(server.websocket_url) == "hello"
    assert server.stop() == 0
    assert [json.loads(line)["level"] for line in server.log]


def test_help_lists_the_subcommands() -> None:
    """The bare command's --help has its own options, and each subcommand in one line."""
    listed = help_text().split("Commands:")[1].split("Environment:")[0]
    assert re.findall(r"^  ([a-z]+)  ", listed, re.MULTILINE) == list(trioecho.cli.program.SUBCOMMANDS)
    long_form = subprocess.run(
        [sys.executable, "-m", "trioecho", "serve", "--help"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert long_form.stdout.startswith("Usage: python -m trioecho serve [OPTIONS]\n")
    assert "--keep-alive-interval" in long_form.stdout


def test_a_subcommand_is_imported_when_it_is_called(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line in SUBCOMMANDS adds one; it has its own options and mistakes, and costs nobody else its import."""

    @click.command(cls=Command)
    @click.option("--loud", is_flag=True)
    @click.argument("url")
    def probe(url: str, loud: bool) -> None:
        click.echo(url.upper() if loud else url)

    monkeypatch.setitem(trioecho.cli.program.SUBCOMMANDS, "probe", "Asks.")
    options_given()  # would fail if it had to be there
    module = ModuleType("trioecho.cli.probe")
    module.probe = probe  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "trioecho.cli.probe", module)
    main(["probe", "ws://x", "--loud"], standalone_mode=False)
    assert capsys.readouterr().out == "WS://X\n"
    with pytest.raises(Refusal, match="Missing argument 'URL'"):
        main(["probe"], standalone_mode=False)
    with pytest.raises(SystemExit):
        main(["probe", "--help"], prog_name="python -m trioecho")
    assert capsys.readouterr().out.startswith("Usage: python -m trioecho probe [OPTIONS] URL\n")


# Mistakes.


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--prot", "1"], "--port"),
        (["--port", "http"], "--port: 'http' does not fit: write a whole number from 0 to 65535"),
        (["--port", "65536"], "--port: '65536' does not fit: write a whole number from 0 to 65535"),
        (["--port"], "--port"),
        (["5000"], "there is no command '5000': write --port 5000 (--help lists the options)"),
        (["sevre"], "there is no command 'sevre': there is serve"),
        (["serve", "--prot", "1"], "--port"),
        (["serve", "5000"], "--help"),
        (["--path", "ws"], "--path must begin with a slash; you gave 'ws': write '/ws'"),
        (["--allowed-origin", "client.com"], "--allowed-origin: 'client.com'"),
        (["--allowed-origin", "https://client.com/page"], "https://client.com"),
        (["--allowed-host", "https://client.com/page"], "write 'client.com'"),
        (["--subprotocol", "a b"], "--subprotocol"),
        (["--keep-alive-interval", "-1"], "--keep-alive-interval: '-1' is not a time in seconds"),
        (["--keep-alive-timeout", "0"], "--keep-alive-timeout: '0' is not a time in seconds"),
        (["--idle-timeout", "never"], "or 0 for off"),
        (["--handshake-timeout", "nan"], "--handshake-timeout: 'nan' is not a time in seconds"),
        (["--close-timeout", "inf"], "--close-timeout: 'inf' is not a time in seconds"),
        (["--shutdown-timeout", "x"], "or 0 for at once"),
        (["--max-message-size", "1MB"], "--max-message-size: '1MB' is not a size in bytes"),
        (
            ["--max-connections", "0"],
            "--max-connections: '0' does not fit: write a whole number of at least 1",
        ),
        (["--log-level", "loud"], "'debug', 'info', 'warning'"),
        (["--log-format", "xml"], "'text', 'json'"),
        (["--tls-key", "key.pem"], "--tls-key needs --tls-cert"),
    ],
)
def test_a_bad_option_is_one_line_that_says_what_would_be_right(arguments: list[str], hint: str) -> None:
    """A mistake on the command line is one line on standard error and exit status 2."""
    status, line = refused(*arguments)
    assert status == 2
    assert hint in line


def test_a_port_in_use_is_one_line() -> None:
    """A port in use: one line that names it, exit status 3."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        assert refused("--port", str(port)) == (
            3,
            f"cannot listen on 127.0.0.1 port {port}: Address already in use"
            f"{f' (by {holder(port)})' if holder(port) else ''}; --port 0 takes any free port",
        )


def test_a_host_that_is_none_of_ours_is_one_line() -> None:
    """A name that does not resolve, or nobody's address: one line, exit status 3."""
    for host in ("no-such-host.invalid", "192.0.2.1", "a..b"):
        status, line = refused("--port", "0", "--host", host)
        assert status == 3
        assert line.startswith(f"cannot listen on {host} port 0: ")


def test_an_unreadable_certificate_is_one_line() -> None:
    """One line, exit status 3."""
    assert refused("--port", "0", "--tls-cert", "missing.pem") == (
        3,
        "cannot read missing.pem: No such file or directory",
    )


# The process.


def test_the_first_line_has_both_urls_and_they_work(start_server: Start) -> None:
    """As soon as connections are accepted, one line on standard output names the page and the WebSocket."""
    server = start_server()
    assert server.url == f"http://127.0.0.1:{server.port}"
    assert server.websocket_url == f"ws://127.0.0.1:{server.port}/ws"
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
        server.url, timeout=PATIENCE
    ) as page:
        assert b"WebSocket Sample Application" in page.read()
    with client(server.websocket_url) as ws:
        for message in ("hello", "", "grüße ☃", b"\x00\xff", b"", b"x" * 2**20):
            ws.send(message)
            assert ws.recv(PATIENCE) == message
    assert server.stop() == 0
    assert server.process.stdout is not None
    assert server.process.stdout.read() == "", "nothing else is ever written there"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_gracefully(start_server: Start, number: int) -> None:
    """SIGTERM and Ctrl-C: clients see 1001, the exit status is 0."""
    server = start_server()
    with client(server.websocket_url) as ws:
        ws.send("hello")
        assert ws.recv(PATIENCE) == "hello"
        server.signal(number)
        assert close_code_seen(ws)[0] == 1001
        assert server.wait() == 0


def test_a_stopping_server_accepts_nobody_and_a_second_signal_ends_it(start_server: Start) -> None:
    """After the first signal no connection is accepted; the second ends a server that a handler holds up."""
    server = start_server("--shutdown-timeout", "1000", "--close-timeout", "1000")
    with closing(SilentClient(server, receive_buffer=4096)) as stuck:
        stuck.stuff()
        server.signal()
        server.wait_for_log("stopping: 1 connection gets 1000 s to finish")
        with pytest.raises((OSError, WebSocketException)):
            echoes(server.websocket_url)
        assert server.process.poll() is None
        server.signal()
        assert server.wait() == 0
    assert not [line for line in server.log if "Traceback" in line]


def test_a_crash_is_a_traceback_and_status_1(start_server: Start) -> None:
    """What nobody foresaw ends with a traceback and exit status 1, apart from the other statuses."""
    crashing = (
        "import functools, trio, trioecho, trioecho._process.run, trioecho.cli\n"
        "async def crash(*args, task_status, **kwargs):\n"
        "    async with trio.open_nursery() as nursery:\n"
        "        task_status.started(await nursery.start(functools.partial(trioecho.serve, port=0)))\n"
        "        raise RuntimeError('out of cheese')\n"
        "trioecho._process.run.serve = crash\n"
        "trioecho.cli.main(['--port', '0'])\n"
    )
    server = start_server(command=("-c", crashing))
    assert server.wait() == 1
    assert any("Traceback" in line for line in server.log)
    assert any("RuntimeError: out of cheese" in line for line in server.log)


@pytest.mark.parametrize(
    ("arguments", "warned"),
    [
        ([], False),
        (["--host", "localhost"], False),
        (["--host", "127.0.0.2"], False),
        (["--host", "0.0.0.0"], True),
        (["--host", "0.0.0.0", "--allowed-origin", "https://client.com"], False),
    ],
)
def test_beyond_loopback_without_origins_is_warned_about(
    start_server: Start, arguments: list[str], warned: bool
) -> None:
    """Bound beyond loopback without --allowed-origin, the log says what may happen, and what to type."""
    server = start_server(*arguments)
    assert server.url
    assert server.stop() == 0
    warnings = [line for line in server.log if "every web page may connect" in line]
    assert bool(warnings) is warned
    for line in warnings:
        assert "add --allowed-origin https://example.com (or --host 127.0.0.1 " in line
