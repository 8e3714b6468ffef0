"""The goodbye: what is said last, how long an answer is awaited, and what the record has to know of it.

Unless the handler has said it before (`WebSocket.aclose`), it is said when everything else on the connection has
finished, by the connection's own task, under one shielded deadline: a peer that stopped reading, or never answers,
cannot hold the server.
"""

from __future__ import annotations

import trio

from trioecho._protocol.endings import APPLICATION_CLOSED, PEER_CLOSED, PEER_VANISHED, Ending, Farewell
from trioecho._protocol.frames import CLOSE, encode_frame, shortened_reason
from trioecho._protocol.record import ConnectionRecord
from trioecho._websocket.inbox import Inbox
from trioecho._websocket.outbox import Outbox
from trioecho._websocket.reading import Reading
from trioecho._websocket.sorter import Sorter
from trioecho._wire.linger import half_close

ABORT_GRACE = 0.5
"""Seconds for a last Close to leave, where nobody is expected to answer it."""


class Goodbye:
    """One connection's last words."""

    __slots__ = (
        "_inbox",
        "_outbox",
        "_reading",
        "_record",
        "_scope",
        "_sorter",
        "_transport",
        "application_close",
    )

    def __init__(
        self,
        transport: trio.abc.Stream,
        *,
        sorter: Sorter,
        reading: Reading,
        inbox: Inbox,
        outbox: Outbox,
        record: ConnectionRecord,
    ) -> None:
        self._transport = transport
        self._sorter = sorter
        self._reading = reading
        self._inbox = inbox
        self._outbox = outbox
        self._record = record
        self._scope = trio.CancelScope(shield=True)
        self.application_close = (1000, "")
        """What the application wanted said, if it closed."""

    def end_by(self, deadline: float) -> None:
        """Whatever is still to be written or awaited, it is over at `deadline` (Trio's clock)."""
        self._scope.deadline = min(self._scope.deadline, deadline)
        self._outbox.finish(self._scope.deadline)

    def abort(self) -> None:
        """Await nobody."""
        self.end_by(trio.current_time() + ABORT_GRACE)

    async def say(self, ending: Ending) -> None:
        """Say what the table says, and wait as it says, until the deadline. Cannot be cancelled from outside."""
        if ending.farewell is Farewell.ABORT:
            self.abort()
        # What a task outside the connection's nursery hears from here on.
        self._inbox.end(ending)
        self._outbox.refuse_messages()
        with self._scope:
            if self._record.code_sent is None and ending.farewell is not Farewell.SILENT:
                self.say_close(*self.code_and_reason(ending))
            else:
                self._reading.begin_goodbye()
            await self._outbox.flush()
            if ending.farewell is Farewell.ABORT or self._outbox.broken:
                return
            if ending.farewell is Farewell.HANDSHAKE:
                await self._reading.read_on(self._sorter.peer_done)
                if self._sorter.peer_close is not None:
                    # Both sides have said all, so the server closes TCP now (RFC 6455 §7.1.1). Lingering until the
                    # client hangs up was tried: trio-websocket's client never does.
                    self._reading.discard_unread()
                    self.let_go()
                    await self._transport.aclose()
                    return
            await half_close(self._transport)
            await self._reading.read_on(self._reading.hung_up)

    def let_go(self) -> None:
        """Write and read nothing more, before the socket is closed: its number may soon be another connection's."""
        self._reading.forget()
        self._outbox.break_off()

    def say_close(self, code: int, reason: str) -> None:
        """Queue Close, after which nothing more is said. What waits for the handler is discarded, and counted."""
        record = self._record
        record.messages_discarded += self._inbox.discard()
        self._reading.begin_goodbye()
        if record.closed_first is None:
            ended = self._sorter.peer_close is not None or self._reading.hung_up.is_set()
            record.closed_first = "client" if ended else "server"
        reason = shortened_reason(reason)
        self._outbox.put_last(encode_frame(CLOSE, code.to_bytes(2) + reason.encode()))
        if not self._outbox.broken:
            record.code_sent = code
            record.reason_sent = reason

    def complete(self, ending: Ending) -> None:
        """Write into the record what only the goodbye knows."""
        record = self._record
        record.messages_discarded += self._inbox.discard() + self._sorter.discarded
        if self._sorter.peer_close is not None:
            record.code_received, record.reason_received = self._sorter.peer_close
        if not self._outbox.empty:
            # Put behind bytes that the peer never took.
            record.code_sent = record.reason_sent = None
        if record.closed_first is None:
            record.closed_first = "client" if ending in (PEER_CLOSED, PEER_VANISHED) else "server"
        record.clean = ending.clean and record.code_sent is not None and record.code_received is not None

    def code_and_reason(self, ending: Ending) -> tuple[int, str]:
        """What the Close says at this ending."""
        if ending is APPLICATION_CLOSED:
            return self.application_close
        if ending is PEER_CLOSED:
            assert self._sorter.peer_close is not None
            code, reason = self._sorter.peer_close
            # An empty Close is answered 1000, as ASP.NET's sample does.
            return (1000, "") if code == 1005 else (code, reason)
        assert ending.code is not None
        return ending.code, ending.reason if ending.reason is not None else (self._sorter.error or "")
