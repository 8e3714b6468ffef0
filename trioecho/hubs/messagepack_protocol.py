"""Hub messages in MessagePack (HubProtocol.md, "MessagePack (MsgPack) encoding"): arrays, each behind its length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from trioecho.hubs.messages import (
    ABSENT,
    ACK,
    CANCEL_INVOCATION,
    CLOSE,
    COMPLETION,
    INVOCATION,
    PING,
    SEQUENCE,
    STREAM_INVOCATION,
    STREAM_ITEM,
    TOO_DEEP,
    UNREADABLE,
    Ack,
    BadMessage,
    CancelInvocation,
    Close,
    Completion,
    Invocation,
    Message,
    Ping,
    Sequence,
    StreamItem,
)

FAILED, VOID, VALUE = 1, 2, 3
"""The kinds of a completion."""

LONGEST_LENGTH = 5
"""Bytes of the length before a message: seven bits in each, for at most 2 GiB."""

_encode = msgspec.msgpack.Encoder().encode
_NO_HEADERS: dict[str, str] = {}


class _Invocation(msgspec.Struct, array_like=True, tag=INVOCATION, gc=False):
    headers: msgspec.Raw
    id: str | None
    target: str
    arguments: msgspec.Raw
    streams: list[str] | None = None


class _Item(msgspec.Struct, array_like=True, tag=STREAM_ITEM, gc=False):
    headers: msgspec.Raw
    id: str
    item: msgspec.Raw


class _Completion(msgspec.Struct, array_like=True, tag=COMPLETION, gc=False):
    headers: msgspec.Raw
    id: str
    kind: int
    value: msgspec.Raw = ABSENT


class _StreamInvocation(msgspec.Struct, array_like=True, tag=STREAM_INVOCATION, gc=False):
    headers: msgspec.Raw
    id: str
    target: str
    arguments: msgspec.Raw
    streams: list[str] | None = None


class _CancelInvocation(msgspec.Struct, array_like=True, tag=CANCEL_INVOCATION, gc=False):
    headers: msgspec.Raw
    id: str


class _Ping(msgspec.Struct, array_like=True, tag=PING, gc=False):
    pass


class _Close(msgspec.Struct, array_like=True, tag=CLOSE, gc=False):
    error: str | None = None


class _Ack(msgspec.Struct, array_like=True, tag=ACK, gc=False):
    sequence: int


class _Sequence(msgspec.Struct, array_like=True, tag=SEQUENCE, gc=False):
    sequence: int


_received = msgspec.msgpack.Decoder(
    _Invocation
    | _Item
    | _Completion
    | _StreamInvocation
    | _CancelInvocation
    | _Ping
    | _Close
    | _Ack
    | _Sequence
).decode
_elements = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_text = msgspec.msgpack.Decoder(str).decode
_number = msgspec.msgpack.Decoder(int).decode


class MessagePackProtocol:
    """The smaller encoding, which also carries bytes and times as they are."""

    name = "messagepack"
    text = False
    ping = b"\x02\x91\x06"

    def reader(self, max_size: int) -> MessagePackReader:
        return MessagePackReader(max_size)

    def invocation(self, target: str, arguments: bytes, id: str | None = None) -> bytes:
        return _framed(_encode((INVOCATION, _NO_HEADERS, id, target, msgspec.Raw(arguments), ())))

    def item(self, id: str, item: object) -> bytes:
        return _framed(_encode((STREAM_ITEM, _NO_HEADERS, id, item)))

    def completion(self, id: str) -> bytes:
        return _framed(_encode((COMPLETION, _NO_HEADERS, id, VOID)))

    def result(self, id: str, result: object) -> bytes:
        return _framed(_encode((COMPLETION, _NO_HEADERS, id, VALUE, result)))

    def failure(self, id: str, error: str) -> bytes:
        return _framed(_encode((COMPLETION, _NO_HEADERS, id, FAILED, error)))

    def close(self, error: str | None, allow_reconnect: bool) -> bytes:
        return _framed(_encode((CLOSE, error, allow_reconnect)))

    def ack(self, sequence: int) -> bytes:
        return _framed(_encode((ACK, sequence)))

    def sequence(self, sequence: int) -> bytes:
        return _framed(_encode((SEQUENCE, sequence)))

    def value(self, value: object) -> bytes:
        return _encode(value)

    def parse(self, value: msgspec.Raw | bytes, kind: Any) -> Any:
        try:
            return msgspec.msgpack.decode(value, type=kind)
        except RecursionError:
            raise msgspec.DecodeError(TOO_DEEP) from None


class MessagePackReader:
    """Cuts transfers by the lengths that stand before the messages."""

    __slots__ = ("_begun", "_max_size")

    def __init__(self, max_size: int) -> None:
        self._begun = bytearray()
        self._max_size = max_size

    def feed(self, transfer: bytes) -> Iterable[Message]:
        if (
            transfer
            and transfer[0] == len(transfer) - 1 < 0x80
            and not self._begun
            and transfer[0] <= self._max_size
        ):
            # One short message, whole: the usual case.
            message = _parse(transfer[1:])
            return () if message is None else (message,)
        return self._cut(transfer)

    def _cut(self, transfer: bytes) -> Iterator[Message]:
        data = transfer
        if self._begun:
            self._begun += transfer
            if not self._whole():
                return
            data = bytes(self._begun)
            self._begun = bytearray()
        at, end = 0, len(data)
        while at < end:
            head = self._length(data, at)
            if head is None or end - head[1] < head[0]:
                self._begun = bytearray(data[at:])
                return
            at = head[1] + head[0]
            if (message := _parse(data[head[1] : at])) is not None:
                yield message

    def _whole(self) -> bool:
        """Whether the message that has begun is there."""
        head = self._length(self._begun, 0)
        return head is not None and len(self._begun) - head[1] >= head[0]

    def _length(self, data: bytes | bytearray, at: int) -> tuple[int, int] | None:
        """Return a message's size and where it begins behind its length; None where the length is cut off."""
        size = shift = 0
        for byte in data[at : at + LONGEST_LENGTH]:
            at += 1
            size |= (byte & 0x7F) << shift
            if byte < 0x80:
                if size > self._max_size:
                    raise BadMessage(f"A message of more than {self._max_size} bytes was received.")
                return size, at
            shift += 7
        if shift == 7 * LONGEST_LENGTH:
            raise BadMessage(f"A length of more than {LONGEST_LENGTH} bytes was received.")
        return None


def _framed(message: bytes) -> bytes:
    size = len(message)
    if size < 0x80:
        return b"%c%b" % (size, message)
    length = bytearray()
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return bytes(length) + message


def _parse(data: bytes) -> Message | None:
    try:
        received = _received(data)
        if isinstance(received, _Invocation):
            return Invocation(received.id, received.target, received.arguments, received.streams or [])
        if isinstance(received, _Ping):
            return Ping()
        if isinstance(received, _Item):
            return StreamItem(received.id, received.item)
        if isinstance(received, _Completion):
            if received.kind == FAILED:
                return Completion(received.id, _text(received.value))
            return Completion(received.id, None, received.value if received.kind == VALUE else ABSENT)
        if isinstance(received, _StreamInvocation):
            return Invocation(received.id, received.target, received.arguments, received.streams or [], True)
    except UNREADABLE as error:
        if _unknown(data):
            return None
        raise BadMessage(f"A message was received that is none: {error}.") from None
    if isinstance(received, _CancelInvocation):
        return CancelInvocation(received.id)
    if isinstance(received, _Ack):
        return Ack(received.sequence)
    if isinstance(received, _Sequence):
        return Sequence(received.sequence)
    return Close(received.error)


def _unknown(data: bytes) -> bool:
    """Whether it is a message of a type that was not there when this was written."""
    try:
        elements = _elements(data)
        return bool(elements) and not INVOCATION <= _number(elements[0]) <= SEQUENCE
    except UNREADABLE:
        return False
