"""Unix sockets: the file, who may connect, and that connections live and end there as they do over TCP."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import grp
import logging
import os
import pwd
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
import websockets
from connecting import connect
from serving import PATIENCE, connected, one_way, plain_tcp, serving, someone_else_is_served, until
from serving import way_of_reading as way_of_reading

import trioecho
from trioecho import UnixSocket
from trioecho._server import unix
from trioecho._server.unix import LONGEST_PATH, shown
from trioecho.testing import RawClient

linux = pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")

MUCH = 4_000_000
"""Bytes: more than the kernel holds for a Unix socket."""


@pytest.fixture
def path() -> Iterator[str]:
    """A free path, shorter than those of `tmp_path` may be."""
    with tempfile.TemporaryDirectory(prefix="t") as directory:
        yield f"{directory}/s"


class Steps(trio.abc.Instrument):
    """Counts what Trio's tasks do."""

    def __init__(self) -> None:
        self.count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1


def left_behind(path: str) -> None:
    """What a server leaves that was killed: a socket at which nobody listens."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)


def killed_server(path: str) -> None:
    """A server that listened at `path` and was killed."""
    program = f"import trioecho; trioecho.run(unix={path!r})"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"trioecho serves unix:{path} (Ctrl-C stops it)\n"
        process.kill()


@contextlib.contextmanager
def bound_elsewhere(path: str) -> Iterator[Callable[[], None]]:
    """Another process that is starting a server: it has bound the path; what this yields makes it listen."""
    program = (
        "import fcntl, os, socket, sys\n"
        f"place = os.open(os.path.dirname({path!r}), os.O_RDONLY)\n"
        "fcntl.flock(place, fcntl.LOCK_EX)\n"
        "server = socket.socket(socket.AF_UNIX)\n"
        f"server.bind({path!r})\n"
        "print('bound', flush=True)\n"
        "sys.stdin.readline()\n"
        "server.listen()\n"
        "os.close(place)\n"
        "sys.stdin.readline()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "bound\n"
        go_on = functools.partial(process.stdin.write, "\n")
        try:
            yield go_on
        finally:
            go_on()


async def quit_when(server: trioecho.Server, count: int) -> tuple[trioecho.ConnectionRecord, ...]:
    """The records, once `count` connections have ended."""
    await until(lambda: len(server.records) >= count)
    return tuple(server.records)


# How connections live and end there.


async def test_an_echo_over_a_unix_socket(path: str) -> None:
    """With and without TLS, on the poller and on Trio's streams: messages small and large, then Close both ways."""
    async with serving(at={"unix": path}, max_message_size=MUCH) as server:
        async with connect(server, max_message_size=MUCH) as ws:
            for message in ("hello", b"", bytes(MUCH)):
                await ws.send(message)
                assert await ws.receive() == message
        (record,) = await quit_when(server, 1)
        assert (record.cause, record.clean, record.peer) == ("peer closed", True, f"unix:{path}")
        await someone_else_is_served(server)


async def test_the_server_closes_over_a_unix_socket(path: str) -> None:
    """The handler's Close arrives with its code, behind what was sent before it, and the record is clean."""

    async def leave(ws: trioecho.WebSocket) -> None:
        await ws.send("last words")
        await ws.aclose(4000, "enough")

    async with serving(leave, at={"unix": path}) as server, connected(server) as client:
        assert await client.receive() == "last words"
        assert await client.receive_close() == (4000, "enough")
        await client.close(4000)
        assert await client.receive_rest() == []
        (record,) = await quit_when(server, 1)
        assert (record.cause, record.clean, record.closed_first) == ("application closed", True, "server")


async def test_a_client_that_vanishes_is_noticed_after_its_messages(path: str) -> None:
    """It sends three messages and hangs up without a word: the handler gets them, then the end."""
    got: list[str | bytes] = []

    async def take(ws: trioecho.WebSocket) -> None:
        async for message in ws:
            got.append(message)

    async with serving(take, at={"unix": path}) as server:
        async with connected(server) as client:
            for message in ("one", "two", "three"):
                await client.send(message)
        (record,) = await quit_when(server, 1)
        assert got == ["one", "two", "three"]
        assert (record.cause, record.clean) == ("peer vanished", False)


async def test_a_client_that_vanishes_while_nobody_reads_is_noticed(path: str) -> None:
    """The handler is slow, reading has stopped, the client is killed: what it sent is delivered, and no loop spins."""
    go = trio.Event()
    got = 0

    async def slow(ws: trioecho.WebSocket) -> None:
        nonlocal got
        await go.wait()
        async for message in ws:
            got += len(message)

    async with serving(slow, at={"unix": path}, answer_timeout=10) as server:
        async with connected(server) as client:
            with trio.move_on_after(0.5):
                while True:
                    await client.send(bytes(50_000))
        (ws,) = server.connections
        await until(lambda: ws._connection.paused)
        steps = Steps()
        trio.lowlevel.add_instrument(steps)
        await trio.sleep(0.2)
        trio.lowlevel.remove_instrument(steps)
        assert steps.count < 100, "something spins"
        go.set()
        (record,) = await quit_when(server, 1)
        assert got >= 50_000
        assert record.cause == "peer vanished"


@plain_tcp
async def test_a_half_closed_unix_socket_still_gets_its_answers(path: str) -> None:
    """A client that ends its direction (``nc -N``) reads the answers to what it said."""
    async with serving(at={"unix": path}) as server, connected(server) as client:
        await client.send("question")
        stream = client.stream
        assert isinstance(stream, trio.SocketStream)
        await stream.send_eof()
        assert await client.receive() == "question"
        assert await client.receive_rest() == []
        (record,) = await quit_when(server, 1)
        assert (record.cause, record.messages_sent) == ("peer vanished", 1)


async def test_backpressure_reaches_the_client_and_lets_go(path: str) -> None:
    """A handler that does not read stops the client's sending; when it reads, every message is there, in order."""
    go = trio.Event()
    got: list[int] = []
    sent = 0

    async def slow(ws: trioecho.WebSocket) -> None:
        await go.wait()
        async for message in ws:
            assert isinstance(message, bytes)
            got.append(int.from_bytes(message[:4]))

    async with serving(slow, at={"unix": path}) as server, connected(server) as client:
        async with trio.open_nursery() as nursery:

            async def send_all() -> None:
                nonlocal sent
                for number in range(200):
                    await client.send(number.to_bytes(4) + bytes(60_000))
                    sent += 1

            nursery.start_soon(send_all)
            (ws,) = server.connections
            await until(lambda: ws._connection.paused)
            before = -1
            while before != sent:
                before = sent
                await trio.sleep(0.1)
            assert sent < 200, "nothing has stopped the client"
            go.set()
        await client.close()
        assert (await client.receive_close())[0] == 1000
        assert got == list(range(200))


async def test_a_client_that_does_not_read_is_dropped_after_send_timeout(path: str) -> None:
    """Its answers fill the kernel; nothing moves for `send_timeout`: that is the end, and others are served."""

    async def flood(ws: trioecho.WebSocket) -> None:
        if ws.path == "/flood":
            while True:
                await ws.send(bytes(100_000))
        await trioecho.echo(ws)

    routes = {"/ws": trioecho.echo, "/flood": flood}
    async with serving(routes, at={"unix": path}, send_timeout=0.3) as server:
        async with connected(server, path="/flood"):
            (record,) = await quit_when(server, 1)
            assert (record.cause, record.clean) == ("send timeout", False)
        await someone_else_is_served(server)


async def test_a_slow_reader_is_not_dropped(path: str) -> None:
    """It needs three times `send_timeout` for the message, but always takes some: all of it arrives."""

    async def send_much(ws: trioecho.WebSocket) -> None:
        await ws.receive()
        await ws.send(bytes(MUCH))

    async with serving(send_much, at={"unix": path}, send_timeout=0.4) as server, connected(server) as client:
        await client.send("go")
        left = MUCH
        while left > 0:
            await trio.sleep(0.1)
            enough = left - MUCH // 12
            while left > max(0, enough):
                piece = await client.stream.receive_some(65_536)
                assert piece, f"dropped with {left} bytes to go"
                left -= len(piece)


async def test_a_silent_client_is_found_by_keep_alive(path: str) -> None:
    """One that answers no Ping is told 1011; one that does stays."""
    async with serving(at={"unix": path}, keep_alive_interval=0.2, keep_alive_timeout=0.2) as server:
        async with connect(server) as alive:
            async with connected(server) as silent:
                frames = await silent.receive_rest()
                assert frames[-1].close == (1011, "keep-alive timeout")
            await alive.send("still here")
            assert await alive.receive() == "still here"


async def test_a_stop_says_1001_and_removes_the_file_first(path: str) -> None:
    """Who comes too late finds no file; who is connected hears 1001 and may answer."""
    async with serving(at={"unix": path}) as server, connected(server) as client:
        server.stop()
        assert (await client.receive_close())[0] == 1001
        with pytest.raises(FileNotFoundError):
            await trio.open_unix_socket(path)
        await client.close(1001)
        assert await client.receive_rest() == []


async def test_an_abort_waits_for_nobody(path: str) -> None:
    """A client that reads nothing cannot hold it."""

    async def flood(ws: trioecho.WebSocket) -> None:
        while True:
            await ws.send(bytes(100_000))

    async with serving(flood, at={"unix": path}) as server, connected(server):
        (ws,) = server.connections
        await until(lambda: ws._connection.outgoing.blocked)
        server.abort()
        with trio.fail_after(5):
            (record,) = await quit_when(server, 1)
        assert record.cause == "server aborted"


@one_way
async def test_plain_http_is_answered(path: str) -> None:
    """The sample page and its 404 come over a Unix socket as well; the log names it."""
    async with serving(at={"unix": path}) as server, await trio.open_unix_socket(path) as stream:
        await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b""
        async for piece in stream:
            answer += piece
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert server.urls == ()


# Other people's clients.


@one_way
async def test_websockets_is_echoed_over_a_unix_socket(path: str) -> None:
    """`websockets.unix_connect`, on asyncio."""

    async def story() -> object:
        async with websockets.unix_connect(path, uri="ws://localhost/ws") as ws:
            await ws.send("x" * 300_000)
            return await ws.recv()

    async with serving(at={"unix": path}):
        assert await trio.to_thread.run_sync(asyncio.run, story()) == "x" * 300_000


@one_way
async def test_aiohttp_is_echoed_over_a_unix_socket(path: str) -> None:
    """`aiohttp.UnixConnector`."""
    aiohttp = pytest.importorskip("aiohttp")

    async def story() -> object:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=path)) as session,
            session.ws_connect("http://localhost/ws") as ws,
        ):
            await ws.send_bytes(b"\x00" * 300_000)
            return (await ws.receive()).data

    async with serving(at={"unix": path}):
        assert await trio.to_thread.run_sync(asyncio.run, story()) == b"\x00" * 300_000


@one_way
async def test_curl_reads_the_page_over_a_unix_socket(path: str) -> None:
    """``curl --unix-socket``."""
    if (curl := shutil.which("curl")) is None:
        pytest.skip("no curl on this machine")
    command = [curl, "-sS", "--max-time", "10", "--unix-socket", path, "http://localhost/healthz"]
    async with serving(at={"unix": path}):
        answer = await trio.run_process(command, capture_stdout=True, capture_stderr=True)
    assert answer.stdout


# What the server says of itself and of its peers.


@one_way
async def test_a_server_at_unix_sockets_only_has_paths_and_no_port(path: str) -> None:
    """url, websocket_url and port would be lies; the sentence says what there is instead."""
    async with serving(at={"unix": Path(path)}) as server:
        assert (server.unix_paths, server.urls, server.hosts) == ((path,), (), ())
        for name in ("url", "websocket_url", "port"):
            with pytest.raises(RuntimeError, match=f"listens at unix:{path} and has no URL or port"):
                getattr(server, name)


@one_way
async def test_a_peer_at_a_unix_socket_is_called_by_its_path(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """By the client's own name, if it has bound one; what cannot be printed in it is escaped; else by the server's."""
    caplog.set_level(logging.INFO, "trioecho")
    async with serving(at={"unix": path}) as server:
        async with await trio.open_unix_socket(path) as unnamed:
            client = RawClient(unnamed)
            await client.handshake()
            (ws,) = server.connections
            assert ws.remote_address == f"unix:{path}"
        named = trio.socket.socket(trio.socket.AF_UNIX)
        forged = os.path.dirname(path) + "/forged\n2026 INFO\x1b[31m"
        await named.bind(forged)
        await named.connect(path)
        async with trio.SocketStream(named) as stream:
            await stream.send_all(b"GET / HTTP/1.1\r\n\r\n")
            await stream.receive_some()
    (line,) = [line for line in caplog.messages if "refused" in line]
    assert line.startswith(f"unix:{os.path.dirname(path)}/forged\\n2026 INFO\\x1b[31m refused: 400 ")


@linux
async def test_an_abstract_name_leaves_no_file() -> None:
    """ "\\0name": served, shown as @name, taken once only."""
    name = f"\0trioecho-test-{os.getpid()}"
    async with serving(at={"unix": name}) as server:
        assert server.unix_paths == (name,)
        async with connect(server) as ws:
            await ws.send("hello")
            assert await ws.receive() == "hello"
        (record,) = await quit_when(server, 1)
        assert record.peer == f"unix:@{name[1:]}"
        with pytest.raises(OSError, match="in use") as refusal:
            await trioecho.serve(unix=name)
        assert refusal.value.filename == name


def test_a_name_is_shown_on_one_line() -> None:
    """Abstract names begin with @, as in ss and systemd; what cannot be printed, or decoded, is escaped."""
    assert shown("/run/käse.sock") == "/run/käse.sock"
    assert shown("\0app\0b") == "@app\\x00b"
    assert shown("/a\n\x1b\udcff\u202e") == "/a\\n\\x1b\\udcff\\u202e"


# The file.


@one_way
async def test_only_the_servers_user_may_connect_unless_told_otherwise(path: str) -> None:
    """0600 whatever the umask, or the mode that was given."""
    umask = os.umask(0)
    try:
        async with serving(at={"unix": path}):
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        os.umask(0o077)
        async with serving(at={"unix": UnixSocket(path, mode=0o660)}):
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
    finally:
        os.umask(umask)


@one_way
async def test_nobody_can_connect_before_the_permissions_are_set(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is there with the umask's permissions for a moment; whoever connects in it is refused, even root."""
    tried: list[str] = []
    chmod = os.chmod

    def try_then_chmod(where: str, mode: int) -> None:
        with socket.socket(socket.AF_UNIX) as early:
            try:
                early.connect(where)
            except ConnectionRefusedError:
                tried.append("refused")
        chmod(where, mode)

    monkeypatch.setattr(os, "chmod", try_then_chmod)
    async with serving(at={"unix": path}):
        assert tried == ["refused"]


@one_way
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
async def test_the_file_can_be_given_to_a_user_and_a_group(path: str) -> None:
    """By name or by number."""
    user, group = pwd.getpwall()[1], grp.getgrall()[1]
    async with serving(at={"unix": UnixSocket(path, owner=user.pw_name, group=group.gr_name)}):
        found = os.stat(path)
        assert (found.st_uid, found.st_gid) == (user.pw_uid, group.gr_gid)
    async with serving(at={"unix": UnixSocket(path, group=group.gr_gid)}):
        found = os.stat(path)
        assert (found.st_uid, found.st_gid) == (os.geteuid(), group.gr_gid)


@one_way
async def test_who_cannot_be_given_the_file_is_named(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user that the machine does not have, and one that the system refuses; no file is left."""
    with pytest.raises(OSError, match="this machine has no user 'nobody-at-all'"):
        await trioecho.serve(unix=UnixSocket(path, owner="nobody-at-all"))
    with pytest.raises(OSError, match="this machine has no group 'nobody-at-all'"):
        await trioecho.serve(unix=UnixSocket(path, group="nobody-at-all"))

    def forbidden(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "chown", forbidden)
    with pytest.raises(PermissionError, match="this user may not give it to user 1 and group 2") as refusal:
        await trioecho.serve(unix=UnixSocket(path, owner=1, group=2))
    assert refusal.value.filename == path
    assert os.listdir(os.path.dirname(path)) == []


@one_way
async def test_the_socket_of_a_dead_server_is_replaced(path: str) -> None:
    """Nobody listens there: a new server takes the path, and its file is gone when it ends."""
    left_behind(path)
    async with serving(at={"unix": path}) as server:
        await someone_else_is_served(server)
    assert os.listdir(os.path.dirname(path)) == []


@one_way
async def test_a_server_that_was_killed_leaves_no_obstacle(path: str) -> None:
    """SIGKILL leaves the file; the next server starts as if it were not there."""
    killed_server(path)
    assert os.listdir(os.path.dirname(path)) == ["s"]
    async with serving(at={"unix": path}) as server:
        await someone_else_is_served(server)


@one_way
async def test_the_socket_of_a_living_server_is_left_alone(path: str) -> None:
    """EADDRINUSE, and the living one does not notice; one of another kind or with a full backlog lives, too."""
    async with serving(at={"unix": path}) as server:
        with pytest.raises(OSError, match="another server listens there") as refusal:
            await trioecho.serve(unix=path)
        assert (refusal.value.errno, refusal.value.filename) == (errno.EADDRINUSE, path)
        await someone_else_is_served(server)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(path)
        with pytest.raises(OSError, match="another server listens there"):
            await trioecho.serve(unix=path)
    os.unlink(path)
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
        busy.bind(path)
        busy.listen(0)
        waiting.connect(path)
        with trio.fail_after(PATIENCE), pytest.raises(OSError, match="another server listens there"):
            await trioecho.serve(unix=path)


@one_way
async def test_what_is_no_socket_is_left_alone(path: str) -> None:
    """A file, a link to a dead socket, a directory: refused in one sentence, and still there."""
    directory = os.path.dirname(path)
    await trio.Path(path).write_text("precious")
    left_behind(f"{directory}/dead")
    os.symlink("dead", f"{directory}/link")
    for taken in (path, f"{directory}/link", directory):
        with pytest.raises(FileExistsError, match="what is there is no socket; remove it, or choose another"):
            await trioecho.serve(unix=taken)
    assert await trio.Path(path).read_text() == "precious"
    assert sorted(os.listdir(directory)) == ["dead", "link", "s"]


@one_way
async def test_a_missing_directory_is_told_with_the_path(path: str) -> None:
    """The system's own words, and the path, which they lack."""
    with pytest.raises(FileNotFoundError) as refusal:
        await trioecho.serve(unix=f"{path}/x")
    assert refusal.value.filename == f"{path}/x"


@one_way
async def test_no_permission_to_ask_is_no_proof_of_death(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's socket, perhaps alive, that this user may not connect to, is left alone."""
    left_behind(path)
    plain = socket.socket

    class Forbidden(plain):
        def connect(self, address: Any, /) -> None:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(unix.socket, "socket", Forbidden)
    with pytest.raises(PermissionError, match="this user may not ask whether anybody listens"):
        await UnixSocket(path).listen()
    assert os.listdir(os.path.dirname(path)) == ["s"]


@one_way
async def test_a_file_that_is_another_servers_is_not_removed(path: str) -> None:
    """Somebody has removed ours and listens there: at our end it is left."""
    async with serving(at={"unix": path}):
        os.unlink(path)
        other = socket.socket(socket.AF_UNIX)
        other.bind(path)
        other.listen()
    with other:
        assert os.listdir(os.path.dirname(path)) == ["s"]


@one_way
async def test_a_file_is_removed_from_where_it_was_made(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is of the directory in which the server started."""
    directory = os.path.dirname(path)
    monkeypatch.chdir(directory)
    async with serving(at={"unix": "s"}) as server:
        assert server.unix_paths == ("s",)
        await someone_else_is_served(server)
        monkeypatch.chdir("/")
    assert os.listdir(directory) == []


@one_way
async def test_servers_that_start_at_once_at_one_path_leave_one(path: str) -> None:
    """A dead socket is there, and ten servers want its place: one gets it and is served, nine are told."""
    left_behind(path)
    won: list[trioecho.Server] = []
    lost: list[OSError] = []
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:

            async def start() -> None:
                try:
                    won.append(await nursery.start(serve_there))
                except OSError as error:
                    lost.append(error)

            async def serve_there(task_status: trio.TaskStatus[trioecho.Server]) -> None:
                await trioecho.serve(unix=path, task_status=task_status)

            for _ in range(10):
                nursery.start_soon(start)
            await until(lambda: len(won) + len(lost) == 10)
            assert [error.errno for error in lost] == [errno.EADDRINUSE] * 9
            async with connected(won[0]) as client:
                await client.send("hello")
                assert await client.receive() == "hello"
            nursery.cancel_scope.cancel()


@one_way
async def test_a_server_that_is_starting_counts_as_alive(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process has bound and does not listen yet: who starts meanwhile waits, and then leaves it alone."""
    asked = trio.Event()
    refused: list[OSError] = []
    flock = unix.fcntl.flock

    def flock_and_tell(number: int, operation: int) -> None:
        asked.set()
        flock(number, operation)

    async def start() -> None:
        with pytest.raises(OSError, match="another server listens there") as refusal:
            await trioecho.serve(unix=path)
        refused.append(refusal.value)

    monkeypatch.setattr(unix, "TURN", PATIENCE)
    monkeypatch.setattr(unix.fcntl, "flock", flock_and_tell)
    with trio.fail_after(PATIENCE), bound_elsewhere(path) as listen:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(start)
            await asked.wait()
            await trio.testing.wait_all_tasks_blocked()
            assert not refused
            listen()
    assert len(refused) == 1


@one_way
async def test_nobody_can_hold_a_start_for_long(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a directory that everybody can read, anybody can lock it; after a second the server starts all the same."""
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(unix, "TURN", 0.1)
    held = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        async with serving(at={"unix": path}) as server:
            await someone_else_is_served(server)
    finally:
        os.close(held)


# What is refused at once.


@pytest.mark.parametrize(
    ("arguments", "error", "lesson"),
    [
        ({"path": b"/x"}, TypeError, "a Unix socket has a path such as '/run/app.sock'; you gave b'/x'"),
        ({"path": None}, TypeError, "a Unix socket has a path such as '/run/app.sock'; you gave None"),
        (
            {"path": "/a\0b"},
            ValueError,
            "a Unix socket has a path such as '/run/app.sock'; you gave '/a\\x00b'",
        ),
        ({"path": "\0"}, ValueError, "a Unix socket has a path such as '/run/app.sock'; you gave '\\x00'"),
        (
            {"path": "/x", "mode": "660"},
            TypeError,
            "mode takes permissions from 0 to 0o777, such as 0o660; you gave '660': write 0o660",
        ),
        (
            {"path": "/x", "mode": 660},
            ValueError,
            "mode takes permissions from 0 to 0o777, such as 0o660; you gave 660: write 0o660",
        ),
        (
            {"path": "/x", "mode": 0o1777},
            ValueError,
            "mode takes permissions from 0 to 0o777, such as 0o660; you gave 1023",
        ),
        (
            {"path": "/x", "mode": True},
            TypeError,
            "mode takes permissions from 0 to 0o777, such as 0o660; you gave True",
        ),
        ({"path": "/x", "owner": ""}, ValueError, "owner takes a name or a number; you gave ''"),
        ({"path": "/x", "owner": -1}, ValueError, "owner takes a name or a number; you gave -1"),
        ({"path": "/x", "group": 1.5}, TypeError, "group takes a name or a number; you gave 1.5"),
    ],
)
def test_a_unix_socket_that_makes_no_sense_is_refused_with_a_lesson(
    arguments: dict[str, Any], error: type[Exception], lesson: str
) -> None:
    """The constructor says in one sentence what would be right."""
    with pytest.raises(error) as refusal:
        UnixSocket(**arguments)
    assert str(refusal.value) == lesson


def test_a_path_that_is_too_long_is_refused() -> None:
    """In bytes, as the kernel counts; the longest one is allowed."""
    assert UnixSocket("x" * LONGEST_PATH).path == "x" * LONGEST_PATH
    for path in ("x" * (LONGEST_PATH + 1), "ä" * (LONGEST_PATH // 2 + 1)):
        with pytest.raises(ValueError, match=f"has at most {LONGEST_PATH} bytes, and 'x*ä*' has 108"):
            UnixSocket(path)


@one_way
async def test_the_longest_path_can_be_served(path: str) -> None:
    """What the check allows, the kernel takes."""
    longest = f"{path}{'x' * (LONGEST_PATH - len(path))}"
    async with serving(at={"unix": longest}) as server:
        await someone_else_is_served(server)


@linux
@pytest.mark.parametrize("further", [{"mode": 0o660}, {"owner": "root"}, {"group": 0}])
def test_an_abstract_name_has_no_permissions(further: dict[str, Any]) -> None:
    """Whoever asks for some would be wrong about who may connect."""
    with pytest.raises(ValueError, match="@app is an abstract name, which has none"):
        UnixSocket("\0app", **further)


def test_abstract_names_are_linuxs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere a path cannot begin so."""
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ValueError, match="abstract names are Linux's"):
        UnixSocket("\0app")


def test_equal_unix_sockets_are_equal() -> None:
    """A value: a str and a Path of it say the same."""
    assert UnixSocket("/x") == UnixSocket(Path("/x"))
    assert UnixSocket("/x") != UnixSocket("/x", mode=0o660)
    assert hash(UnixSocket("/x")) == hash(UnixSocket(Path("/x"), mode=0o600))
