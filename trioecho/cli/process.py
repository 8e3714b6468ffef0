"""The server as a process: its first line, its signals, its exit status.

What scripts and supervisors can rely on:

- One line on standard output as soon as connections are accepted. It contains the page's URL and the
  WebSocket's, with the real port, so that ``--port 0`` can be scripted. Nothing else is written there; the
  log goes to standard error.
- SIGINT or SIGTERM stops gracefully: no new connections, 1001 to everyone, handlers get
  ``--shutdown-timeout``. A second signal stops at once. Either way the exit status is 0.
- Exit status 2: the command line makes no sense. 3: this machine does not give what was asked for (a port
  in use, an unreadable certificate). Both say so in one line that tells what would be right; a supervisor
  need not try again. 1: a crash, with a traceback. (uvicorn has told these apart since 0.50.)
"""

from __future__ import annotations

import ipaddress
import logging
import signal
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import click
import trio

from trioecho._server.serve import Server
from trioecho.cli.parameters import Refusal

logger = logging.getLogger("trioecho")


async def serve_until_signal(
    start: Callable[..., Any], *, shutdown_timeout: float, address: str, listening: Callable[[], object]
) -> None:
    """Runs a server until it is told to stop by a signal, and has stopped.

    `start` is called as `nursery.start` calls it, and its started value is the `Server`. `listening` is called
    just before the banner is printed. Raises `Refusal` (3) if it cannot listen at `address`, which is said in
    the words of this argument. What crashes the server leaves as Trio raised it. Cancelling it cancels the
    server.
    """
    refusal: Refusal | None = None
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as watching:
            async with trio.open_nursery() as serving:
                try:
                    server: Server = await serving.start(start)
                except (OSError, UnicodeError) as error:
                    refusal = Refusal(f"cannot listen on {address}: {_why(error)}", 3)
                else:
                    listening()
                    click.echo(f"trioecho serves {server.url} and {server.websocket_url} (Ctrl-C stops it)")
                    watching.start_soon(_stop_on_signal, signals, server, shutdown_timeout)
            watching.cancel_scope.cancel()
    if refusal is not None:
        # Only here, outside of the nurseries: they would make a group of it.
        raise refusal


async def _stop_on_signal(signals: AsyncIterator[int], server: Server, shutdown_timeout: float) -> None:
    await anext(signals)
    logger.info(
        "stopping: %d connections get %g s to finish; a second signal stops at once",
        len(server.connections),
        shutdown_timeout,
    )
    server.stop(timeout=shutdown_timeout)
    await anext(signals)
    logger.info("stopping at once")
    server.abort()


def tls_context(cert: Path, key: Path | None) -> ssl.SSLContext:
    """A server's TLS context for HTTP/1.1; `Refusal` (3) when the files cannot be read or do not fit."""
    for file in filter(None, (cert, key)):
        try:
            file.open("rb").close()
        except OSError as error:
            raise Refusal(f"cannot read {file}: {_why(error)}", 3) from None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    try:
        # Without a password given, OpenSSL would ask for one on the terminal.
        context.load_cert_chain(cert, key, password="")
    except (OSError, ValueError) as error:
        hint = "" if key else "; if the private key is in a file of its own, name it with --tls-key"
        files = f"{cert} and {key}" if key else str(cert)
        raise Refusal(f"cannot use {files} for TLS: {_why(error)}{hint}", 3) from None
    return context


def warn_if_open_to_every_page(hosts: Sequence[str], allowed_origins: Sequence[str]) -> None:
    """Says it in the log when every web page of the world can reach a server that asks for no origin."""
    if not allowed_origins and not all(map(_is_loopback, hosts)):
        logger.warning(
            "listening on %s without --allowed-origin: every web page may connect, as whoever looks at it",
            " ".join(hosts),
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")


def _why(error: Exception) -> str:
    """The system's own words, without errno and without repeating the file."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        return error.strerror
    return str(error)
