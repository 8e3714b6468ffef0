"""What systemd hands over and wants to know, from something that speaks its protocols as it does."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio
import trio.testing
from command_line import echoes
from server_process import PATIENCE, ServerProcess

from trioecho._process.systemd import Handed, Notifier, sockets_handed_over, without_systemd

Start = Callable[..., ServerProcess]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="systemd is Linux's")

LAUNCH = """\
import os, sys
for place, number in enumerate(map(int, sys.argv[1].split(",")), 3):
    os.dup2(number, place + 100)
for place, _ in enumerate(sys.argv[1].split(","), 3):
    os.dup2(place + 100, place)
    os.close(place + 100)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(sys.argv[1].split(",")))}
os.execv(sys.executable, [sys.executable, "-m", "trioecho", *sys.argv[2:]])
"""
"""Does what systemd does between fork and exec."""


class Manager:
    """The socket at which systemd is told things."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.settimeout(PATIENCE)

    def hear(self) -> dict[str, str]:
        """The next datagram."""
        lines = self.socket.recv(4096).decode().split("\n")
        return {name: value for name, _, value in (line.partition("=") for line in lines)}

    def hear_now(self) -> list[dict[str, str]]:
        """Those that have come."""
        found = []
        self.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self.hear())
        self.socket.settimeout(PATIENCE)
        return found


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """At a path."""
    found = Manager(str(tmp_path / "n"))
    with found.socket:
        yield found


def environment(manager: Manager, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": str(manager.socket.getsockname())} | more


# Sockets.


def test_sockets_are_this_processes_own_or_nobodys() -> None:
    """A program that this one was started by may have had them, and the variables are inherited."""
    ours = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2"}
    assert [each.fd for each in sockets_handed_over(ours)] == [3, 4]
    assert sockets_handed_over(ours | {"LISTEN_PID": str(os.getppid())}) == ()
    assert sockets_handed_over({"LISTEN_FDS": "2"}) == ()
    assert sockets_handed_over({}) == ()


@pytest.mark.parametrize("number", ["", "0", "-1", "two", "1.5", "99999", "²"])
def test_a_number_that_is_none_is_no_socket(number: str) -> None:
    assert sockets_handed_over({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": number}) == ()


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ("web:admin", [Handed(3, "web"), Handed(4, "admin")]),
        ("web", [Handed(3, "web"), Handed(4, "unknown")]),
        ("", [Handed(3, "unknown"), Handed(4, "unknown")]),
        ("a:b:c", [Handed(3, "a"), Handed(4, "b")]),
    ],
)
def test_sockets_have_names(names: str, found: list[Handed]) -> None:
    """As many as there are, whatever the variable says."""
    given = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": names}
    assert list(sockets_handed_over(given)) == found


def launched(
    start_server: Start, *listening: socket.socket, options: tuple[str, ...] = (), **env: str
) -> ServerProcess:
    """A server that is started with these sockets as systemd does it."""
    numbers = ",".join(str(each.fileno()) for each in listening)
    for each in listening:
        each.set_inheritable(True)
    return start_server(command=("-c", LAUNCH, numbers, *options), env=env, close_fds=False)


def test_a_server_listens_at_what_is_handed_over(start_server: Start) -> None:
    """At all of it, where no other place is given, or at what its names name."""
    with socket.create_server(("127.0.0.1", 0)) as web, socket.create_server(("127.0.0.1", 0)) as admin:
        both = launched(start_server, web, admin)
        for each in (web, admin):
            assert echoes(f"ws://127.0.0.1:{each.getsockname()[1]}/ws") == "hello"
        assert both.stop() == 0
        one = launched(start_server, web, admin, options=("--fd", "admin"), LISTEN_FDNAMES="web:admin")
        assert one.port == admin.getsockname()[1]
        assert one.stop() == 0
        other = launched(start_server, web, options=("--port", "0"))
        assert other.port != web.getsockname()[1]


# News.


def test_without_a_socket_nobody_is_told() -> None:
    """Nor at a kind of address that is no Unix socket's."""
    for address in (
        {},
        {"NOTIFY_SOCKET": ""},
        {"NOTIFY_SOCKET": "vsock:2:1234"},
        {"NOTIFY_SOCKET": "relative"},
    ):
        notifier = Notifier(address)
        assert not notifier.asked
        notifier.ready("serving")


def test_who_cannot_be_told_is_not_waited_for(tmp_path: Path) -> None:
    """A manager that is gone, or does not read."""
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("serving")
    deaf = Manager(str(tmp_path / "deaf"))
    with deaf.socket:
        for _ in range(1000):
            Notifier(environment(deaf)).tell(STATUS="x" * 1000)


@pytest.mark.parametrize("address", ["n", "\0trioecho-test-{pid}"])
def test_news_are_lines_in_one_datagram(tmp_path: Path, address: str) -> None:
    """At a path, and at an abstract name, which the variable writes with an @."""
    abstract = address.startswith("\0")
    name = address.format(pid=os.getpid()) if abstract else str(tmp_path / address)
    manager = Manager(name)
    with manager.socket:
        notifier = Notifier({"NOTIFY_SOCKET": name.replace("\0", "@")})
        assert notifier.asked
        notifier.ready("serving:\n1 connection")
        assert manager.hear() == {"READY": "1", "STATUS": "serving: 1 connection"}
        notifier.stopping("stopping", 25.5)
        assert manager.hear() == {"STOPPING": "1", "STATUS": "stopping", "EXTEND_TIMEOUT_USEC": "25500000"}
        notifier.stopping("stopping", math.inf)
        assert "EXTEND_TIMEOUT_USEC" not in manager.hear()
        before = time.monotonic()
        notifier.reloading()
        news = manager.hear()
        assert news.pop("RELOADING") == "1"
        assert before - 1 <= int(news["MONOTONIC_USEC"]) / 1e6 <= time.monotonic() + 1


async def test_the_watchdog_hears_of_a_loop_that_turns_twice_in_its_time(
    autojump_clock: trio.testing.MockClock, manager: Manager
) -> None:
    """And of none that stands still; the status is told when it has changed."""
    given = environment(manager, WATCHDOG_USEC="3000000", WATCHDOG_PID=str(os.getpid()))
    notifier = Notifier(given)
    assert notifier.watchdog == 3
    said = ["serving"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(notifier.watch, lambda: said[-1])
        await trio.sleep(3.1)
        said.append("serving: 1 connection")
        await trio.sleep(3)
        nursery.cancel_scope.cancel()
    news = manager.hear_now()
    assert len(news) == 5
    assert all(each["WATCHDOG"] == "1" for each in news)
    assert [each["STATUS"] for each in news if "STATUS" in each] == said


@pytest.mark.parametrize(
    "given", [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "5", "WATCHDOG_PID": "1"}]
)
def test_a_watchdog_that_is_none_of_ours_hears_nothing(given: dict[str, str]) -> None:
    assert (
        Notifier({"WATCHDOG_USEC": "3000000"} | given if "WATCHDOG_PID" in given else given).watchdog
        == math.inf
    )


def test_processes_of_our_own_tell_systemd_nothing() -> None:
    assert without_systemd({"A": "1", "NOTIFY_SOCKET": "/x", "LISTEN_FDS": "1", "WATCHDOG_USEC": "1"}) == {
        "A": "1"
    }


def test_a_server_tells_that_it_is_ready_how_it_is_and_that_it_stops(
    start_server: Start, manager: Manager
) -> None:
    """READY comes when connections are accepted; a stop asks for the time that it may take."""
    server = start_server("--shutdown-timeout", "7", "--close-timeout", "2", env=environment(manager))
    assert manager.hear() == {"READY": "1", "STATUS": "serving: 0 connections"}
    assert echoes(server.websocket_url) == "hello"
    server.signal(signal.SIGTERM)
    news = manager.hear()
    while "STOPPING" not in news:
        news = manager.hear()
    assert news == {"STOPPING": "1", "STATUS": "stopping", "EXTEND_TIMEOUT_USEC": "9000000"}
    assert server.wait() == 0


def test_a_server_gives_signs_of_life(start_server: Start, manager: Manager) -> None:
    """Four times a second, where half a second is asked for; a process that is stopped gives none."""
    server = start_server(env=environment(manager, WATCHDOG_USEC="500000"))
    assert "READY" in manager.hear()
    assert manager.hear() == {"WATCHDOG": "1"}
    assert manager.hear() == {"WATCHDOG": "1"}
    server.signal(signal.SIGSTOP)
    try:
        manager.hear_now()
        manager.socket.settimeout(1)
        with contextlib.suppress(TimeoutError):
            # One may have been on its way.
            manager.hear()
            with pytest.raises(TimeoutError):
                manager.hear()
    finally:
        server.signal(signal.SIGCONT)
    manager.socket.settimeout(PATIENCE)
    assert manager.hear() == {"WATCHDOG": "1"}
