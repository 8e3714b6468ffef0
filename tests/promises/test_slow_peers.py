"""Peers that take bytes slowly, stop taking them, or lose their cable: progress decides, not the clock alone."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from serving import certificates, pass_time, plain_tcp, serving, someone_else_is_served, until
from serving import slow_clock as slow_clock
from serving import way_of_reading as way_of_reading

import trioecho
from trioecho.testing import BINARY, RawClient

Clock = trio.testing.MockClock

SOON = 30.0
"""Seconds that are far more than anything here takes, and far less than what it must not wait for."""

MUCH = 12_000_000
"""Bytes: more than the kernel holds for a `narrow` client."""


@contextlib.asynccontextmanager
async def narrow(server: trioecho.Server, path: str = "/ws") -> AsyncIterator[RawClient]:
    """A client whose kernel takes little that it does not read, so that what it reads is seen at the other end."""
    sock = trio.socket.socket()
    sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 65_536)
    await sock.connect(("127.0.0.1", server.port))
    stream: trio.abc.Stream = trio.SocketStream(sock)
    if server.url.startswith("https:"):
        stream = trio.SSLStream(stream, certificates()[1], server_hostname="127.0.0.1")
    client = RawClient(stream)
    try:
        await client.handshake(path)
        if path == "/much":
            # What is sent for it comes when the handshake is done, so that `read` sees all of it.
            await client.send("go")
        yield client
    finally:
        await trio.aclose_forcefully(stream)


async def read(client: RawClient, size: int) -> int:
    """Read about `size` bytes from the stream, whatever they are; fewer at its end."""
    got = 0
    while got < size:
        piece = await client.stream.receive_some(size - got)
        if not piece:
            break
        got += len(piece)
    return got


async def read_steadily(client: RawClient, seconds: float, clock: Clock) -> int:
    """Take 100,000 bytes twenty times a second, for so long; returns how many came."""
    got = 0
    for _ in range(round(seconds * 20)):
        piece = await read(client, 100_000)
        assert piece == 100_000, f"the server hung up after {got + piece} bytes"
        got += piece
        clock.jump(0.05)
        await trio.testing.wait_all_tasks_blocked()
    return got


async def push(client: RawClient, data: bytes) -> None:
    """Send `data` again and again until nobody takes it any more."""
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while True:
            await client.stream.send_all(data)


async def send_much(ws: trioecho.WebSocket) -> None:
    """One message that is more than the kernel holds."""
    await ws.receive()
    await ws.send(bytes(MUCH))


async def send_much_and_listen(ws: trioecho.WebSocket) -> None:
    """The same, and wait for a message."""
    await ws.receive()
    await ws.send(bytes(MUCH))
    await ws.receive()


async def send_without_end(ws: trioecho.WebSocket) -> None:
    """Messages of a megabyte: the third or so waits in `send`."""
    while True:
        await ws.send(bytes(1_000_000))


# Those who do not read.


async def test_who_sends_and_never_reads_is_dropped_after_send_timeout(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its echoes fill the kernel; when nothing has moved for send_timeout, that is the end, and a warning."""
    options = {"send_timeout": 0.3, "close_timeout": 100, "answer_timeout": 100}
    async with serving(**options) as server, narrow(server) as client, trio.open_nursery() as nursery:
        nursery.start_soon(push, client, client.frame(BINARY, bytes(100_000)))
        with trio.fail_after(SOON):
            await until(lambda: server.records)
        (record,) = server.records
        await someone_else_is_served(server)
        nursery.cancel_scope.cancel()
    assert (record.cause, record.closed_first, record.clean) == ("send timeout", "server", False)
    # There was no room for a Close.
    assert (record.code_sent, record.reason_sent) == (None, None)
    (entry,) = [entry for entry in caplog.records if getattr(entry, "record", None) is record]
    assert (entry.levelno, entry.exc_info) == (logging.WARNING, None)


@pytest.mark.parametrize("handler", [send_much_and_listen, send_without_end])
async def test_a_handler_learns_that_nobody_reads_what_it_sends(handler: trioecho.Handler) -> None:
    """Whether it waits in send or for a message: its connection ends send_timeout after the last progress."""
    ended = trio.Event()

    async def watched(ws: trioecho.WebSocket) -> None:
        try:
            await handler(ws)
        finally:
            ended.set()

    handlers = {"/ws": trioecho.echo, "/much": watched}
    options = {"send_timeout": 0.3, "close_timeout": 100, "answer_timeout": 100}
    async with serving(handlers, **options) as server, narrow(server, "/much"):
        with trio.fail_after(SOON):
            await ended.wait()
            await until(lambda: server.records)
        (record,) = server.records
        await someone_else_is_served(server)
    assert (record.cause, record.clean) == ("send timeout", False)


# Those who read slowly.


async def test_who_takes_some_bytes_now_and_then_is_not_dropped(slow_clock: Clock) -> None:
    """For three times send_timeout it takes a little at a time; then it reads the rest, and all is there."""
    handlers = {"/ws": trioecho.echo, "/much": send_much_and_listen}
    async with serving(handlers, send_timeout=0.5) as server, narrow(server, "/much") as client:
        got = await read_steadily(client, 1.5, slow_clock)
        assert got < MUCH / 2, "this was no slow reader"
        assert not server.records
        # The frame has a header of 10 bytes.
        assert got + await read(client, MUCH + 10 - got) == MUCH + 10
        await client.close(4000)
        assert await client.receive_close() == (4000, "")
        await until(lambda: server.records)
        (record,) = server.records
    assert (record.cause, record.clean) == ("peer closed", True)


async def test_who_reads_slowly_is_not_cut_off_when_the_handler_has_returned(slow_clock: Clock) -> None:
    """Neither by close_timeout nor by send_timeout, both of which are shorter than it reads."""
    handlers = {"/ws": trioecho.echo, "/much": send_much}
    options = {"send_timeout": 0.5, "close_timeout": 0.5}
    async with serving(handlers, **options) as server, narrow(server, "/much") as client:
        got = await read_steadily(client, 1.5, slow_clock)
        assert got < MUCH / 2, "this was no slow reader"
        assert got + await read(client, MUCH + 10 - got) == MUCH + 10
        assert await client.receive_close() == (1000, "")
        await client.close()
        await until(lambda: server.records)
        (record,) = server.records
    assert (record.cause, record.clean, record.messages_sent) == ("handler returned", True, 1)


async def test_who_reads_slowly_is_not_cut_off_by_a_close_of_ours(slow_clock: Clock) -> None:
    """aclose by another task, behind megabytes: close_timeout counts from the last of them."""
    sent = trio.Event()

    async def handler(ws: trioecho.WebSocket) -> None:
        await ws.receive()
        await ws.send(bytes(MUCH))
        ws.nursery.start_soon(ws.aclose, 4000, "that is all")
        sent.set()
        await trio.sleep_forever()

    handlers = {"/ws": trioecho.echo, "/much": handler}
    options = {"send_timeout": 0.5, "close_timeout": 0.5}
    async with serving(handlers, **options) as server, narrow(server, "/much") as client:
        await sent.wait()
        got = await read_steadily(client, 1.5, slow_clock)
        assert got + await read(client, MUCH + 10 - got) == MUCH + 10
        assert await client.receive_close() == (4000, "that is all")
        await client.close(4000)
        await pass_time(slow_clock, SOON, until=lambda: server.records)
        (record,) = server.records
    assert (record.cause, record.code_received, record.clean) == ("application closed", 4000, True)


async def test_who_stops_reading_is_cut_off_though_the_handler_has_returned(slow_clock: Clock) -> None:
    """After send_timeout without progress, however long close_timeout is."""
    handlers = {"/ws": trioecho.echo, "/much": send_much}
    options = {"send_timeout": 0.3, "close_timeout": 100}
    async with serving(handlers, **options) as server, narrow(server, "/much") as client:
        await read_steadily(client, 0.5, slow_clock)
        assert not server.records
        await pass_time(slow_clock, SOON, until=lambda: server.records)
        (record,) = server.records
        await someone_else_is_served(server)
        # What the kernel still holds, and then the end of TCP.
        with contextlib.suppress(trio.BrokenResourceError):
            assert await read(client, MUCH) < MUCH
    assert (record.code_sent, record.clean) == (None, False)


# Shielded sends.


async def insist(ws: trioecho.WebSocket) -> None:
    """A handler that cannot be cancelled while it sends."""
    with trio.CancelScope(shield=True):
        while True:
            await ws.send(bytes(1_000_000))


@pytest.mark.parametrize("how", ["abort", "stop"])
async def test_a_shielded_send_cannot_hold_the_server(how: str) -> None:
    """abort ends it at once, stop at the latest after its timeout and close_timeout, although nobody reads."""
    close_timeout = 100.0 if how == "abort" else 0.3
    options = {"close_timeout": close_timeout, "send_timeout": 100, "keep_alive_interval": 0}
    async with serving(insist, **options) as server, narrow(server):
        (ws,) = server.connections
        before = -1
        while ws.record.messages_sent != before:
            before = ws.record.messages_sent
            await trio.testing.wait_all_tasks_blocked(0.1)
        if how == "abort":
            server.abort()
        else:
            server.stop(timeout=0.2)
        with trio.fail_after(SOON):
            await until(lambda: server.records)
        (record,) = server.records
    assert record.cause == ("server aborted" if how == "abort" else "server stopping")
    assert not record.clean


# Cables that are pulled. A server and its client, each in a network namespace of its own.

IN_ITS_NAMESPACE = """
import dataclasses, json, sys
import trio
import trioecho
from trioecho.testing import BINARY, RawClient
import serving

def say(**what):
    print(json.dumps(what), flush=True)

async def server(way, handler):
    serving.Poller.available = way == "poller"
    options = trioecho.WebSocketOptions(
        keep_alive_interval=2, keep_alive_timeout=2, {options}
    )
    async def slow(ws):
        await trio.sleep_forever()
    async with trio.open_nursery() as nursery:
        async def serve(task_status):
            await trioecho.serve({{"slow": slow, "echo": trioecho.echo}}[handler], host="10.111.0.1", port=0,
                                 options=options, task_status=task_status)
        running = await nursery.start(serve)
        say(port=running.port)
        while not running.records:
            await trio.sleep(0.01)
        say(record=running.records[0].as_dict())
        nursery.cancel_scope.cancel()

async def client(port):
    peer = RawClient(await trio.open_tcp_stream("10.111.0.1", int(port)))
    await peer.handshake()
    frame = peer.frame(BINARY, bytes(10_000))
    while True:
        with trio.move_on_after(0.5) as scope:
            await peer.stream.send_all(frame)
        if scope.cancelled_caught:
            break
    say(full=True)
    await trio.sleep_forever()

trio.run(globals()[sys.argv[1]], *sys.argv[2:])
"""


class Cable:
    """Two network namespaces, and a veth pair between them."""

    def __init__(self, name: str) -> None:
        self.server, self.client = f"{name}-s", f"{name}-c"

    def plug_in(self) -> None:
        for namespace in (self.server, self.client):
            self._ip("netns", "add", namespace)
        self._ip(
            *("-n", self.server, "link", "add", "veth0", "type", "veth"),
            *("peer", "name", "veth0", "netns", self.client),
        )
        for namespace, address in ((self.server, "10.111.0.1/24"), (self.client, "10.111.0.2/24")):
            self._ip("-n", namespace, "address", "add", address, "dev", "veth0")
            self._ip("-n", namespace, "link", "set", "veth0", "up")

    def pull(self) -> None:
        """From here on no packet arrives, in neither direction, and nobody is told."""
        self._ip("-n", self.client, "link", "set", "veth0", "down")

    def remove(self) -> None:
        for namespace in (self.server, self.client):
            subprocess.run(["ip", "netns", "delete", namespace], capture_output=True, check=False)

    @staticmethod
    def _ip(*arguments: str) -> None:
        done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


@pytest.fixture
def cable() -> Iterator[Cable]:
    """A cable to pull; skips where this machine does not let us lay one."""
    if os.geteuid() != 0:
        pytest.skip("only root may make network namespaces")
    if shutil.which("ip") is None:
        pytest.skip("making network namespaces needs ip, from iproute2")
    cable = Cable(f"cable{os.getpid()}")
    try:
        try:
            cable.plug_in()
        except OSError as error:
            pytest.skip(f"this machine cannot make network namespaces: {error}")
        yield cable
    finally:
        cable.remove()


@contextlib.asynccontextmanager
async def inside(
    namespace: str, options: str, *arguments: str
) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """Run `IN_ITS_NAMESPACE` in one; yields what it says, line by line, and ends it on leaving."""
    here = Path(__file__).parents[1]
    process = await trio.lowlevel.open_process(
        [
            "ip",
            "netns",
            "exec",
            namespace,
            sys.executable,
            "-c",
            IN_ITS_NAMESPACE.format(options=options),
            *arguments,
        ],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(here), str(here.parent)])},
    )

    async def lines() -> AsyncIterator[dict[str, Any]]:
        assert process.stdout is not None
        said = b""
        async for chunk in process.stdout:
            said += chunk
            *whole, said = said.split(b"\n")
            for line in whole:
                yield json.loads(line)

    try:
        async with contextlib.aclosing(lines()) as said:
            yield said
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
        assert process.stdout is not None
        await trio.aclose_forcefully(process.stdout)


@plain_tcp
@pytest.mark.parametrize(
    ("handler", "options"),
    [
        pytest.param("slow", "", id="whose messages wait unread"),
        pytest.param("echo", "send_timeout=2", id="whose echoes wait"),
    ],
)
async def test_a_client_whose_cable_is_pulled_is_found(
    cable: Cable, handler: str, options: str, request: pytest.FixtureRequest
) -> None:
    """While we do not read, by TCP's own keep-alive; while it has bytes to take, by send_timeout. 20 s at most."""
    way = "poller" if "[poller" in request.node.name else "stream"
    with trio.fail_after(50):
        async with inside(cable.server, options, "server", way, handler) as server_says:
            port = (await anext(server_says))["port"]
            async with inside(cable.client, options, "client", str(port)) as client_says:
                assert await anext(client_says) == {"full": True}
                cable.pull()
                with trio.fail_after(20):
                    record = (await anext(server_says))["record"]
    assert record["cause"] in ("peer vanished", "keep-alive timeout", "send timeout")
    assert (record["clean"], record["code_received"]) == (False, None)
