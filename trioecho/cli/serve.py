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
from trioecho._process.logs import configure_logging
from trioecho._process.process import CannotStartError
from trioecho._process.run import COULD_NOT_START, run_process
from trioecho._protocol.deflate import Deflate
from trioecho._server.draining import Steps
from trioecho._server.listening import NOT_GIVEN, Host, NotGiven
from trioecho._server.routes import Routes, sample_routes
from trioecho._server.unix import UnixSocket
from trioecho.cli.configuration import configuration, configuration_options, warn_of_strangers
from trioecho.cli.draining import draining_options
from trioecho.cli.epilog import EPILOG
from trioecho.cli.faults import check_loopback, fault_options, with_faults
from trioecho.cli.hub import LINKS, hub_options, with_hub
from trioecho.cli.inherited import inherited
from trioecho.cli.metrics import metrics_listener, metrics_options, with_metrics
from trioecho.cli.options import serving_options, starting_options
from trioecho.cli.parameters import ARGUMENTS, ENVIRONMENT_PREFIX, Refusal
from trioecho.cli.program import Program
from trioecho.cli.tls import chosen_tls, tls_context
from trioecho.cli.workers import place_of, role, share_of_memory, supervise, worker_options
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
@draining_options
@worker_options
@metrics_options
@hub_options
@fault_options
@starting_options
@configuration_options
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
    fd: int | str | None,
    backlog: int | None,
    workers: int | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_selfsigned: bool,
    shutdown_timeout: float,
    drain_delay: float,
    drain_window: float,
    restart_code: bool,
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
    hub: bool,
    redis: str | None,
    faults: bool,
    faults_beyond_loopback: bool,
    ready_json: bool,
    exit_on_eof: bool,
    print_config: bool,
    metrics: bool,
    metrics_reader: tuple[str, ...],
    metrics_port: int | None,
    metrics_host: str,
    **settings: Any,
) -> None:
    """A WebSocket echo server: the echo at /ws, a page to try it at /, and /healthz.

    Serves until SIGINT (Ctrl-C), SIGTERM or SIGHUP, then closes every connection; a second signal stops at once. With a
    certificate, SIGHUP reads it anew instead.
    """
    worker = role()
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
        **settings | {"max_memory": share_of_memory(settings["max_memory"], workers)},
    )
    if tls_selfsigned and workers is not None:
        raise Refusal(
            "--tls-selfsigned: with --workers each process would have another certificate; give --tls-cert", 2
        )
    if redis is not None and not hub:
        raise Refusal("--redis needs --hub, whose servers it makes one", 2)
    if hub and redis is None and workers is not None:
        raise Refusal("--hub: with --workers each process would be a chat of its own; give --redis", 2)
    if faults and workers is not None:
        raise Refusal(
            "--faults: with --workers /seen would tell of one process each time; leave out one of them", 2
        )
    place = _place(host, port, unix, unix_mode, fd, backlog) if worker is None else place_of(worker)
    if faults_beyond_loopback and not faults:
        raise Refusal("--faults-beyond-loopback needs --faults, which it serves to other machines", 2)
    if faults and not faults_beyond_loopback and worker is None:
        fds = place["fd"]
        tcp = (place["unix"] is None and fds is None) or _typed("host") or _typed("port")
        check_loopback(host if tcp else (), None if fds is None else fds[0])
    if metrics and workers is not None:
        raise Refusal(
            "--metrics: with --workers whoever asks for figures gets those of one worker; use --metrics-port",
            2,
        )
    routes = _routes(options, faults=faults, hub=hub, redis=redis)
    routes = with_metrics(routes, options, metrics, metrics_reader)
    listener = metrics_listener(metrics_port, metrics_host)
    if print_config:
        click.echo(configuration(click.get_current_context()))
        return
    configure_logging(log_level, log_format, access=access_log)
    if worker is None:
        warn_of_strangers(click.get_current_context())
    read_tls = None if tls_cert is None else functools.partial(tls_context, tls_cert, tls_key)
    steps = Steps(shutdown_timeout, drain_delay, drain_window, restart_code)
    told: dict[str, Any] = {"ready_json": ready_json, "exit_on_eof": exit_on_eof, "reload": read_tls}
    told["metrics"] = listener
    try:
        with chosen_tls(tls_cert, tls_key, tls_selfsigned, host) as (context, ca_file):
            if workers is not None and worker is None:
                arguments = click.get_current_context().meta[ARGUMENTS]
                supervise(arguments, workers, place, options, steps, _as_option, **told)
                return
            if worker is not None:
                told["exit_on_eof"] = False
            run_process(
                routes,
                **place,
                options=options,
                ssl_context=context,
                steps=steps,
                words=_as_option,
                last=True,
                worker=worker,
                ca_file=ca_file,
                **told,
            )
    except CannotStartError as error:
        raise Refusal(str(error), COULD_NOT_START) from None


def _place(
    hosts: tuple[str, ...],
    port: int,
    path: str | None,
    mode: int,
    fd: int | str | None,
    backlog: int | None,
) -> dict[str, Any]:
    """Where to listen, as arguments of `serve`."""
    if _typed("unix_mode") and path is None:
        raise Refusal("--unix-mode needs --unix, the socket whose permissions these are", 2)
    if "*" in hosts and len(hosts) > 1:
        raise Refusal("--host: * is every address already; give it alone, or leave it out", 2)
    if backlog is not None and fd is not None and path is None and not _typed("host") and not _typed("port"):
        raise Refusal("--backlog is for --host, --port and --unix; the socket of --fd listens already", 2)
    elsewhere = path is not None or _typed("host") or _typed("port")
    fds = inherited(fd, elsewhere=elsewhere)
    host: Host | NotGiven = None if hosts == ("*",) else hosts
    try:
        unix = None if path is None else UnixSocket(re.sub("^@", "\0", path), mode=mode)
    except ValueError as error:
        raise Refusal(f"--unix: {error}", 2) from None
    return {
        "host": host if _typed("host") else NOT_GIVEN,
        "port": port if _typed("port") else NOT_GIVEN,
        "unix": unix,
        "fd": fds,
        "listeners": None,
        "backlog": backlog,
    }


def _routes(options: WebSocketOptions, *, faults: bool, hub: bool, redis: str | None) -> Routes | None:
    """What to serve: None, which is the sample, or that with more besides."""
    if not faults and not hub:
        return None
    links = LINKS if hub else {}
    routes = with_faults(options, links) if faults else sample_routes(options, links)
    return with_hub(options, routes, redis) if hub else routes


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
    """Whether the command line, the environment or a file gives this parameter."""
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
