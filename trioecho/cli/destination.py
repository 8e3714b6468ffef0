"""Which server to talk to and how to reach it: what the options of `connect` and `check` have in common."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
import trio

from trioecho.cli.parameters import Option, Refusal
from trioecho.client import HandshakeFailed, WebSocket, connect

F = TypeVar("F", bound=Callable[..., Any])

CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

option = functools.partial(click.option, cls=Option)
_request = functools.partial(option, section="The request")
_reach = functools.partial(option, section="The way there")


def destination_options(command: F) -> F:
    """Adds the argument URL and the options that `Destination` is made of."""
    for decorate in reversed(
        (
            click.argument("url", metavar="URL"),
            _request("--origin", metavar="ORIGIN", help="Send this Origin, as a web page's browser does."),
            _request(
                "--header",
                "headers",
                multiple=True,
                metavar="'NAME: VALUE'",
                help="Send this header field. Repeatable.",
            ),
            _request(
                "--subprotocol",
                "subprotocols",
                multiple=True,
                metavar="NAME",
                help="Offer this subprotocol, the preferred one first. Repeatable.",
            ),
            _reach(
                "--unix",
                type=click.Path(path_type=Path),
                metavar="PATH",
                help="Connect to this Unix socket instead of the URL's host and port.",
            ),
            _reach(
                "--cacert",
                type=click.Path(path_type=Path),
                metavar="FILE",
                help="Trust the certificates in this file (PEM) and no others.",
            ),
            _reach("--insecure", is_flag=True, help="Trust any certificate: whoever answers is believed."),
        )
    ):
        command = decorate(command)
    return command


@dataclass(frozen=True, kw_only=True)
class Destination:
    """The values of `destination_options`; wrong ones are told by `prepare`."""

    url: str
    origin: str | None
    headers: tuple[str, ...]
    subprotocols: tuple[str, ...]
    unix: Path | None
    cacert: Path | None
    insecure: bool

    def prepare(self, *, connect_timeout: float) -> AbstractAsyncContextManager[WebSocket]:
        """A context manager that connects, and raises `Refusal` (3) in one line if it cannot.

        Raises `Refusal` at once: 2 for options that make no sense, 3 for a certificate file that cannot be read.
        """
        fields = []
        for header in self.headers:
            name, colon, value = header.partition(":")
            if not colon:
                raise Refusal(f"--header: {header!r} has no colon: write one such as 'Name: value'", 2)
            fields.append((name.strip(), value))
        try:
            connecting = connect(
                self.url,
                headers=fields,
                origin=self.origin,
                subprotocols=self.subprotocols,
                ssl_context=self._ssl_context(),
                unix=self.unix,
                connect_timeout=connect_timeout,
            )
        except ValueError as error:
            raise Refusal(str(error), 2) from None
        return self._opened(connecting)

    @contextlib.asynccontextmanager
    async def _opened(self, connecting: AbstractAsyncContextManager[WebSocket]) -> AsyncIterator[WebSocket]:
        async with contextlib.AsyncExitStack() as stack:
            try:
                ws = await stack.enter_async_context(connecting)
            except HandshakeFailed as error:
                raise Refusal(f"{self.url}: {error}", 3) from None
            except trio.TooSlowError as error:
                raise Refusal(f"cannot connect to {self.url}: {error}", 3) from None
            except OSError as error:
                where = f" at {self.unix}" if self.unix is not None else ""
                raise Refusal(f"cannot connect to {self.url}{where}: {why(error)}", 3) from None
            yield ws

    def _ssl_context(self) -> ssl.SSLContext | None:
        if self.cacert is not None and self.insecure:
            raise Refusal("--cacert names whom to trust and --insecure trusts everybody: give one of them", 2)
        if self.cacert is None and not self.insecure:
            return None
        if not self.url.lower().startswith("wss:"):
            culprit = "--insecure" if self.insecure else "--cacert"
            raise Refusal(f"{culprit} is about certificates: it goes with a wss:// URL, not {self.url!r}", 2)
        if self.insecure:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        else:
            try:
                context = ssl.create_default_context(cafile=self.cacert)
            except OSError as error:
                raise Refusal(f"cannot use {self.cacert} as certificates (PEM): {why(error)}", 3) from None
        context.set_alpn_protocols(["http/1.1"])
        return context


def why(error: BaseException) -> str:
    """The system's own words for an OSError, without errno; for several, such as one for each address, each once."""
    if isinstance(error.__cause__, BaseExceptionGroup):
        # Trio tries all addresses of a name, and puts what each one said into the cause.
        return ", ".join(dict.fromkeys(map(why, error.__cause__.exceptions)))
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    if isinstance(error, OSError) and error.strerror:
        # Trio puts the address into strerror, which is in the line already; resolvers have numbers of their own.
        if error.errno is not None and not isinstance(error, socket.gaierror):
            return os.strerror(error.errno)
        return error.strerror
    return str(error) or type(error).__name__
