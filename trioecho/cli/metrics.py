"""``--metrics-port`` and ``--metrics``: figures for Prometheus, at a port of their own or among the server's paths."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import click
from click.core import ParameterSource

from trioecho._process.metrics_listener import PATH, MetricsListener
from trioecho._server.routes import Route, Routes, sample_routes
from trioecho.cli.parameters import Declaration, Option, Refusal, stacked, whole_number
from trioecho.metrics import LOOPBACK, Metrics
from trioecho.options import WebSocketOptions

measuring = functools.partial(click.option, cls=Option, section="Metrics (Prometheus)")

metrics_options: Declaration = stacked(
    measuring(
        "--metrics-port",
        type=whole_number(0, 65535),
        show_default="none",
        help=f"Serve figures at {PATH} of this port, besides, to whoever can connect to it; 0 takes any free one. "
        "Needs trioecho[metrics], as do all of these.",
    ),
    measuring(
        "--metrics-host",
        default="127.0.0.1",
        metavar="HOST",
        help="Address or name to listen on for that.",
    ),
    measuring("--metrics", is_flag=True, help=f"Serve figures at {PATH} of the server itself."),
    measuring(
        "--metrics-reader",
        multiple=True,
        metavar="CIDR",
        show_default="programs on this machine",
        help="Network of the clients that may read them there, such as 10.0.0.0/8; others get 403, and so does who "
        "comes by a proxy. Repeatable.",
    ),
)
"""Where figures are served, and to whom."""


def metrics_listener(port: int | None, host: str) -> MetricsListener | None:
    """Where figures are served besides; None for nowhere. Raises `Refusal` for what will not do."""
    if port is None:
        if click.get_current_context().get_parameter_source("metrics_host") is not ParameterSource.DEFAULT:
            raise Refusal("--metrics-host needs --metrics-port, which it is the address of", 2)
        return None
    try:
        return MetricsListener(port, host)
    except ModuleNotFoundError as error:
        raise Refusal(f"--metrics-port: {error}", 2) from None
    except ValueError as error:
        raise Refusal(str(error).replace("metrics_host", "--metrics-host"), 2) from None


def with_metrics(
    routes: Routes | None, options: WebSocketOptions, wanted: bool, readers: Sequence[str]
) -> Routes | None:
    """Return the routes, None being the sample's, with the figures besides where they are `wanted`. Raises `Refusal`
    for what will not do."""
    if not wanted:
        if readers:
            raise Refusal("--metrics-reader needs --metrics, which it is for", 2)
        return routes
    try:
        metrics = Metrics(readers=readers or LOOPBACK)
    except ModuleNotFoundError as error:
        raise Refusal(f"--metrics: {error}", 2) from None
    except ValueError as error:
        raise Refusal(f"--metrics-reader: {error}", 2) from None
    served: dict[str, Route | Sequence[Route]] = {**(sample_routes(options) if routes is None else routes)}
    if PATH in served:
        raise Refusal(f"--path: {PATH} is the path of --metrics; choose another", 2)
    served[PATH] = metrics
    return served
