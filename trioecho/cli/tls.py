"""Certificate and key from files, and what is wrong with them in one line."""

from __future__ import annotations

import ssl
from pathlib import Path

from trioecho._process.process import why
from trioecho._process.run import COULD_NOT_START
from trioecho.cli.parameters import Refusal


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
        raise Refusal(f"cannot use {files} for TLS: {why(error)}{hint}", COULD_NOT_START) from None
    return context
