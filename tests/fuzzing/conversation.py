"""What is fuzzed as a whole: a connection from its first byte to its last, with every kind of route behind it."""

from __future__ import annotations

import functools
import itertools
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path

import trio
import trio.testing

from trioecho import (
    Cors,
    HttpRoute,
    RawRoute,
    Request,
    Response,
    WebSocket,
    WebSocketOptions,
    WebSocketRoute,
    echo,
)
from trioecho._http.files import Files
from trioecho._protocol.record import ConnectionRecord
from trioecho._server.routes import RouteTable
from trioecho._server.serve import serve_connection
from trioecho._server.service import Service

STATUS_LINE = re.compile(rb"HTTP/1\.1 [1-5][0-9]{2} [\x20-\x7e]*\r\n")

FAULTS = ("a connection failed", "failed at", "failed, for", "admission by", "choosing a subprotocol")
"""How the messages of the log begin, or go on, that say that something of ours has failed."""


async def posted(request: Request) -> Response:
    return Response(await request.body())


async def streamed(request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b"one", b"", b"two"):
            yield piece

    return Response(pieces())


async def mirrored(request: Request, stream: trio.abc.Stream) -> None:
    await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n" + await stream.receive_some(10))


async def streaming_echo(ws: WebSocket) -> None:
    while True:
        async with ws.receive_stream() as stream:
            await ws.send(stream)


OPTIONS = WebSocketOptions(
    allowed_origins=["self", "https://client.com"],
    max_message_size=5000,
    max_fragments=20,
    compression=True,
    subprotocols=["chat.v1"],
)


@functools.cache
def routes() -> RouteTable:
    """One path for each kind of route, with names of one letter: fuzzers guess those."""
    given = {
        "/w": [echo, HttpRoute(posted, ["POST"], cors=Cors(["https://client.com"]))],
        "/s": WebSocketRoute(streaming_echo, options={"stream_messages": True, "compression": False}),
        "/g": HttpRoute(streamed),
        "/r": RawRoute(mirrored),
        "/f/{path:path}": Files(Path(__file__).parent),
        "/{room}": echo,
    }
    return RouteTable(given, OPTIONS)


class _Faults(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.found: list[str] = []
        self.records: list[ConnectionRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        assert message.isprintable(), message
        if record.exc_info or any(fault in message for fault in FAULTS):
            self.found.append(f"{message}: {record.exc_info}")
        if isinstance(ended := getattr(record, "record", None), ConnectionRecord):
            self.records.append(ended)


def connection(data: bytes) -> None:
    """Whatever a client sends, in pieces of any size: it is answered in HTTP or not at all, nothing of ours fails, and
    a WebSocket that was opened has its record."""
    size, goes_on, sent = data[0] if data else 0, bool(data[1:2] > b"\x7f"), data[2:]
    logger = logging.getLogger("trioecho")
    faults = _Faults()
    level, propagate = logger.level, logger.propagate
    logger.addHandler(faults)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        answer = trio.run(_converse, sent, size, goes_on, clock=trio.testing.MockClock(autojump_threshold=0))
    finally:
        logger.removeHandler(faults)
        logger.setLevel(level)
        logger.propagate = propagate
    assert not faults.found, faults.found
    assert not answer or STATUS_LINE.match(answer) or answer.startswith(b"HTTP/1.1 200 OK\r\n\r\n"), answer[
        :200
    ]
    opened = answer.count(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert opened <= 1 or b"HTTP/1.1 101" in sent
    assert len(faults.records) >= min(opened, 1)
    assert len(faults.records) <= 1


async def _converse(sent: bytes, size: int, goes_on: bool) -> bytes:
    """Send it, wait until the server has ended; returns what it has answered. With `goes_on`, the client's side stays
    open until then."""
    service = Service(routes(), OPTIONS)
    ours, theirs = trio.testing.memory_stream_pair()
    answer = bytearray()

    async def send() -> None:
        try:
            for begin in itertools.count(0, size) if size else (0,):
                piece = sent[begin : begin + size] if size else sent
                if not piece:
                    break
                await ours.send_all(piece)
                await trio.testing.wait_all_tasks_blocked()
            if not goes_on:
                await ours.send_stream.aclose()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_connection, theirs, service)
        nursery.start_soon(send)
        try:
            async for piece in ours:
                answer += piece
        except trio.BrokenResourceError:
            pass
        await ours.aclose()
    assert not service.connections
    return bytes(answer)
