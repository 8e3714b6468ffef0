"""TLS for tests: a certificate of this machine, from an authority that is made for this one server and forgotten.

Clients have to be told to trust the authority. Its certificate is in a file as long as the server runs; its key is in
no file, and nowhere once the server's certificate is signed, so that the file can vouch for nobody else.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from trioecho._server.addresses import addresses

LOCAL: Final = ("localhost", "127.0.0.1", "::1")
"""The names that every certificate is for."""


@dataclass(frozen=True, slots=True)
class SelfSigned:
    """A server's TLS context, and what its clients have to trust."""

    context: ssl.SSLContext
    names: tuple[str, ...]
    """The names and addresses that the certificate is for."""
    ca_file: str
    """The path of the authority's certificate, in PEM."""

    def client_context(self) -> ssl.SSLContext:
        """Make a client's TLS context that trusts the authority, and nobody else."""
        return ssl.create_default_context(cafile=self.ca_file)


@contextlib.contextmanager
def self_signed(hosts: Iterable[str] = ()) -> Iterator[SelfSigned]:
    """Make a certificate for this machine, for HTTP/1.1, and keep its authority's in a file while the block runs.

    It is for `LOCAL` and `hosts`: names and addresses, among which a wildcard stands for those of this machine. Raises
    ImportError with one sentence where trustme is not installed, and ValueError for a name that no certificate can
    have.
    """
    try:
        import trustme
    except ImportError:
        raise ImportError(
            "a self-signed certificate needs trustme: pip install 'trioecho[selfsigned]'"
        ) from None
    names = names_for(hosts)
    authority = trustme.CA(organization_name="trioecho", organization_unit_name="for tests")
    try:
        issued = authority.issue_cert(*names)
    except UnicodeError as error:
        raise ValueError(f"no certificate can be for all of {', '.join(names)}: {error}") from None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    issued.configure_cert(context)
    # `mkstemp` makes it readable for this user alone.
    number, path = tempfile.mkstemp(prefix="trioecho-ca-", suffix=".pem")
    try:
        with os.fdopen(number, "wb") as file:
            file.write(authority.cert_pem.bytes())
        del authority, issued
        yield SelfSigned(context, names, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def names_for(hosts: Iterable[str]) -> tuple[str, ...]:
    """The names of `LOCAL` and of hosts, each once; without the zone of an address, which no certificate has."""
    found = dict.fromkeys(LOCAL)
    for host in hosts:
        for wildcard in ("0.0.0.0", "::") if host == "*" else (host,):
            found |= dict.fromkeys(address.partition("%")[0] for address in addresses(wildcard))
    return tuple(found)
