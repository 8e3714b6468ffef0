"""Unix sockets to listen at: their files, who may connect, what they are called, and what is refused."""

from __future__ import annotations

import contextlib
import errno
import functools
import grp
import logging
import os
import pwd
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from connecting import connect
from serving import PATIENCE, connected, one_way, serving, someone_else_is_served, until
from serving import unix_path as unix_path
from serving import way_of_reading as way_of_reading

import trioecho
from trioecho import UnixSocket
from trioecho._server import unix
from trioecho._server.unix import LONGEST_PATH, shown
from trioecho.testing import RawClient

linux = pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")

MUCH = 4_000_000
"""Bytes: more than the kernel holds for a Unix socket."""


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


# What the server says of itself and of its peers.


@one_way
async def test_a_server_at_unix_sockets_only_has_paths_and_no_port(unix_path: str) -> None:
    """url, websocket_url and port would be lies; the sentence says what there is instead."""
    async with serving(at={"unix": Path(unix_path)}) as server:
        assert (server.unix_paths, server.urls, server.hosts) == ((unix_path,), (), ())
        for name in ("url", "websocket_url", "port"):
            with pytest.raises(RuntimeError, match=f"listens at unix:{unix_path} and has no URL or port"):
                getattr(server, name)


@one_way
async def test_a_peer_at_a_unix_socket_is_called_by_its_path(
    unix_path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """By the client's own name, if it has bound one; what cannot be printed in it is escaped; else by the server's."""
    caplog.set_level(logging.INFO, "trioecho")
    async with serving(at={"unix": unix_path}) as server:
        async with await trio.open_unix_socket(unix_path) as unnamed:
            client = RawClient(unnamed)
            await client.handshake()
            (ws,) = server.connections
            assert ws.remote_address == f"unix:{unix_path}"
        named = trio.socket.socket(trio.socket.AF_UNIX)
        forged = os.path.dirname(unix_path) + "/forged\n2026 INFO\x1b[31m"
        await named.bind(forged)
        await named.connect(unix_path)
        async with trio.SocketStream(named) as stream:
            await stream.send_all(b"GET / HTTP/1.1\r\n\r\n")
            await stream.receive_some()
    (line,) = [line for line in caplog.messages if "refused" in line]
    assert line.startswith(f"unix:{os.path.dirname(unix_path)}/forged\\n2026 INFO\\x1b[31m refused: 400 ")


@linux
async def test_an_abstract_name_leaves_no_file() -> None:
    """ "\\0name": served, shown as @name, taken once only."""
    name = f"\0trioecho-test-{os.getpid()}"
    async with serving(at={"unix": name}) as server:
        assert server.unix_paths == (name,)
        async with connect(server) as ws:
            await ws.send("hello")
            assert await ws.receive() == "hello"
        await until(lambda: server.records)
        (record,) = server.records
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
async def test_only_the_servers_user_may_connect_unless_told_otherwise(unix_path: str) -> None:
    """0600 whatever the umask, or the mode that was given."""
    umask = os.umask(0)
    try:
        async with serving(at={"unix": unix_path}):
            assert stat.S_IMODE(os.stat(unix_path).st_mode) == 0o600
        os.umask(0o077)
        async with serving(at={"unix": UnixSocket(unix_path, mode=0o660)}):
            assert stat.S_IMODE(os.stat(unix_path).st_mode) == 0o660
    finally:
        os.umask(umask)


@one_way
async def test_nobody_can_connect_before_the_permissions_are_set(
    unix_path: str, monkeypatch: pytest.MonkeyPatch
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
    async with serving(at={"unix": unix_path}):
        assert tried == ["refused"]


@one_way
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
async def test_the_file_can_be_given_to_a_user_and_a_group(unix_path: str) -> None:
    """By name or by number."""
    user, group = pwd.getpwall()[1], grp.getgrall()[1]
    async with serving(at={"unix": UnixSocket(unix_path, owner=user.pw_name, group=group.gr_name)}):
        found = os.stat(unix_path)
        assert (found.st_uid, found.st_gid) == (user.pw_uid, group.gr_gid)
    async with serving(at={"unix": UnixSocket(unix_path, group=group.gr_gid)}):
        found = os.stat(unix_path)
        assert (found.st_uid, found.st_gid) == (os.geteuid(), group.gr_gid)


@one_way
async def test_who_cannot_be_given_the_file_is_named(unix_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user that the machine does not have, and one that the system refuses; no file is left."""
    with pytest.raises(OSError, match="this machine has no user 'nobody-at-all'"):
        await trioecho.serve(unix=UnixSocket(unix_path, owner="nobody-at-all"))
    with pytest.raises(OSError, match="this machine has no group 'nobody-at-all'"):
        await trioecho.serve(unix=UnixSocket(unix_path, group="nobody-at-all"))

    def forbidden(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "chown", forbidden)
    with pytest.raises(PermissionError, match="this user may not give it to user 1 and group 2") as refusal:
        await trioecho.serve(unix=UnixSocket(unix_path, owner=1, group=2))
    assert refusal.value.filename == unix_path
    assert os.listdir(os.path.dirname(unix_path)) == []


@one_way
async def test_the_socket_of_a_dead_server_is_replaced(unix_path: str) -> None:
    """Nobody listens there: a new server takes the path, and its file is gone when it ends."""
    left_behind(unix_path)
    async with serving(at={"unix": unix_path}) as server:
        await someone_else_is_served(server)
    assert os.listdir(os.path.dirname(unix_path)) == []


@one_way
async def test_a_server_that_was_killed_leaves_no_obstacle(unix_path: str) -> None:
    """SIGKILL leaves the file; the next server starts as if it were not there."""
    killed_server(unix_path)
    assert os.listdir(os.path.dirname(unix_path)) == ["s"]
    async with serving(at={"unix": unix_path}) as server:
        await someone_else_is_served(server)


@one_way
async def test_the_socket_of_a_living_server_is_left_alone(unix_path: str) -> None:
    """EADDRINUSE, and the living one does not notice; one of another kind or with a full backlog lives, too."""
    async with serving(at={"unix": unix_path}) as server:
        with pytest.raises(OSError, match="another server listens there") as refusal:
            await trioecho.serve(unix=unix_path)
        assert (refusal.value.errno, refusal.value.filename) == (errno.EADDRINUSE, unix_path)
        await someone_else_is_served(server)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(unix_path)
        with pytest.raises(OSError, match="another server listens there"):
            await trioecho.serve(unix=unix_path)
    os.unlink(unix_path)
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
        busy.bind(unix_path)
        busy.listen(0)
        waiting.connect(unix_path)
        with trio.fail_after(PATIENCE), pytest.raises(OSError, match="another server listens there"):
            await trioecho.serve(unix=unix_path)


@one_way
async def test_what_is_no_socket_is_left_alone(unix_path: str) -> None:
    """A file, a link to a dead socket, a directory: refused in one sentence, and still there."""
    directory = os.path.dirname(unix_path)
    await trio.Path(unix_path).write_text("precious")
    left_behind(f"{directory}/dead")
    os.symlink("dead", f"{directory}/link")
    for taken in (unix_path, f"{directory}/link", directory):
        with pytest.raises(FileExistsError, match="what is there is no socket; remove it, or choose another"):
            await trioecho.serve(unix=taken)
    assert await trio.Path(unix_path).read_text() == "precious"
    assert sorted(os.listdir(directory)) == ["dead", "link", "s"]


@one_way
async def test_a_missing_directory_is_told_with_the_path(unix_path: str) -> None:
    """The system's own words, and the path, which they lack."""
    with pytest.raises(FileNotFoundError) as refusal:
        await trioecho.serve(unix=f"{unix_path}/x")
    assert refusal.value.filename == f"{unix_path}/x"


@one_way
async def test_no_permission_to_ask_is_no_proof_of_death(
    unix_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another user's socket, perhaps alive, that this user may not connect to, is left alone."""
    left_behind(unix_path)
    plain = socket.socket

    class Forbidden(plain):
        def connect(self, address: Any, /) -> None:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(unix.socket, "socket", Forbidden)
    with pytest.raises(PermissionError, match="this user may not ask whether anybody listens"):
        await UnixSocket(unix_path).listen()
    assert os.listdir(os.path.dirname(unix_path)) == ["s"]


@one_way
async def test_a_file_that_is_another_servers_is_not_removed(unix_path: str) -> None:
    """Somebody has removed ours and listens there: at our end it is left."""
    async with serving(at={"unix": unix_path}):
        os.unlink(unix_path)
        other = socket.socket(socket.AF_UNIX)
        other.bind(unix_path)
        other.listen()
    with other:
        assert os.listdir(os.path.dirname(unix_path)) == ["s"]


@one_way
async def test_a_file_is_removed_from_where_it_was_made(
    unix_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path is of the directory in which the server started."""
    directory = os.path.dirname(unix_path)
    monkeypatch.chdir(directory)
    async with serving(at={"unix": "s"}) as server:
        assert server.unix_paths == ("s",)
        await someone_else_is_served(server)
        monkeypatch.chdir("/")
    assert os.listdir(directory) == []


@one_way
async def test_servers_that_start_at_once_at_one_path_leave_one(unix_path: str) -> None:
    """A dead socket is there, and ten servers want its place: one gets it and is served, nine are told."""
    left_behind(unix_path)
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
                await trioecho.serve(unix=unix_path, task_status=task_status)

            for _ in range(10):
                nursery.start_soon(start)
            await until(lambda: len(won) + len(lost) == 10)
            assert [error.errno for error in lost] == [errno.EADDRINUSE] * 9
            async with connected(won[0]) as client:
                await client.send("hello")
                assert await client.receive() == "hello"
            nursery.cancel_scope.cancel()


@one_way
async def test_a_server_that_is_starting_counts_as_alive(
    unix_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process has bound and does not listen yet: who starts meanwhile waits, and then leaves it alone."""
    asked = trio.Event()
    refused: list[OSError] = []
    flock = unix.fcntl.flock

    def flock_and_tell(number: int, operation: int) -> None:
        asked.set()
        flock(number, operation)

    async def start() -> None:
        with pytest.raises(OSError, match="another server listens there") as refusal:
            await trioecho.serve(unix=unix_path)
        refused.append(refusal.value)

    monkeypatch.setattr(unix, "TURN", PATIENCE)
    monkeypatch.setattr(unix.fcntl, "flock", flock_and_tell)
    with trio.fail_after(PATIENCE), bound_elsewhere(unix_path) as listen:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(start)
            await asked.wait()
            await trio.testing.wait_all_tasks_blocked()
            assert not refused
            listen()
    assert len(refused) == 1


@one_way
async def test_nobody_can_hold_a_start_for_long(unix_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a directory that everybody can read, anybody can lock it; after a second the server starts all the same."""
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(unix, "TURN", 0.1)
    held = os.open(os.path.dirname(unix_path), os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        async with serving(at={"unix": unix_path}) as server:
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
async def test_the_longest_path_can_be_served(unix_path: str) -> None:
    """What the check allows, the kernel takes."""
    longest = f"{unix_path}{'x' * (LONGEST_PATH - len(unix_path))}"
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
