"""The benchmark runs, notices wrong echoes, and trioecho stays well ahead of the library it is built on."""

import base64
import hashlib
import json
import os
import select
import socket
import statistics
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import trioecho
from trioecho.hubs import Hub, HubServer, Target

pytestmark = [
    pytest.mark.skipif(not hasattr(select, "epoll"), reason="the benchmark needs Linux"),
    pytest.mark.timeout(180),
]

BENCHMARK = Path(__file__).parent

#: Bytes of the generator's default message, and of its frame with head and mask.
SIZE = 64
FRAME = SIZE + 6


#: Seconds. Takes a tenth of it where nothing else runs; the guard must not fail because a machine is busy.
PATIENCE = 170.0


def run(program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a program of the benchmark to its end."""
    command = [sys.executable, str(BENCHMARK / program), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the results of a brief run of trioecho and trio-websocket."""
    folder = tmp_path_factory.mktemp("benchmark")
    contenders = ("--contender", "trioecho", "--contender", "trio-websocket")
    loads = ("--only", "small", "--only", "pipelined")
    brief = ("--rounds", "3", "--seconds", "0.7", "--attempts", "1")
    done = run("run.py", *contenders, *loads, *brief, "--output", str(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.parametrize(("load", "margin"), [("small", 2.0), ("pipelined", 5.0)])
def test_trioecho_is_well_ahead_of_trio_websocket(reports: Path, load: str, margin: float) -> None:
    """trioecho echoes several times as many messages as trio-websocket does within the same seconds."""
    samples = json.loads((reports / "results.json").read_text())["samples"][load]
    pairs = zip(samples["trioecho"], samples["trio-websocket"], strict=True)
    assert statistics.median(ours["value"] / theirs["value"] for ours, theirs in pairs) >= margin


def test_a_run_writes_tables_and_a_chart(reports: Path) -> None:
    """A run leaves a Markdown report with its goals and a PNG beside it."""
    report = (reports / "benchmark.md").read_text()
    assert "### Goals" in report
    assert "| 50 × 16 in flight × 64 B text | trio-websocket | ≥ 15 |" in report
    assert (reports / "benchmark.png").read_bytes().startswith(b"\x89PNG")


def published(document: Path) -> str:
    """What a README has between the markers of the results."""
    _, begin, rest = document.read_text(encoding="utf-8").partition("<!-- results: begin -->\n")
    content, end, _ = rest.partition("<!-- results: end -->\n")
    assert all((begin, end)), f"{document} has no place for results"
    return content.strip()


def test_the_published_results_are_what_the_benchmark_prints(tmp_path: Path) -> None:
    """The results in the benchmark's README are those that it prints from the samples beside it: no hand's copy."""
    samples = BENCHMARK / "results.json"
    if not samples.exists():
        pytest.skip(
            "no run has been published with its samples: the figures in the README are older than --publish"
        )
    done = run("run.py", "--render", str(samples), "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    _, _, printed = (tmp_path / "benchmark.md").read_text(encoding="utf-8").partition("\n")
    assert published(BENCHMARK / "README.md") == printed.strip()


def test_publishing_replaces_the_section_and_nothing_else(tmp_path: Path) -> None:
    """`--publish` writes the tables between the markers, both charts, and every sample; the prose stays."""
    samples = {
        "trioecho": [{"value": 9000.0, "p50": 55.5}, {"value": 9100.0}],
        "trio-websocket": [None, {"value": 910.0}],
    }
    results = {
        "date": "2026-11-24 12:00 UTC",
        "machine": "a machine",
        "versions": {"Python": "3.11.7"},
        "rounds": 2,
        "seconds": 1.0,
        "failures": ["small, round 1, trio-websocket: hung up"],
        "samples": {"small": samples, "pings": {"trioecho": [{"value": 80.0}]}},
    }
    kept = tmp_path / "kept.json"
    kept.write_text(json.dumps(results))
    (tmp_path / "README.md").write_bytes((BENCHMARK / "README.md").read_bytes())
    before = published(tmp_path / "README.md")
    done = run("run.py", "--render", str(kept), "--output", str(tmp_path / "out"), "--publish", str(tmp_path))
    assert done.returncode == 0, done.stderr
    after = published(tmp_path / "README.md")
    _, _, printed = (tmp_path / "out" / "benchmark.md").read_text(encoding="utf-8").partition("\n")
    assert after == printed.strip()
    assert "| 50 connections × 1 in flight × 64 B text | trio-websocket | ≥ 4.5 | **10.00** | yes |" in after
    assert "> Failed: small, round 1, trio-websocket: hung up" in after
    assert (tmp_path / "README.md").read_text().replace(after, before) == (
        BENCHMARK / "README.md"
    ).read_text()
    assert (tmp_path / "results.json").read_bytes() == (tmp_path / "out" / "results.json").read_bytes()
    for chart in ("benchmark.png", "five.png"):
        assert (tmp_path / chart).read_bytes().startswith(b"\x89PNG")


def test_a_part_of_the_loads_is_not_published() -> None:
    """`--publish` with `--only` or `--contender` is refused before anything is measured: it would lose the others."""
    for part in (("--only", "small"), ("--contender", "trioecho")):
        done = run("run.py", "--publish", *part)
        assert done.returncode == 2
        assert "--publish is for a whole run" in done.stderr


@contextmanager
def serving(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """The port of a server in a thread that serves one connection with `serve`, which ends when the client is gone."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)

        def accept_one() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(20)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                try:
                    serve(connection)
                except (EOFError, OSError):
                    pass  # the generator has what it wanted and went away

        thread = threading.Thread(target=accept_one)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def receive(connection: socket.socket, size: int) -> bytes:
    """Exactly `size` bytes. Raises EOFError at the end of the connection."""
    data = b""
    while len(data) < size:
        received = connection.recv(size - len(data))
        if not received:
            raise EOFError
        data += received
    return data


def upgrade(connection: socket.socket, extension: str = "") -> None:
    """Read the request of a WebSocket handshake and accept it, and the extension that it offers."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += receive(connection, 1)
    key = head.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
    agreed = f"Sec-WebSocket-Extensions: {extension}\r\n".encode() if extension else b""
    assert agreed in head
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    connection.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n" + agreed + b"\r\n"
    )


def generate(port: int, **task: Any) -> "subprocess.CompletedProcess[str]":
    """Run the load generator with one connection for a moment."""
    base = {"kind": "throughput", "port": port, "server": os.getpid(), "seconds": 0.3, "connections": 1}
    return run("generator.py", json.dumps(base | task))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda frame, last: frame, ""),
        (lambda frame, last: frame[:-1] + bytes([frame[-1] ^ 1]), "wrong echo"),
        (lambda frame, last: last, "wrong echo"),
        (lambda frame, last: frame + frame, "wrong echo"),
        (lambda frame, last: b"", "hung up"),
    ],
    ids=["true", "one bit wrong", "an older message", "doubled", "nothing"],
)
def test_the_generator_notices_a_wrong_echo(change: Callable[[bytes, bytes], bytes], complaint: str) -> None:
    """The load generator fails at an echo that is not, byte for byte, what it sent."""

    def serve(connection: socket.socket) -> None:
        last = bytes(FRAME)
        for count in range(10**9):
            frame = receive(connection, FRAME)
            echo = change(frame, last) if count >= 3 else frame
            if not echo:
                return
            connection.sendall(echo)
            last = frame

    with serving(serve) as port:
        done = generate(port, protocol="tcp")
    assert done.returncode == (1 if complaint else 0), done.stderr
    assert complaint in done.stderr


def test_the_generator_answers_pings_however_the_bytes_are_cut() -> None:
    """A Ping before each echo is answered by its Pong, and the echo counts, also when every byte comes alone."""
    pongs = []

    def serve(connection: socket.socket) -> None:
        upgrade(connection)
        while True:
            frame = receive(connection, FRAME)
            mask, masked = frame[2:6], frame[6:]
            payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(masked))
            for byte in b"\x89\x03abc" + bytes([0x81, SIZE]) + payload:
                connection.sendall(bytes([byte]))
            pong = receive(connection, 9)
            pongs.append((pong[:2], bytes(byte ^ pong[2 + i % 4] for i, byte in enumerate(pong[6:]))))

    with serving(serve) as port:
        done = generate(port)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["value"] > 0
    assert pongs
    assert set(pongs) == {(b"\x8a\x83", b"abc")}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda pong: pong, ""),
        (lambda pong: b"\x89\x03abc" + pong, ""),
        (lambda pong: pong[:-1] + bytes([pong[-1] ^ 1]), "wrong echo"),
        (lambda pong: b"\x81" + pong[1:], "wrong echo"),
        (lambda pong: pong + pong, "unexpected control frame"),
    ],
    ids=["true", "behind a Ping of the server's own", "one bit wrong", "a message", "twice"],
)
def test_the_generator_notices_a_wrong_pong(change: Callable[[bytes], bytes], complaint: str) -> None:
    """Each Ping is a masked one of 4 bytes, and the load generator fails at a Pong that does not repeat them."""
    received = []

    def serve(connection: socket.socket) -> None:
        upgrade(connection)
        while True:
            opcode, length = receive(connection, 2)
            mask, masked = receive(connection, 4), receive(connection, length & 0x7F)
            payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(masked))
            received.append((opcode, length, payload))
            if opcode == 0x89:
                connection.sendall(change(bytes([0x8A, 4]) + payload))

    with serving(serve) as port:
        done = generate(port, kind="pings", seconds=1.2)
    assert done.returncode == (1 if complaint else 0), done.stderr
    assert complaint in done.stderr
    pings = [payload for opcode, length, payload in received if (opcode, length) == (0x89, 0x84)]
    assert len(set(pings)) == len(pings) > 0, "every Ping has a payload of its own"
    if not complaint:
        # One in the warm-up, and two in 1.2 seconds. Fewer where the machine is busy.
        assert len(pings) <= 3
        assert {payload for opcode, _, payload in received if opcode == 0x8A} <= {b"abc"}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda message: message, ""),
        (lambda message: b"\x89\x03abc" + message, ""),
        (lambda message: message + b"\x89\x03abc", ""),
        (lambda message: message[:-1] + bytes([message[-1] ^ 1]), "wrong echo"),
        (lambda message: message + message, "wrong echo"),
        (lambda message: b"", "hung up"),
    ],
    ids=["true", "behind a Ping", "before a Ping", "one bit wrong", "twice", "nothing"],
)
def test_the_generator_notices_a_wrong_broadcast(change: Callable[[bytes], bytes], complaint: str) -> None:
    """What is said has to come back to who said it, once, byte for byte."""

    def serve(connection: socket.socket) -> None:
        upgrade(connection)
        while True:
            opcode, length = receive(connection, 2)
            mask, masked = receive(connection, 4), receive(connection, length & 0x7F)
            if opcode == 0x81:
                payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(masked))
                broadcast = change(bytes([0x81, len(payload)]) + payload)
                if not broadcast:
                    return
                connection.sendall(broadcast)

    with serving(serve) as port:
        done = generate(port, kind="broadcasts", size=100)
    assert done.returncode == (1 if complaint else 0), done.stderr
    assert complaint in done.stderr


OFFER = "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"


def deflated_frames(message: bytes, context: "zlib._Compress", *, parts: int = 1) -> bytes:
    """A compressed message of a server, in so many frames."""
    content = (context.compress(message) + context.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff")
    size = -(-len(content) // parts)
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    frames = []
    for number, piece in enumerate(pieces):
        first = (0xC1 if number == 0 else 0) & 0x7F | (0x80 if piece is pieces[-1] else 0)
        head = (
            bytes([first, 126]) + len(piece).to_bytes(2) if len(piece) > 125 else bytes([first, len(piece)])
        )
        frames.append(head + piece)
    return b"\x89\x03abc".join(frames)


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (lambda message, context: deflated_frames(message, context), ""),
        (lambda message, context: deflated_frames(message, context, parts=3), ""),
        (lambda message, context: b"\x89\x03abc" + deflated_frames(message, context), ""),
        (lambda message, context: deflated_frames(message[:-1] + b" ", context), "wrong echo"),
        (lambda message, context: deflated_frames(message, context) * 2, "wrong echo"),
        (lambda message, context: b"\x81\x7e" + len(message).to_bytes(2) + message, "not compressed text"),
        (lambda message, context: b"\xc1\x05wrong", "cannot be inflated"),
        (lambda message, context: b"", "hung up"),
    ],
    ids=["true", "in frames", "behind a Ping", "one byte wrong", "twice", "plain", "no deflate", "nothing"],
)
def test_the_generator_notices_a_wrong_compressed_echo(
    answer: "Callable[[bytes, zlib._Compress], bytes]", complaint: str
) -> None:
    """It sends messages that are compressed each by itself, and inflates and compares the answers in their order."""
    received = []

    def serve(connection: socket.socket) -> None:
        upgrade(connection, extension=OFFER)
        context = zlib.compressobj(6, zlib.DEFLATED, -12)
        while True:
            opcode, length = receive(connection, 2)
            length &= 0x7F
            if length == 126:
                length = int.from_bytes(receive(connection, 2))
            mask, masked = receive(connection, 4), receive(connection, length)
            payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(masked))
            if opcode == 0xC1:
                # Without any context.
                message = zlib.decompressobj(-12).decompress(payload + b"\x00\x00\xff\xff")
                received.append(message)
                data = answer(message, context)
                if not data:
                    return
                connection.sendall(data)

    with serving(serve) as port:
        done = generate(port, kind="deflated", size=300, extension=OFFER)
    assert done.returncode == (1 if complaint else 0), done.stderr
    assert complaint in done.stderr
    assert {len(message) for message in received} == {300}
    assert all(json.loads(message)["type"] == "orders" for message in received)


def test_a_contender_that_declines_compression_is_noticed() -> None:
    """Its number would be that of another load."""
    with trioecho.LiveServer() as live:
        done = generate(live.server.port, kind="deflated", extension=OFFER)
    assert done.returncode == 1
    assert "did not agree on permessage-deflate" in done.stderr


@pytest.mark.parametrize("size", [200, 2**16])
def test_the_price_of_a_compressed_echo_is_the_servers_processor_time(size: int) -> None:
    """For each message, in microseconds; short and long ones, which are compressed in slices."""
    options = trioecho.WebSocketOptions(compression=True)
    with trioecho.LiveServer(options=options) as live:
        done = generate(live.server.port, kind="deflated", seconds=1.0, size=size, extension=OFFER)
    assert done.returncode == 0, done.stderr
    sample = json.loads(done.stdout)
    assert 0 < sample["value"] < 1_000_000
    (record,) = live.records
    assert record.wire_bytes_received < record.bytes_received
    assert record.wire_bytes_sent < record.bytes_sent


def test_the_price_of_a_broadcast_is_the_servers_processor_time() -> None:
    """For each client, in microseconds; who says it is one of them."""
    with trioecho.LiveServer(to_all) as live:
        done = generate(live.server.port, kind="broadcasts", seconds=1.0, idle=20, size=100)
        records = live.wait_for_records(21, timeout=20)
    assert done.returncode == 0, done.stderr
    sample = json.loads(done.stdout)
    assert 0 < sample["value"] < 1_000_000
    assert 0 < sample["p50"] <= sample["p99"]
    assert len({record.messages_sent for record in records}) == 1


async def to_all(ws: trioecho.WebSocket) -> None:
    """Send every message to all."""
    everybody.add(ws)
    async for message in ws:
        await trioecho.broadcast(everybody, message)


everybody: set[trioecho.WebSocket] = set()


def test_the_price_of_pings_is_the_servers_processor_time() -> None:
    """The value is what the server's process needed for the Pings of one second, in milliseconds."""
    with trioecho.LiveServer() as live:
        done = generate(live.server.port, kind="pings", seconds=2.0, connections=50)
    assert done.returncode == 0, done.stderr
    sample = json.loads(done.stdout)
    # The server and this test are one process, which needs more than nothing and has no more than two seconds on each
    # core.
    assert 0 < sample["value"] < 1000 * (os.cpu_count() or 1)
    assert 0 < sample["p50"] <= sample["p99"]


class Bench(Hub[Target]):
    """As the contenders' hubs."""

    async def echo(self, text: str) -> str:
        """Return it."""
        return text

    async def say(self, text: str) -> None:
        """Send it to all."""
        await self.clients.all.send("said", text)


@pytest.mark.parametrize("kind", ["throughput", "broadcasts"])
@pytest.mark.parametrize("hub", ["json", "messagepack"])
def test_the_generator_calls_a_hub_by_either_protocol(hub: str, kind: str) -> None:
    """What it sends is understood, and every result, or message to all, is the one that it expects."""
    with trioecho.LiveServer({"/ws": HubServer(Bench)}) as live:
        done = generate(live.server.port, kind=kind, hub=hub, connections=3, idle=3)
        records = live.wait_for_records(4 if kind == "broadcasts" else 3, timeout=20)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["value"] > 0
    assert all(record.messages_sent > 1 for record in records)


@pytest.mark.parametrize(
    ("greeting", "change", "complaint"),
    [
        (b"\x81\x03{}\x1e", lambda result: result, ""),
        (b"\x81\x03{}\x1e", lambda result: result.replace(b'"type":3', b'"type":2'), "wrong echo"),
        (b"\x81\x03{}\x1e", lambda result: result.replace(b"00", b"01"), "wrong echo"),
        (b"\x81\x03{}\x1e", lambda result: b"", "hung up"),
        (b"\x81\x03{} ", lambda result: result, "wrong handshake of the hub"),
    ],
    ids=["true", "of another type", "another call's", "nothing", "no handshake"],
)
def test_the_generator_notices_a_wrong_result(
    greeting: bytes, change: Callable[[bytes], bytes], complaint: str
) -> None:
    """Every byte of a result is compared, the id among them, and so is the answer to the hub's handshake."""

    def receive_message(connection: socket.socket) -> dict[str, Any]:
        _, length = receive(connection, 2)
        length = int.from_bytes(receive(connection, 2)) if length & 0x7F == 126 else length & 0x7F
        mask, masked = receive(connection, 4), receive(connection, length)
        message = bytes(byte ^ mask[i % 4] for i, byte in enumerate(masked))
        assert message[-1:] == b"\x1e"
        parsed: dict[str, Any] = json.loads(message[:-1])
        return parsed

    def serve(connection: socket.socket) -> None:
        upgrade(connection)
        assert receive_message(connection) == {"protocol": "json", "version": 1}
        connection.sendall(greeting)
        while True:
            call = receive_message(connection)
            id, [argument] = call["invocationId"].encode(), call["arguments"]
            result = b'{"type":3,"invocationId":"%b","result":"%b"}\x1e' % (id, argument.encode())
            answer = change(result)
            if not answer:
                return
            connection.sendall(bytes([0x81, len(answer)]) + answer)

    with serving(serve) as port:
        done = generate(port, hub="json")
    assert done.returncode == (1 if complaint else 0), done.stderr
    assert complaint in done.stderr
