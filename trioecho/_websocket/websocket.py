"""What a handler holds: one WebSocket connection as a Trio channel of messages."""

from __future__ import annotations

import types
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

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
from trioecho._protocol.record import ConnectionRecord
from trioecho._websocket.inbox import BURST, Inbox
from trioecho._websocket.outbox import Outbox
from trioecho._websocket.parking import WOKEN

if TYPE_CHECKING:
    from trioecho._http.upgrade import Handshake
    from trioecho._websocket.keep_alive import Activity


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


class Owner(Protocol):
    """What a WebSocket asks of the connection that it belongs to."""

    nursery: trio.Nursery

    async def close(self, code: int, reason: str) -> None:
        """Say Close, and await the peer's."""

    def refresh_record(self) -> None:
        """Bring the record up to date."""


class WebSocket(trio.abc.Channel["str | bytes"]):
    """One accepted connection. The server makes it and passes it to the handler; it lives as long as the handler.

    Text messages are ``str``, binary messages are ``bytes``. One task may receive at a time; any number may send.

        async for message in ws:         # until the peer closes
            await ws.send(message)

    `nursery` is the connection's own: what is started in it is cancelled when the handler returns or the connection
    ends, and no goodbye is said before it has finished. As in any nursery, an exception in a child cancels the handler
    and the other children; a child that sends may catch `trio.BrokenResourceError` to let them finish.
    """

    __slots__ = (
        "__weakref__",
        "_activity",
        "_closed",
        "_headers",
        "_inbox",
        "_messages",
        "_outbox",
        "_owner",
        "_record",
        "_target",
    )

    def __init__(
        self,
        handshake: Handshake,
        *,
        inbox: Inbox,
        outbox: Outbox,
        activity: Activity,
        record: ConnectionRecord,
        owner: Owner,
    ) -> None:
        self._target = handshake.target
        # In one string: as the tuple that it is for users, a browser's header fields take several KiB of every
        # connection, and few handlers look at them.
        self._headers = "\n".join(f"{name}:{value}" for name, value in handshake.headers)
        self._inbox = inbox
        self._messages = inbox.messages
        self._outbox = outbox
        self._activity = activity
        self._record = record
        self._owner = owner
        self._closed = False

    def __repr__(self) -> str:
        return f"<trioecho.WebSocket {self.path} from {self._record.peer}>"

    async def receive(self) -> str | bytes:
        """The next message, in the order in which the peer sent them.

        Messages that arrived before the end are delivered before the end is told. Not always a checkpoint: only when
        it has to wait, once every 256 messages, and at each when nothing more will come. Cancelled: no message is lost.

        Raises `trio.EndOfChannel` after the peer's Close or when the server stops, `trio.BrokenResourceError` when
        the peer vanished or broke the protocol, `trio.ClosedResourceError` after our own `aclose`, and
        `trio.BusyResourceError` if another task is receiving.
        """
        try:
            return await self.__anext__()
        except StopAsyncIteration:
            assert self._inbox.ending is not None
            raise WebSocketEnded(self, self._inbox.ending.when) from None

    @types.coroutine
    def __anext__(self) -> Generator[Any, Any, str | bytes]:  # type: ignore[override, unused-ignore]
        """`receive`, ending the loop where that raises `trio.EndOfChannel`."""
        # A generator, so that it can tell Trio's loop itself that it waits (`parking.py`): a message that is waited for
        # goes through every coroutine on its way, and each takes 0.1 µs.
        messages, inbox = self._messages, self._inbox
        if len(messages) % BURST and inbox.on_taken is None:
            return messages.popleft()
        if self._closed:
            self._raise_gone()
        if messages:
            # First a checkpoint, so that a cancellation loses no message.
            if inbox.on_taken is not None:
                inbox.on_taken()
            yield from trio.lowlevel.checkpoint()  # noqa: ASYNC105 (a generator awaits so)
        while not messages:
            if not inbox.begin_wait():
                yield from trio.lowlevel.checkpoint()  # noqa: ASYNC105
            elif inbox.trap is None:
                yield from inbox.park()
            elif (woken := (yield inbox.trap)) is not WOKEN:
                woken.unwrap()
            # Another task may have taken the message that woke this one.
            if not messages and inbox.ending is not None:
                self._raise_end()
        return messages.popleft()

    async def send(self, value: str | bytes) -> None:
        """Send one message: ``str`` as text, ``bytes``, ``bytearray`` or ``memoryview`` as binary.

        Waits while the peer does not read. While received messages wait for the handler, or many connections are busy,
        small messages gather and go out together, at the latest when the handler waits for anything at all. Not always
        a checkpoint: only when it has to wait, and once every 256 messages. Cancelled: the message has not been sent,
        and the connection is as good as before. Returning means that the message is in order behind the earlier ones,
        not that it arrived.

        Raises `trio.BrokenResourceError` when the peer has vanished or closed, `trio.ClosedResourceError` after our
        own `aclose`, `TypeError` for anything but text or bytes.
        """
        if isinstance(value, str):
            payload = value.encode()
            opcode, headers = TEXT, TEXT_HEADERS
        elif isinstance(value, (bytes, bytearray, memoryview)):
            payload = bytes(value)
            opcode, headers = BINARY, BINARY_HEADERS
        else:
            raise TypeError(f"a message is str or bytes, not {type(value).__name__}")
        size = len(payload)
        header = headers[size] if size < 126 else long_header(opcode, size)
        outbox = self._outbox
        if outbox.blocked:
            await outbox.room(for_message=True)
        elif not outbox.messages % BURST:
            await trio.lowlevel.checkpoint()
        if outbox.shut:
            self._raise_gone()
        outbox.put_message(header, payload, self._messages)
        if outbox.shut:
            self._raise_gone()

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Close: say `code` and `reason`, wait for the peer's Close, at most `close_timeout` seconds.

        Messages that wait are discarded, and counted in the record. If the peer's Close came first, it is answered with
        the peer's own code and reason. Calling it again, or after the peer has vanished or erred, does nothing more.
        Always a checkpoint. Cancelled: the Close may have been sent; nothing more is waited for.

        Raises `ValueError` for a code that no Close frame may carry (RFC 6455 §7.4: 1000-1003, 1007-1014, 3000-4999
        are good) or a reason of more than 123 bytes.
        """
        if not close_code_allowed(code):
            raise ValueError(
                f"close code {code} may not be sent; 1000-1003, 1007-1014 and 3000-4999 may (RFC 6455 section 7.4)"
            )
        size = len(reason.encode())
        if size > 123:
            raise ValueError(f"close reason has {size} bytes of UTF-8; a Close frame has room for 123")
        failed = self._inbox.ending not in (None, PEER_CLOSED, SERVER_STOPPING)
        if self._closed or failed or self._outbox.broken:
            self._closed = True
            self._record.messages_discarded += self._inbox.discard()
            await trio.lowlevel.checkpoint()
            return
        self._closed = True
        await self._owner.close(code, reason)

    def _raise_end(self) -> NoReturn:
        ending = self._inbox.ending
        # When it is the server that stops, the handler may still finish what it owes.
        if ending is not SERVER_STOPPING:
            self._outbox.refuse_messages()
        if not self._closed and ending in (PEER_CLOSED, SERVER_STOPPING):
            raise StopAsyncIteration
        self._raise_gone()

    def _raise_gone(self) -> NoReturn:
        ending = self._inbox.ending
        if ending is None and self._outbox.broken and not self._closed:
            raise WebSocketBroken(self, "TCP was reset")
        if self._closed or ending is None or ending.by_us:
            raise WebSocketClosed(
                self, "this side has closed the WebSocket" if ending is None else ending.when
            )
        raise WebSocketBroken(self, ending.when)

    @property
    def nursery(self) -> trio.Nursery:
        """The connection's nursery, for background work that must not outlive the connection."""
        return self._owner.nursery

    @property
    def path(self) -> str:
        """The path asked for, without the query: ``"/ws"``."""
        return self._record.path

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
        return self._record.origin

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol agreed on, or None."""
        return self._record.subprotocol

    @property
    def remote_address(self) -> str:
        """The client's address and port, ``"127.0.0.1:41234"``."""
        return self._record.peer

    @property
    def latency(self) -> float | None:
        """Seconds that the last keep-alive Ping took to be answered; None before the first."""
        return self._activity.latency

    @property
    def record(self) -> ConnectionRecord:
        """What has happened on this connection until now; complete once it has ended."""
        self._owner.refresh_record()
        return self._record
