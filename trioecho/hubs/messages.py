"""The messages of the hub protocol, as both encodings carry them: values, and what an encoding does with them.

Arguments, items and results stay encoded (`msgspec.Raw`) until it is known which types they should have.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, TypeAlias

import msgspec

INVOCATION, STREAM_ITEM, COMPLETION, STREAM_INVOCATION, CANCEL_INVOCATION, PING, CLOSE, ACK, SEQUENCE = range(
    1, 10
)

ABSENT = msgspec.Raw()
"""What stands for arguments, an item or a result that a message does not have."""

UNREADABLE = (msgspec.DecodeError, RecursionError)
"""What decoding raises for bytes that are no such value, or are nested deeper than the interpreter's stack is."""

TOO_DEEP = "it is nested too deeply"


class BadMessage(Exception):  # noqa: N818 (what a client sent, not what went wrong here)
    """What came is no message of the protocol; the connection ends with this sentence."""


class Invocation(msgspec.Struct, gc=False, frozen=True):
    """A call by the client. Without an id nobody waits for its end."""

    id: str | None
    target: str
    arguments: msgspec.Raw
    streams: list[str]
    """The ids of the streams that the client uploads for it."""
    streaming: bool = False
    """Whether a stream of results is asked for."""


class StreamItem(msgspec.Struct, gc=False, frozen=True):
    """One item of a stream that the client uploads."""

    id: str
    item: msgspec.Raw


class Completion(msgspec.Struct, gc=False, frozen=True):
    """The end of a stream that the client uploads, or what the client answers to a call by the server."""

    id: str
    error: str | None = None
    result: msgspec.Raw = ABSENT


class CancelInvocation(msgspec.Struct, gc=False, frozen=True):
    """The client wants no more of what it has called for."""

    id: str


class Ping(msgspec.Struct, gc=False, frozen=True):
    """A sign of life."""


class Close(msgspec.Struct, gc=False, frozen=True):
    """The client's goodbye."""

    error: str | None = None


class Ack(msgspec.Struct, gc=False, frozen=True):
    """All messages up to this one have arrived."""

    sequence: int


class Sequence(msgspec.Struct, gc=False, frozen=True):
    """The number of the next message, the first that is sent again; said first over a new WebSocket."""

    sequence: int


Message: TypeAlias = Invocation | StreamItem | Completion | CancelInvocation | Ping | Close | Ack | Sequence

NUMBERED = (Invocation, StreamItem, Completion, CancelInvocation)
"""The messages that a stateful reconnect counts and sends again."""


class HubProtocol(Protocol):
    """One encoding of hub messages. What it returns is whole messages, with what separates them."""

    name: str
    """As the handshake says it: "json", "messagepack"."""
    text: bool
    """Whether it goes as text messages."""
    ping: bytes

    def reader(self, max_size: int) -> Reader:
        """Make what cuts messages out of transfers; one of more than `max_size` bytes is a `BadMessage`."""
        ...

    def invocation(self, target: str, arguments: bytes, id: str | None = None) -> bytes:
        """Encode a call of the client; `arguments` are encoded already."""
        ...

    def item(self, id: str, item: object) -> bytes:
        """Encode an item of a stream. Raises as `value`."""
        ...

    def completion(self, id: str) -> bytes:
        """Encode the end of a call that has no result."""
        ...

    def result(self, id: str, result: object) -> bytes:
        """Encode the result of a call. Raises as `value`."""
        ...

    def failure(self, id: str, error: str) -> bytes:
        """Encode why a call has failed."""
        ...

    def close(self, error: str | None, allow_reconnect: bool) -> bytes:
        """Encode the goodbye."""
        ...

    def ack(self, sequence: int) -> bytes:
        """Encode an acknowledgement."""
        ...

    def sequence(self, sequence: int) -> bytes:
        """Encode the number of the message that comes next."""
        ...

    def value(self, value: object) -> bytes:
        """Encode any value. Raises `TypeError` or `ValueError` for what cannot be."""
        ...

    def parse(self, value: msgspec.Raw | bytes, kind: Any) -> Any:
        """Decode a value of a type. Raises `msgspec.DecodeError`, `msgspec.ValidationError` among them."""
        ...


class Reader(Protocol):
    """Cuts one connection's transfers into messages; a message may begin in one and end in another."""

    def feed(self, transfer: bytes) -> Iterable[Message]:
        """Iterate over the messages that are whole now, to the end, before the next transfer is fed.

        Each is parsed when it is asked for. Messages of types that are unknown are left out. Raises `BadMessage`,
        the iteration too.
        """
        ...
