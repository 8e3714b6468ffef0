"""What a starting server tells: where it can be opened, and who else can open it."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from trioecho._process.metrics_listener import PATH
from trioecho._server.server import Server
from trioecho._server.unix import shown

logger = logging.getLogger("trioecho")


def announce(
    server: Server, *, as_json: bool = False, ca_file: str | None = None, figures: Server | None = None
) -> None:
    """Writes the ready lines to standard output, all at once; OSError if it takes none.

    The first has the server's URL, where it answers plain HTTP, and that of the first WebSocket; or, where there is no
    TCP, the first Unix socket; behind them `ca_file`, whose authority clients have to trust, where there is one. Each
    further line is one more address at which the first of these can be reached; the last, where `figures` of it are
    served by another server, the URL of these. `as_json`, it is one line for programs: see `ready`. Without any
    standard output it says nothing.
    """
    told = (server, ca_file, figures)
    write([json.dumps(ready(*told))] if as_json else ready_lines(*told))


def write(lines: Sequence[str]) -> None:
    """Write lines to standard output, all at once; OSError if it takes none."""
    if sys.stdout is None:
        return
    text = "".join(f"{line}\n" for line in lines)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except OSError:
        _give_up_standard_output()
        raise


def ready(server: Server, ca_file: str | None = None, figures: Server | None = None) -> dict[str, Any]:
    """What a program has to know of a server that accepts connections: the URLs of its first address, all of its URLs
    and Unix sockets, the authority that vouches for it where that is its own, the URL of its figures if these are
    served by another, and its process."""
    websockets = server.has_websockets and bool(server.urls)
    return {
        "url": server.url if server.urls else None,
        "websocket_url": server.websocket_url if websockets else None,
        "urls": list(server.urls),
        "unix": list(server.unix_paths),
        "ca": ca_file,
        "metrics_url": None if figures is None else metrics_url(figures),
        "pid": os.getpid(),
    }


def metrics_url(figures: Server) -> str:
    """Where the figures are that `MetricsListener` serves."""
    return figures.url + PATH


def ready_lines(server: Server, ca_file: str | None = None, figures: Server | None = None) -> list[str]:
    """The lines for people: see `announce`."""
    places = [*_urls(server), *(f"unix:{shown(path)}" for path in server.unix_paths)]
    first = places[0]
    if server.urls and server.answers_http and server.has_websockets:
        first += f" and {server.websocket_url}"
    if ca_file is not None:
        first += f" with the CA {shown(ca_file)}"
    lines = [f"trioecho serves {first} (Ctrl-C stops it)", *(f"and {place}" for place in places[1:])]
    return lines if figures is None else [*lines, f"and metrics at {metrics_url(figures)}"]


def _urls(server: Server) -> list[str]:
    """The URL of each address: the server's, or, where there is nothing but WebSockets, that of the first of them."""
    if not server.urls or server.answers_http or not server.has_websockets:
        return [*server.urls]
    path = server.websocket_url.removeprefix(f"ws{server.url.removeprefix('http')}")
    return [f"ws{url.removeprefix('http')}{path}" for url in server.urls]


def _give_up_standard_output() -> None:
    """What could not be written waits in a buffer, and the interpreter would try, and complain, again at its end."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, sys.stdout.fileno())
        finally:
            os.close(nowhere)


def warn_if_open_to_every_page(
    hosts: Sequence[str], allowed_origins: Sequence[str], words: Callable[[str, Any], str]
) -> None:
    """Says it in the log when every web page can reach a server that asks for no origin.

    `hosts` are the addresses of its TCP sockets: no page can reach a Unix socket. `words` is how the user writes a
    setting: ``--host 127.0.0.1``.
    """
    if not allowed_origins and not all(ipaddress.ip_address(host).is_loopback for host in hosts):
        logger.warning(
            "listening on %s with every origin allowed: every web page may connect from the browser of anybody who "
            "can reach this server, and read what it answers; to let in your own pages only, add %s (or %s for this "
            "machine alone)",
            " ".join(hosts),
            words("allowed_origins", "https://example.com"),
            words("host", "127.0.0.1"),
        )
