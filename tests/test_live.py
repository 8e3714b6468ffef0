"""LiveServer: a server in a thread, for code that is not Trio. Real time and real sockets throughout."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial

import pytest
import trio
from server_process import PATIENCE
from websockets.asyncio.client import connect as connect_asyncio
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect, unix_connect

import trioecho
from trioecho import LiveServer
from trioecho.live import _running


def at_once(*actions: Callable[[], object]) -> list[BaseException]:
    """Calls each action in a thread of its own, all at the same moment; returns what they raised."""
    together = threading.Barrier(len(actions))
    raised: list[BaseException] = []

    def act(action: Callable[[], object]) -> None:
        together.wait(PATIENCE)
        try:
            action()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=act, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    return raised


def alive() -> list[object]:
    return [thread for thread in tuple(_running) if thread.is_alive()]


def echoes(url: str) -> str:
    with connect(url, proxy=None, open_timeout=PATIENCE, close_timeout=PATIENCE) as ws:
        ws.send("hello")
        return str(ws.recv(PATIENCE))


@pytest.fixture
def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        return int(probe.getsockname()[1])


def test_it_serves_while_the_with_statement_lasts() -> None:
    """Inside `with LiveServer()` the echo answers; behind it nobody listens."""
    with LiveServer() as live:
        url = live.websocket_url
        assert live.url.startswith("http://127.0.0.1:")
        assert echoes(url) == "hello"
    with pytest.raises(ConnectionRefusedError):
        echoes(url)


def test_it_serves_asyncio() -> None:
    """A client on asyncio's loop, in the thread that started the server, is echoed."""

    async def story(url: str) -> object:
        async with connect_asyncio(url, proxy=None) as ws:
            await ws.send(b"\x00\x01")
            return await ws.recv()

    with LiveServer() as live:
        assert asyncio.run(story(live.websocket_url)) == b"\x00\x01"


async def test_it_can_be_used_inside_another_trio_run() -> None:
    """Code in a Trio run of its own reads url and records of a server in another thread."""
    with LiveServer() as live:
        assert await trio.to_thread.run_sync(echoes, live.websocket_url) == "hello"
        assert len(await trio.to_thread.run_sync(live.wait_for_records, 1)) == len(live.records) == 1


def test_handler_options_and_mapping_reach_serve() -> None:
    """The parameters are serve's: handlers by path, options, several hosts."""

    async def shout(ws: trioecho.WebSocket) -> None:
        async for message in ws:
            await ws.send(message.upper())

    options = trioecho.WebSocketOptions(subprotocols=("chat",))
    with LiveServer({"/shout": shout}, options=options, host=("127.0.0.1", "127.0.0.2")) as live:
        assert live.websocket_url.endswith("/shout")
        assert live.server.port
        with connect(live.websocket_url, proxy=None, subprotocols=["chat"]) as ws:
            assert ws.subprotocol == "chat"
            ws.send("hello")
            assert ws.recv(PATIENCE) == "HELLO"
        assert echoes(f"ws://127.0.0.2:{live.server.port}/shout") == "HELLO"


def test_stopping_says_goodbye() -> None:
    """`stop` returns when the server has ended, and its clients have seen 1001."""
    live = LiveServer().start()
    with connect(live.websocket_url, proxy=None) as ws:
        ws.send("hello")
        assert ws.recv(PATIENCE) == "hello"
        live.stop()
        with pytest.raises(ConnectionClosed) as closed:
            ws.recv(PATIENCE)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001
    live.stop()  # a second time does nothing


def test_a_handler_gets_no_longer_than_timeout() -> None:
    """`stop(timeout=0)` cancels a handler that would go on for ever."""
    cancelled = threading.Event()

    async def never_ends(ws: trioecho.WebSocket) -> None:
        await ws.send("started")
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            cancelled.set()
            raise

    live = LiveServer(never_ends).start()
    with connect(live.websocket_url, proxy=None) as ws:
        assert ws.recv(PATIENCE) == "started"
        live.stop(timeout=0)
    assert cancelled.is_set()


def test_the_records_of_ended_connections_can_be_read() -> None:
    """`records` holds one record for each connection that has ended, and stays readable after the stop."""
    live = LiveServer()
    assert live.records == ()
    with live:
        for _ in range(3):
            assert echoes(live.websocket_url) == "hello"
    assert [(record.cause, record.messages_received, record.clean) for record in live.records] == [
        ("peer closed", 1, True)
    ] * 3


def test_the_record_of_a_closed_connection_can_be_waited_for() -> None:
    """`wait_for_records` returns when so many connections have ended, and gives up when they do not."""
    with LiveServer() as live:
        for number in range(1, 6):
            assert echoes(live.websocket_url) == "hello"
            assert len(live.wait_for_records(number, timeout=PATIENCE)) == number
        with pytest.raises(TimeoutError, match="5 of 6 connections ended within 0 s"):
            live.wait_for_records(6, timeout=0)


def test_run_looks_at_the_server_from_inside() -> None:
    """`run` awaits a function in the server's own Trio run, and hands over its result or its exception."""
    with LiveServer() as live:

        async def count_tasks(extra: int) -> int:
            await trio.lowlevel.checkpoint()
            assert threading.current_thread().name == "trioecho.LiveServer"
            task = trio.lowlevel.current_root_task()
            assert task is not None
            return len(task.child_nurseries) + extra

        assert live.run(count_tasks, 1000) > 1000

        async def fails() -> None:
            raise LookupError("no such task")

        with pytest.raises(LookupError, match="no such task"):
            live.run(fails)
        assert echoes(live.websocket_url) == "hello"


def test_run_says_that_the_server_was_stopped_meanwhile() -> None:
    """What `run` still awaits when the server ends is given up, with a sentence and not with `trio.Cancelled`."""
    waiting = threading.Barrier(2)

    async def waits_for_ever(*, in_nursery: bool) -> None:
        await trio.to_thread.run_sync(waiting.wait, PATIENCE)
        if in_nursery:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
        await trio.sleep_forever()

    for in_nursery in False, True:
        live = LiveServer().start()
        asks = partial(live.run, partial(waits_for_ever, in_nursery=in_nursery))

        def stops(live: LiveServer = live) -> None:
            waiting.wait(PATIENCE)
            live.stop()

        (error,) = at_once(asks, stops)
        assert isinstance(error, trio.RunFinishedError)
        assert str(error) == "the LiveServer was stopped before waits_for_ever had finished"


def test_run_raises_what_the_function_did_when_the_server_was_stopped() -> None:
    """An error of the function's own comes through, without the cancellations beside it in its group."""
    waiting = threading.Event()

    async def fails_when_cancelled() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise LookupError("while tidying up")

    async def two_tasks() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails_when_cancelled)
            nursery.start_soon(trio.sleep_forever)
            waiting.set()

    def stops() -> None:
        waiting.wait(PATIENCE)
        live.stop()

    live = LiveServer().start()
    (error,) = at_once(partial(live.run, two_tasks), stops)
    assert isinstance(error, ExceptionGroup)  # a Cancelled in it would make it a BaseExceptionGroup
    assert [str(each) for each in error.exceptions] == ["while tidying up"]


def test_run_raises_what_crashed_the_server_meanwhile(
    crashing: tuple[LiveServer, threading.Event],
) -> None:
    """A server that crashes while `run` waits is no server that was stopped: `run` raises the crash itself."""
    live, now = crashing

    async def waits_for_ever() -> None:
        now.set()
        await trio.sleep_forever()

    with pytest.raises(ZeroDivisionError, match="a bug"):
        live.run(waits_for_ever)


def test_many_threads_starting_at_once_leave_one_server() -> None:
    """Of servers that were started at the same moment all but the last are stopped; none is left without an owner."""
    live = LiveServer()
    for _ in range(5):
        assert at_once(*[live.start] * 4) == []
        assert len(alive()) == 1
        assert echoes(live.websocket_url) == "hello"
    live.stop()
    assert alive() == []


def test_many_servers_starting_at_once_on_one_port_leave_one(free_port: int) -> None:
    """Each LiveServer of the port makes the one before it end; none fails because the port is in use."""
    servers = [LiveServer(port=free_port) for _ in range(4)]
    assert at_once(*[server.start for server in servers]) == []
    assert len(alive()) == 1
    assert [repr(server) for server in servers].count("<trioecho.LiveServer running>") == 1
    for server in servers:
        server.stop()
    assert alive() == []


def test_threads_that_start_and_stop_at_once_do_not_disturb_each_other() -> None:
    """Whatever the order in which starts and stops come, none raises, and a last stop finds everything."""
    live = LiveServer()
    for _ in range(5):
        assert at_once(live.start, live.stop, live.start, live.stop) == []
        assert len(alive()) <= 1
    live.stop()
    assert alive() == []


def test_starting_again_replaces() -> None:
    """`start` on a running LiveServer ends the old server, clients included, and starts a new one."""
    with LiveServer() as live:
        old = live.websocket_url
        with connect(old, proxy=None) as ws:
            live.start()
            with pytest.raises(ConnectionClosed):
                ws.recv(PATIENCE)
        assert echoes(live.websocket_url) == "hello"
        assert len(alive()) == 1


def test_a_new_server_takes_over_the_port_of_an_old_one(free_port: int) -> None:
    """Running a notebook's cell again works with a fixed port, too: the older LiveServer makes room."""
    old = LiveServer(port=free_port).start()
    with LiveServer(port=free_port) as new:
        assert echoes(new.websocket_url) == "hello"
        with pytest.raises(RuntimeError, match="not running"):
            _ = old.url


def test_a_new_server_takes_over_the_unix_socket_of_an_old_one() -> None:
    """The same for a Unix socket; without a host or port there is no TCP, and the URLs say so."""
    with tempfile.TemporaryDirectory(prefix="t") as directory:
        path = f"{directory}/s"
        old = LiveServer(unix=path).start()
        with LiveServer(unix=path) as new:
            assert new.server.unix_paths == (path,)
            assert new.server.urls == ()
            with unix_connect(path, uri="ws://localhost/ws", open_timeout=PATIENCE) as ws:
                ws.send("hello")
                assert ws.recv(PATIENCE) == "hello"
            with pytest.raises(RuntimeError, match="not running"):
                _ = old.url
            with pytest.raises(RuntimeError, match="connect to one of its unix_paths"):
                _ = new.url
        assert os.listdir(directory) == []


def test_a_unix_socket_and_a_free_port_can_be_served_together() -> None:
    """A host, and the port of it is any free one as ever."""
    with tempfile.TemporaryDirectory(prefix="t") as directory:
        with LiveServer(unix=f"{directory}/s", host="127.0.0.1") as live:
            assert live.server.port != 5000
            assert echoes(live.websocket_url) == "hello"


def test_a_listening_socket_can_be_served_again_and_again() -> None:
    """`fd` stays open, so that `start` works anew; `listeners` are closed with the first server."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        live = LiveServer(fd=listening.fileno())
        for _ in range(2):
            with live:
                assert live.server.port == listening.getsockname()[1]
                assert echoes(live.websocket_url) == "hello"
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(socket.create_server(("127.0.0.1", 0))))
    live = LiveServer(listeners=[listener])
    with live:
        assert echoes(live.websocket_url) == "hello"
    with pytest.raises(ValueError, match="of which one is closed"):
        live.start()


def test_a_place_that_makes_no_sense_is_refused_at_once() -> None:
    """By the constructor, where the mistake stands."""
    with pytest.raises(TypeError, match="port takes a whole number"):
        LiveServer(port="5000")  # type: ignore[arg-type]


def test_a_forgotten_server_ends() -> None:
    """A LiveServer that nobody refers to any more is stopped, as when a cell binds its name anew."""
    live = LiveServer().start()
    (thread,) = [thread for thread in _running if thread.is_alive()]
    del live
    gc.collect()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_port_in_use_is_raised_by_start(free_port: int) -> None:
    """What keeps the server from listening is raised by `start`, as the exception itself and not in a group."""
    with closing(socket.create_server(("127.0.0.1", free_port))):
        live = LiveServer(port=free_port)
        with pytest.raises(OSError, match="in use"):
            live.start()
        with pytest.raises(RuntimeError, match="not running"):
            _ = live.url
    assert repr(live) == "<trioecho.LiveServer not running>"


def test_a_wrong_handler_is_raised_by_start() -> None:
    """serve's lesson for what is no handler reaches the one who made the mistake."""

    async def takes_none() -> None: ...

    with pytest.raises(TypeError, match="async def takes_none"):
        LiveServer(takes_none).start()  # type: ignore[arg-type]


@pytest.fixture
def crashing(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[LiveServer, threading.Event]]:
    """A LiveServer that crashes when the event is set, as if by a bug."""
    now = threading.Event()

    async def serve_and_crash(*args: object, task_status: trio.TaskStatus[object], **kwargs: object) -> None:
        async with trio.open_nursery() as nursery:
            task_status.started(await nursery.start(trioecho.serve))
            await trio.to_thread.run_sync(now.wait)
            raise ZeroDivisionError("a bug")

    real = trioecho.serve

    async def serve_anywhere(*, task_status: trio.TaskStatus[object]) -> None:
        await real(port=0, task_status=task_status)

    monkeypatch.setattr("trioecho.live.serve", serve_and_crash)
    monkeypatch.setattr("trioecho.serve", serve_anywhere)
    yield LiveServer().start(), now
    now.set()


def test_a_crash_is_raised_at_the_next_look(crashing: tuple[LiveServer, threading.Event]) -> None:
    """`url` and `stop` raise what crashed the server: the exception itself, which IPython shows."""
    live, now = crashing
    assert live.url
    (thread,) = [thread for thread in _running if thread.is_alive()]
    now.set()
    thread.join(PATIENCE)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        _ = live.url
    with pytest.raises(ZeroDivisionError, match="a bug"):
        live.stop()
    live.stop()  # said once, it is over


def test_a_crash_does_not_hide_the_failure_of_the_body(crashing: tuple[LiveServer, threading.Event]) -> None:
    """In a with statement the body's own exception leaves, not the server's."""
    live, now = crashing
    (thread,) = [thread for thread in _running if thread.is_alive()]
    now.set()
    thread.join(PATIENCE)

    def body() -> None:
        with contextlib.ExitStack() as stack:
            stack.push(live)
            raise LookupError("of the body")

    with pytest.raises(LookupError, match="of the body"):
        body()


def test_nothing_shows_the_port(free_port: int) -> None:
    """No repr holds a port, so that a notebook's output is the same each time."""
    with LiveServer(port=free_port) as live:
        assert repr(live) == "<trioecho.LiveServer running>"
        assert str(free_port) not in repr(live) + repr(live.server)


def test_it_never_keeps_a_program_from_ending() -> None:
    """A program that ends without `stop` ends at once, its clients have seen 1001, and nothing was printed."""
    program = (
        "import sys, trioecho\n"
        "live = trioecho.LiveServer().start()\n"
        "print(live.websocket_url, flush=True)\n"
        "sys.stdin.readline()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        with connect(process.stdout.readline().strip(), proxy=None) as ws:
            process.stdin.write("end\n")
            process.stdin.flush()
            with pytest.raises(ConnectionClosed) as closed:
                ws.recv(PATIENCE)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
        assert process.wait(PATIENCE) == 0
        assert process.stdout.read() == process.stderr.read() == ""
