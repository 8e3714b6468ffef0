"""The command line: each option has its effect, and scripts can rely on output, signals and exit statuses."""

from __future__ import annotations

import base64
import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
import trustme
from server_process import PATIENCE, ServerProcess
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

import trioecho
import trioecho.cli.program
import trioecho.cli.serve
from trioecho._process.ports import holder
from trioecho.cli.parameters import Command, Refusal
from trioecho.cli.serve import OPTION_OF_FIELD, main

Start = Callable[..., ServerProcess]

DEFAULTS = {
    "--host": "127.0.0.1",
    "--port": "5000",
    "--path": "/ws",
    "--allowed-origin": "(every origin)",
    "--keep-alive-interval": "120",
    "--keep-alive-timeout": "20",
    "--idle-timeout": "off",
    "--handshake-timeout": "10",
    "--close-timeout": "5",
    "--send-timeout": "30",
    "--answer-timeout": "1",
    "--shutdown-timeout": "10",
    "--max-message-size": "1MiB",
    "--max-connections": "(no limit)",
    "--subprotocol": "(none)",
    "--tls-cert": None,
    "--tls-key": None,
    "--log-level": "info",
    "--log-format": "text",
}
"""What the command line was asked to have, and its defaults."""


def client(url: str, **options: Any) -> ClientConnection:
    """A connection of the `websockets` library, straight to the server whatever proxy the environment names."""
    return connect(url, proxy=None, open_timeout=PATIENCE, close_timeout=PATIENCE, **options)


def echoes(url: str, **options: Any) -> str:
    with client(url, **options) as ws:
        ws.send("hello")
        return str(ws.recv(PATIENCE))


def close_code_seen(ws: ClientConnection) -> tuple[int, str]:
    """The code and reason of the server's Close, which must be the next thing to come."""
    with pytest.raises(ConnectionClosed) as closed:
        ws.recv(PATIENCE)
    assert closed.value.rcvd is not None, "TCP ended without a Close"
    return closed.value.rcvd.code, closed.value.rcvd.reason


class SilentClient:
    """Completes the handshake, then answers nothing: no Pong, no Close."""

    def __init__(self, server: ServerProcess, *, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(("127.0.0.1", server.port))
        key = base64.b64encode(bytes(16)).decode()
        self.socket.sendall(
            f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self.received = b""
        while b"\r\n\r\n" not in self.received:
            self.received += self.socket.recv(1)
        assert self.received.startswith(b"HTTP/1.1 101 ")
        self.received = b""

    def read_to_end(self) -> bytes:
        while piece := self.socket.recv(65536):
            self.received += piece
        return self.received

    def stuff(self) -> None:
        """Sends messages without reading their echoes until the server stops reading, too."""
        frame = b"\x82\xfe\xff\xff" + bytes(4) + bytes(65535)
        self.socket.settimeout(0.5)
        try:
            while True:
                self.socket.sendall(frame)
        except TimeoutError:
            self.socket.settimeout(PATIENCE)

    def close(self) -> None:
        self.socket.close()


def refused(*arguments: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    """The exit status and the one line on standard error of a server that does not start."""
    with subprocess.Popen(
        [sys.executable, "-m", "trioecho", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    ) as process:
        output, errors = process.communicate(timeout=PATIENCE)
    assert output == ""
    assert errors.count("\n") == 1, f"not one line: {errors!r}"
    assert errors.startswith("trioecho: ")
    return process.returncode, errors.removeprefix("trioecho: ").rstrip("\n")


# The options.


def help_text() -> str:
    return subprocess.run(
        [sys.executable, "-m", "trioecho", "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    ).stdout


def test_help_names_every_option_with_its_default() -> None:
    """--help shows the options that were asked for, no others, each with its default."""
    text = " ".join(help_text().split())
    shown = dict.fromkeys(re.findall(r"(--[a-z-]+) [A-Z]+ ", text.split("Environment:")[0]))
    assert set(shown) == set(DEFAULTS)
    for option, default in DEFAULTS.items():
        described = re.search(rf"{option} [A-Z]+ (.*?)(?= --[a-z]|$)", text)
        assert described, option
        if default is not None:
            assert f"[default: {default}]" in described[1]


def test_help_tells_about_environment_examples_and_exit_status() -> None:
    """--help shows how to set options in the environment, examples, and what the exit statuses mean."""
    text = help_text()
    assert "TRIOECHO_PORT=8080" in text
    assert "python -m trioecho --port 0" in text
    assert "2 bad option, 3 could not start" in text
    assert max(map(len, text.splitlines())) <= 80


def test_version_names_what_a_bug_report_needs() -> None:
    """--version prints the versions of trioecho, trio, trio-websocket and Python on one line."""
    output = subprocess.run(
        [sys.executable, "-m", "trioecho", "--version"], capture_output=True, text=True, timeout=PATIENCE
    )
    assert output.returncode == 0
    assert re.fullmatch(r"trioecho \d\S+ \(trio \d\S+, trio-websocket \d\S+, Python \d\S+\)\n", output.stdout)


def test_every_option_has_a_test_of_its_effect() -> None:
    """For each option there is a test in this file that is named after it."""
    tests = set(globals())
    missing = [option for option in DEFAULTS if f"test_option_{option[2:].replace('-', '_')}" not in tests]
    assert not missing


def test_every_option_is_known_to_the_complaints() -> None:
    """A complaint of WebSocketOptions can always be said in the name of a command-line option."""
    names = {option for param in main.params for option in param.opts}
    unknown = set(OPTION_OF_FIELD.values()) - names
    assert unknown == {"--max-fragments", "--compression"}, (
        "fields that have no option, and cannot be set wrongly"
    )


def test_option_host(start_server: Start) -> None:
    """--host can be given more than once, and each address accepts connections at the same port."""
    server = start_server("--host", "127.0.0.1", "--host", "127.0.0.2")
    assert server.url == f"http://127.0.0.1:{server.port}"
    assert echoes(server.websocket_url) == "hello"
    assert echoes(f"ws://127.0.0.2:{server.port}/ws") == "hello"


def test_option_host_ipv6(start_server: Start) -> None:
    """An IPv6 address stands in brackets in the URLs, and they work."""
    try:
        with closing(socket.socket(socket.AF_INET6)) as probe:
            probe.bind(("::1", 0))
    except OSError as error:
        pytest.skip(f"no IPv6 on this machine: {error}")
    server = start_server("--host", "::1")
    assert server.url.startswith("http://[::1]:")
    assert echoes(server.websocket_url) == "hello"


def test_option_port(start_server: Start) -> None:
    """--port is where the server listens; 0 takes a free one, and the banner names the real one."""
    free = start_server().port
    assert free > 0
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        wanted = probe.getsockname()[1]
    server = start_server(command=("-m", "trioecho", "--port", str(wanted)))
    assert server.port == wanted
    assert echoes(server.websocket_url) == "hello"


def test_option_path(start_server: Start) -> None:
    """--path moves the endpoint: it echoes there, and nowhere else."""
    server = start_server("--path", "/chat")
    assert server.websocket_url.endswith("/chat")
    assert echoes(server.websocket_url) == "hello"
    with pytest.raises(InvalidStatus) as refusal:
        echoes(f"ws://127.0.0.1:{server.port}/ws")
    assert refusal.value.response.status_code == 404


def test_option_allowed_origin(start_server: Start) -> None:
    """--allowed-origin, repeated, lets those pages in; another gets 403 and reads its own origin."""
    server = start_server(
        "--allowed-origin", "https://client.com", "--allowed-origin", "https://*.client.com"
    )
    for origin in ("https://client.com", "https://www.client.com", None):
        assert echoes(server.websocket_url, origin=origin) == "hello"
    with pytest.raises(InvalidStatus) as refusal:
        echoes(server.websocket_url, origin="https://evil.com")
    assert refusal.value.response.status_code == 403
    assert b"https://evil.com" in refusal.value.response.body


def test_option_keep_alive_interval(start_server: Start) -> None:
    """--keep-alive-interval is when a silent client gets a Ping, and 0 is off."""
    server = start_server("--keep-alive-interval", "0.1")
    with closing(SilentClient(server)) as silent:
        assert silent.socket.recv(1) == b"\x89"
    server = start_server("--keep-alive-interval", "0", "--idle-timeout", "0.3")
    with closing(SilentClient(server)) as silent:
        assert silent.socket.recv(1) == b"\x88", "the idle timeout's Close, and no Ping before it"


def test_option_keep_alive_timeout(start_server: Start) -> None:
    """--keep-alive-timeout is how long the answer to a Ping may take before the client counts as gone."""
    server = start_server("--keep-alive-interval", "0.1", "--keep-alive-timeout", "0.2")
    with closing(SilentClient(server)) as silent:
        assert silent.read_to_end().endswith((1011).to_bytes(2) + b"keep-alive timeout")


def test_option_idle_timeout(start_server: Start) -> None:
    """--idle-timeout closes a connection whose client sends nothing: 1001, "idle timeout"."""
    server = start_server("--idle-timeout", "0.2")
    with client(server.websocket_url) as ws:
        assert close_code_seen(ws) == (1001, "idle timeout")


def test_option_handshake_timeout(start_server: Start) -> None:
    """--handshake-timeout is how long a client may take over its request: then it hears 408."""
    server = start_server("--handshake-timeout", "0.2")
    with closing(socket.create_connection(("127.0.0.1", server.port), PATIENCE)) as slow:
        slow.sendall(b"GET /ws HTTP/1.1\r\n")
        answer = b""
        while piece := slow.recv(4096):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_option_handshake_timeout_covers_tls(start_server: Start, certificate: dict[str, Path]) -> None:
    """A client that never finishes the TLS handshake is dropped at --handshake-timeout, and others are served."""
    server = start_server("--tls-cert", str(certificate["both"]), "--handshake-timeout", "0.2")
    with closing(socket.create_connection(("127.0.0.1", server.port), PATIENCE)) as mute:
        speaks_tls(server, certificate)
        assert mute.recv(1) == b""


def test_option_close_timeout(start_server: Start) -> None:
    """--close-timeout is how long a client that does not answer the Close can keep its connection."""
    server = start_server("--idle-timeout", "0.1", "--close-timeout", "0.2")
    with closing(SilentClient(server)) as silent:
        assert silent.read_to_end().endswith(b"idle timeout")
        # By default it would be 5 seconds.
        assert record_of(server.wait_for_log("idle timeout"))["seconds"] < 4


def options_given(*arguments: str) -> trioecho.WebSocketOptions:
    """What the command line makes of these arguments, without serving."""
    served: list[trioecho.WebSocketOptions] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trioecho.cli.serve, "run_process", lambda *_, **given: served.append(given["options"]))
        patch.setattr(trioecho.cli.serve, "configure_logging", lambda *_: None)
        main(arguments, standalone_mode=False)
    return served[0]


def test_option_send_timeout() -> None:
    """--send-timeout is the connections' send_timeout."""
    assert options_given("--send-timeout", "7.5") == trioecho.WebSocketOptions(send_timeout=7.5)


def test_option_answer_timeout() -> None:
    """--answer-timeout is the connections' answer_timeout."""
    assert options_given("--answer-timeout", "7.5") == trioecho.WebSocketOptions(answer_timeout=7.5)


def test_option_shutdown_timeout(start_server: Start) -> None:
    """--shutdown-timeout is how long a handler that is busy sending can hold up the stop."""
    server = start_server("--shutdown-timeout", "0.2", "--close-timeout", "0.2")
    with closing(SilentClient(server, receive_buffer=4096)) as stuck:
        stuck.stuff()
        server.signal()
        assert "gets 0.2 s" in server.wait_for_log("stopping: 1 connection gets")
        assert server.wait() == 0


def test_option_max_message_size(start_server: Start) -> None:
    """--max-message-size lets a message of so many bytes pass; one byte more ends with 1009."""
    server = start_server("--max-message-size", "2KiB")
    with client(server.websocket_url) as ws:
        ws.send("x" * 2048)
        assert ws.recv(PATIENCE) == "x" * 2048
        ws.send("x" * 2049)
        assert close_code_seen(ws)[0] == 1009


def test_option_max_connections(start_server: Start) -> None:
    """--max-connections refuses one more with 503 and Retry-After."""
    server = start_server("--max-connections", "1")
    with client(server.websocket_url), pytest.raises(InvalidStatus) as refusal:
        echoes(server.websocket_url)
    assert refusal.value.response.status_code == 503
    assert "Retry-After" in refusal.value.response.headers


def test_option_subprotocol(start_server: Start) -> None:
    """--subprotocol, repeated, agrees on the first of ours that the client offers."""
    server = start_server("--subprotocol", "chat.v2", "--subprotocol", "chat.v1")
    with client(server.websocket_url, subprotocols=["chat.v1", "chat.v2"]) as ws:
        assert ws.subprotocol == "chat.v2"
    with client(server.websocket_url, subprotocols=["other"]) as ws:
        assert ws.subprotocol is None


@pytest.fixture
def certificate(tmp_path: Path) -> dict[str, Path]:
    """A certificate for 127.0.0.1 in files of its own, both in one file, and its authority."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    files = {name: tmp_path / f"{name}.pem" for name in ("cert", "key", "both", "authority")}
    issued.cert_chain_pems[0].write_to_path(str(files["cert"]))
    issued.private_key_pem.write_to_path(str(files["key"]))
    issued.private_key_and_cert_chain_pem.write_to_path(str(files["both"]))
    authority.cert_pem.write_to_path(str(files["authority"]))
    return files


def speaks_tls(server: ServerProcess, certificate: dict[str, Path]) -> None:
    trust = ssl.create_default_context(cafile=certificate["authority"])
    assert server.url.startswith("https://")
    assert server.websocket_url.startswith("wss://")
    assert echoes(server.websocket_url, ssl=trust) == "hello"
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
    )
    with opener.open(server.url, timeout=PATIENCE) as page:
        assert page.status == 200


def test_option_tls_key(start_server: Start, certificate: dict[str, Path]) -> None:
    """--tls-cert with --tls-key serves https and wss."""
    server = start_server("--tls-cert", str(certificate["cert"]), "--tls-key", str(certificate["key"]))
    speaks_tls(server, certificate)


def test_option_tls_cert(start_server: Start, certificate: dict[str, Path]) -> None:
    """--tls-cert alone is enough when the file holds the private key, too."""
    speaks_tls(start_server("--tls-cert", str(certificate["both"])), certificate)


def test_option_log_level(start_server: Start) -> None:
    """--log-level warning hides the line of a connection that ended well, which info shows."""
    loud, quiet = start_server("--log-level", "info"), start_server("--log-level", "WARNING")
    for server in (loud, quiet):
        assert echoes(server.websocket_url) == "hello"
        assert server.stop() == 0
    assert [line for line in loud.log if "peer closed" in line]
    assert quiet.log == []


def test_option_log_format(start_server: Start) -> None:
    """--log-format json writes one JSON object a line, with the connection's record in it."""
    server = start_server("--log-format", "json")
    assert echoes(server.websocket_url) == "hello"
    assert server.stop() == 0
    lines = [json.loads(line) for line in server.log]
    assert all({"ts", "level", "logger", "message"} <= line.keys() for line in lines)
    (record,) = [line["record"] for line in lines if "record" in line]
    assert record["cause"] == "peer closed"
    assert record["messages_received"] == record["messages_sent"] == 1
    assert record["code_received"] == record["code_sent"] == 1000


def record_of(line: str) -> dict[str, Any]:
    """The duration out of a text log line about one connection."""
    seconds = re.search(r"([0-9.]+) s\b", line)
    assert seconds
    return {"seconds": float(seconds[1])}


# The environment.


def test_every_option_can_be_set_in_the_environment(start_server: Start) -> None:
    """TRIOECHO_ and an option's name sets it; several values are separated by spaces; what is typed wins."""
    server = start_server(
        env={
            "TRIOECHO_HOST": "127.0.0.1 127.0.0.2",
            "TRIOECHO_PORT": "1",
            "TRIOECHO_PATH": "/env",
            "TRIOECHO_ALLOWED_ORIGIN": "https://a.com https://b.com",
            "TRIOECHO_SUBPROTOCOL": "one two",
            "TRIOECHO_MAX_MESSAGE_SIZE": "5",
            "TRIOECHO_LOG_FORMAT": "json",
            "TRIOECHO_VERSION": "what Docker sets is not --version",
        }
    )
    for host in ("127.0.0.1", "127.0.0.2"):
        with client(f"ws://{host}:{server.port}/env", origin="https://b.com", subprotocols=["two"]) as ws:
            assert ws.subprotocol == "two"
            ws.send("12345")
            assert ws.recv(PATIENCE) == "12345"
            ws.send("123456")
            assert close_code_seen(ws)[0] == 1009
    server.stop()
    assert all(json.loads(line) for line in server.log)


def test_a_mistake_in_the_environment_names_the_variable() -> None:
    """A bad value from the environment is refused with the variable's name, which is easily forgotten."""
    env = {"TRIOECHO_KEEP_ALIVE_INTERVAL": "soon", "PATH": "/usr/bin"}
    status, line = refused(env=env)
    assert status == 2
    assert line.startswith("--keep-alive-interval (from TRIOECHO_KEEP_ALIVE_INTERVAL): 'soon'")


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


def test_an_unreadable_certificate_is_one_line(tmp_path: Path, certificate: dict[str, Path]) -> None:
    """A certificate or key that is missing, a directory, nonsense, or not its pair: one line, exit status 3."""
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("certificate\n")
    other = tmp_path / "other.pem"
    trustme.CA().issue_cert("127.0.0.1").private_key_pem.write_to_path(str(other))
    cert = str(certificate["cert"])
    for arguments, hint in (
        (["--tls-cert", "missing.pem"], "cannot read missing.pem: No such file or directory"),
        (["--tls-cert", str(tmp_path)], "Is a directory"),
        (["--tls-cert", str(nonsense)], "cannot use"),
        (["--tls-cert", cert], "--tls-key"),
        (["--tls-cert", cert, "--tls-key", "missing.pem"], "cannot read missing.pem"),
        (["--tls-cert", cert, "--tls-key", str(nonsense)], "cannot use"),
        (["--tls-cert", cert, "--tls-key", str(other)], "mismatch"),
    ):
        status, line = refused("--port", "0", *arguments)
        assert status == 3
        assert hint in line


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
    """Bound beyond loopback without --allowed-origin, the log says that every web page may connect."""
    server = start_server(*arguments)
    assert server.url
    assert server.stop() == 0
    assert any("every web page may connect" in line for line in server.log) is warned
