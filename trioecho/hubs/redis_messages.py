"""What one process says to the others over Redis: which channels there are, and what goes over them.

A payload is the sender's name and one message in MessagePack. What a client gets is in it as it is sent to it, by
protocol, so it is encoded once for all processes.
"""

from __future__ import annotations

import secrets
from typing import TypeAlias

import msgspec

from trioecho.hubs.backplane import Address

NAME_BYTES = 8


class Message(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Any of those below, told apart by a number in front."""


class Sent(Message, frozen=True, tag=0):
    """For the connections that have the channel's address."""

    messages: dict[str, bytes]
    exclude: list[str] = []


class Join(Message, frozen=True, tag=1):
    """Put a connection into a group, and answer `Done`."""

    number: int
    connection_id: str
    group: str


class Leave(Message, frozen=True, tag=2):
    """Take a connection out of a group, and answer `Done`."""

    number: int
    connection_id: str
    group: str


class Done(Message, frozen=True, tag=3):
    """A connection was put into a group, or out of one; or was not there, or `error` says why not."""

    number: int
    there: bool = True
    error: str | None = None


class Call(Message, frozen=True, tag=4):
    """Call a method of a client, and answer `Answered`."""

    number: int
    connection_id: str
    target: str
    arguments: dict[str, bytes]


class Cancel(Message, frozen=True, tag=5):
    """Nobody waits for the answer to this `Call` any more."""

    number: int


class Still(Message, frozen=True, tag=6):
    """Say, by `Answered`, if there is no such `Call`: its answer has been lost."""

    number: int


class Answered(Message, frozen=True, tag=7):
    """What a client has answered; or it was not there, or nothing is known of this call."""

    number: int
    protocol: str = ""
    value: bytes = b""
    error: str | None = None
    gone: bool = False
    lost: bool = False


AnyMessage: TypeAlias = Sent | Join | Leave | Done | Call | Cancel | Still | Answered

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[AnyMessage] = msgspec.msgpack.Decoder(AnyMessage)


def new_name() -> bytes:
    """Return a name that no other process has."""
    return secrets.token_bytes(NAME_BYTES)


def encode(sender: bytes, message: AnyMessage) -> bytes:
    """Return a payload."""
    return sender + _encoder.encode(message)


def sender_of(payload: bytes) -> bytes:
    """Return the name of who has sent a payload."""
    return payload[:NAME_BYTES]


def decode(payload: bytes) -> AnyMessage:
    """Return the message of a payload. Raises `msgspec.DecodeError` for what is none."""
    try:
        return _decoder.decode(memoryview(payload)[NAME_BYTES:])
    except RecursionError:
        raise msgspec.DecodeError("it is nested too deeply") from None


class Channels:
    """The names of the channels of one hub. Whoever has the same prefix and a hub of the same name shares them."""

    def __init__(self, prefix: str, hub: str) -> None:
        self._base = f"{prefix}:{hub}:"

    def of(self, address: Address) -> bytes:
        """Return the channel for what goes to an address."""
        name = f"{self._base}{address.kind}"
        # A name may be anything that a client says.
        return (f"{name}:{address.name}" if address.name else name).encode("utf-8", "surrogatepass")

    def process(self, name: bytes) -> bytes:
        """Return the channel for what goes to one process."""
        return f"{self._base}process:{name.hex()}".encode()

    def pulse(self, name: bytes) -> bytes:
        """Return the channel that one process sends to itself by."""
        return f"{self._base}pulse:{name.hex()}".encode()
