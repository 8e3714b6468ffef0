"""The soak's server, as a program: it lives as often as it is told to, and reports after each life what is left of it.

    python server.py poller|stream CERTIFICATE UNIX_PATH

A line of JSON on stdin begins a life: ``{"timeout": 0.5}``, the seconds of a graceful stop. One on stdout says where it
listens. A signal ends the life: SIGUSR1 stops it, SIGUSR2 cancels it, SIGTERM aborts it, SIGINT is Ctrl-C. Then comes
the report, see `report`, and the next life may begin. The end of stdin is the end. SIGHUP has it tell on stderr what
its tasks are doing, for when it does not end.
"""

from __future__ import annotations

import functools
import gc
import json
import logging
import os
import signal
import ssl
import sys
import tempfile
import traceback
import types
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio
import trio.lowlevel

import trioecho
from trioecho import task_tree
from trioecho._wire.poller import Poller
from trioecho.options import WebSocketOptions

OPTIONS = WebSocketOptions(
    # Clients of a busy machine may be slow, and are to be served all the same.
    keep_alive_interval=1,
    answer_timeout=20,
    handshake_timeout=60,
    keep_alive_timeout=60,
    send_timeout=60,
    close_timeout=20,
    max_message_size=512 * 1024,
    max_fragments=1000,
)
FILE = "story.txt"
STORY = b"It was a dark and stormy night. " * 4096
NEWS = 0.02
"""Seconds from one broadcast to the next."""
KINDS = (
    "Connection",
    "Http1",
    "Poller",
    "SocketWire",
    "TlsWire",
    "StreamWire",
    "WebSocket",
    "Request",
    "Exchange",
)
"""Objects of which none may be left behind a life."""


class OnPurpose(Exception):  # noqa: N818 (it is no error)
    """What the routes raise that are there to fail."""


@dataclass
class Life:
    """What happened in one life of the server: what its handlers saw, and what it logged."""

    opened: Counter[str] = field(default_factory=Counter)
    """The ids that were said to be open."""
    handled: Counter[str] = field(default_factory=Counter)
    """The paths whose handlers or functions were called."""
    records: list[dict[str, Any]] = field(default_factory=list)
    exchanges: list[dict[str, Any]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """What was logged, or could not even be, that nobody has caused on purpose."""
    tasks_before: int = 0
    tasks_after: int = 0
    ended_by: str = ""


class Ledger(logging.Handler):
    """Takes the log of the current life."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.life = Life()

    def emit(self, record: logging.LogRecord) -> None:
        life = self.life
        ended, line = getattr(record, "record", None), getattr(record, "exchange", None)
        if ended is not None:
            told = ended.as_dict()
            life.records.append(
                {name: told[name] for name in ("id", "path", "cause", "messages_skipped")}
                | {"line": str(ended)}
            )
            if ended.cause == "server failed":
                life.faults.append(str(ended))
        elif line is not None:
            life.exchanges.append(line.as_dict())
        elif record.levelno == logging.DEBUG and hasattr(record, "connection"):
            if " opened" in record.getMessage():
                life.opened[record.connection] += 1
        elif record.levelno >= logging.ERROR and not on_purpose(record):
            life.faults.append(logging.Formatter().format(record))


def on_purpose(record: logging.LogRecord) -> bool:
    """Whether a line of the log is about an `OnPurpose`."""
    error = record.exc_info[1] if record.exc_info else None
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return isinstance(error, OnPurpose)


LEDGER = Ledger()


async def echo(ws: trioecho.WebSocket) -> None:
    LEDGER.life.handled[ws.path] += 1
    await trioecho.echo(ws)


async def streamed_echo(ws: trioecho.WebSocket) -> None:
    LEDGER.life.handled[ws.path] += 1
    while True:
        try:
            async with ws.receive_stream() as stream:
                await ws.send(stream)
        except trio.EndOfChannel:
            return


async def listens(ws: trioecho.WebSocket) -> None:
    LEDGER.life.handled[ws.path] += 1
    async for _ in ws:
        pass


async def fails(ws: trioecho.WebSocket) -> None:
    LEDGER.life.handled[ws.path] += 1
    await ws.receive()
    raise OnPurpose


async def says_goodbye(ws: trioecho.WebSocket) -> None:
    LEDGER.life.handled[ws.path] += 1
    await ws.send("goodbye")
    await ws.aclose(4001, "that is all")


async def leaves_children(ws: trioecho.WebSocket) -> None:
    LEDGER.life.handled[ws.path] += 1
    for _ in range(3):
        ws.nursery.start_soon(trio.sleep_forever)
    await trioecho.echo(ws)


async def posted(request: trioecho.Request) -> trioecho.Response:
    LEDGER.life.handled[request.path] += 1
    return trioecho.Response(await request.body())


async def counts(request: trioecho.Request) -> trioecho.Response:
    LEDGER.life.handled[request.path] += 1

    async def pieces() -> AsyncIterator[str]:
        for number in range(int(request.query.get("to", "10"))):
            yield f"{number}\n"
            await trio.lowlevel.checkpoint()

    return trioecho.Response(pieces())


async def breaks(request: trioecho.Request) -> trioecho.Response:
    LEDGER.life.handled[request.path] += 1
    request.nursery.start_soon(trio.sleep_forever)
    raise OnPurpose


def routes(directory: Path) -> dict[str, Any]:
    """What is served; the last part of most paths is the name that a client has given itself."""
    compressed, streamed = {"compression": True}, {"stream_messages": True}
    return {
        "/echo/{name}": trioecho.WebSocketRoute(echo, options=compressed),
        "/plain/{name}": echo,
        "/streamed/{name}": trioecho.WebSocketRoute(streamed_echo, options=streamed),
        "/news/{name}": trioecho.WebSocketRoute(listens, options=compressed),
        "/fails/{name}": fails,
        "/goodbye/{name}": says_goodbye,
        "/children/{name}": leaves_children,
        "/posted/{name}": trioecho.HttpRoute(posted, ["POST"]),
        "/counts/{name}": trioecho.HttpRoute(counts),
        "/breaks/{name}": trioecho.HttpRoute(breaks),
        "/files/{path:path}": trioecho.Files(directory),
    }


async def tell_news(servers: list[trioecho.Server]) -> None:
    """Broadcast numbers to all who have come for them; now and then a long one, which is skipped for who is slow."""
    number = 0
    while True:
        listeners = [ws for server in servers for ws in server.connections if ws.path.startswith("/news/")]
        filler = "x" * (100_000 if number % 50 == 49 else 100)
        await trioecho.broadcast(listeners, f"{number} {filler}")
        number += 1
        await trio.sleep(NEWS)


async def live(unix: str, context: ssl.SSLContext, directory: Path, timeout: float) -> None:  # noqa: ASYNC109
    """One life, until a signal ends it."""
    life = LEDGER.life
    life.tasks_before = trio.lowlevel.current_statistics().tasks_living
    try:
        async with trio.open_nursery() as beside:
            async with trio.open_nursery() as nursery:
                serve = functools.partial(
                    trioecho.serve, routes(directory), options=OPTIONS, host="127.0.0.1", port=0
                )
                servers = [
                    await nursery.start(functools.partial(serve, unix=unix)),
                    await nursery.start(functools.partial(serve, ssl_context=context)),
                ]
                beside.start_soon(tell_news, servers)
                with trio.open_signal_receiver(signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM) as signals:
                    print(
                        json.dumps({"tcp": servers[0].port, "tls": servers[1].port, "unix": unix}), flush=True
                    )
                    number = await anext(aiter(signals))
                if number == signal.SIGUSR1:
                    life.ended_by = "stop"
                    for server in servers:
                        server.stop(timeout=timeout)
                elif number == signal.SIGUSR2:
                    life.ended_by = "cancel"
                    nursery.cancel_scope.cancel()
                else:
                    life.ended_by = "abort"
                    for server in servers:
                        server.abort()
            beside.cancel_scope.cancel()
    finally:
        life.tasks_after = trio.lowlevel.current_statistics().tasks_living


def report(unix: str) -> dict[str, Any]:
    """What is to be known of the life that has just ended."""
    life = LEDGER.life
    gc.collect()
    objects = gc.get_objects()
    kinds = Counter(type(each).__name__ for each in objects if type(each).__module__.startswith("trioecho."))
    return {
        "ended by": life.ended_by,
        "opened": life.opened,
        "handled": life.handled,
        "records": life.records,
        "exchanges": life.exchanges,
        "faults": life.faults,
        "tasks": life.tasks_after - life.tasks_before,
        "descriptors": descriptors(),
        "left": {kind: kinds[kind] for kind in KINDS if kinds[kind]},
        "objects": len(objects),
        "memory": int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
        "unix file": os.path.exists(unix),
    }


def descriptors() -> dict[str, int]:
    """How many descriptors of each kind are open."""
    kinds: Counter[str] = Counter()
    for each in Path("/proc/self/fd").iterdir():
        try:
            kinds[os.readlink(each).partition("[")[0]] += 1
        except OSError:
            continue  # that of the listing itself
    return dict(kinds)


def tell_what_is_done(number: int, frame: types.FrameType | None) -> None:
    """The stack of what runs just now, and the tree of all tasks."""
    traceback.print_stack(frame)
    print(task_tree.snapshot().draw(fold=()), file=sys.stderr, flush=True)


def main() -> None:
    way, certificate, unix = sys.argv[1:]
    Poller.available = way == "poller"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    logger = logging.getLogger("trioecho")
    logger.addHandler(LEDGER)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    signal.signal(signal.SIGHUP, tell_what_is_done)
    sys.unraisablehook = lambda unraisable: LEDGER.life.faults.append(f"unraisable: {unraisable.exc_value!r}")
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / FILE).write_bytes(STORY)
        for line in sys.stdin:
            LEDGER.life = Life()
            try:
                trio.run(live, unix, context, Path(directory), json.loads(line)["timeout"])
            except* KeyboardInterrupt:
                LEDGER.life.ended_by = "interrupt"
            print(json.dumps(report(unix)), flush=True)


if __name__ == "__main__":
    main()
