"""What becomes of faults over TLS and behind nginx: what the table of faults says, seen from outside."""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
import struct
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from deploy.proxies import NGINX_AROUND_IT, found, free_port

import trioecho.testing
from trioecho.faults.table import FAULTS
from trioecho.testing import CLOSE, TEXT, FaultServer, encode_frame

PATIENCE = 20.0

SERVER = """\
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{behind};
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
            proxy_read_timeout 1s;
        }}
    }}
"""

ASKING = (
    "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@dataclass
class Client:
    """A client with bytes, over plain TCP or TLS."""

    sock: socket.socket

    def ask(self, path: str) -> bytes:
        """Ask for a WebSocket; returns the head of the answer, one read of it."""
        self.sock.sendall(ASKING.format(path=path).encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            piece = self.sock.recv(1)
            assert piece, head
            head += piece
        return head

    def say(self, opcode: int, payload: bytes) -> None:
        self.sock.sendall(encode_frame(opcode, payload, key=b"mask"))

    def rest(self) -> tuple[bytes, str]:
        """What still comes, and by what it ends."""
        data = b""
        try:
            while piece := self.sock.recv(65_536):
                data += piece
        except ConnectionResetError:
            return data, "RST"
        except ssl.SSLEOFError:
            return data, "no close_notify"
        return data, "close_notify" if isinstance(self.sock, ssl.SSLSocket) else "FIN"

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def is_reset(self) -> bool:
        """Wait for the end of TCP in both directions, and ask the kernel why."""
        poll = select.poll()
        poll.register(self.sock, 0)
        assert poll.poll(PATIENCE * 1000)
        return self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET

    def takes(self, most: int) -> int:
        """How many bytes can be sent, `most` at most, before nobody takes any for a while."""
        self.sock.settimeout(0.3)
        sent = 0
        try:
            while sent < most:
                sent += self.sock.send(bytes(65_536))
        except (TimeoutError, ssl.SSLWantWriteError):
            pass
        self.sock.settimeout(PATIENCE)
        return sent


Connect = Callable[[], Client]


@pytest.fixture
def by_tls() -> Iterator[tuple[FaultServer, Connect]]:
    """The server, and what connects to it by TLS."""
    clients: list[socket.socket] = []
    with trioecho.testing.serve(tls=True) as server:

        def connect() -> Client:
            assert server.client_context is not None
            tcp = socket.create_connection(("127.0.0.1", server.live.server.port), PATIENCE)
            clients.append(
                server.client_context.wrap_socket(
                    tcp, server_hostname="127.0.0.1", suppress_ragged_eofs=False
                )
            )
            return Client(clients[-1])

        yield server, connect
        for client in clients:
            client.close()


@pytest.fixture
def behind_nginx(tmp_path: Path) -> Iterator[tuple[FaultServer, Connect]]:
    """The server, and what connects to the proxy in front of it, which waits a second for it."""
    nginx, port = found("nginx"), free_port()
    clients: list[socket.socket] = []

    def connect() -> Client:
        clients.append(socket.create_connection(("127.0.0.1", port), PATIENCE))
        return Client(clients[-1])

    with trioecho.testing.serve() as server:
        user = "user root;" if os.geteuid() == 0 else ""
        behind = server.live.server.port
        configuration = tmp_path / "nginx.conf"
        block = SERVER.format(port=port, behind=behind)
        configuration.write_text(NGINX_AROUND_IT.format(folder=tmp_path, user=user, server=block))
        command = [nginx, "-c", str(configuration), "-e", str(tmp_path / "error.log")]
        # It listens when it goes into the background.
        subprocess.run(command, check=True, timeout=PATIENCE)
        try:
            yield server, connect
        finally:
            for client in clients:
                client.close()
            subprocess.run([*command, "-s", "stop"], check=False, timeout=PATIENCE)


def test_over_tls_fin_and_rst_stay_what_they_are(by_tls: tuple[FaultServer, Connect]) -> None:
    """A drop says close_notify first, a reset does not; Python's ssl hides it. The server tells a client's."""
    server, connect = by_tls
    dropped, reset = connect(), connect()
    assert dropped.ask("/drop?id=drop").startswith(b"HTTP/1.1 101 ")
    assert dropped.rest() == (b"", "close_notify")
    dropped.sock.close()
    assert reset.ask("/reset?id=reset").startswith(b"HTTP/1.1 101 ")
    assert reset.is_reset()
    assert reset.rest() == (b"", "no close_notify")
    for name, what in (("drop", "FIN"), ("reset", "RST")):
        first = server.seen(name, ended=True)["tcp"][0]
        assert (first["by"], first["what"]) == ("server", what)
    client = connect()
    client.ask("/echo?id=mine")
    client.reset()
    assert [each["what"] for each in server.seen("mine", ended=True)["tcp"]] == ["RST"]


def test_over_tls_a_half_open_peer_takes_nothing(by_tls: tuple[FaultServer, Connect]) -> None:
    """Neither in the server: TLS reads nothing ahead of the fault."""
    server, connect = by_tls
    for path in ("/silent", "/stall"):
        client = connect()
        client.ask(f"{path}?id={path[1:]}")
        assert client.takes(2**26) < 2**25
        assert not server.seen(path[1:])["ended"]


def test_over_tls_bad_bytes_arrive(by_tls: tuple[FaultServer, Connect]) -> None:
    """As they were sent, to the end of TCP within a frame."""
    _, connect = by_tls
    client = connect()
    client.ask("/badframe/truncated")
    assert client.rest() == (b"\x81\x64hello", "close_notify")


def test_behind_nginx_a_reset_is_a_fin(behind_nginx: tuple[FaultServer, Connect]) -> None:
    """In both directions: each connection is one of its own."""
    server, connect = behind_nginx
    for path, by_server in (("/drop", "FIN"), ("/reset", "RST")):
        client = connect()
        client.ask(f"{path}?after=1&id={path[1:]}")
        client.say(TEXT, b"hello")
        assert client.rest() == (encode_frame(TEXT, b"hello"), "FIN")
        client.sock.close()
        what = [(each["by"], each["what"]) for each in server.seen(path[1:], ended=True)["tcp"]]
        assert ("server", by_server) in what
    client = connect()
    client.ask("/echo?id=mine")
    client.reset()
    assert [each["what"] for each in server.seen("mine", ended=True)["tcp"] if each["by"] == "client"] == [
        "FIN"
    ]


def test_behind_nginx_what_hangs_ends_by_its_timeout(behind_nginx: tuple[FaultServer, Connect]) -> None:
    """A half-open peer, a Close without an answer, and a handshake without one, which is 504."""
    server, connect = behind_nginx
    silent, noclose, hanging = connect(), connect(), connect()
    silent.ask("/silent?id=silent")
    noclose.ask("/noclose")
    noclose.say(CLOSE, (1000).to_bytes(2))
    assert hanging.ask("/handshake?hang=1").startswith(b"HTTP/1.1 504 ")
    assert silent.rest() == (b"", "FIN")
    assert noclose.rest() == (b"", "FIN")
    assert [(each["by"], each["what"]) for each in server.seen("silent")["tcp"]] in ([], [("client", "FIN")])


def test_behind_nginx_a_refusal_keeps_the_connection(behind_nginx: tuple[FaultServer, Connect]) -> None:
    """Where the server ends its own: the next request comes on the same."""
    _, connect = behind_nginx
    client = connect()
    for path, status in (("/status/503", 503), ("/redirect/1", 302), ("/flaky?key=it", 503), ("/echo", 101)):
        head = client.ask(path)
        assert head.startswith(f"HTTP/1.1 {status} ".encode())
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        left = int(length or 0)
        while left:
            left -= len(client.sock.recv(left))


def test_behind_nginx_backpressure_comes_later(behind_nginx: tuple[FaultServer, Connect]) -> None:
    """Its buffers are between, yet it comes."""
    server, connect = behind_nginx
    direct = Client(socket.create_connection(("127.0.0.1", server.live.server.port), PATIENCE))
    with direct.sock:
        direct.ask("/stall")
        alone = direct.takes(2**26)
    client = connect()
    client.ask("/stall")
    assert alone < client.takes(2**26) < 2**26


def test_behind_nginx_bad_bytes_arrive(behind_nginx: tuple[FaultServer, Connect]) -> None:
    """And so do wrong answers to the handshake: it believes the status."""
    _, connect = behind_nginx
    client = connect()
    client.ask("/badframe/truncated")
    assert client.rest() == (b"\x81\x64hello", "FIN")
    client = connect()
    assert b"Sec-WebSocket-Accept: BACScCJPNqyz+UBoqMH89VmURoA=" not in client.ask("/handshake?key=wrong")
    client = connect()
    assert b"sec-websocket-accept" not in client.ask("/handshake?key=missing").lower()
    client = connect()
    client.ask("/handshake?glue=hello")
    assert client.sock.recv(100) == encode_frame(TEXT, b"hello")


def test_the_table_says_so() -> None:
    """Of these faults, and of no others."""
    told = {fault.path for fault in FAULTS if fault.changes}
    refusing = {
        "/status/{code}",
        "/redirect/{n}",
        "/flaky",
        "/auth/basic/{user}/{password}",
        "/auth/bearer/{token}",
    }
    assert told == {"/drop", "/reset", "/silent", "/noclose", "/handshake", "/slow", "/stall", *refusing}
