"""The contenders, and how one is started, found ready, and ended."""

import os
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import trustme
from loads import Group, Load

SERVERS = Path(__file__).parent / "servers"
REPOSITORY = Path(__file__).parents[2]

#: Seconds for npm to install, for a contender to say that it is ready, and for it to go when told.
INSTALL_TIMEOUT = 300.0
START_TIMEOUT = 15.0
END_TIMEOUT = 3.0

WEBSOCKET = frozenset({Group.WEBSOCKET})
DEFLATE = frozenset({Group.WEBSOCKET, Group.DEFLATE})
HUBS = frozenset({Group.HUB, Group.HUB_BROADCAST})


class StartError(Exception):
    """A contender is not installed or did not become ready; the message says what it printed."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One server: a program in `servers/` with its arguments, and the packages whose versions matter."""

    name: str
    title: str
    program: str
    packages: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    groups: frozenset[Group] = WEBSOCKET
    broadcast: str = ""
    """The program for broadcasts; "" where there is none."""
    hub: str = ""
    """The program for hubs; "" where there is none."""
    dialect: str = ""
    """How it writes the hub protocols, in `hub_messages.DIALECTS`."""
    optional: str = ""
    """A package without which it is left out."""

    @property
    def protocol(self) -> str:
        """`tcp` for a raw echo, else `ws`."""
        return "tcp" if self.groups & {Group.TCP_CEILING, Group.TCP_TRIO} else "ws"

    @property
    def lacks(self) -> str:
        """The package without which it is left out, where that is not installed; else ""."""
        return "" if not self.optional or find_spec(self.optional) else self.optional

    def takes(self, load: Load) -> bool:
        """Whether this contender takes part in `load`."""
        if Group.BROADCAST in load.groups:
            return bool(self.broadcast)
        return bool(self.groups & load.groups)

    def task(self, load: Load) -> dict[str, Any]:
        """The part of `generator.Task` that the load decides for this contender: without a hub it is a plain echo."""
        if not load.hub:
            return load.task()
        return load.task() | {"hub": load.hub if self.hub else "", "dialect": self.dialect}

    def program_for(self, load: Load) -> str:
        """The program that is measured under `load`."""
        if load.hub and self.hub:
            return self.hub
        return self.broadcast if Group.BROADCAST in load.groups else self.program


CONTENDERS = (
    Contender(
        "trioecho",
        "trioecho",
        "trioecho_server.py",
        ("trioecho", "trio", "trio-websocket"),
        groups=DEFLATE | {Group.TLS} | HUBS,
        broadcast="trioecho_broadcast.py",
        hub="trioecho_hub.py",
    ),
    Contender(
        "trioecho-echo",
        "trioecho, no hub",
        "trioecho_server.py",
        ("trioecho", "trio"),
        groups=frozenset({Group.HUB}),
    ),
    Contender(
        "trioecho-broadcast",
        "trioecho.broadcast",
        "trioecho_broadcast.py",
        ("trioecho", "trio"),
        groups=frozenset({Group.HUB_BROADCAST}),
    ),
    Contender(
        "aiosignalr-asyncio",
        "aiosignalr, asyncio",
        "",
        ("aiosignalr", "aiohttp"),
        groups=HUBS,
        hub="aiosignalr_hub.py",
        dialect="aiosignalr",
        optional="aiosignalr",
    ),
    Contender(
        "aiosignalr-uvloop",
        "aiosignalr, uvloop",
        "",
        ("aiosignalr", "aiohttp", "uvloop"),
        ("uvloop",),
        groups=HUBS,
        hub="aiosignalr_hub.py",
        dialect="aiosignalr",
        optional="aiosignalr",
    ),
    Contender(
        "trioecho-loop",
        "trioecho, a loop of send",
        "",
        ("trioecho", "trio"),
        ("loop",),
        groups=frozenset(),
        broadcast="trioecho_broadcast.py",
    ),
    Contender(
        "trio-websocket",
        "trio-websocket",
        "trio_websocket_server.py",
        ("trio-websocket", "wsproto", "trio"),
        groups=WEBSOCKET | {Group.TLS},
    ),
    Contender("websockets-trio", "websockets, Trio", "websockets_trio.py", ("websockets", "trio")),
    Contender(
        "websockets-asyncio",
        "websockets, asyncio",
        "websockets_asyncio.py",
        ("websockets",),
        groups=DEFLATE,
        broadcast="websockets_broadcast.py",
    ),
    Contender(
        "websockets-uvloop",
        "websockets, uvloop",
        "websockets_asyncio.py",
        ("websockets", "uvloop"),
        ("uvloop",),
        groups=DEFLATE,
        broadcast="websockets_broadcast.py",
    ),
    Contender(
        "aiohttp-uvloop", "aiohttp, uvloop", "aiohttp_uvloop.py", ("aiohttp", "uvloop"), groups=DEFLATE
    ),
    Contender("ws-node", "ws, Node", "ws_node.js", (), groups=DEFLATE, broadcast="ws_node_broadcast.js"),
    Contender("picows-uvloop", "picows, uvloop", "picows_uvloop.py", ("picows", "aiofastnet", "uvloop")),
    Contender("tcp-trio", "raw TCP, Trio", "tcp_trio.py", ("trio",), groups=frozenset({Group.TCP_TRIO})),
    Contender("tcp-epoll", "raw TCP, epoll", "tcp_epoll.py", (), groups=frozenset({Group.TCP_CEILING})),
)


def node_modules() -> Path:
    """Where the Node contender's packages are, installed there by npm on first use, outside the repository.

    Raises StartError if there is no Node or npm, or if installing fails or takes longer than `INSTALL_TIMEOUT`.
    """
    if not shutil.which("node") or not shutil.which("npm"):
        raise StartError("Node and npm are not installed")
    wanted = SERVERS / "package.json"
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "trioecho-benchmark"
    installed = cache / "package.json"
    if not installed.exists() or installed.read_bytes() != wanted.read_bytes():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            shutil.copy(wanted, scratch)
            command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"]
            try:
                subprocess.run(
                    command, cwd=scratch, capture_output=True, text=True, check=True, timeout=INSTALL_TIMEOUT
                )
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as failure:
                raise StartError(f"npm install failed: {failure} {str(failure.stderr)[-500:]}") from None
            shutil.rmtree(cache / "node_modules", ignore_errors=True)
            shutil.move(Path(scratch) / "node_modules", cache / "node_modules")
        shutil.copy(wanted, installed)
    return cache / "node_modules"


def command(
    contender: Contender, load: Load, certificate: Path | None, *options: str
) -> tuple[list[str], dict[str, str]]:
    """The command that starts a contender for `load`, and its environment; `options` are more of the contract's."""
    program = str(SERVERS / contender.program_for(load))
    environment = dict(os.environ)
    deflate = ["--deflate"] if load.extension else []
    if program.endswith(".js"):
        environment["NODE_PATH"] = str(node_modules())
        return ["node", program, *deflate], environment
    # The tree is measured as it stands, whether or not it is installed.
    paths = [str(REPOSITORY), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    tls = ["--certificate", str(certificate)] if certificate else []
    return [sys.executable, program, *contender.arguments, *tls, *deflate, *options], environment


@contextmanager
def certificates() -> Iterator[tuple[Path, Path]]:
    """The server's PEM file and its authority's, made for this run."""
    with tempfile.TemporaryDirectory() as folder:
        authority = trustme.CA()
        server, ca = Path(folder) / "server.pem", Path(folder) / "authority.pem"
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(server)
        authority.cert_pem.write_to_path(ca)
        yield server, ca


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Processes started inside run on `core` only, with all their threads; this process returns to where it was."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def running(
    contender: Contender,
    load: Load,
    core: int,
    certificate: Path | None = None,
    *options: str,
    stderr_is_read: bool = True,
) -> Iterator[tuple[int, int]]:
    """A contender's process id and port while it runs on `core` for `load`; `options` are more of the contract's.

    Its stderr goes into a file, or, with `stderr_is_read` false, into a pipe from which nobody reads.

    Raises StartError if it does not print a port within `START_TIMEOUT`. Whatever is raised inside gets a note with the
    end of what the contender wrote to that file.
    """
    arguments, environment = command(contender, load, certificate, *options)
    with tempfile.TemporaryFile() as errors:
        with pinned(core):
            process = subprocess.Popen(
                arguments,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors if stderr_is_read else subprocess.PIPE,
            )
        try:
            port = first_line(process)
            if not port.isdigit():
                raise StartError(f"{contender.name} printed {port.decode()!r} where its port was expected")
            yield process.pid, int(port)
        except Exception as failure:
            errors.seek(0)
            failure.add_note(errors.read().decode(errors="replace")[-1000:])
            raise
        finally:
            end(process)


def first_line(process: "subprocess.Popen[bytes]") -> bytes:
    """The first line a process prints, without its end; nothing if it has not begun one within `START_TIMEOUT`."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], START_TIMEOUT)
    return process.stdout.readline().strip() if ready else b""


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a process: politely, then not."""
    process.terminate()
    try:
        process.wait(END_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
