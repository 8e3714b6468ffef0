"""What ``--faults`` serves besides the sample, and to whom."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable, Mapping

import click

import trioecho.faults
from trioecho._server.routes import Route, Routes, sample_routes
from trioecho.cli.parameters import Declaration, Option, Refusal, stacked
from trioecho.options import WebSocketOptions

faulty = functools.partial(click.option, cls=Option, section="Faults, for tests of clients")

fault_options: Declaration = stacked(
    faulty(
        "--faults",
        is_flag=True,
        help="Serve paths that misbehave on request besides the echo: the list below, and /faults.",
    ),
    faulty(
        "--faults-beyond-loopback",
        is_flag=True,
        help="Serve them to other machines too. They waste time and bandwidth on purpose.",
    ),
)


def with_faults(options: WebSocketOptions, links: Mapping[str, str] | None = None) -> Routes:
    """Return the routes of the sample and of the faults. Raises `Refusal` where the echo's path is a fault's.

    `links` are those of the sample's page."""
    served: dict[str, Route | list[Route]] = {**sample_routes(options, links, faults="/faults")}
    for path, route in trioecho.faults.routes().items():
        if path in served:
            raise Refusal(f"--path: {path} is a path of --faults; choose another", 2)
        served[path] = route  # type: ignore[assignment]
    return served


def check_loopback(hosts: Iterable[str], fd: int | None) -> None:
    """Raise `Refusal` if others than this machine might be served."""
    beyond = [host for host in hosts if not _is_loopback(host)]
    if fd is not None:
        beyond.append(f"the socket {fd}")
    if beyond:
        raise Refusal(
            f"--faults: {beyond[0]} may be reached from other machines, whose users could waste this one's time and "
            "bandwidth; add --faults-beyond-loopback if that is meant",
            2,
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
