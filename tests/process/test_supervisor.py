"""Several processes at one place: started, followed, replaced and stopped as one."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, ClassVar

import pytest
import trio
import trio.testing
from command_line import SilentClient, client, close_code_seen, echoes, refused
from process.test_process import Certificate
from server_process import PATIENCE, ServerProcess
from serving import unix_path as unix_path
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import unix_connect

import trioecho
from trioecho._process import supervisor
from trioecho._process.process import CannotStartError
from trioecho._process.signals import StopSignals
from trioecho._process.supervisor import FIRST_PAUSE, KILL_AFTER, LONGEST_PAUSE, READY_WITHIN, Supervisor
from trioecho._server.draining import Steps
from trioecho._server.figures import Figures
from trioecho._server.listening import ListenAt

Start = Callable[..., ServerProcess]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells who the workers are")


def workers(server: ServerProcess) -> set[int]:
    """The process ids of those who live."""
    # The children of each of its threads.
    found = Path(f"/proc/{server.process.pid}/task").glob("*/children")
    return {int(pid) for each in found for pid in each.read_text(encoding="ascii").split()}


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def followed(server: ServerProcess, before: set[int]) -> bool:
    """Whether another has taken the place of one of two workers."""
    return len(workers(server)) == 2 and len(workers(server) & before) == 1


def wait_until(condition: Callable[[], object]) -> None:
    async def wait() -> None:
        with trio.fail_after(PATIENCE):
            while not condition():
                await trio.sleep(0.01)

    trio.run(wait)


# As a user has it.


def test_the_first_line_is_printed_once_when_all_accept(start_server: Start) -> None:
    """It is that of one process; the log tells the processes."""
    server = start_server("--workers", "2")
    assert re.fullmatch(
        r"trioecho serves (http://127\.0\.0\.1:\d+) and ws://127\.0\.0\.1:\d+/ws \(Ctrl-C stops it\)\n",
        server.banner,
    )
    told = server.wait_for_log("2 workers: processes")
    assert set(map(int, re.findall(r"\d+", told.partition("processes")[2]))) == workers(server)
    assert len(workers(server)) == 2
    assert echoes(server.websocket_url) == "hello"
    assert server.stop() == 0
    assert server.process.stdout is not None
    assert server.process.stdout.read() == ""


def test_the_first_line_as_json_names_the_processes(start_server: Start) -> None:
    """The supervisor's, which takes signals, and the workers'."""
    server = start_server("--workers", "2", "--ready-json")
    told = json.loads(server.banner)
    assert told["pid"] == server.process.pid
    assert set(told["workers"]) == workers(server)
    assert told["url"] == told["urls"][0]


def test_connections_are_spread(start_server: Start) -> None:
    """64 over two workers: each has ten at least."""
    server = start_server("--workers", "2", "--log-level", "error")
    pids = workers(server)
    with ExitStack() as clients:
        before = {pid: len(os.listdir(f"/proc/{pid}/fd")) for pid in pids}
        for _ in range(64):
            clients.enter_context(client(server.websocket_url))
        shares = [len(os.listdir(f"/proc/{pid}/fd")) - before[pid] for pid in pids]
    assert sum(shares) == 64
    assert min(shares) >= 10


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_stops_all_as_it_stops_one(start_server: Start, name: str) -> None:
    """1001 to everybody, exit status 0, no process left."""
    server = start_server("--workers", "2")
    pids = workers(server)
    with ExitStack() as clients:
        connected = [clients.enter_context(client(server.websocket_url)) for _ in range(8)]
        server.signal(getattr(signal, name))
        for each in connected:
            assert close_code_seen(each) == (1001, "server is stopping")
    assert server.wait() == 0
    assert not any(map(lives, pids))
    assert not [line for line in server.log if "Traceback" in line or " ERROR " in line]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), PATIENCE)


def test_a_second_signal_stops_all_at_once(start_server: Start) -> None:
    """Of a client that does not answer, nobody waits for the answer."""
    server = start_server("--workers", "2", "--close-timeout", "50")
    silent = SilentClient(server)
    server.signal(signal.SIGTERM)
    server.wait_for_log("stopping 2 workers; a second signal stops at once")
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    silent.close()


def test_a_worker_that_dies_is_followed_by_another(start_server: Start) -> None:
    """Killed, or stopped by somebody; the log says which, and clients of the others notice nothing."""
    server = start_server("--workers", "2")
    for number, how in ((signal.SIGKILL, "was killed by SIGKILL"), (signal.SIGTERM, "ended with status 0")):
        before = workers(server)
        victim = min(before)
        os.kill(victim, number)
        line = server.wait_for_log(f"(process {victim}) {how}; another is started in ")
        assert " ERROR worker " in line
        wait_until(functools.partial(followed, server, before))
        for _ in range(4):
            assert echoes(server.websocket_url) == "hello"
    assert server.stop() == 0


def test_who_waits_at_the_socket_of_a_dead_worker_is_served_by_the_next(start_server: Start) -> None:
    """Nobody is refused because a worker has died: the supervisor keeps its socket."""
    server = start_server("--workers", "1")
    (victim,) = workers(server)
    os.kill(victim, signal.SIGKILL)
    assert echoes(server.websocket_url) == "hello"


def test_workers_end_with_their_supervisor(start_server: Start) -> None:
    """Also when that is killed, and can tell nobody; clients are told to go."""
    server = start_server("--workers", "2")
    pids = workers(server)
    with client(server.websocket_url) as ws:
        server.signal(signal.SIGKILL)
        assert close_code_seen(ws)[0] == 1001
    wait_until(lambda: not any(map(lives, pids)))


def test_workers_are_replaced_and_nobody_is_refused(start_server: Start) -> None:
    """SIGUSR2: 1012 to who is connected; who connects meanwhile is let in by one or the other."""
    server = start_server("--workers", "2", "--log-level", "info")
    before = workers(server)
    with client(server.websocket_url) as ws:
        server.signal(signal.SIGUSR2)
        outcomes = []
        while not [line for line in server.log if "all workers are new" in line]:
            outcomes.append(echo_or_close(server.websocket_url))
        assert close_code_seen(ws) == (1012, "server is restarting")
    outcomes += [echo_or_close(server.websocket_url) for _ in range(20)]
    assert set(outcomes) <= {"hello", "1012"}
    wait_until(lambda: len(workers(server)) == 2)
    assert not before & workers(server)
    assert server.stop() == 0


def echo_or_close(url: str) -> str:
    try:
        with client(url) as ws:
            ws.send("hello")
            return str(ws.recv(PATIENCE))
    except ConnectionClosed as closed:
        return str(closed.rcvd.code if closed.rcvd else None)


def test_all_workers_read_a_new_certificate(start_server: Start, tmp_path: Path) -> None:
    """On SIGHUP; one that is no good none of them reads, and it is told once."""
    certificate = Certificate(tmp_path)
    server = start_server("--workers", "2", *certificate.options)
    first = certificate.seen(server)
    good = certificate.cert.read_bytes()
    certificate.cert.write_text("no certificate")
    server.signal(signal.SIGHUP)
    server.wait_for_log("the certificate stays as it was")
    assert {certificate.seen(server) for _ in range(6)} == {first}
    assert len([line for line in server.log if "stays as it was" in line]) == 1
    certificate.cert.write_bytes(good)
    certificate.issue()
    server.signal(signal.SIGHUP)
    server.wait_for_log("the certificate was read anew")
    wait_until(lambda: first not in {certificate.seen(server) for _ in range(8)})
    assert len({certificate.seen(server) for _ in range(4)}) == 1
    assert server.stop() == 0


def test_without_a_certificate_a_hangup_stops(start_server: Start) -> None:
    """As it stops one process: the terminal was closed."""
    server = start_server("--workers", "2")
    server.signal(signal.SIGHUP)
    assert server.wait() == 0


def test_unix_sockets_and_inherited_ones_are_shared(start_server: Start, unix_path: str) -> None:
    """All workers accept at them."""
    server = start_server("--workers", "2", "--unix", unix_path, command=("-m", "trioecho"))
    for _ in range(4):
        with unix_connect(unix_path, "ws://localhost/ws") as ws:
            ws.send("hello")
            assert ws.recv(PATIENCE) == "hello"
    assert server.stop() == 0
    assert not os.path.exists(unix_path)
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        listening.set_inheritable(True)
        number = str(listening.fileno())
        inherited = start_server(
            "--workers", "2", "--fd", number, command=("-m", "trioecho"), close_fds=False
        )
        assert inherited.port == listening.getsockname()[1]
        assert echoes(inherited.websocket_url) == "hello"
        assert inherited.stop() == 0


def test_a_port_in_use_is_told_in_one_line() -> None:
    """As one process tells it, by the supervisor alone."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        status, line = refused("--workers", "3", "--port", str(port))
    assert status == 3
    assert line.startswith(f"cannot listen on 127.0.0.1 port {port}: Address already in use")


def test_a_stop_in_steps_is_one_of_all_workers(start_server: Start) -> None:
    """/readyz is red in each of them, while they still let newcomers in."""
    server = start_server("--workers", "2", "--drain-delay", "1000")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def status() -> int:
        try:
            with opener.open(f"{server.url}/readyz", timeout=PATIENCE) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code

    assert {status() for _ in range(8)} == {200}
    server.signal(signal.SIGTERM)
    wait_until(lambda: {status() for _ in range(8)} == {503})
    assert echoes(server.websocket_url) == "hello"
    server.signal(signal.SIGTERM)
    assert server.wait() == 0


def test_the_end_of_input_stops_all(start_server: Start) -> None:
    """`start_server` gives it none."""
    assert start_server("--workers", "2", "--exit-on-eof").wait() == 0


def test_every_worker_writes_its_tree_of_tasks(start_server: Start) -> None:
    """SIGUSR1 is passed on, and changes nothing."""
    server = start_server("--workers", "2")
    server.signal(signal.SIGUSR1)
    server.wait_until(lambda log: len([line for line in log if "of each nursery the" in line]) == 3)
    assert echoes(server.websocket_url) == "hello"
    assert server.stop() == 0


# In virtual time, with workers that are none.


class Fake:
    """In the place of `WorkerProcess`: lives for some seconds after a while, and takes down what it is told."""

    plan: ClassVar[list[tuple[float, float]]] = []
    """For each that is started: seconds until it is ready, and until it dies."""
    made: ClassVar[list[Fake]] = []

    def __init__(self, command: object, number: int, listen: object) -> None:
        self.number = number
        self.pid = 1000 + len(Fake.made)
        self.comes, self.lives = Fake.plan[min(len(Fake.made), len(Fake.plan) - 1)]
        Fake.made.append(self)
        self.ready, self.ended = trio.Event(), trio.Event()
        self.told: dict[str, Any] = {"lines": ["served"], "ready": {}}
        self.heard: list[str] = []
        self.how_it_ended = "ended with status 1"
        self.began_at = trio.current_time()
        self.scope = trio.CancelScope()
        self.stays = self.busy = False
        self.figures: Any = None

    async def run(self) -> None:
        with self.scope:
            with trio.move_on_after(self.lives):
                await trio.sleep(self.comes)
                self.ready.set()
                await trio.sleep_forever()
        self.ended.set()

    async def tell(self, order: str) -> None:
        await trio.lowlevel.checkpoint()
        self.heard.append(order)
        if not self.stays:
            self.scope.cancel()

    async def ask_figures(self) -> Any:
        await trio.lowlevel.checkpoint()
        if self.busy:
            return None
        self.figures = Figures(connections_open=self.number, connections=10, memory_limit=1000).as_dict()
        return self.figures

    def kill(self) -> None:
        self.heard.append("kill")
        self.scope.cancel()


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> list[Fake]:
    monkeypatch.setattr(supervisor, "WorkerProcess", Fake)
    monkeypatch.setattr(Fake, "made", [])
    return Fake.made


@contextlib.asynccontextmanager
async def supervising(count: int, plan: list[tuple[float, float]], steps: Steps | None = None) -> Any:
    """A supervisor of `count` workers that live as planned, and the signals that it hears."""
    Fake.plan = plan
    with StopSignals(last=False, reload=True, renew=True) as signals:
        ours = Supervisor(
            (),
            count,
            ListenAt.of(port=0),
            trioecho.WebSocketOptions(),
            steps or Steps(),
            lambda *_: "",
            signals,
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ours.run)
            yield ours, nursery
            nursery.cancel_scope.cancel()


INF = float("inf")


async def test_the_pause_before_another_doubles_and_is_bounded(
    autojump_clock: trio.testing.MockClock, fakes: list[Fake], caplog: pytest.LogCaptureFixture
) -> None:
    """One that dies as soon as it serves is not started without end at full speed."""
    async with supervising(1, [(0.0, 1.0)]):
        await trio.sleep(300)
    starts = [each.began_at for each in fakes]
    pauses = [after - before - 1 for before, after in itertools.pairwise(starts)]
    expected = [min(FIRST_PAUSE * 2**number, LONGEST_PAUSE) for number in range(len(pauses))]
    assert pauses == pytest.approx(expected, abs=0.01)
    assert pauses[-1] == pytest.approx(LONGEST_PAUSE)
    lines = [record for record in caplog.records if "another is started" in record.message]
    assert len(lines) >= len(pauses)


async def test_one_that_has_lived_well_is_followed_soon(
    autojump_clock: trio.testing.MockClock, fakes: list[Fake]
) -> None:
    async with supervising(1, [(0.0, 1.0)] * 5 + [(0.0, 100.0)]):
        await trio.sleep(200)
    assert fakes[6].began_at - fakes[5].began_at == pytest.approx(100 + FIRST_PAUSE)


@pytest.mark.parametrize("plan", [[(INF, 1.0)], [(0.0, INF), (INF, 1.0)], [(0.0, 1.0), (2.0, INF)]])
async def test_a_worker_that_never_serves_is_a_failure_to_start(
    autojump_clock: trio.testing.MockClock, fakes: list[Fake], plan: list[tuple[float, float]]
) -> None:
    """The others end, too; also one that dies before the last serves."""
    with pytest.raises(ExceptionGroup) as failure:
        async with supervising(2, plan):
            await trio.sleep_forever()
    (error,) = failure.value.exceptions
    assert isinstance(error, CannotStartError)
    assert "ended with status 1 before all served" in str(error)
    assert all(each.ended.is_set() for each in fakes)


async def test_one_that_comes_up_too_slowly_is_killed(
    autojump_clock: trio.testing.MockClock, fakes: list[Fake]
) -> None:
    with pytest.raises(ExceptionGroup):
        async with supervising(1, [(INF, INF)]):
            await trio.sleep_forever()
    assert fakes[0].heard[0] == "kill"
    assert trio.current_time() - fakes[0].began_at == pytest.approx(READY_WITHIN, abs=1)


async def test_a_worker_that_does_not_stop_is_killed(
    autojump_clock: trio.testing.MockClock, fakes: list[Fake]
) -> None:
    """When the time of all steps is over, and some more: its event loop may stand still."""
    async with supervising(2, [(0.0, INF)], Steps(3, 2, 4)):
        await trio.sleep(1)
        fakes[1].stays = True
        signal.raise_signal(signal.SIGTERM)
        begun = trio.current_time()
        await fakes[1].ended.wait()
        # The time for the closing handshake, which is another 5 s, among it.
        assert trio.current_time() - begun == pytest.approx(3 + 2 + 4 + 5 + KILL_AFTER, abs=0.1)
    assert [each.heard for each in fakes] == [["stop"], ["stop", "kill"]]


async def test_a_new_worker_that_does_not_come_up_leaves_the_old_one_in_its_place(
    autojump_clock: trio.testing.MockClock, fakes: list[Fake], caplog: pytest.LogCaptureFixture
) -> None:
    """Such as when what was installed meanwhile is broken; the next signal tries it again."""
    async with supervising(2, [(0.0, INF), (0.0, INF), (INF, 1.0), (0.0, INF)]):
        await trio.sleep(1)
        signal.raise_signal(signal.SIGUSR2)
        await trio.sleep(5)
        assert [each.heard for each in fakes] == [[], [], []]
        assert "a new worker ended with status 1; the old ones stay" in caplog.text
        signal.raise_signal(signal.SIGUSR2)
        await trio.sleep(5)
        assert [each.heard for each in fakes] == [["hand over"], ["hand over"], [], [], []]


async def test_one_that_dies_while_its_predecessor_still_leaves_is_followed(
    autojump_clock: trio.testing.MockClock, fakes: list[Fake]
) -> None:
    async with supervising(1, [(0.0, INF), (0.0, 5.0), (0.0, INF)]):
        await trio.sleep(1)
        fakes[0].stays = True
        signal.raise_signal(signal.SIGUSR2)
        await trio.sleep(10)
        assert len(fakes) == 3
        assert not fakes[0].ended.is_set()


async def test_what_systemd_hears_is_of_all_workers(
    autojump_clock: trio.testing.MockClock, fakes: list[Fake]
) -> None:
    async with supervising(3, [(0.0, INF)]) as (ours, _):
        ours.notifier._address = "/nobody"
        await trio.sleep(11)
        assert ours._status() == "serving: 3 connections, 3 workers"


def test_output_that_nobody_takes_ends_it_as_it_ends_one_process() -> None:
    """Exit status 3, and one line that says so; no worker is left."""
    with open("/dev/full", "w", encoding="utf-8") as full:
        process = subprocess.run(
            [sys.executable, "-m", "trioecho", "--port", "0", "--workers", "2"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    assert process.returncode == 3
    assert "trioecho: cannot write to standard output: No space left on device" in process.stderr
