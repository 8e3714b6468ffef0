"""How the server stops: its options, and the steps that they are."""

from __future__ import annotations

import functools

import click

from trioecho.cli.parameters import Declaration, Option, seconds, stacked

draining = functools.partial(click.option, cls=Option, section="Stopping")

draining_options: Declaration = stacked(
    draining(
        "--drain-delay",
        type=seconds(zero="at once"),
        default="0",
        help="Go on as before for so long after the signal, but for /readyz, which answers 503: a load balancer needs a"
        " while to send new clients elsewhere.",
    ),
    draining(
        "--drain-window",
        type=seconds(zero="at once"),
        default="0",
        help="Then refuse newcomers with 503, and tell the clients to go over so long, one after the other, so that "
        "they do not all come back at once.",
    ),
    draining(
        "--shutdown-timeout",
        type=seconds(zero="at once"),
        default="10",
        help="How long the handler of each may take to finish from then on. 0 is at once.",
    ),
    draining(
        "--restart-code",
        is_flag=True,
        help="Close with 1012, service restart, instead of 1001, going away.",
    ),
)
