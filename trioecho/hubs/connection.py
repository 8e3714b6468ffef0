"""What a hub asks of a connection: one logical client over any of the three transports, which outlives its requests."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import trio

from trioecho import Prepared, Request

Transfer: TypeAlias = str | bytes | Prepared
"""What is sent in one go: a frame, an event, or (a part of) a poll's body."""


class Reattached(Exception):  # noqa: N818 (news, not an error)
    """Another WebSocket took the place of a lost one; `Connection.receive` raises it once for each.

    What was sent in between is lost, and so may be the last of what was sent before.

    Example:

        from trioecho.hubs import Connection, ConnectionOptions, ConnectionRoute, Reattached

        async def notes(connection: Connection) -> None:
            kept: list[bytes] = []
            while True:
                try:
                    kept.append(await connection.receive())
                    await connection.send(kept[-1])
                except Reattached:
                    await connection.send(b"\\n".join(kept))

        routes = {"/notes": ConnectionRoute(notes, options=ConnectionOptions(stateful=True))}
    """


class Connection(Protocol):
    """One client, whatever carries its bytes.

    - `id`: names it to others; public.
    - `token`: what its requests show; secret. Equal to `id` where the client negotiated by version 0.
    - `request`: the transport's first request.
    - `transport`: "WebSockets", "ServerSentEvents" or "LongPolling".
    - `user`: whom the route's `user` found; None for nobody.
    - `stateful`: whether a lost WebSocket may be replaced by another.
    - `state`: a dictionary for whoever handles the connection.
    - `nursery`: what is started in it is cancelled when the handler returns.
    """

    id: str
    token: str
    request: Request
    transport: str
    user: str | None
    stateful: bool
    state: dict[str, Any]

    @property
    def nursery(self) -> trio.Nursery: ...

    async def receive(self) -> bytes:
        """Return the next transfer in whatever cut it came: a frame, a POST's body; text as UTF-8.

        Raises `trio.EndOfChannel` when the client has gone or the connection is closed, and `Reattached` once after
        each reattachment, before what came over the new WebSocket. A checkpoint. Cancelled: nothing is lost.
        """
        ...

    async def send(self, data: Transfer, *, text: bool | None = None) -> None:
        """Send one frame, event, or part of a poll's body: bytes as binary where the transport tells them apart, or as
        text with ``text=True``, as `WebSocket.send` does.

        Waits for room. Between a loss and a reattachment it drops what it is given. Raises
        `trio.BrokenResourceError` when the client has gone, `trio.ClosedResourceError` after `aclose`.
        """
        ...

    def try_send(self, data: Transfer, *, text: bool | None = None) -> bool:
        """`send` without waiting: False where that would have to wait, and nothing has been sent. Raises as `send`."""
        ...

    async def aclose(self, error: str | None = None) -> None:
        """Say goodbye in the transport's way, and end. What was sent before goes out first, within a bounded time."""
        ...
