"""What a handler holds: one WebSocket connection as a Trio channel of messages."""

from __future__ import annotations

import types
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, NoReturn

import trio

from trioecho._protocol.endings import PEER_CLOSED, SERVER_STOPPING
from trioecho._protocol.frames import (
    BINARY,
    BINARY_HEADERS,
    TEXT,
    TEXT_HEADERS,
    close_code_allowed,
    long_header,
)
from trioecho._websocket.incoming import BURST
from trioecho._websocket.parking import WOKEN, context

if TYPE_CHECKING:
    from trioecho._http.upgrade import Handshake
    from trioecho._protocol.record import ConnectionRecord
    from trioecho._websocket.connection import Connection


class OwnEnding(Exception):  # noqa: N818 (the end of a connection is no error)
    """What a `WebSocket` raises when its connection has ended; `websocket` is that WebSocket.

    Leaving the handler of the same connection it is no failure, because the client went away is how things end.
    """

    def __init__(self, websocket: WebSocket, what: str) -> None:
        super().__init__(what)
        self.websocket = websocket


class WebSocketEnded(OwnEnding, trio.EndOfChannel):
    """`WebSocket.receive`: the conversation ended with a Close, or the server stops; nothing more will come."""


class WebSocketBroken(OwnEnding, trio.BrokenResourceError):
    """`WebSocket.send` or `receive`: the peer vanished, broke the protocol, or has closed."""


class WebSocketClosed(OwnEnding, trio.ClosedResourceError):
    """`WebSocket.send` or `receive`: this side has closed the connection."""


class WebSocket(trio.abc.Channel["str | bytes"]):
    """One accepted connection. The server makes it and passes it to the handler; it lives as long as the handler.

    Text messages are ``str``, binary messages are ``bytes``. One task may receive at a time; any number may send.

        async for message in ws:         # until the peer closes
            await ws.send(message)

    `nursery` is the connection's own: what is started in it is cancelled when the handler returns or the connection
    ends, and no Close is said before it has finished. As in any nursery, an exception in a child cancels the handler
    and the other children; a child that sends may catch `trio.BrokenResourceError` to let them finish.

    When the peer has closed, what came before its Close is still delivered, and what the handler and its tasks send in
    answer goes out before the Close is answered. They have `answer_timeout` for it (`WebSocketOptions`), which starts
    again with each message taken. When it is over, `send` raises; after as long again the handler is cancelled.
    """

    __slots__ = (
        "__weakref__",
        "_closed",
        "_connection",
        "_context",
        "_headers",
        "_incoming",
        "_messages",
        "_outgoing",
        "_target",
    )

    def __init__(self, connection: Connection, handshake: Handshake) -> None:
        self._target = handshake.target
        # In one string: as the tuple that it is for users, a browser's header fields take several KiB of every
        # connection, and few handlers look at them.
        self._headers = "\n".join([f"{name}:{value}" for name, value in handshake.headers])
        self._connection = connection
        self._incoming = connection.incoming
        self._messages = connection.incoming.messages
        self._outgoing = connection.outgoing
        self._closed = False
        self._context = context()

    def __repr__(self) -> str:
        return f"<trioecho.WebSocket {self.path} from {self.remote_address}>"

    async def receive(self) -> str | bytes:
        """The next message, in the order in which the peer sent them.

        Messages that arrived before the end are delivered before the end is told. Not always a checkpoint: only when
        it has to wait, once every 256 messages, at each when nothing more will come, and when the task is cancelled.
        Cancelled: no message is lost.

        Raises `trio.EndOfChannel` after the peer's Close or when the server stops, `trio.BrokenResourceError` when
        the peer vanished or broke the protocol, `trio.ClosedResourceError` after our own `aclose`, and
        `trio.BusyResourceError` if another task is receiving. After the end has been told, `close_code`,
        `close_reason` and `record` say how the peer has closed.
        """
        try:
            return await self.__anext__()
        except StopAsyncIteration:
            assert self._incoming.ending is not None
            raise WebSocketEnded(self, self._incoming.ending.when) from None

    @trio.lowlevel.enable_ki_protection
    @types.coroutine
    def __anext__(self) -> Generator[Any, Any, str | bytes]:  # type: ignore[override, unused-ignore]
        """`receive`, ending the loop where that raises `trio.EndOfChannel`."""
        # A generator, so that it can tell Trio's loop itself that it waits (`parking.py`): a message that is waited for
        # goes through every coroutine on its way, and each takes 0.1 µs.
        messages, incoming = self._messages, self._incoming
        if (
            len(messages) % BURST
            and not incoming.careful
            and not self._context["task"]._cancel_status.effectively_cancelled
        ):
            return messages.popleft()
        if self._closed:
            self._raise_gone()
        if messages:
            # First a checkpoint, so that a cancellation loses no message.
            yield from trio.lowlevel.checkpoint()  # noqa: ASYNC105 (a generator awaits so)
        while not messages:
            if incoming.task is not None:
                raise trio.BusyResourceError("another task is already in receive() on this WebSocket")
            if incoming.full or incoming.counts_idleness:
                # Everything has been taken, so there may be more to read, or nothing more will come.
                self._connection.caught_up()
                if messages or incoming.ending is not None:
                    yield from trio.lowlevel.checkpoint()  # noqa: ASYNC105
                    if not messages and incoming.ending is not None:
                        self._raise_end()
                    continue
            incoming.size = 0
            incoming.task = trio.lowlevel.current_task()
            if incoming.trap is None:
                yield from incoming.park()
            elif (woken := (yield incoming.trap)) is not WOKEN:
                try:
                    woken.unwrap()
                finally:
                    # It holds the exception, whose traceback holds this frame.
                    del woken
            # Another task may have taken the message that woke this one.
            if not messages and incoming.ending is not None:
                self._raise_end()
        if incoming.careful:
            self._connection.taken()
        return messages.popleft()

    @trio.lowlevel.enable_ki_protection
    async def send(self, value: str | bytes) -> None:
        """Send one message: ``str`` as text, ``bytes``, ``bytearray`` or ``memoryview`` as binary.

        Waits while the peer does not read. While received messages wait for the handler, or many connections are busy,
        small messages gather and go out together, at the latest when the handler waits for anything at all. Not always
        a checkpoint: only when it has to wait, once every 256 messages, and when the task is cancelled. Cancelled: the
        message has not been sent, and the connection is as good as before. Returning means that the message is in order
        behind the earlier ones, not that it arrived.

        After the peer's Close it goes on for answers that are owed, from every task, for `answer_timeout` after the
        Close and after each message taken since; at once no more where the peer has never sent a message.

        Raises `trio.BrokenResourceError` when the peer has vanished, or has closed and no answer is owed any more,
        `trio.ClosedResourceError` after our own `aclose`, `TypeError` for anything but text or bytes, `ValueError` for
        a text that UTF-8 cannot carry.
        """
        if isinstance(value, str):
            try:
                payload = value.encode()
            except UnicodeEncodeError as error:
                raise ValueError(_lesson(value, error)) from None
            opcode, headers = TEXT, TEXT_HEADERS
        elif isinstance(value, (bytes, bytearray, memoryview)):
            payload = bytes(value)
            opcode, headers = BINARY, BINARY_HEADERS
        else:
            raise TypeError(f"a message is str or bytes, not {type(value).__name__}")
        size = len(payload)
        header = headers[size] if size < 126 else long_header(opcode, size)
        outgoing = self._outgoing
        if not outgoing.messages % BURST or self._context["task"]._cancel_status.effectively_cancelled:
            await trio.lowlevel.checkpoint()
        if outgoing.blocked:
            await outgoing.room(for_message=True)
        if outgoing.shut and not self._connection.owes_answers():
            self._raise_gone()
        outgoing.put_message(header, payload, self._messages)
        if outgoing.broken:
            self._raise_gone()

    async def aclose(self, code: int | None = 1000, reason: str = "") -> None:
        """Close: say `code` and `reason`, wait for the peer's Close, at most `close_timeout` seconds.

        ``aclose(None)`` says a Close without a code, which the peer sees as 1005. Messages that wait are discarded, and
        counted in the record. If the peer's Close came first, it is answered as it came, with the peer's own code and
        reason. Calling it again, or after the peer has vanished or erred, does nothing more. May be called by any task,
        also from outside of the handler: `close_timeout` later the connection has ended, and the handler is cancelled
        if it still runs; only while the peer goes on taking what was sent before the Close, that waits for it. Always a
        checkpoint. Cancelled: the Close may have been sent; nothing more is waited for.

        Raises `ValueError` for a code that no Close frame may carry (RFC 6455 §7.4: 1000-1003, 1007-1014, 3000-4999
        are good) or a reason of more than 123 bytes.
        """
        if code is None:
            if reason:
                raise ValueError(f"a Close without a code has no reason either; you gave {reason!r}")
        elif not close_code_allowed(code):
            raise ValueError(
                f"close code {code} may not be sent; 1000-1003, 1007-1014 and 3000-4999 may (RFC 6455 section 7.4)"
            )
        try:
            size = len(reason.encode())
        except UnicodeEncodeError as error:
            raise ValueError(_lesson(reason, error)) from None
        if size > 123:
            raise ValueError(f"close reason has {size} bytes of UTF-8; a Close frame has room for 123")
        ended = self._incoming.ending not in (None, PEER_CLOSED, SERVER_STOPPING)
        if self._closed or ended or self._outgoing.broken:
            self._closed = True
            self._incoming.throw_away()
            await trio.lowlevel.checkpoint()
            return
        self._closed = True
        await self._connection.close(1005 if code is None else code, reason)

    def _raise_end(self) -> NoReturn:
        self._connection.told()
        if not self._closed and self._incoming.ending in (PEER_CLOSED, SERVER_STOPPING):
            raise StopAsyncIteration
        self._raise_gone()

    def _raise_gone(self) -> NoReturn:
        ending = self._incoming.ending
        if ending is None and self._outgoing.broken and not self._closed:
            raise WebSocketBroken(self, "the peer can no longer be reached")
        if self._closed or ending is None or ending.by_us:
            raise WebSocketClosed(
                self, "this side has closed the WebSocket" if ending is None else ending.when
            )
        raise WebSocketBroken(self, ending.when)

    @property
    def nursery(self) -> trio.Nursery:
        """The connection's nursery, for background work that must not outlive the connection."""
        return self._connection.nursery

    @property
    def closing(self) -> trio.Event:
        """Set when the conversation is over, whatever ends it, or when the server begins to stop.

        For handlers that only send: they may finish what they are at, and their sends still go out, after the peer's
        Close for `answer_timeout`, in a stop until its timeout.

            while not ws.closing.is_set():
                await ws.send(await news.get())
        """
        return self._connection.closing

    @property
    def close_code(self) -> int | None:
        """The code of the peer's Close, as soon as `receive` has told the end.

        1005 for a Close without a code; 1006 where the conversation ended without one (RFC 6455 §7.1.5); None while it
        goes on.
        """
        return self._connection.peer_code

    @property
    def close_reason(self) -> str | None:
        """The reason in the peer's Close, "" if there was none; None as long as `close_code` is."""
        if self.close_code is None:
            return None
        return self._incoming.close[1] if self._incoming.close is not None else ""

    @property
    def path(self) -> str:
        """The path asked for, without the query: ``"/ws"``."""
        return self._connection.record.path

    @property
    def target(self) -> str:
        """The path with the query, as the client sent it: ``"/ws?room=1"``."""
        return self._target

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The request's header fields in order, names in lower case."""
        fields = (line.partition(":") for line in self._headers.split("\n"))
        return tuple((name, value) for name, _, value in fields)

    @property
    def origin(self) -> str | None:
        """The Origin header; None where there was none. Anything but a browser can forge it."""
        return self._connection.record.origin

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol agreed on, or None."""
        return self._connection.record.subprotocol

    @property
    def remote_address(self) -> str:
        """The client's address and port, ``"127.0.0.1:41234"``; over a Unix socket ``"unix:/run/app.sock"``."""
        return self._connection.record.peer

    @property
    def latency(self) -> float | None:
        """Seconds that the last keep-alive Ping took to be answered; None before the first."""
        return self._connection.liveness.latency

    @property
    def record(self) -> ConnectionRecord:
        """What has happened on this connection until now; complete once it has ended."""
        self._connection.refresh_record()
        return self._connection.record


def _lesson(text: str, error: UnicodeEncodeError) -> str:
    return (
        f"text is sent as UTF-8, which has no surrogates; received {text[error.start]!r} at index {error.start}: "
        "send bytes, or replace it, as in text.encode('utf-8', 'replace').decode()"
    )
