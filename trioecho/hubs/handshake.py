"""The first message each way, in JSON whatever the encoding will be: which protocol, and whether it is spoken here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from trioecho._protocol.untrusted import told
from trioecho.hubs.json_protocol import SEPARATOR, JsonProtocol
from trioecho.hubs.messagepack_protocol import MessagePackProtocol
from trioecho.hubs.messages import UNREADABLE, BadMessage, HubProtocol

PROTOCOLS: dict[str, HubProtocol] = {each.name: each for each in (JsonProtocol(), MessagePackProtocol())}

VERSIONS = (0, 1, 2)
"""Of the protocol: clients send 1, 2 where they can reconnect with their state; some send 0."""

STATEFUL_VERSION = 2

LONGEST_HANDSHAKE = 4096
"""Bytes of the client's first message."""

ACCEPTED = b"{}\x1e"


class _Request(msgspec.Struct):
    protocol: str
    version: int


@dataclass(frozen=True, slots=True)
class Handshake:
    """What was agreed on, and what came behind it."""

    protocol: HubProtocol
    version: int
    rest: bytes


def parse_handshake(received: bytes, protocols: Sequence[str]) -> Handshake | None:
    """Parse what has come until now; None while it is not whole. Raises `BadMessage` with what the client is told."""
    head, separator, rest = received.partition(SEPARATOR)
    if len(head) > LONGEST_HANDSHAKE:
        raise BadMessage(f"A handshake has at most {LONGEST_HANDSHAKE} bytes.")
    if not separator:
        return None
    try:
        request = msgspec.json.decode(head, type=_Request)
    except UNREADABLE as error:
        raise BadMessage(f"The first message is no handshake: {error}.") from None
    if request.protocol not in protocols:
        raise BadMessage(f"The protocol '{told(request.protocol)}' is not supported.")
    if request.version not in VERSIONS:
        raise BadMessage(
            f"The server does not support version {request.version} of the '{request.protocol}' protocol."
        )
    return Handshake(PROTOCOLS[request.protocol], request.version, rest)


def refusal(error: str) -> bytes:
    """Encode why a handshake is refused."""
    return msgspec.json.encode({"error": error}) + SEPARATOR
