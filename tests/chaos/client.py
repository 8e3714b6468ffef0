"""One client of the soak: its connection, its dice, and what all clients of one life of the server know together."""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
import struct
from collections import Counter
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import deflating
import trio

from trioecho.testing import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Frame, RawClient

GONE: Final = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)
"""What a client hears whose connection is no more."""


NO_CLOSE: Final = "the connection ended without a Close"


@dataclass
class Account:
    """What the clients of one life of the server know together."""

    places: dict[str, int | str]
    """Where the server listens: the ports of "tcp" and "tls", the path of "unix"."""
    context: ssl.SSLContext
    seed: int
    ending: str = ""
    """How the server is about to end, from shortly before that; from there on nothing is owed to anybody."""
    complaints: list[tuple[str, str]] = field(default_factory=list)
    """The path of the client's last request, and what was wrong."""
    opened: Counter[str] = field(default_factory=Counter)
    """The paths of the WebSockets whose clients have seen the 101."""
    asked: Counter[str] = field(default_factory=Counter)
    """The paths of all requests, of WebSockets too, whose first byte was sent."""
    answered: Counter[tuple[str, int]] = field(default_factory=Counter)
    """The paths of HTTP requests with the status of the answer, if that came whole."""
    missed_news: Counter[str] = field(default_factory=Counter)
    """How many broadcasts did not come between the first and the last that did, by path."""
    done: Counter[str] = field(default_factory=Counter)
    """How many clients have come to the end of what they do, by action."""
    messages: int = 0
    """How many messages have come back to honest clients."""
    begun: int = 0
    """How many clients have begun."""
    strangers: set[trio.CancelScope] = field(default_factory=set)
    """The scopes of the clients that are not honest: nobody has to wait for their patience."""


class Cut(Exception):  # noqa: N818 (it is no error)
    """The server has ended meanwhile, and said so as it should."""


class Client:
    """One client: where it connects to, what it is called, and its dice."""

    def __init__(self, account: Account, number: int) -> None:
        self.account = account
        self.number = number
        self.dice = random.Random(f"{account.seed}/{number}")
        self.stream: trio.abc.Stream
        self.raw: RawClient
        self.nursery: trio.Nursery
        """What is started here ends with what the client does."""
        self.requests = 0
        self.last_path = ""
        self.due: int | None = None
        """The code of the Close that is due for what it has sent already. A server that ends may come to that first."""
        self.half_closed = False
        """It has ended its side of TCP: it may hear nothing more."""
        self._sending = trio.Lock()

    def path(self, kind: str) -> str:
        """A path that nobody else asks for."""
        self.requests += 1
        self.last_path = f"/{kind}/{self.number}.{self.requests}"
        return self.last_path

    async def connect(self, *places: str) -> None:
        """Connect to one of `places`, of any if none is given."""
        place = self.dice.choice(places or ("tcp", "tls", "unix"))
        address = self.account.places[place]
        if place == "unix":
            self.stream = await trio.open_unix_socket(str(address))
            return
        self.stream = await trio.open_tcp_stream("127.0.0.1", int(address))
        if place == "tls":
            self.stream = trio.SSLStream(self.stream, self.account.context, server_hostname="127.0.0.1")
            await self.stream.do_handshake()

    async def open(self, kind: str, *places: str, headers: str = "", behind: bytes = b"") -> str:
        """Connect, and open a WebSocket; returns its path."""
        await self.connect(*places)
        return await self.upgrade(kind, headers=headers, behind=behind)

    async def upgrade(self, kind: str, *, headers: str = "", behind: bytes = b"") -> str:
        path = self.path(kind)
        self.raw = deflating.DeflatingClient(self.stream) if "deflate" in headers else RawClient(self.stream)
        self.account.asked[path] += 1
        refusal = await self._refusal(path, headers, behind)
        if refusal is not None:
            # 503 and the end of the connection are all that a server says that stops.
            assert self.account.ending, f"refused: {refusal}"
            assert not refusal or refusal.startswith("HTTP/1.1 503"), refusal
            raise Cut
        self.account.opened[path] += 1
        return path

    async def _refusal(self, path: str, headers: str, behind: bytes) -> str | None:
        try:
            await self.raw.handshake(path, headers=headers, behind=behind)
        except AssertionError as refused:
            return str(refused)
        return None

    async def send(self, data: bytes) -> None:
        """Send it behind whatever another task is sending."""
        async with self._sending:
            await self.stream.send_all(data)

    async def dribble(self, bits: list[bytes]) -> None:
        """Send parts of frames, with pauses, in which nobody else may send anything."""
        async with self._sending:
            with contextlib.suppress(*GONE):
                for each in bits:
                    await self.stream.send_all(each)
                    await trio.sleep(self.dice.random() * 0.02)

    async def half_close(self) -> None:
        """End this side of TCP."""
        assert isinstance(self.stream, trio.SocketStream)
        async with self._sending:
            self.half_closed = True
            with contextlib.suppress(*GONE):
                await self.stream.send_eof()

    async def close(self, code: int, reason: str = "") -> None:
        """Send a Close, likewise."""
        await self.send(self.raw.frame(CLOSE, code.to_bytes(2) + reason.encode()))

    async def message(self) -> str | bytes:
        """The next message; answers Pings. Raises `Cut` when the server says that it stops."""
        opcode, payload, compressed = 0, b"", False
        while True:
            before = len(self.raw.compressed) if isinstance(self.raw, deflating.DeflatingClient) else 0
            frame = await self.raw.receive_frame()
            if frame is None:
                assert self.account.ending == "abort" or (self.account.ending and self.half_closed), NO_CLOSE
                raise Cut
            if frame.opcode == PING:
                # Not here: where the server reads only when it is read from, both would wait.
                self.nursery.start_soon(send_all, self, [self.raw.frame(PONG, frame.payload)])
            elif frame.opcode == CLOSE:
                await self.stopped(frame)
            elif frame.opcode != PONG:
                if not opcode:
                    opcode = frame.opcode
                    compressed = (
                        isinstance(self.raw, deflating.DeflatingClient) and self.raw.compressed[before]
                    )
                payload += frame.payload
                if frame.fin:
                    if compressed:
                        assert isinstance(self.raw, deflating.DeflatingClient)
                        payload = self.raw.inflater.decompress(payload + deflating.TAIL)
                    return payload.decode() if opcode == TEXT else payload

    async def stopped(self, frame: Frame) -> None:
        """Answer a Close that was not asked for, which may only be that of a server that ends."""
        assert self.account.ending, f"closed by the server: {frame.close}"
        assert frame.close == (1001, "server is stopping") or frame.close[0] == self.due, frame.close
        with contextlib.suppress(*GONE):
            await self.close(1001)
            await self.raw.receive_rest()
        raise Cut

    async def expect(self, messages: list[str | bytes]) -> None:
        """All of `messages` come back, each once, in order."""
        for expected in messages:
            received = await self.message()
            assert received == expected, f"received {received[:60]!r} where {expected[:60]!r} was due"
            self.account.messages += 1

    async def leave(self, code: int) -> None:
        """Close, and hear the same Close, and nothing behind it but the end."""
        await self.close(code, "leaving")
        while (frame := await self.raw.receive_frame()) is not None and frame.opcode != CLOSE:
            assert frame.opcode in (PING, PONG), f"something comes behind the last message: {frame}"
        if frame is None:
            assert self.account.ending == "abort", "the Close was not answered"
            raise Cut
        if frame.close != (code, "leaving"):
            await self.stopped(frame)
        assert await self.raw.receive_rest() == []

    def reset(self) -> None:
        """End TCP with a reset. Unix sockets have none; there it is an end with bytes unread, at most."""
        stream = self.stream
        if isinstance(stream, trio.SSLStream):
            stream = stream.transport_stream
        assert isinstance(stream, trio.SocketStream)
        if stream.socket.family != socket.AF_UNIX:
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.socket.close()

    def words(self, most: int = 20) -> list[str | bytes]:
        """Messages to send, which tell who has sent them, and in which order."""
        made: list[str | bytes] = []
        for index in range(self.dice.randrange(1, most)):
            size = self.dice.choice((0, 1, 20, 100, 100, 1000, 1000, 5000, 70_000))
            text = f"{self.number}.{index} ☃" + "snow " * (size // 5)
            made.append(text if self.dice.random() < 0.6 else text.encode())
        return made

    def frames_of(self, message: str | bytes) -> list[bytes]:
        """One message as frames: one, or several with Pings between."""
        opcode, payload = (TEXT, message.encode()) if isinstance(message, str) else (BINARY, message)
        parts = self.dice.choice((1, 1, 1, 2, 5))
        size = max(1, -(-len(payload) // parts))
        made = []
        for begin in range(0, max(len(payload), 1), size):
            last = begin + size >= len(payload)
            made.append(
                self.raw.frame(CONTINUATION if begin else opcode, payload[begin : begin + size], fin=last)
            )
            if self.dice.random() < 0.2:
                made.append(self.raw.frame(self.dice.choice((PING, PONG)), b"are you there?"))
        return made


async def send_all(client: Client, data: list[bytes]) -> None:
    """Send one after the other; stop quietly where the server has ended, which whoever receives is told."""
    with contextlib.suppress(*GONE):
        for each in data:
            await client.send(each)


class Answer(NamedTuple):
    """An HTTP response."""

    status: int
    fields: dict[str, str]
    body: bytes


class Http:
    """Reads responses off a stream, one after the other."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._received = b""

    async def _until(self, mark: bytes) -> bytes:
        while mark not in self._received:
            await self._more()
        found, _, self._received = self._received.partition(mark)
        return found

    async def _take(self, size: int) -> bytes:
        while len(self._received) < size:
            await self._more()
        taken, self._received = self._received[:size], self._received[size:]
        return taken

    async def _more(self) -> None:
        data = await self.client.stream.receive_some()
        if not data:
            assert self.client.account.ending, "the connection ended within a response"
            raise Cut
        self._received += data

    async def answer(self, path: str, *, head_only: bool = False) -> Answer:
        """The next response, which is to a request for `path`."""
        status, fields = 100, {}
        while status == 100:
            first, *lines = (await self._until(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            status = int(first.split(" ")[1])
            fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = b""
        if head_only:
            pass
        elif "content-length" in fields:
            body = await self._take(int(fields["content-length"]))
        elif fields.get("transfer-encoding") == "chunked":
            while size := int(await self._until(b"\r\n"), 16):
                body += await self._take(size)
                await self._until(b"\r\n")
            await self._until(b"\r\n")
        self.client.account.answered[path, status] += 1
        if status == 503:
            assert self.client.account.ending, f"503: {body!r}"
            raise Cut
        return Answer(status, fields, body)
