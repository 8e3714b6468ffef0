"""One connection in the hands of a fault: the handshake, frames out, messages in, and an end in good order unless the
fault makes another.

A fault is an async function of a `Session` and its parameters. What it does not do wrong on purpose is done right here:
Pings are answered, the client's Close is answered, what breaks RFC 6455 is closed with 1002, 1007 or 1009.
"""

from __future__ import annotations

import math
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import trio

from trioecho._http.messages import Request, Response, answer_to
from trioecho._http.refusals import Refused, try_later
from trioecho._http.response_head import WITHOUT_CONTENT, response_head
from trioecho._http.upgrade import accepting_response, check_handshake
from trioecho._protocol.deflate import Agreement, Deflater, Inflater
from trioecho._protocol.endings import SERVER_STOPPING
from trioecho._protocol.frames import BINARY, CLOSE, PING, PONG, TEXT, FrameError, encode_frame, parse_close
from trioecho._wire.socket import half_close, tcp_of
from trioecho.faults.reading import LONGEST_MESSAGE, ClientFrame, FrameReader, Messages, check_text
from trioecho.faults.seen import Seen, SeenConnection

LONGEST = 300.0
"""Seconds that one fault may last: longer than the timeouts of clients, and of those who wait for a test."""

CLOSE_TIMEOUT = 10.0
"""Seconds in which the client answers a Close, or ends TCP behind one."""

PIECE = 16_384
"""Bytes read at once: frames that are looked at one by one take longer than the server's, and others wait for them."""

SMALLEST_BUFFER = 4096
MEBIBYTE = 2**20

LOOK_EVERY = 0.25
"""Seconds between two looks at what TCP has become, where nothing is read."""

STOP_TIMEOUT = 5.0
"""Seconds that the goodbye may take when the server stops."""

AFTER_FIN = 30.0
"""Seconds that a silent connection goes on after the client has ended its half of TCP."""

_TCP_CLOSED, _TCP_CLOSE_WAIT = 7, 8


class Session:
    """One client. `trace` is what is remembered of it, `seen` what is remembered of all."""

    def __init__(self, request: Request, stream: trio.abc.Stream, trace: SeenConnection, seen: Seen) -> None:
        self.request = request
        self.trace = trace
        self.seen = seen
        self.transport: trio.abc.Stream = getattr(stream, "transport", stream)
        self._stream = stream
        self._reader = FrameReader()
        self._messages = Messages()
        self._sending = trio.Lock()
        self._inflater: Inflater | None = None
        self._deflater: Deflater | None = None
        self.rate: float = math.inf
        """Bytes per second that are read."""
        self.over = False
        """The client has closed, gone, or broken the protocol: no message comes any more."""
        self.ended = False
        """The fault has ended the connection in its own way: nothing more is said."""
        self.torn = False
        """A part of a frame may have been sent: what came now would be taken for the rest of it."""
        self.close_received: bytes | None = None
        """The payload of the client's Close."""
        self.close_sent = False
        self.answer_ping: Callable[[bytes], Awaitable[None]] = self.pong
        """What is done about a Ping."""
        self.take_pong: Callable[[bytes], None] = _ignore
        """What is done about a Pong."""

    # The handshake.

    async def accept(
        self,
        *,
        subprotocol: str | None = None,
        extension: str | None = None,
        headers: Iterable[tuple[str, str]] = (),
        key: str | None = "right",
        behind: bytes = b"",
        agreement: Agreement | None = None,
    ) -> None:
        """Answer the handshake with 101, and the bytes `behind` it in the same write.

        `key` "wrong" computes the accept key of another one, None leaves the field out. Raises `Refused` for what is no
        handshake.
        """
        own, _ = check_handshake(self.request)
        opening = accepting_response(
            own if key != "wrong" else "AAAAAAAAAAAAAAAAAAAAAA==",
            subprotocol,
            (("Trioecho-Seen", self.trace.id), *headers),
            extension if agreement is None else agreement.answer,
        )
        if key is None:
            lines = opening.split(b"\r\n")
            opening = b"\r\n".join([line for line in lines if not line.startswith(b"Sec-WebSocket-Accept:")])
        if agreement is not None:
            self._reader.compressed = True
            self._inflater = Inflater(agreement.client_window_bits, takeover=agreement.client_takeover)
            self._deflater = Deflater(agreement.encoding, takeover=agreement.server_takeover)
        self.trace.status = 101
        if behind:
            self._remember(behind)
        await self.send_bytes(opening + behind)

    async def respond(self, response: Response) -> None:
        """Answer the handshake with something else than 101, and end the connection."""
        body = response.body
        assert isinstance(body, bytes)
        response.headers += (("Trioecho-Seen", self.trace.id),)
        head = response_head(response, len(body), chunked=False, close=True)
        if self.request.method == "HEAD" or response.status in WITHOUT_CONTENT:
            body = b""
        self.trace.status = response.status
        await self.send_bytes(head + body)
        await self.hang_up()

    async def refuse(self, refused: Refused) -> None:
        """Answer with a refusal."""
        await self.respond(answer_to(refused))

    # Out.

    async def send_bytes(self, data: bytes) -> None:
        """Send bytes as they are."""
        async with self._sending:
            self.torn = True
            await self._stream.send_all(data)
            self.torn = False

    async def send_in_pieces(self, pieces: Iterable[bytes]) -> None:
        """Send bytes one piece after the other, and nothing of anybody else's between them."""
        async with self._sending:
            self.torn = True
            for piece in pieces:
                await self._stream.send_all(piece)
            self.torn = False

    async def send_frame(
        self,
        opcode: int,
        payload: bytes = b"",
        *,
        fin: bool = True,
        rsv: int = 0,
        note: str | None = None,
    ) -> None:
        """Send one frame, right or wrong; `rsv` are reserved bits, 0x40 the first."""
        frame = encode_frame(opcode | rsv, payload, fin=fin)
        self.trace.frame("server", frame[0], payload, len(payload), masked=False, note=note)
        await self.send_bytes(frame)
        if opcode == CLOSE:
            self.close_sent = True

    async def send(self, message: str | bytes) -> None:
        """Send one whole message, compressed where that was agreed on."""
        opcode, payload = (TEXT, message.encode()) if isinstance(message, str) else (BINARY, message)
        if self._deflater is None:
            await self.send_frame(opcode, payload)
        else:
            await self.send_frame(opcode, self._deflater.deflate(payload), rsv=0x40)

    async def pong(self, payload: bytes) -> None:
        """Answer a Ping as it should be."""
        await self.send_frame(PONG, payload)

    def _remember(self, frame: bytes) -> None:
        payload = frame[2 if frame[1] < 126 else 4 :]
        self.trace.frame("server", frame[0], payload, len(payload), masked=False)

    # In.

    async def receive(self, until: float = math.inf) -> str | bytes | None:
        """Return the next message; None when the time `until` (Trio's clock) has come, or nothing will come: `over`.

        Control frames are dealt with meanwhile. Cancelled: no byte is lost.
        """
        while not self.over:
            try:
                frame = await self._frame(until)
                if frame is None:
                    return None
                message = await self._deal_with(frame)
            except FrameError as error:
                await self._fail(error)
                return None
            if message is not None:
                return message
        return None

    async def echo(self, *, most: float = math.inf, until: float = math.inf) -> int:
        """Send messages back, `most` of them, until a time of Trio's clock or the end; return how many."""
        count = 0
        while count < most and (message := await self.receive(until)) is not None:
            await self.send(message)
            count += 1
        return count

    async def echo_then_wait(self, after: int, delay: float) -> bool:
        """Echo `after` messages, go on for `delay` seconds, and say whether the client is still there."""
        await self.echo(most=after)
        if not self.over and delay:
            await self.echo(until=trio.current_time() + delay)
        return not self.over

    async def drain(self, *, keep: int = 64) -> None:
        """Read and forget messages of any size until the client closes or goes."""
        self._reader.discard = keep
        while not self.over:
            try:
                frame = await self._frame(math.inf)
                if frame is None:
                    return
                if frame.opcode >= CLOSE:
                    await self._deal_with(frame)
            except FrameError as error:
                await self._fail(error)

    async def _frame(self, until: float) -> ClientFrame | None:
        while (frame := self._reader.next()) is None:
            most = max(1, int(min(PIECE, self.rate * LOOK_EVERY)))
            with trio.move_on_at(until) as scope:
                data = await self._stream.receive_some(most)
            if scope.cancelled_caught:
                return None
            if not data:
                self.trace.tcp_did("client", "FIN")
                self.over = True
                return None
            self._reader.feed(data)
            if self.rate < math.inf:
                await trio.sleep(len(data) / self.rate)
        self.trace.frame("client", frame.first, frame.payload, frame.length, masked=frame.masked)
        return frame

    async def _deal_with(self, frame: ClientFrame) -> str | bytes | None:
        if frame.opcode == PING:
            await self.answer_ping(frame.payload)
        elif frame.opcode == PONG:
            self.take_pong(frame.payload)
        elif frame.opcode == CLOSE:
            self.close_received = frame.payload
            self.over = True
        else:
            found = self._messages.add(frame)
            if found is not None:
                opcode, payload, compressed = found
                if compressed and self._inflater is not None:
                    payload = self._inflater.inflate(payload, LONGEST_MESSAGE, last=True)
                    if len(payload) > LONGEST_MESSAGE:
                        raise FrameError(1009, f"message has more than {LONGEST_MESSAGE} bytes")
                check_text(opcode, payload)
                return payload.decode() if opcode == TEXT else payload
        return None

    async def _fail(self, error: FrameError) -> None:
        self.trace.error = f"the client broke RFC 6455: {error.reason}"
        self.over = True
        if not self.close_sent:
            await self.send_frame(CLOSE, error.close_code.to_bytes(2) + error.reason.encode()[:120])

    # The end.

    async def close(self, code: int | None, reason: str = "") -> None:
        """Say Close, any code or none, and end the connection when the client has answered."""
        if not self.close_sent:
            await self.send_frame(CLOSE, b"" if code is None else code.to_bytes(2) + reason.encode())
        await self.await_close()

    async def await_close(self) -> None:
        """Wait for the client's Close, or its end, for `CLOSE_TIMEOUT`; messages before it are forgotten."""
        with trio.move_on_after(CLOSE_TIMEOUT):
            await self.drain()

    async def answer_close(self) -> None:
        """Mirror the client's Close, or answer one that breaks the protocol with what is wrong with it."""
        assert self.close_received is not None
        try:
            parse_close(self.close_received)
        except FrameError as error:
            await self._fail(error)
        else:
            await self.send_frame(CLOSE, self.close_received)

    async def finish(self) -> None:
        """End in good order: answer the client's Close, then end TCP. Does nothing where the fault has ended it."""
        if self.ended:
            return
        if self.close_received is not None and not self.close_sent:
            await self.answer_close()
        elif not self.close_sent and not self.over:
            await self.close(1000)
        await self.hang_up()

    async def leave(self) -> None:
        """End because the server stops, in `STOP_TIMEOUT` seconds at most: 1001 to a WebSocket, 503 to who waits for an
        answer to the handshake, and no word where one could not be understood or the fault has had its last."""
        if self.ended or self.torn:
            return
        self.rate = math.inf
        with trio.move_on_after(STOP_TIMEOUT):
            if self.trace.status is None:
                await self.refuse(try_later("This server is stopping and takes no new connections"))
                return
            if self.close_received is not None and not self.close_sent:
                await self.answer_close()
            elif not self.over:
                await self.close(SERVER_STOPPING.code, SERVER_STOPPING.reason or "")
            await self.hang_up()

    async def hang_up(self) -> None:
        """End our half of TCP, and read on until the client ends its own: closing over unread bytes would be a
        reset."""
        self.ended = True
        self.trace.tcp_did("server", "FIN")
        say_end = getattr(self.transport, "say_end", None)
        if say_end is not None:
            await say_end()
        await half_close(self.transport)
        with trio.move_on_after(CLOSE_TIMEOUT):
            stream = tcp_of(self.transport)
            while await stream.receive_some(65_536):
                pass
            self.trace.tcp_did("client", "FIN")

    async def reset(self) -> None:
        """End TCP with a reset. Where there is no TCP socket, the connection is closed."""
        self.ended = True
        stream = tcp_of(self.transport)
        if isinstance(stream, trio.SocketStream):
            self.trace.tcp_did("server", "RST")
            # Closing with a linger time of 0 sends RST (Linux, BSD, Windows).
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await trio.aclose_forcefully(stream)

    async def until_gone(self) -> None:
        """Read nothing and say nothing until the kernel says that the client has gone, or for ever where it cannot be
        asked."""
        self.ended = True
        deadline = math.inf
        while trio.current_time() < deadline:
            await trio.sleep(LOOK_EVERY)
            state = self._tcp_state()
            if state == _TCP_CLOSED:
                self.trace.tcp_did("client", "RST")
                return
            if state == _TCP_CLOSE_WAIT and deadline == math.inf:
                self.trace.tcp_did("client", "FIN")
                deadline = trio.current_time() + AFTER_FIN

    def shrink_window(self, size: int = SMALLEST_BUFFER) -> None:
        """Have the kernel take only so many bytes ahead, so that the client feels how little is read. With less than a
        second's bytes, TCP itself would be slower than the rate."""
        stream = tcp_of(self.transport)
        if isinstance(stream, trio.SocketStream):
            stream.socket.setsockopt(
                socket.SOL_SOCKET, socket.SO_RCVBUF, min(max(size, SMALLEST_BUFFER), MEBIBYTE)
            )

    def _tcp_state(self) -> int | None:
        stream: Any = tcp_of(self.transport)
        if sys.platform != "linux" or not isinstance(stream, trio.SocketStream):
            return None
        try:
            return stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        except OSError:
            return None


def _ignore(payload: bytes) -> None:
    """A Pong that nobody has asked for (RFC 6455 §5.5.3)."""
