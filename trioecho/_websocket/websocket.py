"""What a handler holds: one WebSocket connection as a Trio channel of messages."""

from __future__ import annotations

import logging
import types
from collections.abc import AsyncIterable, Generator, Iterable
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
from trioecho._websocket.exceptions import WebSocketBroken, WebSocketClosed, WebSocketEnded
from trioecho._websocket.incoming import BURST
from trioecho._websocket.logger import ConnectionLogger
from trioecho._websocket.outgoing import LARGE
from trioecho._websocket.parking import WOKEN, context
from trioecho._websocket.pieces import pieces_of, send_in_pieces
from trioecho._websocket.prepared import TEXT_IS_TEXT, Prepared, encoded, lesson, prepared

if TYPE_CHECKING:
    from trioecho._http.messages import Request
    from trioecho._protocol.record import ConnectionRecord
    from trioecho._server.server import Server
    from trioecho._websocket.connection import Connection
    from trioecho._websocket.message_stream import MessageStream


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
        "_incoming",
        "_logger",
        "_messages",
        "_outgoing",
        "_request",
        "_server",
    )

    def __init__(self, connection: Connection, request: Request, server: Server | None) -> None:
        self._request = request
        self._connection = connection
        self._server = server
        self._incoming = connection.incoming
        self._messages = connection.incoming.messages
        self._outgoing = connection.outgoing
        self._closed = False
        self._logger: ConnectionLogger | None = None
        self._context = context()

    def __repr__(self) -> str:
        return f"<trioecho.WebSocket {self.id} {self.path} from {self.remote_address}>"

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
            if incoming.full or incoming.tells:
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

    def receive_stream(self, *, max_size: int | None = None) -> MessageStream:
        """The next message, piece by piece as it arrives, without putting it together: for messages larger than memory
        should hold. Needs ``WebSocketOptions(stream_messages=True)``.

            async with ws.receive_stream() as stream:
                async for piece in stream:
                    await file.write(piece)

        Entering waits for the message's first piece, raises what `receive` raises at the end, and tells
        (``stream.text``) whether the pieces are ``str`` or ``bytes``; reading raises `trio.BrokenResourceError` where
        the message breaks off, and a message of more than `max_size` bytes (inflated, and UTF-8 for text; None: no
        limit, not even `max_message_size`) ends the connection with 1009. While no piece is taken, what waits is
        bounded as for whole messages. Leaving the block early throws the rest of the message away; the next `receive`
        gets the next one.
        Always a checkpoint. Cancelled: no piece is lost. ``await ws.send(stream)`` sends the message on as it comes.

        Raises `RuntimeError` where `stream_messages` is off, `TypeError` or `ValueError` for a `max_size` that is no
        number of bytes, and, on entering, `trio.BusyResourceError` where another task receives or a message is being
        read.
        """
        raise RuntimeError(
            "receive_stream() needs messages that are handed on as they arrive: "
            "serve with WebSocketOptions(stream_messages=True)"
        )

    @trio.lowlevel.enable_ki_protection
    async def send(
        self,
        value: str
        | bytes
        | bytearray
        | memoryview
        | Prepared
        | Iterable[str | bytes]
        | AsyncIterable[str | bytes],
        *,
        text: bool | None = None,
        compress: bool = True,
    ) -> None:
        """Send one message: ``str`` as text, ``bytes``, ``bytearray`` or ``memoryview`` as binary, or a
        `trioecho.Prepared` one.

        With ``text=True`` bytes go as a text message. They have to be UTF-8 already, and that is not checked: looking
        costs what passing bytes is to save. A peer that is sent anything else has to fail the connection with 1007 (RFC
        6455 §8.1).

        Where compression was agreed on (`extensions`), messages go compressed. Not with ``compress=False``: for what
        holds a secret (`trioecho.Deflate` tells why). One of more than 32 KiB is compressed in slices, others waiting.
        The pieces of one are compressed together, and each is flushed, so that the peer can read it when it comes; that
        takes some 5 bytes a piece, so that pieces of a few letters do not shrink.

        An iterable or async iterable of pieces, all ``str`` or all bytes, is sent as one message, a fragment for each
        piece as it comes (RFC 6455 §5.4). Each waits until the peer takes it, and other tasks' messages wait until the
        last is out. Always a checkpoint. Where the iterable raises, or the task is cancelled, after the first fragment
        has gone out, the message cannot be taken back: the exception goes on, and the connection ends with 1011
        "message cut off"; before, nothing has been sent. A generator is closed in any case.

        Waits while the peer does not read. While received messages wait for the handler, or many connections are busy,
        small messages gather and go out together, at the latest when the handler waits for anything at all. Not always
        a checkpoint: only when it has to wait, once every 256 messages, and when the task is cancelled. Cancelled: the
        message has not been sent, and the connection is as good as before. Returning means that the message is in order
        behind the earlier ones, not that it arrived. Those who wait go on in the order in which they came.

        After the peer's Close it goes on for answers that are owed, from every task, for `answer_timeout` after the
        Close and after each message taken since; at once no more where the peer has never sent a message.

        Raises `trio.BrokenResourceError` when the peer has vanished, or has closed and no answer is owed any more,
        `trio.ClosedResourceError` after our own `aclose`, `TypeError` for anything but text, bytes or pieces of one of
        them, for ``text=False`` with a text and for any `text` with a prepared message, `ValueError` for a text that
        UTF-8 cannot carry, or no piece at all, and `RuntimeError` from within the iterable whose pieces are being sent.
        """
        outgoing = self._outgoing
        if not outgoing.messages % BURST or self._context["task"]._cancel_status.effectively_cancelled:
            # Before it is encoded, so that many who are here at once do not hold it twice.
            await trio.lowlevel.checkpoint()
        if isinstance(value, str):
            if text is False:
                raise TypeError(TEXT_IS_TEXT)
            try:
                payload = value.encode()
            except UnicodeEncodeError as error:
                raise ValueError(lesson(value, error)) from None
            opcode, headers = TEXT, TEXT_HEADERS
        elif isinstance(value, (bytes, bytearray, memoryview)):
            payload = bytes(value)
            opcode, headers = (TEXT, TEXT_HEADERS) if text else (BINARY, BINARY_HEADERS)
        else:
            if isinstance(value, Prepared):
                await self._send_prepared(prepared(value, text), compress)
            else:
                pieces = pieces_of(value)
                await send_in_pieces(self._connection, pieces, self._raise_gone, text=text, compress=compress)
            return
        size = len(payload)
        header = headers[size] if size < 126 else long_header(opcode, size)
        if outgoing.blocked:
            await outgoing.room_for(value, payload)
        if outgoing.shut and not self._connection.owes_answers():
            self._raise_gone()
        outgoing.put_message(header, payload, self._messages)
        if outgoing.broken:
            self._raise_gone()

    async def ping(self, payload: bytes = b"") -> float:
        """Send a Ping, wait for its Pong, and return the seconds that took.

        `payload` is at most 125 bytes; without one, a random one is made. Keep-alive does this by itself (`latency`);
        this is for a handler that wants to know now. A Pong for a Ping that was sent later will do, since a peer may
        answer only the latest (RFC 6455 §5.5.3).

        Waits while the peer does not read, and for as long as it does not answer: use `trio.fail_after`. The Pong comes
        behind the messages that the peer sent before it, and while 64 KiB of those wait for the handler nothing is
        read: let another task receive them, or the Pong is not seen. A checkpoint. Cancelled: the Ping may have been
        sent, and its Pong is ignored.

        Raises `trio.BrokenResourceError` when the peer has vanished or closed, also while the Pong is awaited,
        `trio.ClosedResourceError` after our own `aclose`, `TypeError` for a payload that is not bytes, `ValueError` for
        one of more than 125 bytes or with which another Ping is awaited.
        """
        if not isinstance(payload, (bytes, bytearray, memoryview)):
            raise TypeError(f"the payload of a Ping is bytes, not {type(payload).__name__}")
        payload = bytes(payload)
        if len(payload) > 125:
            raise ValueError(f"the payload of a Ping has at most 125 bytes; this one has {len(payload)}")
        await trio.lowlevel.checkpoint()
        connection, outgoing = self._connection, self._outgoing
        await outgoing.unstuck()
        if self._closed or not connection.pongs_may_come:
            self._raise_gone()
        pings = connection.liveness.pings
        ping = pings.send(payload, outgoing)
        try:
            if not outgoing.broken:
                await ping.over.wait()
        finally:
            pings.forget(ping)
        if ping.seconds is None:
            self._raise_gone()
        return ping.seconds

    async def _wait_for_room(self) -> None:
        """What `send` does before it puts a message; there it stands in place, since a coroutine costs 0.1 µs."""
        outgoing = self._outgoing
        if not outgoing.messages % BURST or self._context["task"]._cancel_status.effectively_cancelled:
            await trio.lowlevel.checkpoint()
        if outgoing.blocked:
            await outgoing.room(for_message=True)

    async def _send_prepared(self, message: Prepared, compress: bool) -> None:
        await self._wait_for_room()
        self._put_prepared(message, compress)

    @trio.lowlevel.enable_ki_protection
    def try_send(
        self,
        value: str | bytes | bytearray | memoryview | Prepared,
        *,
        text: bool | None = None,
        compress: bool = True,
    ) -> bool:
        """`send` without waiting: True if the message is in order behind the earlier ones, False if `send` would have
        to wait for the peer to read, or behind others who wait; then nothing has been sent.

        What is sent, and when it goes out, is as with `send`; but of more than 32 KiB only what a `Prepared` message
        has compressed already goes compressed, since compressing takes too long to do it in one go. It is no checkpoint
        and is not cancelled: whoever sends much in this way has to let other tasks run.

        Raises as `send` does.
        """
        message = prepared(value, text) if isinstance(value, Prepared) else encoded(value, text)
        outgoing = self._outgoing
        if outgoing.blocked and (not outgoing.shut or self._connection.owes_answers()):
            return False
        if isinstance(message, Prepared):
            self._put_prepared(message, compress)
            return True
        if outgoing.shut and not self._connection.owes_answers():
            self._raise_gone()
        outgoing.put_message(*message, self._messages)
        if outgoing.broken:
            self._raise_gone()
        return True

    def _put_prepared(self, message: Prepared, compress: bool) -> None:
        outgoing = self._outgoing
        if outgoing.shut and not self._connection.owes_answers():
            self._raise_gone()
        gather = message._size < LARGE and (self._messages or outgoing._batch.busy)
        if not self._put_frame(message, gather, compress):
            self._raise_gone()

    def _put_frame(self, message: Prepared, gather: object, compress: bool) -> bool:
        return self._outgoing.put_frame(message._frame, message._size, gather)

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
            raise ValueError(lesson(reason, error)) from None
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
    def request(self) -> Request:
        """The request that opened it: its query, headers, cookies, the parameters of its path, what admission found
        out, and more. `path`, `target`, `headers` and `origin` are shortcuts to it."""
        return self._request

    @property
    def server(self) -> Server:
        """The `Server` that accepted this connection: its `connections`, this one among them, and how to stop it."""
        assert self._server is not None
        return self._server

    @property
    def id(self) -> str:
        """Eight letters and digits that name this connection in the log and in its `record`: ``"k3m9x2aq"``.

        No other connection of this process has the same, hardly any of another process or of this one before a
        restart. It is no secret: whoever knows one can reckon the next.
        """
        return self._connection.record.id

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose lines begin with `id`, and have it as the field ``connection`` where they are JSON.

        It logs to ``trioecho.connection``, so at the level and in the way of the server's own lines.

            ws.logger.info("joined %s", room)
        """
        if self._logger is None:
            self._logger = ConnectionLogger(self.id)
        return self._logger

    @property
    def path(self) -> str:
        """The path asked for, without the query: ``"/ws"``."""
        return self._request.path

    @property
    def target(self) -> str:
        """The path with the query, as the client sent it: ``"/ws?room=1"``."""
        return self._request.target

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The request's header fields in order, names in lower case. ``ws.request.headers`` is a mapping."""
        return self._request.header_pairs()

    @property
    def origin(self) -> str | None:
        """The Origin header; None where there was none. Anything but a browser can forge it."""
        return self._request.origin

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol agreed on, or None."""
        return self._connection.record.subprotocol

    @property
    def extensions(self) -> tuple[str, ...]:
        """The extensions agreed on, as the 101 says them: ``("permessage-deflate; server_max_window_bits=12",)``."""
        agreed = self._connection.record.extensions
        return () if agreed is None else (agreed,)

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
