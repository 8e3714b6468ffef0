"""Certificate and key: from files, and what is wrong with them in one line, or made for tests."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from trioecho._process.process import why
from trioecho._process.run import COULD_NOT_START
from trioecho._process.selfsigned import self_signed
from trioecho.cli.parameters import Refusal

NOTHING_FOUND = "no certificate, or no private key without a password, is in it in PEM"
"""OpenSSL tells these apart, but Python says "PEM lib" for all of them."""


def chosen_tls(
    cert: Path | None, key: Path | None, selfsigned: bool, hosts: Iterable[str]
) -> AbstractContextManager[tuple[ssl.SSLContext | None, str | None]]:
    """Return what gives the server's TLS context, None for none, and the file of an authority that is made for it.

    `Refusal` (2) where the options do not go together.
    """
    if selfsigned and cert is not None:
        raise Refusal("--tls-selfsigned makes a certificate of its own; leave out it or --tls-cert", 2)
    if key is not None and cert is None:
        raise Refusal("--tls-key needs --tls-cert, the certificate that the key belongs to", 2)
    if selfsigned:
        return _made(hosts)
    return contextlib.nullcontext((None if cert is None else tls_context(cert, key), None))


@contextlib.contextmanager
def _made(hosts: Iterable[str]) -> Iterator[tuple[ssl.SSLContext, str]]:
    with contextlib.ExitStack() as stack:
        try:
            made = stack.enter_context(self_signed(hosts))
        except (ImportError, ValueError) as error:
            raise Refusal(f"--tls-selfsigned: {error}", 2) from None
        except OSError as error:
            raise Refusal(
                f"--tls-selfsigned: cannot write a temporary file: {why(error)}", COULD_NOT_START
            ) from None
        yield made.context, made.ca_file


def tls_context(cert: Path, key: Path | None) -> ssl.SSLContext:
    """A server's TLS context for HTTP/1.1; `Refusal` (3) when the files cannot be read or do not fit."""
    for file in filter(None, (cert, key)):
        try:
            file.open("rb").close()
        except OSError as error:
            raise Refusal(f"cannot read {file}: {why(error)}", COULD_NOT_START) from None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    try:
        # Without a password given, OpenSSL would ask for one on the terminal.
        context.load_cert_chain(cert, key, password="")
    except (OSError, ValueError) as error:
        hint = "" if key else "; if the private key is in a file of its own, name it with --tls-key"
        files = f"{cert} and {key}" if key else str(cert)
        said = NOTHING_FOUND if isinstance(error, ssl.SSLError) and not error.reason else why(error)
        raise Refusal(f"cannot use {files} for TLS: {said}{hint}", COULD_NOT_START) from None
    return context
