"""Connections over WebSockets: over one, in whose own task the handler runs; and over one after the other.

A connection that ends with its WebSocket needs no task beside that. One that a client may go on with over another
WebSocket has a task in the route's nursery, and the handlers of its WebSockets only hold them for it.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import trio

from trioecho import Request, WebSocket, WebSocketBroken, WebSocketClosed, WebSocketEnded
from trioecho.hubs.absences import Absences
from trioecho.hubs.connection import Reattached, Transfer
from trioecho.hubs.connection_options import ConnectionOptions
from trioecho.hubs.logical_connection import LogicalConnection
from trioecho.hubs.tokens import Claim

NORMAL = 1000
NO_CODE = 1005
FAILED = 1011
GOODBYES_BYTES = 123
"""RFC 6455 §5.5: what a Close frame has room for."""


class WebSocketConnection:
    """A client over one WebSocket, as `Connection` has it. What it raises is of the WebSocket's own kinds."""

    __slots__ = ("_receive", "_websocket", "claim", "id", "request", "state", "token", "try_send", "user")

    transport = "WebSockets"
    stateful = False

    def __init__(self, websocket: WebSocket, claim: Claim, user: str | None) -> None:
        self.id = claim.id
        self.token = claim.token
        self.claim = claim
        self.user = user
        self.request = websocket.request
        self.state: dict[str, Any] = {}
        self._websocket = websocket
        self._receive = websocket.__anext__
        self.try_send = websocket.try_send
        """See `Connection`."""

    def __repr__(self) -> str:
        return f"<trioecho.hubs.Connection over {self._websocket!r}>"

    @property
    def nursery(self) -> trio.Nursery:
        """That of the WebSocket."""
        return self._websocket.nursery

    @property
    def dismissed(self) -> bool:
        """For whoever was told by `receive` that nothing more comes: whether it is the server that ends this."""
        return self._websocket.close_code is None

    async def receive(self) -> bytes:
        """See `Connection`."""
        try:
            message = await self._receive()
        except StopAsyncIteration:
            raise WebSocketEnded(self._websocket, "the client has closed, or the server stops") from None
        except (WebSocketBroken, WebSocketClosed) as error:
            raise WebSocketEnded(self._websocket, str(error)) from None
        return message.encode() if isinstance(message, str) else message

    def send(self, data: Transfer, *, text: bool | None = None) -> Coroutine[Any, Any, None]:
        """See `Connection`. Not a coroutine function of its own: each would cost every message."""
        return self._websocket.send(data, text=text)

    async def aclose(self, error: str | None = None) -> None:
        """See `Connection`: a Close of 1000, or of 1011 with the error as its reason, as far as that has room."""
        await close(self._websocket, error)


class ReattachableConnection(LogicalConnection):
    """A client over one WebSocket after the other. Between two it may be away, for `disconnect_timeout`.

    A Close from the client is its goodbye; whatever else ends a WebSocket loses only that.
    """

    transport = "WebSockets"
    stateful = True

    def __init__(
        self,
        claim: Claim,
        request: Request,
        user: str | None,
        options: ConnectionOptions,
        stopping: trio.Event,
        absences: Absences,
    ) -> None:
        super().__init__(claim, request, user, options, stopping)
        self._absences = absences
        # What is sent goes to the first; the second is not told yet, and takes its place then.
        self._websocket: WebSocket | None = None
        self._arrived: WebSocket | None = None
        self._held: WebSocket | None = None
        self._release = trio.Event()
        self._waiting = trio.CancelScope()
        self._begun = False

    async def hold(self, websocket: WebSocket) -> None:
        """Be carried by `websocket` from now on, in the place of any other, until that is lost, or let go.

        For its handler. Cancelled: it is lost.
        """
        self._release.set()
        release = self._release = trio.Event()
        self._held = websocket
        self._absences.discard(self)
        if self._begun:
            self._arrived, self._websocket = websocket, None
        else:
            self._websocket = websocket
            self._begun = True
        self._waiting.cancel()
        try:
            if not self.gone and not self.closed:
                await release.wait()
        finally:
            self._lost(websocket)

    async def receive(self) -> bytes:
        """See `Connection`."""
        while True:
            if self.gone or self.closed:
                await trio.lowlevel.checkpoint()
                self._raise_end()
            if self._arrived is not None:
                await trio.lowlevel.checkpoint()
                self._websocket, self._arrived = self._arrived, None
                raise Reattached
            websocket = self._websocket
            with trio.CancelScope() as self._waiting:
                if websocket is None:
                    if self._stopping.is_set():
                        # Nobody can come back.
                        self.lose()
                        continue
                    await trio.sleep_forever()
                else:
                    try:
                        message = await websocket.receive()
                    except trio.EndOfChannel:
                        if not self._stopping.is_set():
                            self.lose()
                        self._raise_end()
                    except (trio.BrokenResourceError, trio.ClosedResourceError):
                        self._lost(websocket)
                    else:
                        return message.encode() if isinstance(message, str) else message

    async def send(self, data: Transfer, *, text: bool | None = None) -> None:
        """See `Connection`."""
        self.check_open()
        websocket = self._websocket
        if websocket is None:
            await trio.lowlevel.checkpoint()
            return
        try:
            await websocket.send(data, text=text)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            # Whether it is a goodbye or a loss, whoever receives finds out.
            self.check_open()

    def try_send(self, data: Transfer, *, text: bool | None = None) -> bool:
        """See `Connection`."""
        self.check_open()
        if self._websocket is None:
            return True
        try:
            return self._websocket.try_send(data, text=text)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return True

    def stop(self) -> None:
        """See `LogicalConnection`: the WebSocket is told by itself, and who has none now cannot come back."""
        if self._held is None:
            self.lose()

    def lose(self) -> None:
        """See `LogicalConnection`."""
        super().lose()
        self._absences.discard(self)
        self._waiting.cancel()
        self._release.set()

    async def _say_goodbye(self, error: str | None) -> None:
        self._waiting.cancel()
        # A server that stops says so itself, when the handler of the WebSocket returns.
        if self._held is not None and not self._stopping.is_set():
            await close(self._held, error)

    def _lost(self, websocket: WebSocket) -> None:
        if self._held is not websocket:
            return
        self._held = self._websocket = self._arrived = None
        self._release.set()
        self._waiting.cancel()
        if not self.gone and not self.closed:
            self._absences.add(self)


async def close(websocket: WebSocket, error: str | None) -> None:
    """Close `websocket`: with 1000, or with 1011 for an error."""
    reason = (error or "").encode("utf-8", "replace")[:GOODBYES_BYTES].decode("utf-8", "ignore")
    await websocket.aclose(NORMAL if error is None else FAILED, reason)
