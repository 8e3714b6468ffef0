"""``python -m trioecho``, or ``trioecho``, or either with ``serve``: the options and what is made of them.

What the program then does, its output, signals and exit statuses, is in `trioecho._process.run`.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import platform
import re
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from trioecho._http.address_limits import AddressLimits
from trioecho._process.logs import LOG_FORMATS, LOG_LEVELS, configure_logging
from trioecho._process.run import COULD_NOT_START, CannotStartError, run_process
from trioecho._protocol.deflate import Deflate
from trioecho._server.listening import NOT_GIVEN, Host, NotGiven
from trioecho._server.routes import Routes
from trioecho._server.unix import MOST_BACKLOG, UnixSocket
from trioecho.cli.epilog import EPILOG
from trioecho.cli.faults import check_loopback, with_faults
from trioecho.cli.parameters import (
    ENVIRONMENT_PREFIX,
    Option,
    Refusal,
    address_limits,
    memory,
    permissions,
    seconds,
    size,
    whole_number,
)
from trioecho.cli.program import Program
from trioecho.cli.tls import tls_context
from trioecho.options import WebSocketOptions

FIELDS = tuple(field.name for field in dataclasses.fields(WebSocketOptions) if field.init)
# What may be given more than once is named in the singular here and in the plural there.
OPTION_OF_FIELD = {name: f"--{name.replace('_', '-')}" for name in FIELDS} | {
    "allowed_origins": "--allowed-origin",
    "allowed_hosts": "--allowed-host",
    "subprotocols": "--subprotocol",
    "trusted_proxies": "--trusted-proxy",
    "limits_per_address": "--limit-per-address",
}


def version() -> str:
    """The line that ``--version`` prints: what a bug report needs."""
    trioecho, *below = (f"{name} {_installed(name)}" for name in ("trioecho", "trio", "trio-websocket"))
    return f"{trioecho} ({', '.join(below)}, Python {platform.python_version()})"


def _installed(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def _print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(version())
        context.exit()


option = functools.partial(click.option, cls=Option)
where = functools.partial(option, section="Where")
who = functools.partial(option, section="Who may connect")
time_limit = functools.partial(option, section="Time limits")
size_limit = functools.partial(option, section="Size limits")
compressing = functools.partial(option, section="Compression")
tls = functools.partial(option, section="TLS")
log = functools.partial(option, section="Log (on standard error)")
starting = functools.partial(option, section="Being started by a program")
faulty = functools.partial(option, section="Faults, for tests of clients")


@click.command(
    cls=Program,
    epilog=EPILOG,
    context_settings={
        "auto_envvar_prefix": ENVIRONMENT_PREFIX,
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
    },
)
@where(
    "--host",
    multiple=True,
    default=("127.0.0.1",),
    metavar="HOST",
    help="Address or name to listen on. Repeatable. 0.0.0.0 is every IPv4 address, :: every IPv6 address only, "
    "* every address of both.",
)
@where("--port", type=whole_number(0, 65535), default="5000", help="TCP port; 0 takes any free one.")
@where(
    "--unix",
    metavar="PATH",
    show_default="none",
    help="Unix socket to listen on, instead of TCP unless a host or port is given, too. The socket of a dead server "
    "is replaced. @name is an abstract name (Linux).",
)
@where(
    "--unix-mode",
    type=permissions,
    metavar="MODE",
    default="600",
    help="Permissions of the Unix socket's file: who may write to it may connect.",
)
@where(
    "--fd",
    type=whole_number(0, 2**31 - 1),
    show_default="none",
    help="Listening socket that this process was started with, such as 3 from systemd, instead of TCP unless a host "
    "or port is given, too.",
)
@where(
    "--backlog",
    type=whole_number(1, MOST_BACKLOG),
    show_default="what the system allows",
    help="Connections that may wait to be accepted.",
)
@where("--path", default="/ws", metavar="PATH", help="Path of the WebSocket endpoint.")
@who(
    "--allowed-origin",
    multiple=True,
    metavar="ORIGIN",
    show_default="every origin",
    help="Web page that may connect, such as https://client.com or https://*.client.com; self is the server's "
    "own page, and what some programs send that are no browser. Repeatable. Programs can send any Origin they "
    "like: this is no authentication.",
)
@who(
    "--allowed-host",
    multiple=True,
    metavar="HOST",
    show_default="every host",
    help="Name or address of this server in requests, such as client.com, *.client.com or [::1]; another gets "
    "421. Repeatable. On loopback or in an intranet, this is what keeps out web pages whose own name was "
    "pointed here (DNS rebinding); without it, the origin self lets them in.",
)
@who(
    "--subprotocol",
    multiple=True,
    metavar="NAME",
    show_default="none",
    help="Subprotocol that may be agreed on, the preferred one first. Repeatable.",
)
@who(
    "--limit-per-address",
    type=address_limits,
    metavar="LIMITS",
    default="off",
    help="on, or numbers such as connections=20,handshakes-per-second=5,burst=50,in-progress=10: what one address may "
    "have; more gets 429. Behind a proxy that is no trusted one, all clients are one address.",
)
@who(
    "--trusted-proxy",
    multiple=True,
    metavar="CIDR",
    show_default="none",
    help="Network of the proxies that tell who their client is, such as 127.0.0.1 or 10.0.0.0/8; unix is who comes by "
    "Unix socket. X-Forwarded-For, -Proto, -Host and Forwarded are believed from there alone. Repeatable.",
)
@who(
    "--proxy-protocol",
    is_flag=True,
    help="Connections from a trusted proxy begin with a header of the PROXY protocol, version 1 or 2.",
)
@time_limit(
    "--keep-alive-interval",
    type=seconds(zero="off"),
    default="120",
    help="Ping a client from which nothing came for so long. 0 is off.",
)
@time_limit(
    "--keep-alive-timeout",
    type=seconds(),
    default="20",
    help="Take a client for gone from which nothing came for so long after the Ping.",
)
@time_limit(
    "--idle-timeout",
    type=seconds(zero="off"),
    default="off",
    help="Close a connection whose client sent no message, and no Ping of its own, for so long. 0 is off.",
)
@time_limit(
    "--handshake-timeout",
    type=seconds(),
    default="10",
    help="From the TCP connection to the end of the request's head, TLS included.",
)
@time_limit(
    "--close-timeout",
    type=seconds(),
    default="5",
    help="How long the exchange of Close may take; in a stop, the whole closing handshake.",
)
@time_limit(
    "--send-timeout",
    type=seconds(),
    default="30",
    help="Cut off a client that takes no byte for so long while some wait for it.",
)
@time_limit(
    "--answer-timeout",
    type=seconds(),
    default="1",
    help="How long a handler may take over each answer that is still owed when its client has closed.",
)
@time_limit(
    "--shutdown-timeout",
    type=seconds(zero="at once"),
    default="10",
    help="How long handlers may take to finish after Ctrl-C, SIGTERM or SIGHUP. 0 is at once.",
)
@size_limit(
    "--max-message-size",
    type=size,
    default="1MiB",
    help="Longest message accepted; bytes, or with a unit, such as 65536, 64KiB or 16MiB.",
)
@size_limit(
    "--max-connections",
    type=whole_number(1),
    show_default="no limit",
    help="Connections open at once; one more is refused with 503.",
)
@size_limit(
    "--max-sockets",
    type=whole_number(2),
    show_default="what the limit on open files leaves",
    help="Sockets open at once, silent ones among them; the one that waits longest makes room for one more.",
)
@size_limit(
    "--flood-limit",
    type=whole_number(0),
    default="1000",
    help="Pings, unasked Pongs and short fragments a second from one client, over minutes; more end its connection "
    "with 1008. 0 is no limit.",
)
@size_limit(
    "--max-memory",
    type=memory,
    default="50%",
    help="Memory held for all clients together: bytes, also with a unit, such as 512MiB, or a share of what the "
    "machine, container or ulimit allows, such as 50%. Near it, new ones are refused with 503; above it, the largest "
    "half messages and unread answers are given up with 1013. off is no limit.",
)
@compressing(
    "--compression",
    type=click.Choice(("off", "deflate")),
    default="off",
    metavar="METHOD",
    help="off, or deflate: permessage-deflate with clients that offer it. Off is right where a message holds a "
    "secret next to text that somebody else can choose (CRIME, BREACH).",
)
@compressing(
    "--compression-window-bits",
    type=whole_number(8, 15),
    default="12",
    help="Size of the window in both directions, as a power of two. A connection takes 50 KiB with 12, up to 190 KiB "
    "with 15.",
)
@compressing(
    "--compression-no-context-takeover",
    is_flag=True,
    help="Compress every message by itself: less memory for each connection, and short messages stay longer.",
)
@tls(
    "--tls-cert",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Certificate chain (PEM). Serves https and wss instead of http and ws.",
)
@tls(
    "--tls-key",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Private key (PEM, no password), if it is not in the certificate's file.",
)
@log(
    "--log-level",
    type=click.Choice(LOG_LEVELS, case_sensitive=False),
    default="info",
    metavar="LEVEL",
    help=f"{', '.join(LOG_LEVELS[:-1])} or {LOG_LEVELS[-1]}; info is one line for each connection.",
)
@log(
    "--log-format",
    type=click.Choice(LOG_FORMATS),
    default="text",
    metavar="FORMAT",
    help="text, or json: one object a line.",
)
@faulty(
    "--faults",
    is_flag=True,
    help="Serve paths that misbehave on request besides the echo: the list below, and /faults.",
)
@faulty(
    "--faults-beyond-loopback",
    is_flag=True,
    help="Serve them to other machines too. They waste time and bandwidth on purpose.",
)
@starting(
    "--ready-json",
    is_flag=True,
    help="Write the first line as JSON, with URLs, Unix sockets and the process id.",
)
@starting(
    "--exit-on-eof",
    is_flag=True,
    help="Stop when standard input ends, as with the program that has started this one.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    allow_from_autoenv=False,
    callback=_print_version,
    help="Show the version and exit.",
)
def main(
    *,
    host: tuple[str, ...],
    port: int,
    unix: str | None,
    unix_mode: int,
    fd: int | None,
    backlog: int | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    shutdown_timeout: float,
    log_level: str,
    log_format: str,
    allowed_origin: tuple[str, ...],
    allowed_host: tuple[str, ...],
    subprotocol: tuple[str, ...],
    limit_per_address: AddressLimits | None,
    trusted_proxy: tuple[str, ...],
    proxy_protocol: bool,
    flood_limit: int,
    compression: str,
    compression_window_bits: int,
    compression_no_context_takeover: bool,
    faults: bool,
    faults_beyond_loopback: bool,
    ready_json: bool,
    exit_on_eof: bool,
    **settings: Any,
) -> None:
    """A WebSocket echo server: the echo at /ws, a page to try it at /, and /healthz.

    Serves until SIGINT (Ctrl-C), SIGTERM or SIGHUP, then closes every connection; a second signal stops at once.
    """
    if proxy_protocol and not trusted_proxy:
        raise Refusal(
            "--proxy-protocol needs --trusted-proxy, the networks from which its header is believed", 2
        )
    options = _options(
        allowed_origins=allowed_origin,
        allowed_hosts=allowed_host,
        subprotocols=subprotocol,
        limits_per_address=limit_per_address,
        trusted_proxies=trusted_proxy,
        proxy_protocol=proxy_protocol,
        flood_limit=flood_limit or None,
        compression=_compression(compression, compression_window_bits, compression_no_context_takeover),
        **settings,
    )
    if tls_key is not None and tls_cert is None:
        raise Refusal("--tls-key needs --tls-cert, the certificate that the key belongs to", 2)
    place = _place(host, port, unix, unix_mode, fd, backlog)
    routes = _routes(options, faults, faults_beyond_loopback, host, unix, fd)
    configure_logging(log_level, log_format)
    context = None if tls_cert is None else tls_context(tls_cert, tls_key)
    try:
        run_process(
            routes,
            **place,
            options=options,
            ssl_context=context,
            shutdown_timeout=shutdown_timeout,
            words=_as_option,
            last=True,
            ready_json=ready_json,
            exit_on_eof=exit_on_eof,
        )
    except CannotStartError as error:
        raise Refusal(str(error), COULD_NOT_START) from None


def _place(
    hosts: tuple[str, ...],
    port: int,
    path: str | None,
    mode: int,
    fd: int | None,
    backlog: int | None,
) -> dict[str, Any]:
    """Where to listen, as arguments of `serve`."""
    if _typed("unix_mode") and path is None:
        raise Refusal("--unix-mode needs --unix, the socket whose permissions these are", 2)
    if "*" in hosts and len(hosts) > 1:
        raise Refusal("--host: * is every address already; give it alone, or leave it out", 2)
    if backlog is not None and fd is not None and path is None and not _typed("host") and not _typed("port"):
        raise Refusal("--backlog is for --host, --port and --unix; the socket of --fd listens already", 2)
    host: Host | NotGiven = None if hosts == ("*",) else hosts
    try:
        unix = None if path is None else UnixSocket(re.sub("^@", "\0", path), mode=mode)
    except ValueError as error:
        raise Refusal(f"--unix: {error}", 2) from None
    return {
        "host": host if _typed("host") else NOT_GIVEN,
        "port": port if _typed("port") else NOT_GIVEN,
        "unix": unix,
        "fd": fd,
        "listeners": None,
        "backlog": backlog,
    }


def _routes(
    options: WebSocketOptions,
    faults: bool,
    beyond_loopback: bool,
    hosts: tuple[str, ...],
    unix: str | None,
    fd: int | None,
) -> Routes | None:
    """What to serve: None, which is the sample, or that with the faults besides."""
    if not faults:
        if beyond_loopback:
            raise Refusal("--faults-beyond-loopback needs --faults, which it serves to other machines", 2)
        return None
    if not beyond_loopback:
        tcp = (unix is None and fd is None) or _typed("host") or _typed("port")
        check_loopback(hosts if tcp else (), fd)
    return with_faults(options)


def _compression(method: str, window_bits: int, no_context_takeover: bool) -> Deflate | bool:
    """How to compress, as `WebSocketOptions.compression`."""
    if method == "off":
        if _typed("compression_window_bits"):
            raise Refusal("--compression-window-bits needs --compression deflate, whose window this is", 2)
        if no_context_takeover:
            raise Refusal(
                "--compression-no-context-takeover needs --compression deflate, whose context this is", 2
            )
        return False
    return Deflate(
        server_max_window_bits=window_bits,
        client_max_window_bits=window_bits,
        server_context_takeover=not no_context_takeover,
        client_context_takeover=not no_context_takeover,
    )


def _typed(name: str) -> bool:
    """Whether the command line or the environment gives this parameter."""
    return click.get_current_context().get_parameter_source(name) is not ParameterSource.DEFAULT


def _as_option(name: str, value: Any) -> str:
    return f"{OPTION_OF_FIELD.get(name, f'--{name}')} {value}"


def _options(**settings: Any) -> WebSocketOptions:
    """The settings as options; what they complain about is said in the command line's words."""
    try:
        return WebSocketOptions(**settings)
    except ValueError as error:
        names = "|".join(OPTION_OF_FIELD)
        raise Refusal(
            re.sub(rf"\b(?:{names})\b", lambda name: OPTION_OF_FIELD[name[0]], str(error), count=1), 2
        ) from None
