"""What runs out, in a real process: the server survives, says so once, and goes on when there is some again."""

from __future__ import annotations

import contextlib
import http.client
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from server_process import PATIENCE, ServerProcess

from trioecho.testing import BINARY, PING, PONG, TEXT, encode_frame

Start = Callable[..., ServerProcess]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the limits are Linux's")

HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
KEY = b"\x12\x34\x56\x78"


class Client:
    """A WebSocket on a blocking socket, whose handshake has been sent, and not answered yet."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.socket.sendall(HANDSHAKE)

    def accepted(self, within: float = PATIENCE) -> bool:
        """Whether it was accepted."""
        self.socket.settimeout(within)
        head = b""
        try:
            while b"\r\n\r\n" not in head:
                data = self.socket.recv(1)
                if not data:
                    return False
                head += data
        except OSError:
            return False
        self.socket.settimeout(PATIENCE)
        return head.startswith(b"HTTP/1.1 101")

    def say(self, opcode: int, payload: bytes, *, fin: bool = True) -> None:
        self.socket.sendall(encode_frame(opcode, payload, fin=fin, key=KEY))

    def is_answered(self) -> bool:
        """Whether it has a message back."""
        self.say(TEXT, b"hello")
        return self.socket.recv(7) == encode_frame(TEXT, b"hello")

    def close(self) -> None:
        self.socket.close()


@contextlib.contextmanager
def clients(port: int) -> Iterator[Callable[[], Client]]:
    """Makes clients, which are closed in the end."""
    made: list[Client] = []

    def make() -> Client:
        made.append(Client(port))
        return made[-1]

    try:
        yield make
    finally:
        for client in made:
            client.close()


def lines_with(server: ServerProcess, text: str) -> int:
    return sum(text in line for line in server.log)


FEW = """\
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
import trioecho
# By itself it would leave some files free, and refuse what is more.
trioecho.run(port=0, options=trioecho.WebSocketOptions(max_sockets=1000))
"""


def test_too_many_open_files_keep_new_clients_waiting_and_nobody_is_lost(start_server: Start) -> None:
    """40 descriptors and 60 clients: those inside are served, the others wait, and get in when some have gone."""
    server = start_server(command=("-c", FEW))
    with clients(server.port) as make:
        neighbour = make()
        assert neighbour.accepted()
        others = [make() for _ in range(60)]
        server.wait_for_log("cannot accept connections, which wait: Too many open files; raise the limit")
        assert neighbour.is_answered()
        assert all(each.accepted() and each.is_answered() for each in others[:10])
        for each in others[:40]:
            each.close()
        assert all(each.accepted() and each.is_answered() for each in others[40:])
        time.sleep(1)  # so long nothing may fail until the lack counts as over
        assert make().accepted()
        server.wait_for_log("connections are accepted again, after ")
        assert lines_with(server, "cannot accept") == lines_with(server, "accepted again") == 1
    assert server.stop() == 0


FILES = """\
import os, resource, trioecho
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)

async def limit(request):
    soft = most
    if request.path == "/low":
        # No number is free from here on.
        soft = os.dup(0)
        os.close(soft)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, most))
    return trioecho.Response("done")

route = trioecho.HttpRoute(limit)
trioecho.run({"/low": route, "/high": route, "/{path:path}": trioecho.Files(".")}, port=0)
"""


def test_without_a_descriptor_for_a_file_the_answer_is_503_and_one_line_of_the_log(
    start_server: Start, tmp_path: Path
) -> None:
    """Not 500 with a traceback for each request; and when there is one, the file comes."""
    (tmp_path / "hello.txt").write_text("hello")
    server = start_server(command=("-c", FILES))
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)

    def ask(path: str) -> tuple[int, str | None, bytes]:
        connection.request("GET", path)
        with connection.getresponse() as response:
            return response.status, response.getheader("Retry-After"), response.read()

    with contextlib.closing(connection):
        assert ask("/hello.txt") == (200, None, b"hello")
        assert ask("/low")[0] == 200
        for _ in range(5):
            status, retry_after, _ = ask("/hello.txt")
            assert (status, retry_after) == (503, "1")
        assert ask("/high")[0] == 200
        time.sleep(1)  # so long nothing may fail until the lack counts as over
        assert ask("/hello.txt") == (200, None, b"hello")
    server.wait_for_log("files are served again, after ")
    assert lines_with(server, "cannot open files to be served: Too many open files") == 1
    assert lines_with(server, "Traceback") == 0


MEMORY = """\
import resource, sys, trioecho

with open("/proc/self/statm") as file:
    size = int(file.read().split()[0]) * resource.getpagesize()
most = size + int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_AS, (most, most))
# Its own limit would keep the server from using up this one.
options = trioecho.WebSocketOptions(max_message_size=2**24, keep_alive_interval=0, max_memory=None)
trioecho.run(port=0, options=options, log_level="warning")
"""


def test_half_messages_that_fill_the_memory_end_connections_and_not_the_server(start_server: Start) -> None:
    """40 clients with 4 MiB each and 60 MB for all: who finds no room gets 1011; later ones are as before."""
    server = start_server("60000000", command=("-c", MEMORY))
    with clients(server.port) as make:
        for heavy in [make() for _ in range(40)]:
            assert heavy.accepted()
            heavy.socket.settimeout(1)
            with contextlib.suppress(OSError):
                heavy.say(BINARY, bytes(4 << 20), fin=False)
        server.wait_for_log("error 'MemoryError")
        assert server.process.poll() is None
    with clients(server.port) as make:
        later = make()
        assert later.accepted()
        assert later.is_answered()
    assert lines_with(server, "Traceback") == lines_with(server, "the server failed at ") == 1
    assert server.stop() == 0


def test_connections_never_take_the_last_of_the_memory(start_server: Start) -> None:
    """More clients than there is memory for: the later ones wait, and come in when a part of the others has gone."""
    server = start_server("19000000", command=("-c", MEMORY))
    with clients(server.port) as make:
        neighbour = make()
        assert neighbour.accepted()
        inside: list[Client] = []
        for _ in range(900):
            each = make()
            if not each.accepted(0.5):
                break
            inside.append(each)
        else:
            pytest.fail("900 connections found room in 3 MB")
        server.wait_for_log("cannot accept connections, which wait: Cannot allocate memory")
        assert neighbour.is_answered()
        for each in inside[: len(inside) // 2]:
            each.close()
        each = make()
        assert each.accepted()
        assert each.is_answered()
    assert lines_with(server, "Traceback") == 0
    assert server.stop() == 0


JUMPING = """\
import itertools, time
moments = itertools.cycle((0, 4e8, -4e8, 3600, -3600, 1e-3))
really, really_ns = time.time, time.time_ns
time.time = lambda: really() + next(moments)
time.time_ns = lambda: really_ns() + int(next(moments) * 1e9)
import trioecho
options = trioecho.WebSocketOptions(keep_alive_interval=0.2, keep_alive_timeout=5, idle_timeout=30)
trioecho.run(port=0, options=options)
"""


def test_a_wall_clock_that_jumps_ends_nothing_and_begins_nothing(start_server: Start) -> None:
    """By years, there and back, each time it is looked at: only what is told of the time of day is wrong."""
    server = start_server(command=("-c", JUMPING))
    with clients(server.port) as make:
        client = make()
        assert client.accepted()
        for _ in range(3):
            # A Ping after each interval, and nothing else.
            head = client.socket.recv(2)
            assert head[0] == 0x80 | PING
            client.say(PONG, client.socket.recv(head[1]))
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
            with contextlib.closing(connection):
                connection.request("GET", "/healthz")
                assert connection.getresponse().status == 200
    line = server.wait_for_log("peer vanished")
    duration = float(line.rpartition(" s;")[0].rpartition(" ")[2])
    assert 0.5 < duration < PATIENCE
    assert server.stop() == 0
