"""`Figures`: what a server has done and what it is doing, in numbers; one table of what they are called elsewhere.

A number is a gauge, which goes up and down, a counter, which only grows, or a distribution of durations. What there is
of one kind by some label, such as the connections that have ended by cause and close code, is a mapping from the
label's value, or a tuple of several, to a counter. The values of labels are words of trioecho's own, statuses and
classes of close codes: there are a few hundred at most, whatever clients send.

To add a number, add a field here, with what it is in its `Metric`, and fill it in `trioecho._server.tally`.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from trioecho._protocol.endings import ENDINGS
from trioecho._protocol.histogram import Distribution

LOOP_LAG_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Seconds. A loop with little to do is below the first; one that is a quarter late is felt by people."""

HANDSHAKE_BOUNDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Seconds: a fifth of a millisecond where nothing is asked; a database's answer in `admit`; `handshake_timeout`."""

ROUND_TRIP_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds: the same machine, the same city, another continent, a mobile network that has slept."""

LIFETIME_BOUNDS: Final = (1.0, 10.0, 60.0, 300.0, 1800.0, 3600.0, 14400.0, 86400.0)
"""Seconds of a connection, from one that is gone at once to one that lasts a day."""

Labels: TypeAlias = str | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Metric:
    """What a number of `Figures` is called in Prometheus, and what it is."""

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    expected: tuple[Labels, ...] = ()
    """Values of the labels that are known before anything has happened."""

    @property
    def series(self) -> tuple[str, ...]:
        """The names under which its samples stand in the text format."""
        if self.kind == "histogram":
            return tuple(f"{self.name}_{each}" for each in ("bucket", "count", "sum"))
        return (self.name,)


def _gauge(name: str, help: str) -> Mapping[str, Metric]:
    return {"metric": Metric(f"trioecho_{name}", "gauge", help)}


def _counter(name: str, help: str, *labels: str, expected: Iterable[Labels] = ()) -> Mapping[str, Metric]:
    return {"metric": Metric(f"trioecho_{name}_total", "counter", help, labels, tuple(expected))}


def _histogram(name: str, help: str) -> Mapping[str, Metric]:
    return {"metric": Metric(f"trioecho_{name}", "histogram", help)}


def nothing(bounds: tuple[float, ...]) -> Distribution:
    """A distribution of nothing."""
    return Distribution(bounds, (0,) * (len(bounds) + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a server has done since it began, and what it is doing, in numbers: `trioecho.Server.figures`.

    A value, which does not change. Messages and bytes are those of open connections and of all that have ended; bytes
    are payload bytes of whole data messages, without frame headers, and as they were before they were compressed. The
    last few are the process's, and are filled in by `trioecho.metrics.Metrics`; a server leaves them at nothing.

    Example:

        async def handler(ws: trioecho.WebSocket) -> None:
            figures: trioecho.Figures = ws.server.figures
            await ws.send(f"{figures.connections_open} are here, and {figures.messages_received} messages have come")
    """

    connections_open: int = field(
        default=0, metadata=_gauge("connections_open", "WebSocket connections that are open.")
    )
    connections: int = field(
        default=0, metadata=_counter("connections", "WebSocket handshakes that were accepted.")
    )
    endings: Mapping[tuple[str, str], int] = field(
        default_factory=dict,
        metadata=_counter(
            "endings",
            "WebSocket connections that have ended, by cause and by the code of the Close that came first.",
            "cause",
            "code",
            expected=[(each.cause, str(each.code)) for each in ENDINGS if each.code is not None],
        ),
    )
    refusals: Mapping[tuple[str, str], int] = field(
        default_factory=dict,
        metadata=_counter(
            "refusals",
            "WebSocket handshakes that were refused, and what was no request, by reason and status.",
            "reason",
            "status",
        ),
    )
    turned_away: Mapping[str, int] = field(
        default_factory=dict,
        metadata=_counter(
            "turned_away",
            "Sockets that were closed to make room, and requests over the limits of their address, by reason.",
            "reason",
            expected=("no room", "in_progress", "connections", "handshakes_per_second"),
        ),
    )
    messages_received: int = field(
        default=0, metadata=_counter("messages_received", "Messages that have come from clients.")
    )
    messages_sent: int = field(
        default=0, metadata=_counter("messages_sent", "Messages that were handed to the kernel.")
    )
    bytes_received: int = field(
        default=0, metadata=_counter("received_bytes", "Payload bytes of the messages that have come.")
    )
    bytes_sent: int = field(
        default=0, metadata=_counter("sent_bytes", "Payload bytes of the messages that were sent.")
    )
    wire_bytes_received: int = field(
        default=0,
        metadata=_counter("received_wire_bytes", "The same as they came: fewer, where they were compressed."),
    )
    wire_bytes_sent: int = field(
        default=0,
        metadata=_counter("sent_wire_bytes", "The same as they went: fewer, where they were compressed."),
    )
    messages_discarded: int = field(
        default=0,
        metadata=_counter("messages_discarded", "Messages that have come and that no handler took."),
    )
    messages_skipped: int = field(
        default=0,
        metadata=_counter(
            "messages_skipped", "Messages of broadcasts that were not sent to clients that were slow."
        ),
    )
    handlers_cancelled: int = field(
        default=0,
        metadata=_counter("handlers_cancelled", "Handlers that went on when their client had gone."),
    )
    handshakes: Distribution = field(
        default_factory=lambda: nothing(HANDSHAKE_BOUNDS),
        metadata=_histogram(
            "handshake_seconds", "From the first byte of a request for a WebSocket until it was accepted."
        ),
    )
    round_trips: Distribution = field(
        default_factory=lambda: nothing(ROUND_TRIP_BOUNDS),
        metadata=_histogram("ping_round_trip_seconds", "From a Ping of the server's to its Pong."),
    )
    lifetimes: Distribution = field(
        default_factory=lambda: nothing(LIFETIME_BOUNDS),
        metadata=_histogram("connection_seconds", "How long the connections lasted that have ended."),
    )
    http_exchanges: Mapping[str, int] = field(
        default_factory=dict,
        metadata=_counter(
            "http_exchanges",
            "Plain HTTP requests by the class of their answer's status; none where there was none.",
            "status",
            expected=("2xx", "3xx", "4xx", "5xx", "none"),
        ),
    )
    http_body_bytes: int = field(
        default=0, metadata=_counter("http_body_bytes", "Bytes of the bodies that were sent in answers.")
    )
    waiting_received: int = field(
        default=0,
        metadata=_gauge(
            "waiting_received_bytes", "Bytes of messages that wait for handlers, or have not come whole."
        ),
    )
    waiting_sent: int = field(
        default=0,
        metadata=_gauge("waiting_sent_bytes", "Bytes that wait for clients, since they do not read."),
    )
    memory_held: int = field(
        default=0, metadata=_gauge("memory_held_bytes", "What is held of max_memory for clients.")
    )
    memory_limit: int | None = field(
        default=None, metadata=_gauge("memory_limit_bytes", "What max_memory comes to.")
    )
    memory_pauses: int = field(
        default=0,
        metadata=_counter(
            "memory_pauses", "How often a connection was not read from for the sake of memory."
        ),
    )
    memory_refused: int = field(
        default=0, metadata=_counter("memory_refused", "Newcomers that were refused for the sake of memory.")
    )
    messages_given_up: int = field(
        default=0,
        metadata=_counter("messages_given_up", "Half messages that were given up for the sake of memory."),
    )
    connections_given_up: int = field(
        default=0,
        metadata=_counter(
            "connections_given_up",
            "Connections that were aborted for the sake of memory: their peers did not read.",
        ),
    )
    sockets_open: int = field(
        default=0,
        metadata=_gauge(
            "sockets_open", "Accepted sockets that are open: WebSockets, plain HTTP, and silent ones."
        ),
    )
    sockets_limit: int | None = field(
        default=None, metadata=_gauge("sockets_limit", "What max_sockets comes to.")
    )
    stopping: int = field(
        default=0, metadata=_gauge("stopping", "How many of the processes have begun to stop.")
    )
    workers: int = field(default=0, metadata=_gauge("workers", "Processes whose figures these are."))
    loop_lag: Distribution = field(
        default_factory=lambda: nothing(LOOP_LAG_BOUNDS),
        metadata=_histogram(
            "loop_lag_seconds", "How late the event loop ran a task that was due, looked at twice a second."
        ),
    )
    cpu_seconds: float = field(
        default=0.0, metadata=_counter("cpu_seconds", "Seconds of processor time that were used.")
    )
    resident_bytes: int = field(
        default=0, metadata=_gauge("resident_memory_bytes", "Memory of the processes that is resident.")
    )

    @property
    def only_counters(self) -> Figures:
        """The same without gauges, which are 0: what is left of a server that has ended, for sums with others."""
        gauges: dict[str, Any] = {name: 0 for name, metric in METRICS.items() if metric.kind == "gauge"}
        return dataclasses.replace(self, **gauges)

    def as_dict(self) -> dict[str, Any]:
        """All figures as plain values that JSON can hold: for another process, which has `from_dict`."""
        return {name: _plain(getattr(self, name)) for name in METRICS}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Figures:
        """What `as_dict` was made from. Unknown names, of another version, are left out; missing ones are nothing.

        Raises TypeError or ValueError for what is no such dictionary.
        """
        return cls(
            **{name: _made_of(metric, plain[name]) for name, metric in METRICS.items() if name in plain}
        )

    @classmethod
    def merge(cls, figures: Iterable[Figures]) -> Figures:
        """The sum of the figures of several servers, or of none.

        Gauges are added up, too, and limits, which are None where one of them has none. Raises ValueError for
        distributions with other bounds than those of this version.
        """
        each = tuple(figures)
        return (
            cls(**{name: _sum([getattr(one, name) for one in each]) for name in METRICS}) if each else cls()
        )


METRICS: Final[Mapping[str, Metric]] = {
    each.name: each.metadata["metric"] for each in dataclasses.fields(Figures)
}
"""What each field of `Figures` is, by its name."""


def _plain(value: Any) -> Any:
    if isinstance(value, Distribution):
        return {"bounds": list(value.bounds), "counts": list(value.counts), "total": value.total}
    if isinstance(value, Mapping):
        return [[*_tuple(labels), count] for labels, count in value.items()]
    return value


def _made_of(metric: Metric, plain: Any) -> Any:
    if metric.kind == "histogram":
        return Distribution(tuple(plain["bounds"]), tuple(plain["counts"]), plain["total"])
    if metric.labels:
        alone = len(metric.labels) == 1
        return {labels[0] if alone else tuple(labels): count for *labels, count in plain}
    return plain


def _sum(values: list[Any]) -> Any:
    first, *rest = values
    if None in values:
        return None
    if isinstance(first, Mapping):
        counts: Counter[Labels] = Counter()
        for each in values:
            counts.update(each)
        return dict(counts)
    for each in rest:
        first = first + each
    return first


def _tuple(labels: Labels) -> tuple[str, ...]:
    return (labels,) if isinstance(labels, str) else labels
