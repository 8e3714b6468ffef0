"""The attacks are what they say, byte for byte, and `run.py` measures each of them on a server."""

from __future__ import annotations

import ctypes.util
import json
import re
import select
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import Frame, FrameProtocol, Opcode

pytestmark = [
    pytest.mark.skipif(not hasattr(select, "epoll"), reason="the attacks need Linux"),
    pytest.mark.timeout(180),
]

ATTACKS = Path(__file__).parent

PATIENCE = 170.0
"""Seconds after which a test gives up. Nothing is measured with it."""

MOST = 2**22
"""Bytes of one connection that are kept; then no more are read."""

UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"

ECHO = b"\x81\x01a"

CARRY_OUT = """
import dataclasses, json, sys, threading
attacks, benchmark, seconds, ports = sys.argv[1:]
sys.path[:0] = [attacks, benchmark]
from catalogue import ATTACKS
from target import Target

def carry_out(attack, port):
    target = Target(port, 1, float(seconds), ("127.0.1.1",), sys.argv[0])
    tallies[attack.name] = dataclasses.asdict(attack.carry_out(target)) | {"failures": []}

tallies = {}
ports = json.loads(ports)
threads = [
    threading.Thread(target=carry_out, args=(attack, ports[attack.name]))
    for attack in ATTACKS
    if attack.name in ports
]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps(tallies))
"""


class Recorder(threading.Thread):
    """A server that keeps what is sent on each connection, one after the other, and answers with little.

    A request that begins with GET gets a 101, and what comes behind it one echo; a TLS record gets the first byte of
    another. `ended` are the ends that clients made, by name of the error.
    """

    def __init__(self) -> None:
        super().__init__()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(0.05)
        self.port = self.listener.getsockname()[1]
        self.connections: list[bytes] = []
        self.ended: list[str] = []
        self.over = threading.Event()

    def run(self) -> None:
        with self.listener:
            while not self.over.is_set():
                try:
                    connection, _ = self.listener.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.settimeout(0.05)
                    self.connections.append(b"")
                    try:
                        self.record(connection)
                    except OSError as failure:
                        self.ended.append(type(failure).__name__)

    def record(self, connection: socket.socket) -> None:
        answers = [UPGRADED, ECHO]
        while not self.over.is_set():
            if len(self.connections[-1]) >= MOST:
                self.over.wait(0.05)
                continue
            try:
                data = connection.recv(2**18)
            except TimeoutError:
                continue
            if not data:
                self.ended.append("FIN")
                return
            self.connections[-1] += data
            whole = self.connections[-1]
            if whole.startswith(b"GET ") and b"\r\n\r\n" in whole and answers:
                connection.sendall(answers.pop(0))
            elif whole.startswith(b"\x16") and whole_record(whole):
                connection.sendall(b"\x16")


def whole_record(data: bytes) -> bool:
    """Whether a TLS record is complete (RFC 8446, section 5.1)."""
    return len(data) >= 5 + int.from_bytes(data[3:5])


RECORDED = [
    "pongs",
    "pings",
    "sparse-pings",
    "empty-fragments",
    "byte-fragments",
    "empty-messages",
    "unread-echoes-100",
    "unread-echoes-300",
    "half-messages",
    "half-fragmented",
    "unread-megabytes",
    "bombs-taken",
    "bombs-too-large",
    "silence",
    "descriptors",
    "resets",
    "unread-log",
    "header-fields",
    "long-targets",
    "percent-signs",
    "subprotocols",
    "half-hellos",
    "hellos",
    "slow-heads",
    "slow-bodies",
    "pipelined",
    "ranges",
]
"""All attacks but those that need a true server of TLS."""


@pytest.fixture(scope="module")
def recorded() -> Iterator[tuple[dict[str, Recorder], dict[str, Any]]]:
    """What each attack sends to a recorder of its own from one connection, and its tally."""
    recorders = {name: Recorder() for name in RECORDED}
    for recorder in recorders.values():
        recorder.start()
    try:
        tallies = carried_out({name: recorder.port for name, recorder in recorders.items()}, seconds=1.5)
    finally:
        for recorder in recorders.values():
            recorder.over.set()
        for recorder in recorders.values():
            recorder.join()
    return recorders, tallies


def carried_out(ports: dict[str, int], *, seconds: float) -> dict[str, Any]:
    """The tallies of attacks on `ports`, all at once."""
    arguments = [str(ATTACKS), str(ATTACKS.parent / "benchmark"), str(seconds), json.dumps(ports)]
    command = [sys.executable, "-c", CARRY_OUT, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    tallies: dict[str, Any] = json.loads(done.stdout)
    return tallies


def frames(sent: bytes, most: int = MOST) -> list[Frame]:
    """The frames of a client, as wsproto reads them, in the first `most` bytes behind its handshake."""
    head, _, rest = sent.partition(b"\r\n\r\n")
    extension = PerMessageDeflate()
    extension.accept("permessage-deflate; server_max_window_bits=12; client_max_window_bits=12")
    protocol = FrameProtocol(client=False, extensions=[extension] if b"permessage-deflate" in head else [])
    protocol.receive_bytes(rest[:most])
    return list(protocol.received_frames())


def texts(found: list[Frame]) -> bytes:
    """The text that frames hold up to the first end of a message, as UTF-8."""
    text = ""
    for frame in found:
        text += frame.payload
        if frame.message_finished:
            break
    return text.encode()


Check = Callable[[list[Frame]], bool]

FLOODS: dict[str, Check] = {
    "pongs": lambda found: all(each.opcode is Opcode.PONG and not each.payload for each in found),
    "pings": lambda found: all(each.opcode is Opcode.PING and not each.payload for each in found),
    "empty-fragments": lambda found: not any(each.payload or each.message_finished for each in found),
    "byte-fragments": lambda found: not any(each.payload != "a" or each.message_finished for each in found),
    "empty-messages": lambda found: all(not each.payload and each.message_finished for each in found),
    "unread-echoes-100": lambda found: all(each.payload == "a" and each.message_finished for each in found),
    "unread-echoes-300": lambda found: all(each.payload == "a" and each.message_finished for each in found),
}

Recorded = tuple[dict[str, Recorder], dict[str, Any]]


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_is_of_the_frames_that_it_says(name: str, recorded: Recorded) -> None:
    """Thousands of them, valid and masked, on the first connection."""
    found = frames(recorded[0][name].connections[0], 30_000)
    assert len(found) > 2000
    assert FLOODS[name](found)


def test_sparse_pings_are_a_second_apart(recorded: Recorded) -> None:
    """One connection sends one or two in 1.5 seconds."""
    found = frames(recorded[0]["sparse-pings"].connections[0])
    assert 1 <= len(found) <= 2
    assert {(each.opcode, bytes(each.payload)) for each in found} == {(Opcode.PING, b"wake")}


@pytest.mark.parametrize(("name", "least"), [("half-messages", 2**20 - 1), ("half-fragmented", 2**20 - 8192)])
def test_a_half_message_does_not_end(name: str, least: int, recorded: Recorded) -> None:
    """It has nearly all of its bytes, among them those of an emoji, and the connection stays as it is."""
    found = frames(recorded[0][name].connections[0])
    assert not any(each.message_finished for each in found)
    assert least <= len(texts(found)) < 2**20
    assert "🐘" in texts(found).decode()
    assert len(recorded[0][name].connections) == 1


def test_megabytes_are_whole_messages(recorded: Recorded) -> None:
    """Of exactly 1 MiB."""
    assert len(texts(frames(recorded[0]["unread-megabytes"].connections[0]))) == 2**20


@pytest.mark.parametrize(("name", "size"), [("bombs-taken", 2**21 - 1), ("bombs-too-large", 2**26)])
def test_a_bomb_inflates_a_thousandfold(name: str, size: int, recorded: Recorded) -> None:
    """To the size that it says."""
    sent = recorded[0][name].connections[0]
    assert sent.partition(b"\r\n\r\n")[2][:1] == b"\xc2"
    first = frames(sent, size // 900)[0]
    assert first.message_finished
    assert len(first.payload) == size


@pytest.mark.parametrize(
    "name", ["unread-echoes-100", "unread-echoes-300", "unread-megabytes", "bombs-taken", "pipelined"]
)
def test_who_does_not_read_does_not(name: str, recorded: Recorded) -> None:
    """Nothing but the answer to the handshake is read of what the recorder sends."""
    recorders, tallies = recorded
    assert tallies[name]["received"] == (0 if name == "pipelined" else len(UPGRADED))
    assert recorders[name].connections


@pytest.mark.parametrize("name", ["pongs", "empty-messages", "bombs-too-large", "ranges"])
def test_who_reads_does(name: str, recorded: Recorded) -> None:
    """The answer, and the echo behind it."""
    assert recorded[1][name]["received"] == len(UPGRADED + ECHO)


@pytest.mark.parametrize("name", ["silence", "descriptors"])
def test_silence_is_a_connection_without_a_byte(name: str, recorded: Recorded) -> None:
    """It stays for as long as it may."""
    assert recorded[0][name].connections == [b""]


@pytest.mark.parametrize(
    "name",
    ["resets", "unread-log", "header-fields", "long-targets", "percent-signs", "subprotocols", "hellos"],
)
def test_who_hangs_up_comes_again(name: str, recorded: Recorded) -> None:
    """As soon as there is an answer, with a reset, and says the same each time."""
    recorder, tally = recorded[0][name], recorded[1][name]
    assert len(recorder.connections) > 2
    assert set(recorder.ended) == {"ConnectionResetError"}
    assert len(set(recorder.connections[:-1])) == 1
    assert tally["got_through"] >= len(recorder.connections) - 2


@pytest.mark.parametrize(
    ("name", "least"),
    [("header-fields", 90), ("long-targets", 8000), ("percent-signs", 2600), ("subprotocols", 900)],
)
def test_a_handshake_has_much_of_what_it_says(name: str, least: int, recorded: Recorded) -> None:
    """And is valid but for that, and below what servers refuse without a look."""
    request = recorded[0][name].connections[0]
    line, *fields = request.removesuffix(b"\r\n\r\n").split(b"\r\n")
    offered = next((each for each in fields if each.startswith(b"Sec-WebSocket-Protocol: ")), b"")
    assert {
        "header-fields": len(fields),
        "long-targets": len(line),
        "percent-signs": line.count(b"%"),
        "subprotocols": offered.count(b",") + 1,
    }[name] >= least
    assert b"Upgrade: websocket" in fields
    assert len(request) < 9000


def test_hellos_are_whole_and_half(recorded: Recorded) -> None:
    """The first message of a TLS handshake, and the first half of one, with no more behind it."""
    whole, half = (recorded[0][name].connections[0] for name in ("hellos", "half-hellos"))
    assert whole_record(whole)
    assert half[:1] == b"\x16"
    assert not whole_record(half)
    assert len(half) > 100


def test_slow_requests_never_end(recorded: Recorded) -> None:
    """A head without its end, a body without its last byte; a little more of both comes after a while."""
    head, body = (recorded[0][name].connections[0] for name in ("slow-heads", "slow-bodies"))
    assert head.startswith(b"GET /ws HTTP/1.1\r\n")
    assert b"\r\n\r\n" not in head
    assert 1 <= head.count(b"X-a: b\r\n") <= 8
    begin, _, rest = body.partition(b"\r\n\r\n")
    assert b"Content-Length: 1000000" in begin
    assert 1 <= len(rest) <= 8


def test_pipelined_requests_are_many(recorded: Recorded) -> None:
    """For a file, and for a thousand ranges of it."""
    whole, ranges = (recorded[0][name].connections[0] for name in ("pipelined", "ranges"))
    assert whole.count(b"GET /files/file.bin HTTP/1.1\r\n") > 500
    first = ranges.partition(b"\r\n\r\n")[0]
    assert first.partition(b"Range: bytes=")[2].count(b",") == 999
    assert ranges.count(b"GET ") > 5


@pytest.mark.skipif(ctypes.util.find_library("ssl") is None, reason="OpenSSL is not there as a library")
def test_key_updates_are_what_the_server_gets() -> None:
    """Many on one connection, each of which asks for one in return."""
    asked: list[int] = []

    def noticed(_: object, direction: str, __: object, ___: object, kind: object, data: bytes) -> None:
        if direction == "read" and getattr(kind, "name", "") == "KEY_UPDATE":
            asked.append(data[-1])

    def serve() -> None:
        connection, _ = listener.accept()
        try:
            with context.wrap_socket(connection, server_side=True) as tls:
                while tls.recv(4096):
                    tls.sendall(UPGRADED)
        except OSError:
            pass  # the reset at the end

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    context._msg_callback = noticed  # type: ignore[attr-defined]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        server = threading.Thread(target=serve)
        server.start()
        tallies = carried_out({"key-updates": listener.getsockname()[1]}, seconds=0.5)
        server.join(PATIENCE)
    assert tallies["key-updates"]["got_through"] == 1
    assert len(asked) > 50
    assert set(asked) == {1}


def test_results_go_into_the_readme_and_are_judged(tmp_path: Path) -> None:
    """`--publish` replaces what is between the markers; a budget that is too small is missed."""
    before = (ATTACKS / "README.md").read_text(encoding="utf-8")
    (tmp_path / "README.md").write_text(before, encoding="utf-8")
    # A server without such a limit holds what it is sent.
    brief = (
        "--contender",
        "websockets-asyncio",
        "--only",
        "half-messages",
        "--seconds",
        "0.3",
        "--connections",
        "20",
    )
    told = ("--budget", "1", "--markdown", "--publish", str(tmp_path))
    command = [sys.executable, str(ATTACKS / "run.py"), *brief, *told]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    begin, end = "<!-- results: begin -->\n", "<!-- results: end -->\n"
    after = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert after.partition(begin)[0] == before.partition(begin)[0]
    assert after.partition(begin)[2].partition(end)[0].strip() == done.stdout.strip()
    assert "| attack (connections) | websockets, asyncio |" in done.stdout
    assert "### Holds of memory" in done.stdout
    assert re.search(r"^\| half-messages \|.*memory.* \|$", done.stdout, re.MULTILINE)


def test_a_run_measures_every_attack(tmp_path: Path) -> None:
    """On trioecho, briefly and with few connections: all get through, and the neighbour is served meanwhile."""
    brief = ("--contender", "trioecho", "--seconds", "0.2", "--connections", "5", "--reuse")
    figures = tmp_path / "figures.json"
    command = [sys.executable, str(ATTACKS / "run.py"), *brief, "--json", str(figures)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    found: dict[str, Any] = json.loads(figures.read_text()) if figures.exists() else {}
    without_library = {"key-updates"} if ctypes.util.find_library("ssl") is None else set()
    assert {name for name, each in found.items() if each["trioecho"] is None} <= without_library, done.stderr
    assert set(found) == {*RECORDED, "idle-tls", "key-updates"}
    for name, each in found.items():
        came = each["trioecho"]
        if came is None:
            continue
        attackers = came["attackers"]
        assert attackers["opened"] >= 5, name
        assert attackers["got_through"] >= 1, (name, attackers)
        assert attackers["sent"] > 0 or name in ("silence", "descriptors", "idle-tls"), name
        # A server that waits for the reader of its log answers nobody: that is what this attack shows.
        assert came["messages"] > came["unanswered"] or name == "unread-log", (name, came)
        assert not came["dropped"], (name, came)
        assert not came["died"], name
        assert 0 < came["rest"] <= came["peak"], name
        assert 0 < came["quiet"]["median"] <= came["quiet"]["worst"], name
    assert all(f"\n{name} " in done.stdout for name in found)
