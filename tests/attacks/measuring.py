"""One attack on one contender: the server on one core, attackers and neighbour, a process each, on another."""

import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from attack import Attack, Service
from contenders import Contender, running
from deflating import OFFER
from generator import cpu_seconds
from loads import Load
from machine import cores
from neighbour import PATIENCE, Seen, live
from target import AttackError, Tally, Target

#: Seconds for the neighbour to go on when the attackers have gone: the server has their connections to clear away.
AFTERMATH = 0.3

#: Seconds that a process may take beyond those it was given.
ALLOWANCE = 30.0

#: What the attackers give way to the neighbour by, where both want the core.
NICE = 10

#: File descriptors of a server that is short of them, and those that a process needs besides its connections.
FEW_DESCRIPTORS = 1024
SPARE_DESCRIPTORS = 200

FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True, slots=True)
class Run:
    """How each attack of this run is made."""

    seconds: float
    quiet: float
    connections: int | None
    addresses: tuple[str, ...]
    server_pem: Path
    authority_pem: Path
    folder: Path
    budget: float | None
    """The server's, in MiB, where it can be given one."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one attack on one contender. Memory is in bytes: at rest, and the most there was; times in seconds.

    `cpu` is the share of its core that the server used, `starved` the share of the time in which it was ready to run
    and another process had that core. `died` says that its process has ended.
    """

    quiet: Seen
    during: Seen
    tally: Tally
    rest: int
    peak: int
    cpu: float
    starved: float
    died: bool


def allow_descriptors() -> None:
    """Raise this process's limit as far as it may, for its children."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextmanager
def descriptors(service: Service) -> Iterator[None]:
    """A server started inside has as many descriptors as its `service` wants."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if service is Service.SHORT_OF_DESCRIPTORS:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(FEW_DESCRIPTORS, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def serving(attack: Attack, contender: Contender, run: Run) -> Iterator[tuple[int, int]]:
    """The process id and port of a contender that is started as `attack` wants it. Raises StartError."""
    load = Load(
        name=attack.name,
        title=attack.title,
        kind="",
        unit="",
        connections=attack.connections,
        extension=OFFER if attack.service is Service.DEFLATE else "",
    )
    options = {Service.LOGGING: ("--log",), Service.HTTP: ("--http", str(run.folder))}.get(attack.service, ())
    if run.budget is not None:
        options += ("--budget", str(int(run.budget * 2**20)))
    certificate = run.server_pem if attack.service is Service.TLS else None
    read = attack.service is not Service.LOGGING
    with ExitStack() as stack:
        with descriptors(attack.service):
            process, port = stack.enter_context(
                running(contender, load, cores()[0], certificate, *options, stderr_is_read=read)
            )
        # Nothing is learnt from how it would end by itself.
        stack.callback(os.kill, process, signal.SIGKILL)
        yield process, port


def status(process: int, field: str) -> str:
    """A field of /proc/PID/status; nothing where the process has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split()[1] for line in lines if line.startswith(f"{field}:")), "")


def memory(process: int, field: str) -> int:
    """Bytes of memory by a field of /proc/PID/status, such as VmRSS or VmHWM; 0 where the process has ended."""
    return int(status(process, field) or 0) * 1024


def waited_seconds(process: int) -> float:
    """Seconds that a process has been ready to run while its core was another's (proc(5): schedstat); else 0."""
    try:
        return int(Path(f"/proc/{process}/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


def forget_peak(process: int) -> None:
    """Let the peak of a process's memory begin anew (proc(5): clear_refs), where this is permitted."""
    try:
        Path(f"/proc/{process}/clear_refs").write_text("5")
    except OSError:
        pass


class Child:
    """A forked process on one core that runs `work`, and a pipe to it, given to `work` as its last argument."""

    def __init__(self, core: int, nice: int, work: Callable[..., None], *arguments: object) -> None:
        self.pipe, theirs = FORK.Pipe()
        self._process = FORK.Process(target=_on_core, args=(core, nice, work, arguments, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def hear(self, seconds: float) -> Any:
        """What it sends next. Raises AttackError where that takes longer, or where it has ended."""
        try:
            if self.pipe.poll(seconds):
                return self.pipe.recv()
        except EOFError:
            raise AttackError("a process of the attackers' or the neighbour's has ended: see above") from None
        raise AttackError(f"no word from attackers or neighbour for {seconds:.0f} s")

    def end(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.join()
        self.pipe.close()


def _on_core(core: int, nice: int, work: Callable[..., None], arguments: Any, pipe: Connection) -> None:
    os.sched_setaffinity(0, {core})
    os.nice(nice)
    work(*arguments, pipe)


def besiege(attack: Attack, target: Target, pipe: Connection) -> None:
    """Carry out `attack` when told to, and send the tally, or the sentence that says why there is none."""
    pipe.recv()
    try:
        pipe.send(attack.carry_out(target))
    except (AttackError, OSError) as failure:
        pipe.send(str(failure))


def measure(attack: Attack, process: int, port: int, run: Run) -> Outcome:
    """One attack on the server on `port`. Raises AttackError."""
    core = cores()[1]
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_DESCRIPTORS
    wanted = attack.connections if run.connections is None else run.connections
    target = Target(
        port=port,
        connections=min(wanted, most),
        seconds=run.seconds,
        addresses=run.addresses,
        authority=str(run.authority_pem),
    )
    authority = target.authority if attack.service is Service.TLS else None
    attackers = Child(core, NICE, besiege, attack, target)
    neighbour = Child(core, 0, live, port, process, authority, run.quiet, PATIENCE)
    try:
        quiet = neighbour.hear(run.quiet + ALLOWANCE)
        if not isinstance(quiet, Seen):
            raise AttackError(f"the neighbour could not connect: {quiet}")
        forget_peak(process)
        rest = memory(process, "VmRSS")
        before, waited, start = cpu_seconds(process), waited_seconds(process), time.monotonic()
        attackers.pipe.send("go")
        tally = attackers.hear(target.seconds + ALLOWANCE)
        if not isinstance(tally, Tally):
            raise AttackError(tally)
        time.sleep(min(AFTERMATH, run.seconds))
        died = status(process, "State") in ("", "Z")
        elapsed = time.monotonic() - start
        cpu = 0.0 if died else (cpu_seconds(process) - before) / elapsed
        starved = 0.0 if died else (waited_seconds(process) - waited) / elapsed
        neighbour.pipe.send("enough")
        during = neighbour.hear(PATIENCE + ALLOWANCE)
        return Outcome(quiet, during, tally, rest, memory(process, "VmHWM"), cpu, starved, died)
    finally:
        attackers.end()
        neighbour.end()
