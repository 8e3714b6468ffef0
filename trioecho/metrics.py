"""The figures of servers as Prometheus and its like read them: a route, and the text alone.

`LOOPBACK` are those who may read them unless it is said otherwise: programs on this machine.

It needs prometheus-client, which comes with ``pip install "trioecho[metrics]"``. A registry of its own is made for each
answer, so what else a program gives to prometheus-client stays apart.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import inspect
import platform
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import trio

from trioecho._http.messages import Request, Response
from trioecho._http.networks import Networks
from trioecho._http.refusals import Refused, quoted
from trioecho._protocol.histogram import Distribution, Histogram
from trioecho._server.figures import LOOP_LAG_BOUNDS, METRICS, Figures, Metric
from trioecho._server.machine import memory_resident
from trioecho._server.routes import HttpRoute, Route, RouteGroup
from trioecho._server.server import Server

if TYPE_CHECKING:
    from prometheus_client.core import Metric as Family

__all__ = ["LOOPBACK", "Metrics", "exposition"]

LOOPBACK = ("127.0.0.0/8", "::1", "unix")
"""Who may read `Metrics` unless it is said otherwise: programs on this machine."""

LOOK_EVERY = 0.5
"""Seconds between two looks at how late the event loop is."""

TELLTALES = ("forwarded", "via", "x-forwarded-for", "x-real-ip")
"""Headers that proxies add: with one of them, the address may be a proxy's, and the reader somebody else."""


class Metrics(RouteGroup):
    """A route that answers with figures in the text format of Prometheus, or as OpenMetrics where that is asked for.

    Without `servers` they are those of the server that is asked; otherwise the sum of those of `servers`, as on a
    listener of its own, which no proxy leads to:

    ```python
    server = await nursery.start(trioecho.serve, routes)
    readers = {"/metrics": trioecho.metrics.Metrics(server, readers=None)}
    await nursery.start(functools.partial(trioecho.serve, readers, port=9090))
    ```

    To them come those of the process: processor time, memory, and how late the event loop is, which is measured while
    the route is served. `readers` are the networks whose clients may read it, ``["10.0.0.0/8"]``, or None for everybody
    who can connect; others get 403, and so does whoever comes by a proxy that says so, where that is not a trusted one.
    With `collect`, an async function of nothing that returns `Figures`, the figures are what it returns and no others.

    Raises ModuleNotFoundError where prometheus-client is not installed, TypeError or ValueError with one sentence for
    what will not do.

    Example:

        from trioecho.metrics import LOOPBACK, Metrics

        routes = {"/ws": trioecho.echo, "/metrics": Metrics(readers=[*LOOPBACK, "10.0.0.0/8"])}
    """

    def __init__(
        self,
        *servers: Server,
        readers: Iterable[str] | None = LOOPBACK,
        collect: Callable[[], Awaitable[Figures]] | None = None,
    ) -> None:
        _need_prometheus_client()
        for server in servers:
            if not isinstance(server, Server):
                raise TypeError(f"Metrics takes servers, as trioecho.serve starts them; you gave {server!r}")
        if isinstance(readers, str):
            raise TypeError(f"readers takes a list such as ['10.0.0.0/8'], or None; you gave {readers!r}")
        if collect is not None and (servers or not inspect.iscoroutinefunction(collect)):
            raise TypeError(
                f"collect takes an async function of nothing, in place of servers; you gave {collect!r}"
            )
        self._servers = servers
        self._readers = None if readers is None else Networks.of(readers)
        self._collect = collect
        self._loop_lag = Histogram(LOOP_LAG_BOUNDS)

    def routes(self) -> Mapping[str, list[Route]]:
        """What stands there: one route."""
        return {"": [HttpRoute(self._respond, admit=self._admit, quiet=True)]}

    async def run(
        self, stopping: trio.Event, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Look how late the event loop is, `LOOK_EVERY` seconds, until the server stops."""
        task_status.started()
        while not stopping.is_set():
            due = trio.current_time() + LOOK_EVERY
            with trio.move_on_at(due) as scope:
                await stopping.wait()
            if scope.cancelled_caught:
                self._loop_lag.observe(max(0.0, trio.current_time() - due))

    def figures(self, *servers: Server) -> Figures:
        """The figures of these servers, or of those that it was made with, and of the process: of one moment. No
        checkpoint; takes some 1 µs for each open connection."""
        merged = Figures.merge([server.figures for server in servers or self._servers])
        return dataclasses.replace(
            merged,
            workers=1,
            stopping=min(1, merged.stopping),
            loop_lag=self._loop_lag.distribution,
            cpu_seconds=time.process_time(),
            resident_bytes=memory_resident(),
        )

    def _admit(self, request: Request) -> None:
        if self._readers is None:
            return
        for name in TELLTALES:
            # Of a trusted proxy too: its client is known, but what reads figures needs no proxy.
            if name in request.headers:
                raise Refused(
                    403, f"Figures are not read through a proxy; received a request with {name.title()}."
                )
        allowed = self._readers.unix if request.client is None else request.client[0] in self._readers
        if not allowed:
            whom = "one without" if request.client is None else f"the address {quoted(request.client[0])}"
            raise Refused(403, f"Figures are for some addresses only, and {whom} is none of them.")

    async def _respond(self, request: Request) -> Response:
        if self._collect is not None:
            figures = await self._collect()
        elif self._servers or request.server is None:
            figures = self.figures()
        else:
            figures = self.figures(request.server)
        body, kind = exposition(figures, request.headers.get("accept", ""))
        return Response(body, headers={"Content-Type": kind, "Cache-Control": "no-store"})


def exposition(figures: Figures, accept: str = "") -> tuple[bytes, str]:
    """The text of `figures`, and its Content-Type: in the text format 0.0.4, or what the header `accept` asks for.

    Raises ModuleNotFoundError where prometheus-client is not installed.

    Example:

        from trioecho.metrics import exposition

        async def main() -> None:
            text, kind = exposition(trioecho.Figures(connections_open=3))
            assert b"trioecho_connections_open 3.0" in text
            assert kind.startswith("text/plain")
    """
    _need_prometheus_client()
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import choose_encoder

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(figures))
    encode, kind = choose_encoder(accept)
    return encode(registry), kind


class _Families:
    """What a registry of prometheus-client collects."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Family]:
        from prometheus_client.core import InfoMetricFamily

        yield InfoMetricFamily("trioecho", "The versions that run.", value=_versions())
        for name, metric in METRICS.items():
            value = getattr(self._figures, name)
            if metric.expected:
                # What has not happened yet is told as well: a rate sees only what grows from one look to the next.
                value = dict.fromkeys(metric.expected, 0) | value
            if value is not None:
                yield _family(metric, value)


def _family(metric: Metric, value: Any) -> Family:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    if isinstance(value, Distribution):
        buckets: list[tuple[str, float]] = []
        below = 0
        for bound, count in zip((*value.bounds, float("inf")), value.counts, strict=True):
            below += count
            buckets.append(("+Inf" if bound == float("inf") else str(bound), below))
        return HistogramMetricFamily(metric.name, metric.help, buckets=buckets, sum_value=value.total)
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    if not metric.labels:
        return kind(metric.name, metric.help, value=value)
    family = kind(metric.name, metric.help, labels=metric.labels)
    for labels, count in value.items():
        family.add_metric((labels,) if isinstance(labels, str) else labels, count)
    return family


@functools.cache
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("trioecho", "trio"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "unknown"
    return found


def _need_prometheus_client() -> None:
    try:
        import prometheus_client  # noqa: F401
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "metrics need prometheus-client: install it with pip install 'trioecho[metrics]'",
            name="prometheus_client",
        ) from None
