"""One server as a process: the certificate that is read anew, and what a supervisor has it do."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trustme
from command_line import close_code_seen
from server_process import PATIENCE, ServerProcess
from websockets.sync.client import connect

from trioecho._process.process import who_is_left
from trioecho._process.worker_process import ROLE
from trioecho._server.draining import Steps

Start = Callable[..., ServerProcess]

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this platform has no SIGHUP")


class Certificate:
    """Files that a server was started with, and what its clients see of them."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.cert, self.key = folder / "cert.pem", folder / "key.pem"
        self.issue()

    def issue(self) -> None:
        """Write another certificate."""
        issued = self.authority.issue_cert("127.0.0.1")
        issued.private_key_pem.write_to_path(self.key)
        self.cert.write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))

    @property
    def options(self) -> tuple[str, ...]:
        return ("--tls-cert", str(self.cert), "--tls-key", str(self.key))

    @property
    def trust(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.authority.configure_trust(context)
        return context

    def seen(self, server: ServerProcess) -> bytes:
        """What a new client is shown."""
        plain = socket.create_connection(("127.0.0.1", server.port), PATIENCE)
        with self.trust.wrap_socket(plain, server_hostname="127.0.0.1") as encrypted:
            found = encrypted.getpeercert(binary_form=True)
        assert found is not None
        return found


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return Certificate(tmp_path)


def test_a_hangup_reads_the_certificate_anew(start_server: Start, certificate: Certificate) -> None:
    """New handshakes get the new one; an open connection stays, on the old one."""
    server = start_server(*certificate.options)
    first = certificate.seen(server)
    with connect(server.websocket_url, proxy=None, ssl=certificate.trust) as ws:
        certificate.issue()
        assert certificate.seen(server) == first
        server.signal(signal.SIGHUP)
        server.wait_for_log("the certificate was read anew, for connections from now on")
        assert certificate.seen(server) != first
        ws.send("still here")
        assert ws.recv(PATIENCE) == "still here"
    assert server.stop() == 0


def break_it(files: Certificate) -> str:
    files.cert.write_text("no certificate")
    return "cannot use"


def remove_it(files: Certificate) -> str:
    files.cert.unlink()
    return "cannot read"


def forget_the_key(files: Certificate) -> str:
    key = files.key.read_bytes()
    files.issue()
    files.key.write_bytes(key)
    return "cannot use"


@pytest.mark.parametrize("change", [break_it, remove_it, forget_the_key])
def test_a_certificate_that_is_no_good_is_not_used(
    start_server: Start, certificate: Certificate, change: Callable[[Certificate], str]
) -> None:
    """One line says why, and the old one stays, until there is one that is better."""
    server = start_server(*certificate.options)
    first = certificate.seen(server)
    complaint = change(certificate)
    server.signal(signal.SIGHUP)
    line = server.wait_for_log("the certificate stays as it was")
    assert " ERROR " in line
    assert complaint in line
    assert certificate.seen(server) == first
    certificate.issue()
    server.signal(signal.SIGHUP)
    server.wait_for_log("read anew")
    assert certificate.seen(server) != first


def test_two_signals_of_other_kinds_still_stop_at_once(start_server: Start, certificate: Certificate) -> None:
    """SIGHUP is none of them any more."""
    server = start_server(*certificate.options)
    for _ in range(3):
        server.signal(signal.SIGHUP)
    server.wait_for_log("read anew")
    assert server.stop() == 0


# As a worker.


class Supervised:
    """A server that is a worker, and the supervisor's end of its channel."""

    def __init__(self, start_server: Start, *arguments: str) -> None:
        self.ours, theirs = socket.socketpair()
        self.ours.settimeout(PATIENCE)
        self.file = self.ours.makefile("rw", encoding="utf-8")
        with theirs, closing(socket.create_server(("127.0.0.1", 0))) as listening:
            self.port = listening.getsockname()[1]
            self.inode = os.fstat(listening.fileno()).st_ino
            role = {"number": 0, "control": theirs.fileno(), "listen": [listening.fileno()]}
            theirs.set_inheritable(True)
            listening.set_inheritable(True)
            # Its first line is none: what it has to say it says here.
            self.server = start_server(
                *arguments, env={ROLE: json.dumps(role)}, close_fds=False, reads_banner=False
            )
        self.told = self.hear()

    def hear(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.file.readline())
        return found

    def say(self, **order: object) -> None:
        self.file.write(json.dumps(order) + "\n")
        self.file.flush()

    def close(self) -> None:
        self.file.close()
        self.ours.close()


@pytest.fixture
def supervised(start_server: Start) -> Iterator[Callable[..., Supervised]]:
    started: list[Supervised] = []

    def start(*arguments: str) -> Supervised:
        started.append(Supervised(start_server, *arguments))
        return started[-1]

    yield start
    for each in started:
        each.close()


Supervise = Callable[..., Supervised]


def client(worker: Supervised) -> Any:
    return connect(f"ws://127.0.0.1:{worker.port}/ws", proxy=None, close_timeout=PATIENCE)


def test_a_worker_tells_its_supervisor_that_it_is_ready_and_its_figures(supervised: Supervise) -> None:
    """It accepts by then; standard output gets nothing."""
    worker = supervised()
    pid = worker.server.process.pid
    url = f"http://127.0.0.1:{worker.port}"
    assert worker.told["ready"]["pid"] == pid
    assert worker.told["ready"]["url"] == url
    assert worker.told["lines"] == [
        f"trioecho serves {url} and ws://127.0.0.1:{worker.port}/ws (Ctrl-C stops it)"
    ]
    with client(worker):
        worker.say(do="figures", number=7)
        answer = worker.hear()
        assert answer["answer"] == 7
        assert answer["figures"]["connections_open"] == 1


@pytest.mark.parametrize(
    ("order", "code"), [("stop", 1001), ("leave", 1001), ("hand over", 1012), ("abort", 1001), (None, 1001)]
)
def test_a_worker_does_what_it_is_told(supervised: Supervise, order: str | None, code: int) -> None:
    """One whose supervisor is gone, as after SIGKILL, stops by itself."""
    worker = supervised()
    with client(worker) as ws:
        ws.send("hello")
        assert ws.recv(PATIENCE) == "hello"
        if order is None:
            worker.close()
        else:
            worker.say(do=order)
        assert close_code_seen(ws)[0] == code
    assert worker.server.wait() == 0
    if order is None:
        assert "the supervisor is gone" in worker.server.wait_for_log("supervisor")


def test_signals_from_a_terminal_are_the_supervisors(supervised: Supervise) -> None:
    """Ctrl-C does nothing here; SIGTERM, which somebody has sent to this process, stops it."""
    worker = supervised()
    worker.server.signal(signal.SIGINT)
    worker.server.signal(signal.SIGHUP)
    worker.say(do="figures", number=1)
    assert worker.hear()["answer"] == 1
    assert worker.server.stop() == 0


def test_a_worker_keeps_no_socket_that_it_was_started_with(supervised: Supervise) -> None:
    """When it stops accepting, nobody waits at a socket at which nobody accepts."""
    worker = supervised()
    files = [os.readlink(each) for each in Path(f"/proc/{worker.server.process.pid}/fd").iterdir()]
    assert files.count(f"socket:[{worker.inode}]") == 1


# What the log says.

SECOND = "a second signal stops at once"


@pytest.mark.parametrize(
    ("connections", "steps", "said"),
    [
        (0, Steps(10), "no connection is open"),
        (1, Steps(10), "1 connection gets 10 s to finish; a second signal stops at once"),
        (2, Steps(0.5), "2 connections get 0.5 s to finish; a second signal stops at once"),
        (
            2,
            Steps(10, delay=5, window=20),
            f"not ready for 5 s; then 2 connections, told over 20 s, get 10 s each to finish; {SECOND}",
        ),
        (
            2,
            Steps(10, window=20),
            f"2 connections, told over 20 s, get 10 s each to finish; {SECOND}",
        ),
        (0, Steps(10, delay=5), "not ready for 5 s; no connection is open; a second signal stops at once"),
    ],
)
def test_the_beginning_of_a_stop_says_who_is_left(connections: int, steps: Steps, said: str) -> None:
    assert who_is_left(connections, steps) == said
