"""The tokens that a negotiation hands out: signed, so that nothing is kept until a transport comes with one.

A token says which connection it is for, until when it may begin one, and what was agreed on. Its signature covers the
path and the user besides: brought by anybody else, or elsewhere, it is no token. What begins a connection is random, so
the public id of a connection tells nothing about its token.
"""

from __future__ import annotations

import base64
import hmac
import secrets
import struct
from dataclasses import dataclass
from typing import Final

ID_BYTES: Final = 16
LONGEST_TOKEN: Final = 128
"""Characters; what is longer is not looked at. Ours have 57."""

_SIGNATURE_BYTES: Final = 16
_HEAD: Final = struct.Struct(">QB")
_STATEFUL: Final = 1
_SECRET_ID: Final = 2


@dataclass(frozen=True, slots=True)
class Claim:
    """What a client may claim to be: a connection that it has negotiated, or, without a `deadline`, that began so."""

    id: str
    token: str
    stateful: bool = False
    deadline: float = 0.0
    """Seconds since the epoch, when it can begin a connection no more. The clock is one that several machines share."""


class Signer:
    """Issues and verifies tokens. `secret` is the key; `lifetime` how long a token may begin a connection, in
    seconds."""

    def __init__(self, secret: bytes, lifetime: float) -> None:
        self._secret = secret
        self._lifetime = lifetime

    def issue(
        self, path: str, user: str | None, *, now: float, stateful: bool = False, secret_id: bool = False
    ) -> Claim:
        """Return a new claim. With `secret_id` the id is the token itself, as version 0 of the negotiation has it."""
        name = _encode(secrets.token_bytes(ID_BYTES))
        flags = (_STATEFUL if stateful else 0) | (_SECRET_ID if secret_id else 0)
        head = _HEAD.pack(int((now + self._lifetime) * 1000), flags)
        token = f"{name}.{_encode(head + self._signature(name, head, path, user))}"
        return _claim(name, token, head)

    def verify(self, token: str, path: str, user: str | None, *, now: float) -> Claim | None:
        """Return what a token claims; None where it is none of ours, for another path or user, or too old."""
        if len(token) > LONGEST_TOKEN or not token.isascii():
            return None
        name, _, signed = token.partition(".")
        try:
            raw = base64.b64decode(signed + "=" * (-len(signed) % 4), altchars=b"-_", validate=True)
        except ValueError:
            return None
        # One way of writing it only: it names the connection.
        if len(raw) != _HEAD.size + _SIGNATURE_BYTES or _encode(raw) != signed:
            return None
        head, signature = raw[: _HEAD.size], raw[_HEAD.size :]
        if not hmac.compare_digest(signature, self._signature(name, head, path, user)):
            return None
        claim = _claim(name, token, head)
        return claim if now < claim.deadline else None

    def _signature(self, name: str, head: bytes, path: str, user: str | None) -> bytes:
        # No two tuples look the same, whatever stands in them.
        signed = ascii((name, head, path, user)).encode()
        return hmac.digest(self._secret, signed, "sha256")[:_SIGNATURE_BYTES]


def unclaimed() -> Claim:
    """Return the claim of a connection that nobody has negotiated."""
    return Claim(_encode(secrets.token_bytes(ID_BYTES)), _encode(secrets.token_bytes(2 * ID_BYTES)))


def _claim(name: str, token: str, head: bytes) -> Claim:
    milliseconds, flags = _HEAD.unpack(head)
    return Claim(token if flags & _SECRET_ID else name, token, bool(flags & _STATEFUL), milliseconds / 1000)


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
