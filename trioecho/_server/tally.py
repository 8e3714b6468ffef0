"""What one server counts of connections that have ended, of refusals and of plain HTTP; and its `Figures` of a moment.

Nothing is counted for a message: each connection knows its messages and bytes, and its record has them when it has
ended. So the figures are the sums of those that have ended and of those that are open, added up when somebody asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trioecho._protocol.histogram import Histogram
from trioecho._protocol.record import ConnectionRecord
from trioecho._server.figures import HANDSHAKE_BOUNDS, LIFETIME_BOUNDS, ROUND_TRIP_BOUNDS, Figures

if TYPE_CHECKING:
    from trioecho._http.refusals import Refused
    from trioecho._server.service import Service

SUMMED: Final = (
    "messages_received",
    "messages_sent",
    "bytes_received",
    "bytes_sent",
    "wire_bytes_received",
    "wire_bytes_sent",
    "messages_discarded",
    "messages_skipped",
)
"""The fields of a record that are added up."""

_REASONS: Final = {403: "origin", 404: "path", 421: "host", 429: "address"}
"""Why the server itself refuses with a status that says so. Others are told by who raises them, in `_counted_as`."""


class Tally:
    """One server's."""

    __slots__ = (
        "_sums",
        "body_bytes",
        "endings",
        "exchanges",
        "handlers_cancelled",
        "handshakes",
        "lifetimes",
        "refusals",
        "round_trips",
    )

    def __init__(self) -> None:
        self._sums = dict.fromkeys(SUMMED, 0)
        self.endings: dict[tuple[str, str], int] = {}
        self.refusals: dict[tuple[str, str], int] = {}
        self.exchanges: dict[str, int] = {}
        self.body_bytes = 0
        self.handlers_cancelled = 0
        self.handshakes = Histogram(HANDSHAKE_BOUNDS)
        self.round_trips = Histogram(ROUND_TRIP_BOUNDS)
        self.lifetimes = Histogram(LIFETIME_BOUNDS)

    def ended(self, record: ConnectionRecord) -> None:
        """Count a connection whose record is complete. Call it in the step in which it is open no more."""
        assert record.cause is not None
        code = record.code_received if record.closed_first == "client" else record.code_sent
        ending = record.cause, class_of_code(code)
        self.endings[ending] = self.endings.get(ending, 0) + 1
        self.lifetimes.observe(record.duration)
        self.handlers_cancelled += record.handler_cancelled
        for name in SUMMED:
            self._sums[name] += getattr(record, name)

    def refused(self, refused: Refused) -> None:
        """Count what was refused before there was a WebSocket."""
        reason = refused._counted_as or _REASONS.get(refused.status, "request")
        refusal = reason, str(refused.status)
        self.refusals[refusal] = self.refusals.get(refusal, 0) + 1

    def answered(self, status: int | None, body_bytes: int) -> None:
        """Count a plain HTTP exchange that is over; a `status` of None: without an answer."""
        kind = "none" if status is None else f"{status // 100}xx"
        self.exchanges[kind] = self.exchanges.get(kind, 0) + 1
        self.body_bytes += body_bytes

    def figures(self, service: Service) -> Figures:
        """The figures of this moment. No checkpoint; takes some 1 µs for each open connection."""
        # In one pass without a record between, and few calls: everything else waits meanwhile.
        messages_in = bytes_in = wire_in = discarded = waiting_in = 0
        messages_out = bytes_out = wire_out = skipped = waiting_out = 0
        for connection in service.connections:
            incoming, outgoing = connection.incoming, connection.outgoing
            messages_in += incoming.received_messages
            bytes_in += (size := incoming.received_bytes)
            messages_out += outgoing.sent_messages
            bytes_out += (sent := outgoing.sent_bytes)
            # The same, unless something was agreed on.
            compressed = outgoing.deflates
            wire_in += incoming.wire_bytes if compressed else size
            wire_out += outgoing.sent_wire_bytes if compressed else sent
            discarded += incoming.discarded
            waiting_in += incoming.kept + incoming.half
            skipped += outgoing.skipped
            waiting_out += outgoing.unsent
        ended = self._sums
        memory, sockets = service.memory.figures, service.sockets
        return Figures(
            connections_open=len(service.connections),
            connections=len(service.connections) + sum(self.endings.values()),
            endings=dict(self.endings),
            refusals=dict(self.refusals),
            turned_away=dict(service.turned_away.counts),
            handlers_cancelled=self.handlers_cancelled,
            handshakes=self.handshakes.distribution,
            round_trips=self.round_trips.distribution,
            lifetimes=self.lifetimes.distribution,
            http_exchanges=dict(self.exchanges),
            http_body_bytes=self.body_bytes,
            messages_received=ended["messages_received"] + messages_in,
            bytes_received=ended["bytes_received"] + bytes_in,
            wire_bytes_received=ended["wire_bytes_received"] + wire_in,
            messages_sent=ended["messages_sent"] + messages_out,
            bytes_sent=ended["bytes_sent"] + bytes_out,
            wire_bytes_sent=ended["wire_bytes_sent"] + wire_out,
            messages_discarded=ended["messages_discarded"] + discarded,
            messages_skipped=ended["messages_skipped"] + skipped,
            waiting_received=waiting_in,
            waiting_sent=waiting_out,
            memory_held=memory.held,
            memory_limit=memory.limit,
            memory_pauses=memory.pauses,
            memory_refused=memory.refused,
            messages_given_up=memory.messages_given_up,
            connections_given_up=memory.connections_given_up,
            sockets_open=sockets.open,
            sockets_limit=sockets.limit,
            stopping=int(service.stopping),
        )


def class_of_code(code: int | None) -> str:
    """A close code as the value of a label: itself where RFC 6455 or its registry names it, otherwise its thousand,
    since clients choose among 2,000; "none" without one."""
    if code is None:
        return "none"
    return str(code) if 1000 <= code <= 1015 else f"{code // 1000}xxx"
