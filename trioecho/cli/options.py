"""The options of serving and their sentences in ``--help``, but for those of features with a file of their own.

What is made of them is in `trioecho.cli.serve`.
"""

from __future__ import annotations

import functools
from pathlib import Path

import click

from trioecho._process.logs import LOG_FORMATS, LOG_LEVELS
from trioecho._server.unix import MOST_BACKLOG
from trioecho.cli.parameters import (
    Declaration,
    Option,
    address_limits,
    descriptor,
    memory,
    permissions,
    seconds,
    size,
    stacked,
    whole_number,
)

where = functools.partial(click.option, cls=Option, section="Where")
who = functools.partial(click.option, cls=Option, section="Who may connect")
time_limit = functools.partial(click.option, cls=Option, section="Time limits")
size_limit = functools.partial(click.option, cls=Option, section="Size limits")
compressing = functools.partial(click.option, cls=Option, section="Compression")
tls = functools.partial(click.option, cls=Option, section="TLS")
log = functools.partial(click.option, cls=Option, section="Log (on standard error)")
starting = functools.partial(click.option, cls=Option, section="Being started by a program")

serving_options: Declaration = stacked(
    where(
        "--host",
        multiple=True,
        default=("127.0.0.1",),
        metavar="HOST",
        help="Address or name to listen on. Repeatable. 0.0.0.0 is every IPv4 address, :: every IPv6 address only,"
        " * every address of both.",
    ),
    where("--port", type=whole_number(0, 65535), default="5000", help="TCP port; 0 takes any free one."),
    where(
        "--unix",
        metavar="PATH",
        show_default="none",
        help="Unix socket to listen on, instead of TCP unless a host or port is given, too. The socket of a dead "
        "server is replaced. @name is an abstract name (Linux).",
    ),
    where(
        "--unix-mode",
        type=permissions,
        metavar="MODE",
        default="600",
        help="Permissions of the Unix socket's file: who may write to it may connect.",
    ),
    where(
        "--fd",
        type=descriptor,
        metavar="NUMBER|NAME",
        show_default="those of systemd",
        help="Listening socket that this process was started with, such as 3, or by the name that systemd gives it "
        "(FileDescriptorName=), instead of TCP unless a host or port is given, too. Where no place is given, what "
        "systemd hands over is it.",
    ),
    where(
        "--backlog",
        type=whole_number(1, MOST_BACKLOG),
        show_default="what the system allows",
        help="Connections that may wait to be accepted.",
    ),
    where("--path", default="/ws", metavar="PATH", help="Path of the WebSocket endpoint."),
    where(
        "--root-path",
        default="",
        metavar="PATH",
        show_default="none",
        help="Path below which a proxy shows this server, such as /echo, whether the proxy takes it away or hands it "
        "on. The page's links and its WebSocket have it in front.",
    ),
    who(
        "--allowed-origin",
        multiple=True,
        metavar="ORIGIN",
        show_default="every origin",
        help="Web page that may connect, such as https://client.com or https://*.client.com; self is the server's "
        "own page, and what some programs send that are no browser. Repeatable. Programs can send any Origin "
        "they like: this is no authentication.",
    ),
    who(
        "--allowed-host",
        multiple=True,
        metavar="HOST",
        show_default="every host",
        help="Name or address of this server in requests, such as client.com, *.client.com or [::1]; another gets "
        "421. Repeatable. On loopback or in an intranet, this is what keeps out web pages whose own name was "
        "pointed here (DNS rebinding); without it, the origin self lets them in.",
    ),
    who(
        "--subprotocol",
        multiple=True,
        metavar="NAME",
        show_default="none",
        help="Subprotocol that may be agreed on, the preferred one first. Repeatable.",
    ),
    who(
        "--limit-per-address",
        type=address_limits,
        metavar="LIMITS",
        default="off",
        help="on, or numbers such as connections=20,burst=50 (there are handshakes-per-second and in-progress, "
        "too): what one address may have; more gets 429. Behind a proxy that is no trusted one, all clients are one "
        "address.",
    ),
    who(
        "--trusted-proxy",
        multiple=True,
        metavar="CIDR",
        show_default="none",
        help="Network of the proxies that tell who their client is, such as 127.0.0.1 or 10.0.0.0/8; unix is who "
        "comes by Unix socket. X-Forwarded-For, -Proto, -Host and Forwarded are believed from there alone. "
        "Repeatable.",
    ),
    who(
        "--proxy-protocol",
        is_flag=True,
        help="Connections from a trusted proxy begin with a header of the PROXY protocol, version 1 or 2.",
    ),
    time_limit(
        "--keep-alive-interval",
        type=seconds(zero="off"),
        default="120",
        help="Ping a client from which nothing came for so long. 0 is off.",
    ),
    time_limit(
        "--keep-alive-timeout",
        type=seconds(),
        default="20",
        help="Take a client for gone from which nothing came for so long after the Ping.",
    ),
    time_limit(
        "--idle-timeout",
        type=seconds(zero="off"),
        default="off",
        help="Close a connection whose client sent no message, and no Ping of its own, for so long. 0 is off.",
    ),
    time_limit(
        "--handshake-timeout",
        type=seconds(),
        default="10",
        help="From the TCP connection to the end of the request's head, TLS included.",
    ),
    time_limit(
        "--close-timeout",
        type=seconds(),
        default="5",
        help="How long the exchange of Close may take; in a stop, the whole closing handshake.",
    ),
    time_limit(
        "--send-timeout",
        type=seconds(),
        default="30",
        help="Cut off a client that takes no byte for so long while some wait for it.",
    ),
    time_limit(
        "--answer-timeout",
        type=seconds(),
        default="1",
        help="How long a handler may take over each answer that is still owed when its client has closed.",
    ),
    size_limit(
        "--max-message-size",
        type=size,
        default="1MiB",
        help="Longest message accepted; bytes, or with a unit, such as 65536, 64KiB or 16MiB.",
    ),
    size_limit(
        "--max-connections",
        type=whole_number(1),
        show_default="no limit",
        help="Connections open at once, of each worker; one more is refused with 503.",
    ),
    size_limit(
        "--max-sockets",
        type=whole_number(2),
        show_default="what the limit on open files leaves",
        help="Sockets open at once, silent ones among them; the one that waits longest makes room for one more.",
    ),
    size_limit(
        "--flood-limit",
        type=whole_number(0),
        default="1000",
        help="Pings, unasked Pongs and short fragments a second from one client, over minutes; more end its "
        "connection with 1008. 0 is no limit.",
    ),
    size_limit(
        "--max-memory",
        type=memory,
        default="50%",
        help="Memory held for all clients together, of all workers: bytes, also with a unit, such as 512MiB, or a "
        "share of what the machine, container or ulimit allows, such as 50%. Near it, new ones are refused with "
        "503; above it, the largest half messages and unread answers are given up with 1013. off is no limit.",
    ),
    compressing(
        "--compression",
        type=click.Choice(("off", "deflate")),
        default="off",
        metavar="METHOD",
        help="off, or deflate: permessage-deflate with clients that offer it. Off is right where a message holds a"
        " secret next to text that somebody else can choose (CRIME, BREACH).",
    ),
    compressing(
        "--compression-window-bits",
        type=whole_number(8, 15),
        default="12",
        help="Size of the window in both directions, as a power of two. A connection takes 50 KiB with 12, up to "
        "190 KiB with 15.",
    ),
    compressing(
        "--compression-no-context-takeover",
        is_flag=True,
        help="Compress every message by itself: less memory for each connection, and short messages stay longer.",
    ),
    tls(
        "--tls-cert",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Certificate chain (PEM). Serves https and wss instead of http and ws.",
    ),
    tls(
        "--tls-key",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Private key (PEM, no password), if it is not in the certificate's file.",
    ),
    tls(
        "--tls-selfsigned",
        is_flag=True,
        help="For tests: https and wss with a certificate for localhost, 127.0.0.1, ::1 and the hosts given, by an "
        "authority of its own. The first line names its file, for clients to trust. Needs trioecho[selfsigned].",
    ),
    log(
        "--log-level",
        type=click.Choice(LOG_LEVELS, case_sensitive=False),
        default="info",
        metavar="LEVEL",
        help=f"{', '.join(LOG_LEVELS[:-1])} or {LOG_LEVELS[-1]}; info is one line for each connection, and for "
        "each HTTP exchange but those for scripts and pictures of the page and for health checks.",
    ),
    log(
        "--log-format",
        type=click.Choice(LOG_FORMATS),
        default="text",
        metavar="FORMAT",
        help="text, or json: one object a line.",
    ),
    log(
        "--access-log/--no-access-log",
        default=True,
        help="Write the lines for each connection and each HTTP exchange; without, only those that tell of a fault.",
    ),
)
"""What every server has."""

starting_options: Declaration = stacked(
    starting(
        "--ready-json",
        is_flag=True,
        help="Write the first line as JSON, with URLs, Unix sockets, the CA of --tls-selfsigned and the process id.",
    ),
    starting(
        "--exit-on-eof",
        is_flag=True,
        help="Stop when standard input ends, as with the program that has started this one.",
    ),
)
"""For programs that start a server and wait for it."""
