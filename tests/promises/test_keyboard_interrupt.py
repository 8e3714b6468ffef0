"""Ctrl-C in a program that is `trio.run(trioecho.serve, handler)`: every client hears it, every connection is recorded.

The program is a process of its own, for a KeyboardInterrupt strikes wherever Python happens to be.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trio
import trio.testing
from serving import plain_tcp, until
from serving import way_of_reading as way_of_reading

import trioecho
from trioecho._wire.poller import Poller
from trioecho.testing import CLOSE, TEXT, RawClient, connect_raw

PATIENCE = 60.0
"""Seconds after which a program, or its clients, are given up. Nothing is measured with it."""

PROGRAM = """
import functools, json, signal, sys, trio, trioecho
import pytest
from injection import Injection
from trioecho._wire.poller import Poller

Poller.available = sys.argv[1] == "poller"


def press():
    signal.raise_signal(signal.SIGINT)


class Pressing(Injection):
    # The armed call is made, but SIGINT comes just before it.
    def reach(self, call):
        try:
            super().reach(call)
        except MemoryError:
            press()


async def child():
    await trio.sleep(0)
    press()
    await trio.sleep_forever()


async def handler(ws):
    async for message in ws:
        if message == "raise":
            raise KeyboardInterrupt
        if message == "raise in a group":
            raise BaseExceptionGroup("on purpose", [KeyboardInterrupt()])
        if message == "press":
            press()
        if message == "press in a child":
            ws.nursery.start_soon(child)
        if message == "press in a nursery":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(child)
        if message == "press in a worker":
            await trio.to_thread.run_sync(press)
        if message[:9] == "press at ":
            call, number = message[9:].split()
            injection.arm(status.server.port, call, int(number))
        await ws.send(message)


class Started:
    def started(self, server):
        self.server = server
        print(server.port, flush=True)


injection = Pressing(pytest.MonkeyPatch())
status = Started()
interrupted = "not at all"
try:
    trio.run(functools.partial(trioecho.serve, handler, port=0, task_status=status))
except KeyboardInterrupt:
    interrupted = "KeyboardInterrupt"
except BaseExceptionGroup as group:
    rest = group.split(KeyboardInterrupt)[1]
    interrupted = "KeyboardInterrupt" if rest is None else repr(rest)
injection.disarm()
print(json.dumps({
    "interrupted": interrupted,
    "causes": [record.cause for record in status.server.records],
    "still open": len(status.server.connections),
}))
"""


class Program:
    """The program, running; `told` is what it printed at its end."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port
        self.told: dict[str, object] = {}


def started() -> subprocess.Popen[str]:
    """A process that runs `PROGRAM`."""
    way = "poller" if Poller.available else "stream"
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, way],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[Program]:
    """The program on this way of reading; it has to end by itself once the body is left."""
    with started() as process:
        assert process.stdout is not None
        try:
            with trio.fail_after(PATIENCE):
                program = Program(process, int(await trio.to_thread.run_sync(process.stdout.readline)))
                yield program
                out, log = await trio.to_thread.run_sync(process.communicate, abandon_on_cancel=True)
        finally:
            process.kill()
    assert out, f"the program did not come to its last line: {log}"
    program.told = json.loads(out)


class Voice(NamedTuple):
    """A client, and what it has heard: the echoes, counted, and then the Close, or None if TCP ended without one."""

    client: RawClient
    echoes: list[str | bytes]
    last: list[tuple[int, str] | None]


async def talk_until_the_end(voice: Voice) -> None:
    """Send and receive without a pause until the server says Close, and answer that; `voice` has it all."""
    client = voice.client
    while not voice.last:
        with contextlib.suppress(trio.BrokenResourceError):
            await client.stream.send_all(client.frame(TEXT, b"x" * 100) * 3)
        await hear(voice, 3)


async def hear(voice: Voice, frames: int = sys.maxsize) -> None:
    """Receive so many frames, or until the end."""
    client = voice.client
    for _ in range(frames):
        try:
            frame = await client.receive_frame()
        except trio.BrokenResourceError:
            frame = None
        if frame is None or frame.opcode == CLOSE:
            voice.last.append(None if frame is None else frame.close)
            with contextlib.suppress(trio.BrokenResourceError):
                await client.close(1001)
                await client.receive_rest()
            return
        voice.echoes.append(frame.payload)


@contextlib.asynccontextmanager
async def voices(program: Program, count: int) -> AsyncIterator[list[Voice]]:
    """So many clients, each of which has had one echo; closed on leaving, when they should have heard the end."""
    async with contextlib.AsyncExitStack() as stack:
        clients = []
        for _ in range(count):
            client = await connect_raw(program.port)
            await stack.enter_async_context(client.stream)
            await client.send("hello")
            assert await client.receive() == "hello"
            clients.append(Voice(client, [], []))
        yield clients


def check(program: Program, clients: list[Voice], *, others: list[str] | None = None) -> None:
    """What holds however the KeyboardInterrupt came about; `others` are the causes of connections that are not among
    `clients`."""
    assert [voice.last for voice in clients] == [[(1001, "server is stopping")]] * len(clients)
    told = program.told
    assert (told["interrupted"], told["still open"]) == ("KeyboardInterrupt", 0)
    assert isinstance(told["causes"], list)
    assert sorted(told["causes"]) == sorted(["server stopping"] * len(clients) + (others or []))


@pytest.mark.parametrize("echoes", [1, 7, 101, 400])
@plain_tcp
async def test_ctrl_c_under_load_says_goodbye_to_every_client(echoes: int) -> None:
    """Twenty busy clients, and SIGINT at some point: each hears 1001, and is on record, in every run."""
    async with running() as program, voices(program, 20) as clients:
        async with trio.open_nursery() as nursery:
            for voice in clients:
                nursery.start_soon(talk_until_the_end, voice)
            await until(lambda: clients[-1].last or len(clients[-1].echoes) >= echoes)
            program.process.send_signal(signal.SIGINT)
    check(program, clients)


ON_THE_POLLER = ("os.read", "os.write", "epoll.poll")
ON_STREAMS = ("socket.recv", "socket.send")


@pytest.mark.parametrize(
    ("way_of_reading", "call"),
    [("poller", call) for call in ON_THE_POLLER] + [("stream", call) for call in ON_STREAMS],
    indirect=["way_of_reading"],
)
@pytest.mark.parametrize("number", [1, 7])
async def test_ctrl_c_in_the_midst_of_the_server_says_goodbye_to_every_client(call: str, number: int) -> None:
    """SIGINT comes exactly when the server is about to read, write or ask what is ready."""
    async with running() as program, voices(program, 5) as clients:
        await clients[2].client.send(f"press at {call} {number}")
        async with trio.open_nursery() as nursery:
            for voice in clients:
                nursery.start_soon(talk_until_the_end, voice)
    check(program, clients)


@pytest.mark.parametrize(
    ("way_of_reading", "call"),
    [("poller", "epoll.unregister"), ("poller", "os.write"), ("stream", "socket.send")],
    indirect=["way_of_reading"],
)
async def test_ctrl_c_at_one_connections_end_says_goodbye_to_all_others(call: str) -> None:
    """SIGINT comes exactly when the server answers a client's Close, or lets go of its socket."""
    async with running() as program, voices(program, 5) as clients, voices(program, 1) as leaving:
        (leaver,) = leaving
        # Its own echo is the first write from there on, the answer to the Close the second.
        await leaver.client.send(f"press at {call} {1 if call == 'epoll.unregister' else 2}")
        await leaver.client.receive()
        async with trio.open_nursery() as nursery:
            for voice in clients:
                nursery.start_soon(hear, voice)
            await leaver.client.close(4000)
            last = await leaver.client.receive_rest()
            await leaver.client.stream.aclose()
    assert [frame.close for frame in last] in ([(4000, "")], [(1001, "server is stopping")])
    check(program, clients, others=["peer closed"])


@plain_tcp
async def test_ctrl_c_while_everybody_waits_says_goodbye_to_every_client() -> None:
    """Nothing moves when SIGINT comes: it is the main task of Trio's run that is struck."""
    async with running() as program, voices(program, 5) as clients:
        async with trio.open_nursery() as nursery:
            for voice in clients:
                nursery.start_soon(hear, voice)
            await trio.testing.wait_all_tasks_blocked(0.05)
            program.process.send_signal(signal.SIGINT)
    check(program, clients)


@pytest.mark.parametrize(
    "trigger",
    ["raise", "raise in a group", "press", "press in a child", "press in a nursery", "press in a worker"],
)
@plain_tcp
async def test_ctrl_c_in_a_handler_says_goodbye_to_every_client(trigger: str) -> None:
    """One handler, or its child, is struck or raises KeyboardInterrupt: its client and all others hear 1001."""
    async with running() as program, voices(program, 5) as clients:
        # Before anybody listens: an answer could come while this is being sent, and its Close be answered.
        await clients[2].client.send(trigger)
        async with trio.open_nursery() as nursery:
            for voice in clients:
                nursery.start_soon(hear, voice)
    check(program, clients)


@plain_tcp
async def test_ctrl_c_during_the_goodbye_of_a_connection_loses_no_record() -> None:
    """One client has been said Close, and owes the end of TCP, when SIGINT comes: nobody is missing on the record."""
    async with running() as program, voices(program, 4) as clients, voices(program, 1) as failing:
        async with trio.open_nursery() as nursery:
            for voice in clients:
                nursery.start_soon(hear, voice)
            # A reserved opcode: its connection says 1002, and waits for TCP to end.
            await failing[0].client.send_frame(0x3, b"bad")
            code, _ = await failing[0].client.receive_close()
            assert code == 1002
            program.process.send_signal(signal.SIGINT)
        await failing[0].client.stream.aclose()
    check(program, clients, others=["protocol error"])


@plain_tcp
def test_ctrl_c_when_tls_begins_leaves_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGINT comes when TLS is about to be spoken on a connection that has been accepted: it is closed as all others
    are, and not when the garbage collector finds it."""
    left: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: left.append(unraisable.exc_value))

    class PressedContext(ssl.SSLContext):
        def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
            signal.raise_signal(signal.SIGINT)
            return super().wrap_bio(*arguments, **options)

    async def serve_one() -> None:
        async with trio.open_nursery() as nursery:
            context = PressedContext(ssl.PROTOCOL_TLS_SERVER)
            server = await nursery.start(functools.partial(trioecho.serve, port=0, ssl_context=context))
            with socket.create_connection(("127.0.0.1", server.port)):
                await trio.sleep_forever()

    interrupted = False
    try:
        trio.run(serve_one)
    except* KeyboardInterrupt:
        interrupted = True
    gc.collect()
    assert (interrupted, left) == (True, [])
