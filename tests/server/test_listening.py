"""What `serve` can listen at, alone and together, and what it refuses."""

from __future__ import annotations

import errno
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import trio
from serving import PATIENCE, connected, one_way, serving, someone_else_is_served
from serving import way_of_reading as way_of_reading

import trioecho
from trioecho._server.listening import NOT_GIVEN, ListenAt
from trioecho.testing import RawClient

pytestmark = one_way

HOST_SENTENCE = "host takes an address such as '127.0.0.1', several in a list, or None for all; you gave"


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """A socket that listens at 127.0.0.1."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def null() -> BinaryIO:
    """A file that is no socket."""
    return open(os.devnull, "rb")


def ready_listener() -> trio.SocketListener:
    """A `trio.SocketListener` at a free port of 127.0.0.1."""
    sock = socket.create_server(("127.0.0.1", 0))
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))


async def is_served_at(host: str, port: int) -> None:
    """Somebody echoes there."""
    async with await trio.open_tcp_stream(host, port) as stream:
        client = RawClient(stream)
        await client.handshake()
        await client.send(host)
        assert await client.receive() == host


# Addresses.


@pytest.mark.parametrize(
    ("host", "port", "error", "lesson"),
    [
        (
            "127.0.0.1",
            "5000",
            TypeError,
            "port takes a whole number from 0 to 65535; you gave '5000': write 5000",
        ),
        ("127.0.0.1", True, TypeError, "port takes a whole number from 0 to 65535; you gave True"),
        ("127.0.0.1", None, TypeError, "port takes a whole number from 0 to 65535; you gave None"),
        ("127.0.0.1", 65536, ValueError, "port takes a whole number from 0 to 65535; you gave 65536"),
        ("127.0.0.1", -1, ValueError, "port takes a whole number from 0 to 65535; you gave -1"),
        (
            5000,
            0,
            TypeError,
            f"{HOST_SENTENCE} 5000",
        ),
        (
            b"::1",
            0,
            TypeError,
            f"{HOST_SENTENCE} b'::1'",
        ),
        (
            [1],
            0,
            TypeError,
            "host takes an address such as '127.0.0.1', several in a list, or None for all; you gave [1]",
        ),
        ([], 0, ValueError, "host is empty; give an address to listen at, such as '127.0.0.1'"),
        ("", 0, ValueError, "host is empty; give an address to listen at, such as '127.0.0.1'"),
    ],
)
async def test_an_address_of_the_wrong_kind_is_refused_with_a_lesson(
    host: Any, port: Any, error: type[Exception], lesson: str
) -> None:
    """A port as text, a host that is a number: one sentence that says what would be right."""
    with pytest.raises(error) as refusal:
        await trioecho.serve(host=host, port=port)
    assert str(refusal.value) == lesson


def has_ipv6() -> bool:
    try:
        with closing(socket.socket(socket.AF_INET6)) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


async def test_no_host_is_every_address_of_both_families() -> None:
    """host=None listens at 0.0.0.0 and, on the same port, at ::, which takes no IPv4 connection of the other's."""
    async with serving(at={"host": None, "port": 0}) as server:
        assert server.url == f"http://127.0.0.1:{server.port}"
        await is_served_at("127.0.0.1", server.port)
        if not has_ipv6():
            pytest.skip("no IPv6 on this machine")
        assert server.hosts == ("0.0.0.0", "::")
        await is_served_at("::1", server.port)
        assert f"http://[::1]:{server.port}" in server.urls


@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
async def test_a_machine_without_ipv6_listens_at_ipv4(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel has no IPv6, or it is switched off, host=None is every IPv4 address; "::" is an error."""
    open_tcp_listeners = trio.open_tcp_listeners

    async def without_ipv6(port: int, *, host: str, backlog: int | None) -> list[trio.SocketListener]:
        if ":" in host:
            raise OSError(number, os.strerror(number))
        return await open_tcp_listeners(port, host=host, backlog=backlog)

    monkeypatch.setattr(trio, "open_tcp_listeners", without_ipv6)
    async with serving(at={"host": None, "port": 0}) as server:
        assert server.hosts == ("0.0.0.0",)
        await someone_else_is_served(server)
    with pytest.raises(OSError, match=os.strerror(number)):
        await trioecho.serve(host="::", port=0)


async def test_a_free_port_is_free_at_every_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the free port of the first address is taken at the second, another is tried; a chosen port is not changed."""
    open_tcp_listeners = trio.open_tcp_listeners
    asked: list[tuple[str, int]] = []

    async def taken_once(port: int, *, host: str, backlog: int | None) -> list[trio.SocketListener]:
        asked.append((host, port))
        if host == "127.0.0.2" and len(asked) == 2:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        return await open_tcp_listeners(port, host=host, backlog=backlog)

    monkeypatch.setattr(trio, "open_tcp_listeners", taken_once)
    async with serving(host=("127.0.0.1", "127.0.0.2")) as server:
        assert [host for host, _ in asked] == ["127.0.0.1", "127.0.0.2"] * 2
        await is_served_at("127.0.0.2", server.port)
    del asked[:]
    with pytest.raises(OSError, match="in use"):
        await trioecho.serve(host=["127.0.0.1", "127.0.0.2"], port=server.port)
    assert len(asked) == 2


async def test_an_address_under_two_names_is_listened_at_once() -> None:
    """A name that stands for an address which is given as well is no port in use."""
    async with serving(host=("127.0.0.1", "localhost")) as server:
        assert server.hosts[0] == "127.0.0.1"
        assert len(set(server.urls)) == len(server.urls)
        await someone_else_is_served(server)


async def test_the_backlog_is_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """`backlog` reaches listen(2), for TCP and for Unix sockets."""
    given: list[int] = []
    listen = socket.socket.listen

    def listen_and_tell(self: socket.socket, backlog: int) -> None:
        given.append(backlog)
        listen(self, backlog)

    monkeypatch.setattr(socket.socket, "listen", listen_and_tell)
    with tempfile.TemporaryDirectory() as directory:
        at = {"host": "127.0.0.1", "port": 0, "unix": f"{directory}/s", "backlog": 7}
        async with serving(at=at):
            assert given == [7, 7]


# Descriptors and ready listeners.


async def test_an_inherited_descriptor_is_served_and_stays_open(listening: socket.socket) -> None:
    """`fd` is duplicated: the number is the caller's still, and can be served again when the server has stopped."""
    for _ in range(2):
        async with serving(at={"fd": listening.fileno()}) as server:
            assert server.port == listening.getsockname()[1]
            await someone_else_is_served(server)
    assert listening.fileno() >= 0
    os.fstat(listening.fileno())


async def test_the_family_of_a_descriptor_is_found() -> None:
    """A Unix socket as `fd` has a path and no port; its file is the caller's."""
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as bound:
        path = Path(directory, "s")
        bound.bind(str(path))
        bound.listen()
        async with serving(at={"fd": bound.fileno()}) as server:
            assert (server.unix_paths, server.urls) == ((str(path),), ())
            await someone_else_is_served(server)
        assert os.listdir(directory) == ["s"]


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 on this machine that takes IPv4, too")
async def test_a_descriptor_for_both_families_is_named_by_both() -> None:
    """What systemd opens for ``ListenStream=5000``: one socket at ::, reached by IPv4 as well."""
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as both:
        async with serving(at={"fd": both.fileno()}) as server:
            assert server.hosts == ("::", "0.0.0.0")
            assert {server.url, f"http://127.0.0.1:{server.port}"} <= set(server.urls)
            await is_served_at("127.0.0.1", server.port)
            await is_served_at("::1", server.port)


async def test_a_descriptor_that_cannot_be_accepted_at_is_an_oserror() -> None:
    """A file, a datagram socket, a socket that does not listen, a number that nobody has: each is told."""
    with (
        null() as file,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        socket.socket() as idle,
    ):
        for fd, number, lesson in (
            (file.fileno(), errno.ENOTSOCK, "it is no socket"),
            (datagrams.fileno(), errno.EINVAL, "it is no stream socket"),
            (idle.fileno(), errno.EINVAL, "it does not listen: whoever opens it has to call listen"),
            (12_345, errno.EBADF, "this process has no such descriptor"),
        ):
            with pytest.raises(OSError, match=lesson) as refusal:
                await trioecho.serve(fd=fd)
            assert (refusal.value.errno, refusal.value.filename) == (number, f"fd {fd}")


async def test_ready_listeners_are_served_and_closed() -> None:
    """Each of them accepts connections; however the server ends, they are closed."""
    listeners = [ready_listener(), ready_listener()]
    ports = [one.socket.getsockname()[1] for one in listeners]
    async with serving(at={"listeners": listeners}) as server:
        assert server.urls == tuple(f"http://127.0.0.1:{port}" for port in ports)
        assert server.port == ports[0]
        for port in ports:
            await is_served_at("127.0.0.1", port)
    assert [one.socket.fileno() for one in listeners] == [-1, -1]
    with pytest.raises(ValueError, match="of which one is closed"):
        await trioecho.serve(listeners=listeners)


async def test_where_it_cannot_listen_everywhere_it_listens_nowhere(listening: socket.socket) -> None:
    """A port in use: the other listeners, given and opened, are closed, and no file of a Unix socket is left."""
    listener = ready_listener()
    with tempfile.TemporaryDirectory() as directory:
        with pytest.raises(OSError, match="it is no socket"), null() as file:
            await trioecho.serve(port=0, unix=f"{directory}/s", fd=file.fileno(), listeners=[listener])
        assert os.listdir(directory) == []
    assert listener.socket.fileno() == -1


async def test_listeners_are_closed_though_nothing_was_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure between listening and accepting, such as no descriptor for the poller, leaves nothing open."""
    listener = ready_listener()
    monkeypatch.setattr("trioecho._server.serve.Server", None)
    with pytest.raises(ExceptionGroup):
        await trioecho.serve(listeners=[listener])
    assert listener.socket.fileno() == -1


# Together.


async def test_places_can_be_combined(listening: socket.socket) -> None:
    """TCP of its own, a Unix socket, a descriptor and a ready listener: all are served, `url` is the server's own."""
    with tempfile.TemporaryDirectory() as directory:
        at = {
            "port": 0,
            "unix": f"{directory}/s",
            "fd": listening.fileno(),
            "listeners": [ready_listener()],
        }
        async with serving(at=at) as server:
            assert len(server.urls) == 3
            assert server.url == server.urls[0] == f"http://127.0.0.1:{server.port}"
            assert server.urls[1] == f"http://127.0.0.1:{listening.getsockname()[1]}"
            for url in server.urls:
                await is_served_at("127.0.0.1", int(url.rpartition(":")[2]))
            (path,) = server.unix_paths
            async with await trio.open_unix_socket(path) as stream:
                client = RawClient(stream)
                await client.handshake()


@pytest.mark.parametrize(
    ("arguments", "hosts", "port"),
    [
        ({}, ("127.0.0.1",), 5000),
        ({"host": "::1"}, ("::1",), 5000),
        ({"host": None}, None, 5000),
        ({"unix": "/x"}, (), 5000),
        ({"fd": 3}, (), 5000),
        ({"unix": "/x", "port": 0}, ("127.0.0.1",), 0),
        ({"unix": "/x", "host": ["a", "b"]}, ("a", "b"), 5000),
        ({"fd": 3, "host": None, "port": 80}, None, 80),
    ],
)
async def test_tcp_is_left_out_where_only_another_place_is_named(
    arguments: dict[str, Any], hosts: tuple[str, ...] | None, port: int
) -> None:
    """With unix, fd or listeners there is TCP only if host or port is given, which may be what it would be anyway."""
    listen_at = ListenAt.of(**arguments)
    assert (listen_at.hosts, listen_at.port) == (hosts, port)


@pytest.mark.parametrize(
    ("arguments", "error", "lesson"),
    [
        ({"fd": "3"}, TypeError, "fd takes the number of an open descriptor, such as 3; you gave '3'"),
        ({"fd": True}, TypeError, "fd takes the number of an open descriptor, such as 3; you gave True"),
        ({"fd": -1}, ValueError, "fd takes the number of an open descriptor, such as 3; you gave -1"),
        ({"backlog": "7"}, TypeError, "backlog takes a whole number from 1 to 65535; you gave '7'"),
        ({"backlog": 0}, ValueError, "backlog takes a whole number from 1 to 65535; you gave 0"),
        (
            {"backlog": 7, "fd": 3},
            ValueError,
            "backlog is for host, port and unix; what fd and listeners name listens already",
        ),
        ({"listeners": 3}, TypeError, "listeners takes a list of trio.SocketListener; you gave 3"),
        ({"listeners": [3]}, TypeError, "listeners takes a list of trio.SocketListener; you gave [3]"),
        (
            {"listeners": []},
            ValueError,
            "listeners is empty; give a trio.SocketListener, or leave it out to listen at host and port",
        ),
        ({"unix": 3}, TypeError, "a Unix socket has a path such as '/run/app.sock'; you gave 3"),
        ({"unix": ""}, ValueError, "a Unix socket has a path such as '/run/app.sock'; you gave ''"),
    ],
)
async def test_a_place_that_makes_no_sense_is_refused_with_a_lesson(
    arguments: dict[str, Any], error: type[Exception], lesson: str
) -> None:
    """One sentence that says what would be right, before anything is opened."""
    with pytest.raises(error) as refusal:
        await trioecho.serve(**arguments)
    assert str(refusal.value) == lesson


async def test_a_socket_object_is_no_descriptor(listening: socket.socket) -> None:
    """Its fileno() is; the lesson says so."""
    with pytest.raises(TypeError, match="write fileno"):
        await trioecho.serve(fd=listening)  # type: ignore[arg-type]


async def test_listeners_of_the_wrong_kind_are_refused() -> None:
    """One twice, one that wraps TLS: refused, and left open, since they are the caller's still."""
    listener = ready_listener()
    with pytest.raises(ValueError, match="which has one twice"):
        await trioecho.serve(listeners=[listener, listener])
    encrypted: Any = trio.SSLListener(listener, None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="its context as ssl_context"):
        await trioecho.serve(listeners=[encrypted])
    assert listener.socket.fileno() >= 0
    await listener.aclose()


async def test_a_cancelled_start_leaves_nothing() -> None:
    """Cancelled before it listens: the given listeners are closed, and nothing is left of the others."""
    listener = ready_listener()
    with tempfile.TemporaryDirectory() as directory:
        with trio.move_on_after(0) as scope:
            await trioecho.serve(port=0, unix=f"{directory}/s", listeners=[listener])
        assert scope.cancelled_caught
        assert os.listdir(directory) == []
    assert listener.socket.fileno() == -1


def test_what_was_not_given_says_so() -> None:
    """help(trioecho.serve) shows it."""
    assert repr(NOT_GIVEN) == "NOT_GIVEN"


async def test_a_graceful_stop_takes_no_new_connection_at_a_descriptor(listening: socket.socket) -> None:
    """While the last connection ends, others wait in the backlog, which is the caller's, for the next server."""
    with trio.fail_after(PATIENCE):
        async with serving(at={"fd": listening.fileno()}) as server, connected(server) as client:
            server.stop()
            assert (await client.receive_close())[0] == 1001
            waiting = await trio.open_tcp_stream("127.0.0.1", listening.getsockname()[1])
            await client.close(1001)
        async with serving(at={"fd": listening.fileno()}), waiting:
            late = RawClient(waiting)
            await late.handshake()


async def test_several_sockets_can_be_inherited() -> None:
    """Each is accepted at; the numbers stay the caller's."""
    with ExitStack() as sockets:
        inherited = [sockets.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        async with serving(at={"fd": [each.fileno() for each in inherited]}) as server:
            ports = [each.getsockname()[1] for each in inherited]
            assert server.urls == tuple(f"http://127.0.0.1:{port}" for port in ports)
            for port in ports:
                await is_served_at("127.0.0.1", port)


@pytest.mark.parametrize(
    ("fd", "error", "sentence"),
    [
        ([], ValueError, "fd is empty; give the number of an open descriptor, such as 3, or leave it out"),
        ([3, 3], ValueError, "fd takes each descriptor once; you gave [3, 3]"),
        ([3, "x"], TypeError, "fd takes the number of an open descriptor, such as 3; you gave 'x'"),
    ],
)
def test_several_that_make_no_sense_are_refused(fd: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error) as refusal:
        ListenAt.of(fd=fd)
    assert str(refusal.value) == sentence


def test_whether_all_sockets_were_there_before_is_known() -> None:
    """Then others may accept at the same ones."""
    assert ListenAt.of(fd=3).inherited
    assert not ListenAt.of(fd=3, port=0).inherited
    assert not ListenAt.of().inherited
