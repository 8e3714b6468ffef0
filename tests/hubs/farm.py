"""Several processes of one hub behind HAProxy, one of which is killed: how many of its clients are back, and when.

    python tests/hubs/farm.py --processes 10 --clients 2000

The processes share nothing but the secret of their tokens, and HAProxy chooses one for each request, so a client
negotiates with one and is connected to another: over WebSockets there need be no sticky sessions. The clients do what
SignalR's do that reconnect by themselves: at once, then after 2, 10 and 30 seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import trio

import trioecho
from trioecho.hubs import ConnectionOptions, Hub, HubOptions, HubServer, Target
from trioecho.testing import RawClient

DELAYS = (0, 2, 10, 30)
"""Seconds before each try to reconnect, as SignalR's clients have them."""

SILENCE = 10.0
"""Seconds after which a client says that it is still there."""

AT_ONCE = 40
"""Clients that connect at a time at first, so that nobody waits for long in a queue."""

CONFIGURATION = """
global
    maxconn {most}
defaults
    mode http
    timeout connect 2s
    timeout client 30s
    timeout server 30s
    timeout tunnel 1h
    # A process that does not answer is left alone at once, and its requests go to another one.
    retries 3
    option redispatch 1
    retry-on conn-failure empty-response
    default-server check inter 500ms fall 1 rise 2 observe layer4 error-limit 1 on-error mark-down
frontend clients
    bind fd@{listener}
    default_backend processes
backend processes
    balance leastconn
    option httpchk GET /healthz
{servers}
"""
"""HAProxy's, of version 2.2 and later. Nothing in it is about SignalR."""


def haproxy() -> str | None:
    """The program, if this machine has it; Debian puts it where only root looks."""
    return shutil.which("haproxy", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")


class Farm(Hub[Target]):
    """Says who is asked."""

    async def where(self) -> int:
        """The number of the process."""
        return int(os.environ["TRIOECHO_FARM_NUMBER"])

    async def kill(self) -> None:
        """End the process without a word."""
        os.kill(os.getpid(), signal.SIGKILL)


async def serve() -> None:
    """One process of the hub; its port is the first line that it prints."""
    options = ConnectionOptions(secret=bytes.fromhex(os.environ["TRIOECHO_FARM_SECRET"]))
    hub = HubServer(Farm, options=HubOptions(), connection_options=options)
    health = trioecho.HttpRoute(_healthy)
    async with trio.open_nursery() as nursery:
        start = partial(trioecho.serve, {"/hub": hub, "/healthz": health}, host="127.0.0.1", port=0)
        server = await nursery.start(start)
        print(server.port, flush=True)


async def _healthy(request: trioecho.Request) -> trioecho.Response:
    return trioecho.Response("Healthy")


@dataclass
class Running:
    """The processes, and where clients find HAProxy."""

    port: int
    processes: list[subprocess.Popen[str]]

    def kill(self, number: int) -> None:
        """End a process without a word."""
        self.processes[number].send_signal(signal.SIGKILL)


@contextlib.contextmanager
def running(processes: int, clients: int) -> Iterator[Running]:
    """The hub in so many processes, behind HAProxy with room for so many clients."""
    program = haproxy()
    assert program is not None, "needs haproxy"
    secret = secrets.token_hex(32)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        started = []
        for number in range(processes):
            environment = os.environ | {"TRIOECHO_FARM_NUMBER": str(number), "TRIOECHO_FARM_SECRET": secret}
            process = subprocess.Popen(
                [sys.executable, __file__, "--serve"], env=environment, stdout=subprocess.PIPE, text=True
            )
            stack.callback(_end, process)
            started.append(process)
        ports = [_first_line(process) for process in started]
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=4096))
        servers = "\n".join(f"    server s{number} 127.0.0.1:{port}" for number, port in enumerate(ports))
        configuration = folder / "haproxy.cfg"
        configuration.write_text(
            CONFIGURATION.format(listener=listener.fileno(), servers=servers, most=2 * clients + 100)
        )
        proxy = subprocess.Popen(
            [program, "-q", "-db", "-f", str(configuration)],
            pass_fds=[listener.fileno()],
            stderr=subprocess.DEVNULL,
        )
        stack.callback(_end, proxy)
        yield Running(listener.getsockname()[1], started)


def _first_line(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


def _end(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


@dataclass
class Client:
    """One client that reconnects by itself."""

    at: int | None = None
    """The number of the process that answers it; None while there is none."""
    losses: list[float] = field(default_factory=list)
    """When it has lost its connection."""
    returns: list[float] = field(default_factory=list)
    """When it was answered again."""
    changed: trio.Event = field(default_factory=trio.Event)

    async def live(self, port: int, room: trio.CapacityLimiter) -> None:
        """Be connected, until cancelled, or until the last try to reconnect has failed."""
        async with room:
            stream = await self._open(port)
        while stream is not None:
            try:
                await self._stay(RawClient(stream))
            finally:
                await trio.aclose_forcefully(stream)
            self._now_at(None)
            self.losses.append(trio.current_time())
            stream = await self._reconnect(port)

    async def _reconnect(self, port: int) -> trio.SocketStream | None:
        for delay in DELAYS:
            await trio.sleep(delay)
            with contextlib.suppress(OSError, trio.BrokenResourceError, AssertionError, ValueError):
                stream = await self._open(port)
                self.returns.append(trio.current_time())
                self._now_at(self.at)
                return stream
        return None

    async def _open(self, port: int) -> trio.SocketStream:
        """Negotiate, upgrade, shake hands, and be answered once."""
        token = await _negotiate(port)
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        try:
            client = RawClient(stream)
            await client.handshake(f"/hub?id={token}")
            await client.send('{"protocol":"json","version":1}\x1e')
            assert await client.receive() == "{}\x1e"
            await client.send('{"type":1,"invocationId":"1","target":"Where","arguments":[]}\x1e')
            self._now_at(json.loads(str(await client.receive()).rstrip("\x1e"))["result"])
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return stream

    async def _stay(self, client: RawClient) -> None:
        """Read until the connection is lost."""
        with contextlib.suppress(trio.BrokenResourceError):
            while True:
                with trio.move_on_after(SILENCE):
                    if await client.receive_frame() is None:
                        return
                    continue
                await client.send('{"type":6}\x1e')

    def _now_at(self, number: int | None) -> None:
        self.at = number
        self.changed.set()
        self.changed = trio.Event()


async def _negotiate(port: int) -> str:
    """The token that any of the processes takes."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        await stream.send_all(
            b"POST /hub/negotiate?negotiateVersion=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n"
            b"Connection: close\r\n\r\n"
        )
        answer = b""
        async for data in stream:
            answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), answer
    return str(json.loads(body)["connectionToken"])


@dataclass(frozen=True)
class Outcome:
    """What became of the clients of a process that was killed, and of the others."""

    clients: int
    here: int
    """Those that were connected to the process that was killed."""
    back: tuple[float, ...]
    """Seconds from the kill to each one's being answered by another process, in order."""
    others: int
    """Connections that were lost without their process having been killed."""
    spread: tuple[int, ...]
    """The clients of each process before."""

    def __str__(self) -> str:
        last = (
            f"the first after {self.back[0]:.2f} s, the last after {self.back[-1]:.2f} s" if self.back else ""
        )
        return (
            f"{self.clients} clients on {len(self.spread)} processes ({min(self.spread)} to {max(self.spread)} each), "
            f"one killed: {len(self.back)} of its {self.here} clients are back, {last}; "
            f"{self.others} others lost their connection"
        )


async def kill_one(farm: Running, clients: int, *, patience: float) -> Outcome:
    """Connect the clients, kill the first process, and wait until all are back, `patience` seconds at most."""
    async with trio.open_nursery() as nursery:
        crowd = [Client() for _ in range(clients)]
        room = trio.CapacityLimiter(AT_ONCE)
        for client in crowd:
            nursery.start_soon(client.live, farm.port, room)
        with trio.fail_after(patience):
            for client in crowd:
                while client.at is None:
                    await client.changed.wait()
        spread = [sum(client.at == number for client in crowd) for number in range(len(farm.processes))]
        hit = [client for client in crowd if client.at == 0]
        farm.kill(0)
        killed = trio.current_time()
        with trio.move_on_after(patience):
            for client in hit:
                while not client.returns:
                    await client.changed.wait()
        outcome = Outcome(
            clients,
            len(hit),
            tuple(sorted(client.returns[0] - killed for client in hit if client.returns)),
            sum(len(client.losses) for client in crowd if client not in hit),
            tuple(spread),
        )
        nursery.cancel_scope.cancel()
    return outcome


def allow_descriptors() -> None:
    """Raise this process's limit, and so that of those that it starts."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> None:
    """Serve, or print what comes of it."""
    parser = argparse.ArgumentParser(description="Kill one of several processes of a hub behind HAProxy.")
    parser.add_argument("--processes", type=int, default=10)
    parser.add_argument("--clients", type=int, default=2000)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        trio.run(serve)
        return
    allow_descriptors()
    with running(options.processes, options.clients) as farm:
        print(trio.run(partial(kill_one, farm, options.clients, patience=60.0)))


if __name__ == "__main__":
    main()
