"""Hub messages in JSON (HubProtocol.md, "JSON Encoding"): text, each message behind which stands the byte 1E."""

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

SEPARATOR = b"\x1e"

_encode = msgspec.json.Encoder().encode
_NO_ARGUMENTS = msgspec.Raw(b"[]")


class _Received(msgspec.Struct, rename="camel", gc=False):
    """Every message as it comes, `type` anywhere in it."""

    type: int
    invocation_id: str | None = None
    target: str | None = None
    arguments: msgspec.Raw = _NO_ARGUMENTS
    stream_ids: list[str] | None = None
    item: msgspec.Raw = ABSENT
    result: msgspec.Raw = ABSENT
    error: str | None = None
    sequence_id: int | None = None


class _Type(msgspec.Struct):
    """What is left of a message whose type nobody knows."""

    type: int


class _Invocation(msgspec.Struct, rename="camel", omit_defaults=True, tag_field="type", tag=INVOCATION):
    target: str
    arguments: msgspec.Raw
    invocation_id: str | None = None


class _Item(msgspec.Struct, rename="camel", tag_field="type", tag=STREAM_ITEM, gc=False):
    invocation_id: str
    item: Any


class _Void(msgspec.Struct, rename="camel", tag_field="type", tag=COMPLETION):
    invocation_id: str


class _Result(msgspec.Struct, rename="camel", tag_field="type", tag=COMPLETION):
    invocation_id: str
    result: Any


class _Failure(msgspec.Struct, rename="camel", tag_field="type", tag=COMPLETION):
    invocation_id: str
    error: str


class _Close(msgspec.Struct, rename="camel", omit_defaults=True, tag_field="type", tag=CLOSE):
    error: str | None = None
    allow_reconnect: bool = False


class _Ack(msgspec.Struct, rename="camel", tag_field="type", tag=ACK):
    sequence_id: int


class _Sequence(msgspec.Struct, rename="camel", tag_field="type", tag=SEQUENCE):
    sequence_id: int


_received = msgspec.json.Decoder(_Received).decode
_type = msgspec.json.Decoder(_Type).decode


class JsonProtocol:
    """The encoding that every client has."""

    name = "json"
    text = True
    ping = b'{"type":6}\x1e'

    def reader(self, max_size: int) -> JsonReader:
        return JsonReader(max_size)

    def invocation(self, target: str, arguments: bytes, id: str | None = None) -> bytes:
        return _encode(_Invocation(target, msgspec.Raw(arguments), id)) + SEPARATOR

    def item(self, id: str, item: object) -> bytes:
        return _encode(_Item(id, item)) + SEPARATOR

    def completion(self, id: str) -> bytes:
        return _encode(_Void(id)) + SEPARATOR

    def result(self, id: str, result: object) -> bytes:
        return _encode(_Result(id, result)) + SEPARATOR

    def failure(self, id: str, error: str) -> bytes:
        return _encode(_Failure(id, error)) + SEPARATOR

    def close(self, error: str | None, allow_reconnect: bool) -> bytes:
        return _encode(_Close(error, allow_reconnect)) + SEPARATOR

    def ack(self, sequence: int) -> bytes:
        return _encode(_Ack(sequence)) + SEPARATOR

    def sequence(self, sequence: int) -> bytes:
        return _encode(_Sequence(sequence)) + SEPARATOR

    def value(self, value: object) -> bytes:
        return _encode(value)

    def parse(self, value: msgspec.Raw | bytes, kind: Any) -> Any:
        try:
            return msgspec.json.decode(value, type=kind)
        except RecursionError:
            raise msgspec.DecodeError(TOO_DEEP) from None


class JsonReader:
    """Cuts transfers at the separators."""

    __slots__ = ("_begun", "_max_size")

    def __init__(self, max_size: int) -> None:
        self._begun = bytearray()
        self._max_size = max_size

    def feed(self, transfer: bytes) -> Iterable[Message]:
        size = len(transfer)
        if not self._begun and 0 < size <= self._max_size and transfer.find(SEPARATOR) == size - 1:
            # One message, whole: the usual case.
            message = _parse(transfer[:-1])
            return () if message is None else (message,)
        return self._cut(transfer)

    def _cut(self, transfer: bytes) -> Iterator[Message]:
        pieces = transfer.split(SEPARATOR)
        for piece in pieces[:-1]:
            self._check(len(self._begun) + len(piece))
            whole = piece
            if self._begun:
                whole = bytes(self._begun + piece)
                self._begun = bytearray()
            if (message := _parse(whole)) is not None:
                yield message
        self._check(len(self._begun) + len(pieces[-1]))
        self._begun += pieces[-1]

    def _check(self, size: int) -> None:
        if size > self._max_size:
            raise BadMessage(f"A message of more than {self._max_size} bytes was received.")


def _parse(data: bytes) -> Message | None:
    try:
        received = _received(data)
    except UNREADABLE as error:
        try:
            if not INVOCATION <= _type(data).type <= SEQUENCE:
                return None
        except UNREADABLE:
            pass
        raise BadMessage(f"A message was received that is none: {error}.") from None
    kind, id = received.type, received.invocation_id
    if kind in (INVOCATION, STREAM_INVOCATION):
        if received.target is not None and (kind == INVOCATION or id is not None):
            return Invocation(
                id, received.target, received.arguments, received.stream_ids or [], kind == STREAM_INVOCATION
            )
    elif kind == PING:
        return Ping()
    elif kind == CLOSE:
        return Close(received.error)
    elif kind in (ACK, SEQUENCE):
        if received.sequence_id is not None:
            return Ack(received.sequence_id) if kind == ACK else Sequence(received.sequence_id)
    elif not INVOCATION <= kind <= SEQUENCE:
        return None
    elif id is not None:
        if kind == COMPLETION:
            return Completion(id, received.error, received.result)
        if kind == CANCEL_INVOCATION:
            return CancelInvocation(id)
        return StreamItem(id, received.item)
    raise BadMessage(f"A message of type {kind} was received that lacks a part.")
