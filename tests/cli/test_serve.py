"""The options of the command line: each has its effect, and can be set in the environment."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import urllib.request
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

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
    speaks_tls,
)
from command_line import certificate as certificate
from server_process import PATIENCE, ServerProcess
from serving import unix_path as unix_path
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync.client import unix_connect

import trioecho
import trioecho.cli.program
import trioecho.cli.serve
from trioecho.cli.serve import OPTION_OF_FIELD, main

DEFAULTS = {
    "--host": "127.0.0.1",
    "--port": "5000",
    "--unix": "(none)",
    "--unix-mode": "600",
    "--fd": "(those of systemd)",
    "--backlog": "(what the system allows)",
    "--path": "/ws",
    "--root-path": "(none)",
    "--allowed-origin": "(every origin)",
    "--allowed-host": "(every host)",
    "--limit-per-address": "off",
    "--trusted-proxy": "(none)",
    "--proxy-protocol": None,
    "--keep-alive-interval": "120",
    "--keep-alive-timeout": "20",
    "--idle-timeout": "off",
    "--handshake-timeout": "10",
    "--close-timeout": "5",
    "--send-timeout": "30",
    "--answer-timeout": "1",
    "--shutdown-timeout": "10",
    "--drain-delay": "0",
    "--drain-window": "0",
    "--restart-code": None,
    "--workers": "(no supervisor)",
    "--max-message-size": "1MiB",
    "--max-connections": "(no limit)",
    "--max-sockets": "(what the limit on open files leaves)",
    "--flood-limit": "1000",
    "--max-memory": "50%",
    "--subprotocol": "(none)",
    "--compression": "off",
    "--compression-window-bits": "12",
    "--compression-no-context-takeover": None,
    "--tls-cert": None,
    "--tls-key": None,
    "--tls-selfsigned": None,
    "--log-level": "info",
    "--log-format": "text",
    "--access-log": "access-log",
    "--metrics-port": "(none)",
    "--metrics-host": "127.0.0.1",
    "--metrics": None,
    "--metrics-reader": "(programs on this machine)",
    "--hub": None,
    "--redis": "(none)",
    "--faults": None,
    "--faults-beyond-loopback": None,
    "--ready-json": None,
    "--exit-on-eof": None,
    "--config": "(none)",
    "--print-config": None,
}
"""What the command line was asked to have, and its defaults."""


def test_help_names_every_option_with_its_default() -> None:
    """--help shows the options that were asked for, no others, each with its default."""
    text = " ".join(help_text().split()).replace(" / --no-access-log", "")
    shown = dict.fromkeys(re.findall(r"(--[a-z-]+) [A-Z]", text.split("Environment:")[0]))
    assert set(shown) - {"--help", "--version"} == set(DEFAULTS)
    for option, default in DEFAULTS.items():
        described = re.search(rf"{option} [A-Z]+ ?(.*?)(?= --[a-z]|$)", text)
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
    """For each option there is a test in this folder that is named after it."""
    files = Path(__file__).parent.glob("test_*.py")
    texts = "".join(file.read_text(encoding="utf-8") for file in files)
    tests = set(re.findall(r"^def (test_option_\w+)", texts, re.MULTILINE))
    missing = [option for option in DEFAULTS if f"test_option_{option[2:].replace('-', '_')}" not in tests]
    assert not missing


def test_every_option_is_known_to_the_complaints() -> None:
    """A complaint of WebSocketOptions can always be said in the name of a command-line option."""
    names = {option for param in main.params for option in param.opts}
    unknown = set(OPTION_OF_FIELD.values()) - names
    assert unknown == {"--max-fragments", "--stream-messages"}, (
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


def test_option_host_every_address(start_server: Start) -> None:
    """--host '*' is every address of both families, whose page every web page could read: a warning says so."""
    server = start_server("--host", "*")
    assert server.url == f"http://127.0.0.1:{server.port}"
    assert echoes(f"ws://127.0.0.2:{server.port}/ws") == "hello"
    assert "listening on 0.0.0.0" in server.wait_for_log("every origin allowed")


def echoes_at(path: str) -> str:
    """The echo at a Unix socket."""
    with unix_connect(path, uri="ws://localhost/ws", open_timeout=PATIENCE, close_timeout=PATIENCE) as ws:
        ws.send("hello")
        return str(ws.recv(PATIENCE))


def test_option_unix(start_server: Start, unix_path: str) -> None:
    """--unix listens there and nowhere else, says so, warns of no web page, and removes its file in the end."""
    server = start_server("--unix", unix_path, command=("-m", "trioecho"))
    assert server.banner == f"trioecho serves unix:{unix_path} (Ctrl-C stops it)\n"
    assert echoes_at(unix_path) == "hello"
    assert f"unix:{unix_path} /ws peer closed" in server.wait_for_log("peer closed")
    assert stat.S_IMODE(os.stat(unix_path).st_mode) == 0o600
    assert server.stop() == 0
    assert not os.path.exists(unix_path)
    assert not [line for line in server.log if "WARNING" in line]


def test_option_unix_with_tcp(start_server: Start, unix_path: str) -> None:
    """--unix with --port is both, one line each; in the environment it is called TRIOECHO_UNIX."""
    server = start_server(env={"TRIOECHO_UNIX": unix_path})
    assert server.process.stdout is not None
    assert server.process.stdout.readline() == f"and unix:{unix_path}\n"
    assert echoes(server.websocket_url) == echoes_at(unix_path) == "hello"


@pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")
def test_option_unix_abstract(start_server: Start) -> None:
    """A name that begins with @ has no file."""
    name = f"trioecho-test-{os.getpid()}"
    server = start_server("--unix", f"@{name}", command=("-m", "trioecho"))
    assert server.banner == f"trioecho serves unix:@{name} (Ctrl-C stops it)\n"
    assert echoes_at(f"\0{name}") == "hello"


def test_option_unix_mode(start_server: Start, unix_path: str) -> None:
    """--unix-mode is the file's permissions, in octal as for chmod."""
    start_server("--unix", unix_path, "--unix-mode", "660")
    assert stat.S_IMODE(os.stat(unix_path).st_mode) == 0o660


def test_option_fd() -> None:
    """--fd takes the listening socket that the process was started with, as systemd does it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        command = [sys.executable, "-m", "trioecho", "--fd", str(listening.fileno())]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, pass_fds=[listening.fileno()]
        ) as process:
            assert process.stdout is not None
            port = listening.getsockname()[1]
            assert process.stdout.readline().startswith(f"trioecho serves http://127.0.0.1:{port} and ")
            assert echoes(f"ws://127.0.0.1:{port}/ws") == "hello"
            process.terminate()
            process.communicate(timeout=PATIENCE)
    assert process.returncode == 0


def test_option_backlog(start_server: Start) -> None:
    """--backlog is how many connections wait, as the kernel tells it (Linux)."""
    server = start_server("--backlog", "7")
    if shutil.which("ss") is not None:
        rows = subprocess.run(
            ["ss", "-Hltn", f"sport = :{server.port}"], capture_output=True, text=True, check=True
        ).stdout
        assert rows.split()[2] == "7"
    assert echoes(server.websocket_url) == "hello"


def test_places_that_make_no_sense_together_are_refused(unix_path: str) -> None:
    """One line and exit status 2, in the command line's own words."""
    for arguments, sentence in (
        (["--unix-mode", "660"], "--unix-mode needs --unix, the socket whose permissions these are"),
        (
            ["--unix", unix_path, "--unix-mode", "rw"],
            "--unix-mode: 'rw' are no permissions: write three octal digits such as 660",
        ),
        (
            ["--backlog", "5", "--fd", "3"],
            "--backlog is for --host, --port and --unix; the socket of --fd listens already",
        ),
        (
            ["--host", "*", "--host", "::1"],
            "--host: * is every address already; give it alone, or leave it out",
        ),
        (
            ["--unix", "@app", "--unix-mode", "660"],
            "--unix: mode, owner and group are those of a file, and @app is an abstract name, which has none",
        ),
        (
            ["--fd", "x y"],
            "--fd: 'x y' does not fit: write the number of a descriptor, such as 3, or the name of a socket",
        ),
    ):
        assert refused(*arguments) == (2, sentence)


def test_a_place_that_this_machine_does_not_give_is_status_3(unix_path: str) -> None:
    """A path that is taken, one that is not there, a descriptor that nobody has: one line that says which."""
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(unix_path)
        living.listen()
        taken = f"cannot listen on unix:{unix_path}: another server listens there"
        assert refused("--unix", unix_path, "--port", "0") == (3, taken)
        os.unlink(unix_path)
    missing = f"{unix_path}/s"
    assert refused("--unix", missing) == (3, f"cannot listen on unix:{missing}: No such file or directory")
    assert refused("--fd", "77") == (3, "cannot listen on fd 77: this process has no such descriptor")


def test_option_path(start_server: Start) -> None:
    """--path moves the endpoint: it echoes there, and nowhere else."""
    server = start_server("--path", "/chat")
    assert server.websocket_url.endswith("/chat")
    assert echoes(server.websocket_url) == "hello"
    with pytest.raises(InvalidStatus) as refusal:
        echoes(f"ws://127.0.0.1:{server.port}/ws")
    assert refusal.value.response.status_code == 404


def test_option_root_path(start_server: Start) -> None:
    """--root-path is in front of the page's WebSocket, and may be in front of what is asked for, or not."""
    server = start_server("--root-path", "/echo")
    for prefix in ("", "/echo"):
        assert echoes(f"ws://127.0.0.1:{server.port}{prefix}/ws") == "hello"
        with urllib.request.urlopen(f"{server.url}{prefix}/", timeout=PATIENCE) as page:
            assert b'content="/echo/ws"' in page.read()
    assert refused("--root-path", "echo")[1].endswith("you gave 'echo': write '/echo'")


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


def test_option_allowed_host(start_server: Start) -> None:
    """--allowed-host, repeated, names the server; a request to another Host gets 421; `self` is the page's origin."""
    server = start_server(
        "--allowed-host", "127.0.0.1", "--allowed-host", "*.client.com", "--allowed-origin", "self"
    )
    assert echoes(server.websocket_url, origin=server.url.rstrip("/")) == "hello"
    with pytest.raises(InvalidStatus) as refusal:
        echoes(f"ws://localhost:{server.port}/ws", origin=f"http://localhost:{server.port}")
    assert refusal.value.response.status_code == 421
    assert b"'127.0.0.1', '*.client.com'" in refusal.value.response.body


def test_option_limit_per_address(start_server: Start) -> None:
    """--limit-per-address refuses one address's next connection with 429 and Retry-After, and no other's."""
    server = start_server("--limit-per-address", "connections=1", "--host", "127.0.0.1")
    with client(server.websocket_url):
        with pytest.raises(InvalidStatus) as refusal:
            echoes(server.websocket_url)
        assert echoes(server.websocket_url, source_address=("127.0.0.2", 0)) == "hello"
    assert refusal.value.response.status_code == 429
    assert "Retry-After" in refusal.value.response.headers


def test_option_trusted_proxy(start_server: Start) -> None:
    """--trusted-proxy, repeated, believes what those addresses say of their clients; so do both limits and the log."""
    server = start_server("--trusted-proxy", "10.0.0.0/8", "--trusted-proxy", "127.0.0.1/32")
    told = {"X-Forwarded-For": "203.0.113.9"}
    assert echoes(server.websocket_url, additional_headers=told) == "hello"
    server.wait_for_log(" 203.0.113.9 /ws peer closed")
    assert echoes(server.websocket_url, additional_headers=told, source_address=("127.0.0.2", 0)) == "hello"
    server.wait_for_log(" 127.0.0.2:")
    server.stop()
    lines = start_server(
        env={"TRIOECHO_TRUSTED_PROXY": "::1 unix", "TRIOECHO_LIMIT_PER_ADDRESS": "on"}
    ).banner
    assert "serves" in lines
    status, line = refused("--trusted-proxy", "10.0.0.1/8")
    assert (status, line) == (
        2,
        "--trusted-proxy: '10.0.0.1/8' is an address within a network: write '10.0.0.0/8'",
    )


def test_option_proxy_protocol(start_server: Start) -> None:
    """--proxy-protocol wants its header from a trusted proxy, and nobody else."""
    server = start_server("--trusted-proxy", "127.0.0.1", "--proxy-protocol")
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as proxy:
        proxy.sendall(b"PROXY TCP4 203.0.113.9 10.0.0.1 41234 80\r\nGET / HTTP/1.0\r\n\r\n")
        assert proxy.recv(65536).startswith(b"HTTP/1.1 200 ")
    server.wait_for_log("203.0.113.9:41234 GET / 200")
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as proxy:
        proxy.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert proxy.recv(65536) == b""
    server.wait_for_log("refused: no header of the PROXY protocol")
    assert echoes(server.websocket_url, source_address=("127.0.0.2", 0)) == "hello"
    assert refused("--proxy-protocol") == (
        2,
        "--proxy-protocol needs --trusted-proxy, the networks from which its header is believed",
    )


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


def test_option_max_sockets(start_server: Start) -> None:
    """--max-sockets bounds all that is open: the one that has said nothing for longest makes room."""
    server = start_server("--max-sockets", "2")
    silent = [socket.create_connection(("127.0.0.1", server.port), PATIENCE) for _ in range(5)]
    for each in silent[:3]:
        assert each.recv(1) == b""
    assert echoes(server.websocket_url) == "hello"
    for each in silent:
        each.close()


@pytest.mark.parametrize(("limit", "code"), [("1", 1008), ("0", 1000)])
def test_option_flood_limit(start_server: Start, limit: str, code: int) -> None:
    """--flood-limit ends the connection of a client that sends more Pongs than it allows, and 0 that of nobody."""
    server = start_server("--flood-limit", limit)
    with client(server.websocket_url) as ws:
        # The server may end it, as it shall, before all are sent.
        with suppress(ConnectionClosed):
            for _ in range(200):
                ws.pong()
        if limit == "0":
            ws.send("hello")
            assert ws.recv(PATIENCE) == "hello"
            ws.close()
        assert close_code_seen(ws)[0] == code


def test_option_max_memory(start_server: Start) -> None:
    """--max-memory bounds what all connections together hold: half a message too large for it gets 1013."""
    server = start_server("--max-memory", "2MiB", "--max-message-size", "16MiB")
    with client(server.websocket_url) as ws:
        with suppress(ConnectionClosed):
            ws.send(iter([b"x" * 3_000_000, b"the rest"]))
        assert close_code_seen(ws)[0] == 1013
    with client(server.websocket_url) as ws:
        ws.send("x" * 100_000)
        assert ws.recv(PATIENCE) == "x" * 100_000


def test_option_subprotocol(start_server: Start) -> None:
    """--subprotocol, repeated, agrees on the first of ours that the client offers."""
    server = start_server("--subprotocol", "chat.v2", "--subprotocol", "chat.v1")
    with client(server.websocket_url, subprotocols=["chat.v1", "chat.v2"]) as ws:
        assert ws.subprotocol == "chat.v2"
    with client(server.websocket_url, subprotocols=["other"]) as ws:
        assert ws.subprotocol is None


def extensions_agreed(server: ServerProcess, *extensions: ClientPerMessageDeflateFactory) -> list[str]:
    """What the server's answer agrees on with a client that offers these, or what `websockets` offers by itself."""
    with client(server.websocket_url, extensions=extensions or None) as ws:
        ws.send("hello " * 1000)
        assert ws.recv(PATIENCE) == "hello " * 1000
        assert ws.response is not None
        return ws.response.headers.get_all("Sec-WebSocket-Extensions")


def test_option_compression(start_server: Start) -> None:
    """--compression deflate agrees on permessage-deflate with a client that offers it; the default is off."""
    assert options_given().compression is False
    assert extensions_agreed(start_server()) == []
    assert options_given("--compression", "deflate").compression == trioecho.Deflate()
    (agreed,) = extensions_agreed(start_server("--compression", "deflate"))
    assert agreed.split("; ")[0] == "permessage-deflate"
    with client(start_server("--compression", "deflate").websocket_url, compression=None) as ws:
        assert ws.response is not None
        assert "Sec-WebSocket-Extensions" not in ws.response.headers


def test_option_compression_window_bits(start_server: Start) -> None:
    """--compression-window-bits is the largest window of either side."""
    server = start_server("--compression", "deflate", "--compression-window-bits", "10")
    (agreed,) = extensions_agreed(server, ClientPerMessageDeflateFactory(client_max_window_bits=True))
    assert set(agreed.split("; ")[1:]) == {"server_max_window_bits=10", "client_max_window_bits=10"}


def test_option_compression_no_context_takeover(start_server: Start) -> None:
    """--compression-no-context-takeover has both sides compress each message by itself."""
    server = start_server("--compression", "deflate", "--compression-no-context-takeover")
    (agreed,) = extensions_agreed(server)
    assert {"server_no_context_takeover", "client_no_context_takeover"} < set(agreed.split("; "))


def test_compression_can_be_set_in_the_environment(start_server: Start) -> None:
    """By names that are made as all others are; a flag is 1."""
    server = start_server(
        env={
            "TRIOECHO_COMPRESSION": "deflate",
            "TRIOECHO_COMPRESSION_WINDOW_BITS": "9",
            "TRIOECHO_COMPRESSION_NO_CONTEXT_TAKEOVER": "1",
        }
    )
    (agreed,) = extensions_agreed(server)
    assert {"server_max_window_bits=9", "server_no_context_takeover"} < set(agreed.split("; "))


def test_parameters_of_compression_without_compression_are_refused() -> None:
    """They would be without effect: one line says what is missing, in the words of the command line."""
    for arguments, sentence in (
        (
            ["--compression-window-bits", "12"],
            "--compression-window-bits needs --compression deflate, whose window this is",
        ),
        (
            ["--compression", "off", "--compression-no-context-takeover"],
            "--compression-no-context-takeover needs --compression deflate, whose context this is",
        ),
        (
            ["--compression", "deflate", "--compression-window-bits", "16"],
            "--compression-window-bits: '16' does not fit: write a whole number from 8 to 15",
        ),
        (["--compression", "gzip"], "--compression: 'gzip' is not one of 'off', 'deflate'."),
    ):
        assert refused(*arguments) == (2, sentence)
    env = {"TRIOECHO_COMPRESSION_WINDOW_BITS": "12", "PATH": "/usr/bin"}
    assert refused(env=env) == (
        2,
        "--compression-window-bits needs --compression deflate, whose window this is",
    )


def test_option_tls_key(start_server: Start, certificate: dict[str, Path]) -> None:
    """--tls-cert with --tls-key serves https and wss."""
    server = start_server("--tls-cert", str(certificate["cert"]), "--tls-key", str(certificate["key"]))
    speaks_tls(server, certificate)


def test_option_tls_cert(start_server: Start, certificate: dict[str, Path]) -> None:
    """--tls-cert alone is enough when the file holds the private key, too."""
    speaks_tls(start_server("--tls-cert", str(certificate["both"])), certificate)


def test_option_tls_selfsigned(start_server: Start, tmp_path: Path) -> None:
    """It serves https and wss; the first line names the file of an authority to trust, which is gone at the end."""
    server = start_server("--tls-selfsigned", env={"TMPDIR": str(tmp_path)})
    (authority,) = tmp_path.glob("trioecho-ca-*.pem")
    assert f" with the CA {authority} (Ctrl-C" in server.banner
    assert stat.S_IMODE(authority.stat().st_mode) == 0o600
    assert "PRIVATE KEY" not in authority.read_text()
    speaks_tls(server, {"authority": authority})
    assert server.stop() == 0
    assert list(tmp_path.iterdir()) == []


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


def test_option_access_log(start_server: Start) -> None:
    """Without it, no line for a connection or an exchange, unless one tells of a fault."""
    for arguments, lines in (((), 3), (("--no-access-log",), 1)):
        server = start_server(*arguments)
        assert echoes(server.websocket_url) == "hello"
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(server.url) as page:
            assert page.status == 200
        with client(server.websocket_url) as ws:
            ws.socket.sendall(b"\xff" * 10)
            server.wait_for_log("protocol error")
        assert server.stop() == 0
        told = [line for line in server.log if "stopping" not in line]
        assert len(told) == lines, told


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
