"""``python -m trioecho``, or ``trioecho``, or either with ``serve``: the options and what is made of them.

What the program then does, its output, signals and exit statuses, is in `trioecho._process.run`.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
import re
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from trioecho._http.address_limits import AddressLimits
from trioecho._process.logs import configure_logging
from trioecho._process.run import COULD_NOT_START, CannotStartError, run_process
from trioecho._protocol.deflate import Deflate
from trioecho._server.listening import NOT_GIVEN, Host, NotGiven
from trioecho._server.routes import Routes
from trioecho._server.unix import UnixSocket
from trioecho.cli.epilog import EPILOG
from trioecho.cli.faults import check_loopback, fault_options, with_faults
from trioecho.cli.metrics import metrics_listener, metrics_options, with_metrics
from trioecho.cli.options import serving_options, starting_options
from trioecho.cli.parameters import (
    ENVIRONMENT_PREFIX,
    Refusal,
)
from trioecho.cli.program import Program
from trioecho.cli.tls import chosen_tls
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


@click.command(
    cls=Program,
    epilog=EPILOG,
    context_settings={
        "auto_envvar_prefix": ENVIRONMENT_PREFIX,
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
    },
)
@serving_options
@metrics_options
@fault_options
@starting_options
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
    tls_selfsigned: bool,
    shutdown_timeout: float,
    log_level: str,
    log_format: str,
    access_log: bool,
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
    metrics: bool,
    metrics_reader: tuple[str, ...],
    metrics_port: int | None,
    metrics_host: str,
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
    place = _place(host, port, unix, unix_mode, fd, backlog)
    routes = _routes(options, faults, faults_beyond_loopback, host, unix, fd)
    routes = with_metrics(routes, options, metrics, metrics_reader)
    listener = metrics_listener(metrics_port, metrics_host)
    configure_logging(log_level, log_format, access=access_log)
    try:
        with chosen_tls(tls_cert, tls_key, tls_selfsigned, host) as (context, ca_file):
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
                ca_file=ca_file,
                metrics=listener,
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
    dashed = name.replace("_", "-")
    return f"{OPTION_OF_FIELD.get(name, f'--{dashed}')} {value}"


def _options(**settings: Any) -> WebSocketOptions:
    """The settings as options; what they complain about is said in the command line's words."""
    try:
        return WebSocketOptions(**settings)
    except ValueError as error:
        names = "|".join(OPTION_OF_FIELD)
        raise Refusal(
            re.sub(rf"\b(?:{names})\b", lambda name: OPTION_OF_FIELD[name[0]], str(error), count=1), 2
        ) from None
