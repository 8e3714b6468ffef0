"""A plain HTTP/1.1 client for tests: one connection, one exchange after the other, parsed by h11."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import h11
import trio
from serving import open_stream

import trioecho


@dataclass
class Answer:
    """A response that was read to its end, or as far as it came."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""
    pieces: list[bytes] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    def __getitem__(self, name: str) -> str | None:
        """The value of a header, None if there is none; several are joined as HTTP joins them."""
        found = [value for each, value in self.headers if each == name.lower()]
        return ", ".join(found) if found else None


class PlainHttp:
    """Asks, and reads answers, on `stream`."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._received = b""

    async def ask(
        self,
        target: str = "/",
        method: str = "GET",
        *,
        body: bytes = b"",
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Answer:
        """Send one request and read its answer."""
        await self.send(target, method, body=body, headers=headers)
        return await self.answer(method)

    async def send(
        self,
        target: str = "/",
        method: str = "GET",
        *,
        body: bytes = b"",
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """Send one request."""
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost"]
        lines += [f"{name}: {value}" for name, value in headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        await self.stream.send_all("\r\n".join([*lines, "", ""]).encode() + body)

    async def answer(self, method: str = "GET") -> Answer:
        """Read one answer to its end. Raises h11.RemoteProtocolError where it is cut off."""
        async with self.answering(method) as (answer, more):
            while piece := await more():
                answer.pieces.append(piece)
            answer.body = b"".join(answer.pieces)
        return answer

    @contextlib.asynccontextmanager
    async def answering(self, method: str = "GET"):  # type: ignore[no-untyped-def]
        """An answer whose head has come, and a function that returns the next piece of its body, b"" at the end."""
        parser = h11.Connection(h11.CLIENT)
        # As h11 has it, a 101 comes only to who has asked for it.
        asked = [("Host", "localhost"), ("Upgrade", "any"), ("Connection", "upgrade")]
        parser.send(h11.Request(method=method, target="/", headers=asked))
        parser.send(h11.EndOfMessage())
        if self._received:
            parser.receive_data(self._received)

        async def event() -> object:
            while (found := parser.next_event()) is h11.NEED_DATA:
                parser.receive_data(await self.stream.receive_some())
            return found

        async def more() -> bytes:
            found = await event()
            return bytes(found.data) if isinstance(found, h11.Data) else b""

        head = await event()
        while isinstance(head, h11.InformationalResponse) and head.status_code != 101:
            head = await event()
        assert isinstance(head, (h11.Response, h11.InformationalResponse)), head
        yield Answer(head.status_code, [(n.decode(), v.decode("latin-1")) for n, v in head.headers]), more
        self._received = bytes(parser.trailing_data[0])

    async def ended(self) -> bool:
        """Whether the server has closed, without a further byte."""
        try:
            return not self._received and await self.stream.receive_some() == b""
        except trio.BrokenResourceError:
            return True


@contextlib.asynccontextmanager
async def plain_http(server: trioecho.Server) -> AsyncIterator[PlainHttp]:
    """A client of `server`; its connection is closed on leaving."""
    client = PlainHttp(await open_stream(server))
    try:
        yield client
    finally:
        await trio.aclose_forcefully(client.stream)
