"""Server-Sent Events: one answer that lasts as long as the connection, an event for each transfer.

It carries text alone, and not its line ends: they reach the client as LF. Hub messages in JSON have none.
"""

from __future__ import annotations

import re

from trioecho import Response
from trioecho.hubs.connection import Transfer
from trioecho.hubs.http_connection import HttpConnection

# Without it a browser would not tell that the connection is open, before there is something to say.
_OPENING = b":\r\n"
_LINE_END = re.compile(rb"\r\n|\r|\n")


class EventsConnection(HttpConnection):
    """One client over Server-Sent Events."""

    transport = "ServerSentEvents"

    @property
    def attached(self) -> bool:
        """See `HttpConnection`: until the client has gone."""
        return not self.gone

    def answer(self) -> Response:
        """Return the answer that carries the events; the client has gone when that ends."""
        return Response(
            _Events(self),
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
            content_type="text/event-stream",
        )

    async def next_events(self) -> bytes | None:
        """Wait for events, and take all there are; None at the end. Cancelled: none is lost."""
        await self._outgoing.wait()
        events = self._outgoing.take_all()
        return b"".join(map(_encoded, events)) if events else None

    def _payload(self, data: Transfer, text: bool | None) -> bytes:
        payload = super()._payload(data, text)
        if not isinstance(data, str):
            try:
                payload.decode()
            except UnicodeDecodeError:
                raise ValueError("Server-Sent Events carry text; received bytes that are no UTF-8") from None
        return payload


class _Events:
    """The body of the answer. No generator: it has to be told of its end even if nothing of it was ever asked for."""

    def __init__(self, connection: EventsConnection) -> None:
        self._connection = connection
        self._opened = False

    def __aiter__(self) -> _Events:
        return self

    async def __anext__(self) -> bytes:
        if not self._opened:
            self._opened = True
            return _OPENING
        events = await self._connection.next_events()
        if events is None:
            raise StopAsyncIteration
        return events

    async def aclose(self) -> None:
        """The answer has ended, in whatever way."""
        self._connection.lose()


def _encoded(payload: bytes) -> bytes:
    return b"".join([b"data: %b\r\n" % line for line in _LINE_END.split(payload)]) + b"\r\n"
