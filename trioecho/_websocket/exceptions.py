"""What a WebSocket raises when its connection has ended, on either side of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from trioecho import client
    from trioecho._websocket.websocket import WebSocket


class ConnectionEnded(Exception):  # noqa: N818 (the end of a connection is no error)
    """The connection of `websocket` has ended: the base of what its methods raise then.

    Each is also the exception by which any Trio channel tells the same, so that a program may catch either. Leaving the
    handler of the same connection it is no failure, because the client went away is how things end; another
    connection's is one.

    Example:

        async def handler(ws: trioecho.WebSocket) -> None:
            try:
                while True:
                    await ws.send(await ws.receive())
            except trioecho.ConnectionEnded as ended:
                if isinstance(ended, trioecho.WebSocketEnded):
                    ws.logger.info("the client has closed with %s", ws.close_code)
                elif isinstance(ended, trioecho.WebSocketBroken):
                    ws.logger.info("the client is gone")
                elif isinstance(ended, trioecho.WebSocketClosed):
                    ws.logger.info("another task has called aclose")
    """

    def __init__(self, websocket: WebSocket | client.WebSocket, what: str) -> None:
        super().__init__(what)
        self.websocket = websocket
        """The WebSocket that raised it; its `close_code` and `close_reason` tell how the peer has closed."""


class WebSocketEnded(ConnectionEnded, trio.EndOfChannel):
    """`receive`: the conversation ended with the peer's Close, or the server stops; nothing more will come."""


class WebSocketBroken(ConnectionEnded, trio.BrokenResourceError):
    """`send`, `receive` or `ping`: the peer vanished, broke the protocol, or has closed."""


class WebSocketClosed(ConnectionEnded, trio.ClosedResourceError):
    """`send`, `receive` or `ping`: this side has closed the connection."""
