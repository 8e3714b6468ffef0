"""Clients of a server process, and a server that does not start, for the tests of the command line."""

from __future__ import annotations

import base64
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from server_process import PATIENCE, ServerProcess
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

import trioecho.cli.serve
from trioecho.cli.serve import main

Start = Callable[..., ServerProcess]


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


def help_text() -> str:
    return subprocess.run(
        [sys.executable, "-m", "trioecho", "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    ).stdout


def options_given(*arguments: str) -> trioecho.WebSocketOptions:
    """What the command line makes of these arguments, without serving."""
    served: list[trioecho.WebSocketOptions] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trioecho.cli.serve, "run_process", lambda *_, **given: served.append(given["options"]))
        patch.setattr(trioecho.cli.serve, "configure_logging", lambda *_, **__: None)
        main(arguments, standalone_mode=False)
    return served[0]


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
