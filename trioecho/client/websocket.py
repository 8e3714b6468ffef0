"""What a client holds: one WebSocket as a Trio channel of messages, on a connection of trio-websocket.

Two tasks of the connection's nursery work for it, started by `live`: `Transport.write`, and `_pump`, which takes
messages from trio-websocket as they come, up to a bound. trio-websocket holds one message and does not read on while
that waits, so that Pings, Pongs and Closes behind it would wait as long as the application does.

The pump ends when the server's Close has come, TCP was lost, or the server broke the protocol; `_end` says which. Then
the server has a moment to hang up, as RFC 6455 §7.1.1 prefers, and TCP is closed.
"""

from __future__ import annotations

import math
import os
from collections import deque
from dataclasses import dataclass

import trio
import trio_websocket

from trioecho._protocol.frames import CLOSE, close_code_allowed, encode_frame
from trioecho._websocket.exceptions import WebSocketBroken, WebSocketClosed, WebSocketEnded
from trioecho.client.address import HandshakeRequest
from trioecho.client.refusals import HandshakeFailed, HandshakeRefused, Headers, failure, parse_answer
from trioecho.client.transport import Transport

_ABNORMAL = 1006
_RECEIVE_BYTES = 65_536
# Seconds that the server gets to hang up when both Closes are exchanged. Picked arbitrarily: several round trips.
_HANG_UP_SECONDS = 1.0
# Long enough for a write that the kernel takes at once, short enough for whoever cancelled.
_LAST_WORD_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class _End:
    """How the connection ended: code and reason of the server's Close, or 1006, and what to tell."""

    code: int
    reason: str
    text: str


_VANISHED = _End(_ABNORMAL, "", "TCP ended without a Close from the server")


def _closed_by_server(closed: trio_websocket.CloseReason) -> _End:
    code, reason = int(closed.code), closed.reason or ""
    said = f"{code} {reason}".rstrip() if code != 1005 else "without a code"
    return _End(code, reason, f"the server closed the WebSocket: {said}")


def _cost(message: str | bytes) -> int:
    # An empty message takes memory, too: about so much more than its length.
    return len(message) + 64


def close_frame(code: int, reason: str) -> bytes:
    """A masked Close frame; ValueError for what none may carry."""
    if not close_code_allowed(code):
        raise ValueError(
            f"close code {code} may not be sent; 1000-1003, 1007-1014 and 3000-4999 may (RFC 6455 section 7.4)"
        )
    payload = reason.encode()
    if len(payload) > 123:
        raise ValueError(f"close reason has {len(payload)} bytes of UTF-8; a Close frame has room for 123")
    return encode_frame(CLOSE, code.to_bytes(2) + payload, key=os.urandom(4))


class WebSocket(trio.abc.Channel["str | bytes"]):
    """One WebSocket that `trioecho.client.connect` has opened; it is closed when the ``async with`` is left.

    Text messages are ``str``, binary messages are ``bytes``. One task may receive at a time; any number may send.

        async for message in ws:         # until the server closes
            await ws.send(message)

    Messages that nobody receives are kept up to about `max_message_size` bytes together; then no more is read, and the
    server's sends wait.

    Example:

        import functools

        import trioecho.client

        async def ask(ws: trioecho.client.WebSocket, question: str) -> str | bytes:
            await ws.send(question)
            return await ws.receive()

        async def main() -> None:
            async with trio.open_nursery() as nursery:
                server = await nursery.start(functools.partial(trioecho.serve, port=0))
                async with trioecho.client.connect(server.websocket_url) as ws:
                    assert await ask(ws, "hello") == "hello"
                server.stop()
    """

    def __init__(self, stream: trio.abc.Stream, *, max_message_size: int, close_timeout: float) -> None:
        """`stream` is closed by the WebSocket. Not for users: `connect` makes it."""
        self._stream = stream
        self._transport = Transport(stream)
        self._max_message_size = max_message_size
        self._close_timeout = close_timeout
        self._connection: trio_websocket.WebSocketConnection | None = None
        self._failure: HandshakeFailed | None = None
        self._opened = trio.Event()
        self._over = trio.Event()
        self._response_headers: Headers = ()

        self._messages: deque[str | bytes] = deque()
        self._waiting = 0
        self._receiving = False
        self._arrived = trio.Event()
        self._room = trio.Event()
        self._pings: set[trio.CancelScope] = set()
        self._end: _End | None = None

        self._said_close = False
        self._closed = False
        self._close_deadline: float | None = None

    def __repr__(self) -> str:
        state = "open" if self._end is None else f"ended: {self._end.text}"
        return f"<trioecho.client.WebSocket {state}>"

    async def receive(self) -> str | bytes:
        """The next message, in the order in which the server sent them.

        Messages that arrived before the end are delivered before the end is told. A checkpoint. Cancelled: no message
        is lost.

        Raises `trio.EndOfChannel` after the server's Close, `trio.BrokenResourceError` when the server vanished or
        broke the protocol, `trio.ClosedResourceError` after our own `aclose`, and `trio.BusyResourceError` if another
        task is receiving.
        """
        if self._receiving:
            raise trio.BusyResourceError("another task is receiving from this WebSocket")
        self._receiving = True
        try:
            await trio.lowlevel.checkpoint()
            while not self._messages or self._closed:
                if self._closed:
                    raise WebSocketClosed(self, "this side has closed the WebSocket")
                if self._end is not None:
                    kind = WebSocketBroken if self._end.code == _ABNORMAL else WebSocketEnded
                    raise kind(self, self._end.text)
                self._arrived = trio.Event()
                await self._arrived.wait()
        finally:
            self._receiving = False
        message = self._messages.popleft()
        self._waiting -= _cost(message)
        self._room.set()
        return message

    async def send(self, value: str | bytes) -> None:
        """Send one message: ``str`` as text, ``bytes``, ``bytearray`` or ``memoryview`` as binary.

        Waits while the server does not read. A checkpoint. Cancelled: the message has not been sent, and the connection
        is as good as before. Returning means that the message is in order behind the earlier ones, not that it arrived.

        Raises `trio.BrokenResourceError` when the server has vanished or closed, `trio.ClosedResourceError` after our
        own `aclose` or `send_close`, `TypeError` for anything but text or bytes.
        """
        if isinstance(value, str):
            value.encode()  # what is no Unicode fails here, with nothing begun
        elif isinstance(value, (bytes, bytearray, memoryview)):
            value = bytes(value)
        else:
            raise TypeError(f"a message is str or bytes, not {type(value).__name__}")
        connection = self._usable()
        try:
            await connection.send_message(value)
        except trio_websocket.ConnectionClosed:
            raise self._gone() from None
        if self._transport.shut:
            raise self._gone()

    async def ping(self, payload: bytes | None = None) -> float:
        """Send a Ping, wait for its Pong, and return the seconds that took. `payload` is random if not given.

        The Pong comes behind messages that the server sent before it; where nobody receives those, and they are more
        than `max_message_size`, it is not seen. There is no time limit: use `trio.fail_after`. A checkpoint. Cancelled:
        the Ping may have been sent, and its Pong is ignored.

        Raises `trio.BrokenResourceError` when the server vanished or closed, also while the Pong is awaited,
        `trio.ClosedResourceError` after our own `aclose` or `send_close`, and `ValueError` for a payload of more than
        125 bytes or one whose Pong is still awaited.
        """
        payload = os.urandom(4) if payload is None else bytes(payload)
        if len(payload) > 125:
            raise ValueError(f"the payload of a Ping has at most 125 bytes; this one has {len(payload)}")
        connection = self._usable()
        with trio.CancelScope() as waiting:
            # trio-websocket would wait for ever when the connection ends.
            self._pings.add(waiting)
            began = trio.current_time()
            try:
                await connection.ping(payload)
                return trio.current_time() - began
            except trio_websocket.ConnectionClosed:
                pass
            finally:
                self._pings.discard(waiting)
        raise self._gone()

    async def send_close(self, code: int = 1000, reason: str = "") -> None:
        """Say Close, and go on receiving: nothing more can be sent, and `receive` ends with the server's Close.

        Does not wait for that. If either side has closed before, or the server has vanished, it does nothing. A
        checkpoint. Cancelled: the Close has not been sent.

        Raises `ValueError` as `aclose` does.
        """
        await self._say(close_frame(code, reason))

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Close: say `code` and `reason`, wait for the server's Close and a moment for its end of TCP, then close TCP.

        It takes at most `close_timeout` seconds, whatever the server does. Messages that wait are discarded. Calling
        it again, or after the server's Close, only waits for the end. A checkpoint. Cancelled: the Close may have been
        sent, and TCP is closed at once.

        Raises `ValueError` for a code that no Close frame may carry (RFC 6455 §7.4: 1000-1003, 1007-1014, 3000-4999 are
        good) or a reason of more than 123 bytes.
        """
        frame = close_frame(code, reason)
        self._discard()
        if self._close_deadline is None:
            self._close_deadline = trio.current_time() + self._close_timeout
        try:
            with trio.CancelScope(deadline=self._close_deadline):
                await self._say(frame)
                await self._over.wait()
        finally:
            await self.hang_up()

    @property
    def close_code(self) -> int | None:
        """The code of the server's Close, once the connection has ended: 1005 for an empty one, 1006 without one.

        None until then. The messages that arrived before the end may still wait to be received.
        """
        return None if self._end is None else self._end.code

    @property
    def close_reason(self) -> str | None:
        """The reason of the server's Close, empty where it gave none; None until the connection has ended."""
        return None if self._end is None else self._end.reason

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the server chose, or None."""
        return None if self._connection is None else self._connection.subprotocol

    @property
    def response_headers(self) -> Headers:
        """The header fields of the server's 101 in order, names in lower case."""
        return self._response_headers

    async def _say(self, frame: bytes) -> None:
        if self._said_close or self._end is not None:
            await trio.lowlevel.checkpoint()
            return
        self._said_close = True
        try:
            await self._transport.say(frame)
        except trio.Cancelled:
            self._said_close = False
            raise

    def _usable(self) -> trio_websocket.WebSocketConnection:
        if self._connection is None or self._said_close or self._closed or self._end is not None:
            raise self._gone()
        return self._connection

    def _gone(self) -> WebSocketClosed | WebSocketBroken:
        if self._closed or self._said_close:
            return WebSocketClosed(self, "this side has closed the WebSocket")
        if self._end is not None:
            return WebSocketBroken(self, self._end.text)
        closed = None if self._connection is None else self._connection.closed
        if closed is None or closed.code in (1006, 1009):
            return WebSocketBroken(self, "the connection is lost")
        return WebSocketBroken(self, _closed_by_server(closed).text)

    def _discard(self) -> None:
        self._closed = True
        self._messages.clear()
        self._waiting = 0
        self._room.set()
        self._arrived.set()

    async def hang_up(self) -> None:
        """Close TCP; tasks that wait are told. Not for users: `aclose` does it in good order."""
        self._discard()
        self._finish(_VANISHED)
        await trio.aclose_forcefully(self._stream)

    async def live(self, request: HandshakeRequest) -> None:
        """The connection's life, as a task: the handshake, messages, the end. Errors are told by the methods."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._transport.write)
                if await self._shake_hands(nursery, request):
                    answer = await self._pump()
                    if answer is not None:
                        nursery.start_soon(self._transport.say, answer)
                    patience = _HANG_UP_SECONDS if self._end and self._end.code != _ABNORMAL else math.inf
                    with trio.move_on_after(min(patience, self._close_timeout)):
                        await self._transport.drain()
                nursery.cancel_scope.cancel()
        except* Exception as group:
            # trio-websocket's reader runs in that nursery; what it raises there ends the connection, and
            # must not end the tasks of whoever uses it.
            self._fail(group)
        self._finish(_VANISHED)
        await trio.aclose_forcefully(self._stream)
        self._opened.set()
        self._over.set()

    async def opened(self) -> None:
        """Wait until the handshake is done; raises `HandshakeFailed` if it came to nothing."""
        await self._opened.wait()
        if self._connection is None:
            raise self._failure or failure(self._transport.answer or b"", "")

    def refusal_so_far(self) -> HandshakeRefused | None:
        """The refusal of which only a part has come, if its status has."""
        parsed = parse_answer(self._transport.answer or b"")
        return None if parsed is None or parsed[0] == 101 else HandshakeRefused(*parsed)

    async def leave(self, *, failed: bool) -> None:
        """Close as the end of the ``async with`` does: 1000, or 1011 if its body failed; 1001 when it is cancelled."""
        if self._connection is None:
            return
        if trio.current_effective_deadline() > trio.current_time():
            await (self.aclose(1011, "internal error") if failed else self.aclose())
        elif not self._said_close and self._end is None:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _LAST_WORD_SECONDS):
                await self._transport.last_word(close_frame(1001, "going away"))
            await self.hang_up()

    async def _shake_hands(self, nursery: trio.Nursery, request: HandshakeRequest) -> bool:
        with trio.CancelScope() as waiting:
            self._transport.when_ended = waiting.cancel
            self._connection = await trio_websocket.wrap_client_stream(
                nursery,
                self._transport,  # type: ignore[arg-type]  # it takes any stream, and says so in its text
                request.host_field,
                request.target,
                subprotocols=request.subprotocols,
                extra_headers=list(request.fields),
                max_message_size=self._max_message_size,
                receive_buffer_size=_RECEIVE_BYTES,
            )
        if self._connection is None:
            return False
        parsed = parse_answer(self._transport.opened())
        self._response_headers = parsed[1] if parsed is not None else ()
        self._opened.set()
        return True

    async def _pump(self) -> bytes | None:
        """Take messages until the end; returns the Close that still has to be said."""
        assert self._connection is not None
        try:
            while True:
                message = await self._connection.get_message()
                if self._closed:
                    continue
                self._messages.append(message)
                self._waiting += _cost(message)
                self._arrived.set()
                while self._waiting >= self._max_message_size and not self._closed:
                    self._room = trio.Event()
                    await self._room.wait()
        except trio_websocket.ConnectionClosed as closed:
            end, answer = self._what_ended(closed)
        self._finish(end)
        return answer

    def _what_ended(self, closed: trio_websocket.ConnectionClosed) -> tuple[_End, bytes | None]:
        """How the connection ended, and the Close that still has to be said."""
        code = _ABNORMAL if closed.reason is None else int(closed.reason.code)
        reason = (closed.reason.reason if closed.reason is not None else None) or ""
        if isinstance(closed.__context__, trio.ClosedResourceError):
            # Only for a message that is too big the library closes the receiving end of its queue; it says 1009.
            text = f"the server sent a message of more than {self._max_message_size} bytes"
            return _End(_ABNORMAL, "", text), None
        if self._transport.library_closed and closed.reason is not None:
            return _closed_by_server(closed.reason), None
        if code == _ABNORMAL:
            return _VANISHED, None
        # For a broken frame it calls the connection closed, with the code to send, and sends nothing.
        text = f"the server broke the protocol: {reason}"
        return _End(_ABNORMAL, "", text), close_frame(code, reason.encode()[:123].decode(errors="ignore"))

    def _fail(self, error: Exception) -> None:
        while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        if self._connection is not None:
            self._finish(_End(_ABNORMAL, "", f"the connection failed: {error or type(error).__name__}"))
        elif isinstance(error, trio_websocket.ConnectionRejected):
            headers = tuple(
                (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in error.headers
            )
            self._failure = HandshakeRefused(error.status_code, headers, error.body or b"")
        else:
            # The library means to tell the server that its answer was wrong, which a client cannot; what was wrong is
            # at the root of the errors that this raises.
            root: BaseException = error
            while root.__context__ is not None:
                root = root.__context__
            self._failure = failure(self._transport.answer or b"", str(root))
            self._failure.__cause__ = error

    def _finish(self, end: _End) -> None:
        if self._end is None:
            self._end = end
            self._arrived.set()
            for ping in self._pings:
                ping.cancel()
