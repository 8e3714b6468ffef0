"""A message that is read while it arrives, and the `WebSocket` of a connection on which that is possible."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, NoReturn

import trio

from trioecho._protocol.endings import SERVER_STOPPING
from trioecho._websocket.deflating_websocket import DeflatingWebSocket
from trioecho._websocket.exceptions import WebSocketBroken, WebSocketEnded
from trioecho._websocket.incoming import BURST
from trioecho._websocket.streaming_incoming import StreamingIncoming
from trioecho._websocket.websocket import WebSocket

if TYPE_CHECKING:
    from trioecho._http.messages import Request
    from trioecho._server.server import Server
    from trioecho._websocket.connection import Connection


def websocket_of(connection: Connection, request: Request, server: Server | None) -> WebSocket:
    """What the handler of `connection` is to hold."""
    kind = WebSocket
    deflates = connection.outgoing.deflates
    if isinstance(connection.incoming, StreamingIncoming):
        kind = DeflatingStreamingWebSocket if deflates else StreamingWebSocket
    elif deflates:
        kind = DeflatingWebSocket
    return kind(connection, request, server)


class StreamingWebSocket(WebSocket):
    """A `WebSocket` whose messages may be taken piece by piece."""

    __slots__ = ("_streaming",)

    def __init__(self, connection: Connection, request: Request, server: Server | None) -> None:
        super().__init__(connection, request, server)
        assert isinstance(connection.incoming, StreamingIncoming)
        self._streaming = connection.incoming

    def receive_stream(self, *, max_size: int | None = None) -> MessageStream:
        if max_size is not None:
            if isinstance(max_size, bool) or not isinstance(max_size, int):
                raise TypeError(f"max_size takes a whole number of bytes, or None; you gave {max_size!r}")
            if max_size < 1:
                raise ValueError(
                    f"max_size must be at least 1 (bytes), or None for no limit; you gave {max_size}"
                )
        return MessageStream(self, max_size)

    @trio.lowlevel.enable_ki_protection
    async def __anext__(self) -> str | bytes:  # type: ignore[override, unused-ignore]
        """As `WebSocket.__anext__`; a message that arrives in pieces is put together first."""
        incoming = self._streaming
        self._refuse_second()
        if (
            not incoming.whole % BURST
            or incoming.careful
            or self._context["task"]._cancel_status.effectively_cancelled
        ) and (incoming.whole or self._closed or incoming.ending is not None):
            # Where it has to wait, that is a checkpoint.
            await trio.lowlevel.checkpoint()
        most = incoming.max_message_size
        while not incoming.whole:
            if self._closed:
                self._raise_gone()
            if incoming.held > most:
                self._too_big(incoming.held, most)
            if incoming.ending is not None and not incoming.behind:
                incoming.throw_away()
                self._raise_end()
            await self._more()
        message, size = incoming.take_message()
        if size > most:
            incoming.discarded += 1
            self._too_big(size, most)
        if incoming.careful:
            self._connection.extend()
        return message

    def _refuse_second(self) -> None:
        """One message is read at a time, by one task."""
        if self._streaming.reading:
            raise trio.BusyResourceError(
                "a message is being read piece by piece: leave its `async with` block before the next one"
            )
        if self._streaming.task is not None:
            raise trio.BusyResourceError("another task is already in receive() on this WebSocket")

    async def _more(self) -> None:
        """Wait until something has come, or nothing will. A checkpoint."""
        incoming = self._streaming
        if incoming.task is not None:
            raise trio.BusyResourceError("another task is already in receive() on this WebSocket")
        before = incoming.progress
        self._connection.caught_up()
        if incoming.progress != before or incoming.ending is not None or incoming.behind:
            await trio.lowlevel.checkpoint()
            return
        incoming.task = trio.lowlevel.current_task()
        await incoming.park()

    def _too_big(self, size: int, most: int) -> NoReturn:
        self._connection.message_too_big(size, most)
        self._connection.told()
        self._raise_gone()


class DeflatingStreamingWebSocket(DeflatingWebSocket, StreamingWebSocket):
    """A `WebSocket` whose messages go out compressed, and may be taken piece by piece."""

    __slots__ = ()


class MessageStream:
    """One message, read piece by piece as it arrives. `WebSocket.receive_stream` makes it, and tells how to read it.

    Example:

        async def size(stream: trioecho.MessageStream) -> int:
            return sum([len(piece) async for piece in stream])

        async def count(ws: trioecho.WebSocket) -> None:
            while True:
                async with ws.receive_stream() as stream:
                    await ws.send(f"{await size(stream)} {'characters' if stream.text else 'bytes'}")

        routes = {"/count": trioecho.WebSocketRoute(count, options={"stream_messages": True})}
    """

    __slots__ = ("_entered", "_finished", "_max_size", "_open", "_size", "_text", "_websocket")

    def __init__(self, websocket: StreamingWebSocket, max_size: int | None) -> None:
        self._websocket = websocket
        self._max_size = max_size
        self._entered = self._open = self._finished = self._text = False
        self._size = 0

    def __repr__(self) -> str:
        state = "open" if self._open else "closed" if self._entered else "not entered"
        return f"<trioecho.MessageStream of {self._websocket!r}, {state}>"

    @property
    def text(self) -> bool:
        """Whether the pieces are ``str``, not ``bytes``. Known once the block has been entered."""
        if not self._entered:
            raise RuntimeError(_NOT_ENTERED)
        return self._text

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> MessageStream:
        if self._entered:
            raise RuntimeError("a message is read once: call receive_stream() again for the next one")
        websocket = self._websocket
        incoming = websocket._streaming
        websocket._refuse_second()
        incoming.reading = True
        try:
            await trio.lowlevel.checkpoint()
            while incoming.head is None:
                if websocket._closed:
                    websocket._raise_gone()
                if incoming.ending is not None and not incoming.behind:
                    websocket._raise_end()
                await websocket._more()
        except StopAsyncIteration:
            incoming.reading = False
            assert incoming.ending is not None
            raise WebSocketEnded(websocket, incoming.ending.when) from None
        except BaseException:
            incoming.reading = False
            raise
        self._entered = self._open = True
        self._text = isinstance(incoming.head, str)
        return self

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """No checkpoint."""
        self._open = False
        websocket = self._websocket
        incoming = websocket._streaming
        incoming.reading = False
        if not self._finished:
            incoming.skip_message()
        if incoming.head is None and incoming.ending is None:
            # Nothing waits, so the client need not either.
            websocket._connection.caught_up()

    def __aiter__(self) -> MessageStream:
        return self

    @trio.lowlevel.enable_ki_protection
    async def __anext__(self) -> str | bytes:
        """The next piece; empty only if the whole message is."""
        if not self._open:
            raise RuntimeError(_CLOSED if self._entered else _NOT_ENTERED)
        websocket = self._websocket
        incoming = websocket._streaming
        await trio.lowlevel.checkpoint()
        if self._finished:
            raise StopAsyncIteration
        while incoming.head is None:
            if websocket._closed or (incoming.ending is not None and not incoming.behind):
                self._raise_broken_off()
            await websocket._more()
        payload, size, self._finished = incoming.take()
        if incoming.careful:
            websocket._connection.extend()
        before, self._size = self._size, self._size + size
        if self._max_size is not None and self._size > self._max_size:
            websocket._too_big(self._size, self._max_size)
        if before and not size:
            # The end came without another byte.
            raise StopAsyncIteration
        return payload

    def _raise_broken_off(self) -> NoReturn:
        websocket = self._websocket
        ending = websocket._streaming.ending
        if ending is not None:
            websocket._connection.told()
        if websocket._closed or ending is None or (ending.by_us and ending is not SERVER_STOPPING):
            websocket._raise_gone()
        raise WebSocketBroken(websocket, f"{ending.when}: the rest of the message will not come")


_NOT_ENTERED = "a message is read inside of a block: async with ws.receive_stream() as stream"
_CLOSED = "the block in which this message could be read has been left"
