"""Hub messages in MessagePack: the specification's bytes, and what is cut out of transfers however they are cut."""

from __future__ import annotations

import datetime
import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioecho.hubs.messagepack_protocol import MessagePackProtocol
from trioecho.hubs.messages import (
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

PROTOCOL = MessagePackProtocol()
pack = msgspec.msgpack.encode


def framed(*messages: object) -> bytes:
    """Messages of fewer than 128 bytes."""
    return b"".join(bytes([len(pack(each))]) + pack(each) for each in messages)


def test_what_is_written_is_as_the_specification_has_it() -> None:
    assert PROTOCOL.ping == bytes.fromhex("029106")
    assert PROTOCOL.completion("xyz") == bytes.fromhex("08940380a378797a02")
    assert PROTOCOL.result("xyz", 42) == bytes.fromhex("09950380a378797a032a")
    assert PROTOCOL.result("xyz", None) == bytes.fromhex("09950380a378797a03c0")
    assert PROTOCOL.failure("xyz", "E") == bytes.fromhex("0a950380a378797a01a145")
    assert PROTOCOL.close(None, True) == bytes.fromhex("049307c0c2")[:-1] + b"\xc3"
    assert PROTOCOL.close(None, False) == bytes.fromhex("049307c0c2")
    assert PROTOCOL.invocation("Say", pack([1])) == framed([1, {}, None, "Say", [1], []])
    assert PROTOCOL.item("1", "x") == framed([2, {}, "1", "x"])
    assert PROTOCOL.ack(3) == framed([8, 3])
    assert PROTOCOL.sequence(4) == framed([9, 4])


@pytest.mark.parametrize("size", [0, 100, 127, 128, 200, 16_383, 16_384, 100_000])
def test_lengths_of_any_size_are_written_and_read(size: int) -> None:
    message = PROTOCOL.invocation("Say", pack(["x" * size]))
    [read] = PROTOCOL.reader(200_000).feed(message)
    assert isinstance(read, Invocation)
    assert PROTOCOL.parse(read.arguments, list[str]) == ["x" * size]


def test_bytes_and_times_go_as_they_are() -> None:
    value = {"data": b"\x01", "when": datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)}
    assert PROTOCOL.parse(PROTOCOL.value(value), dict[str, Any]) == value


def parsed(*transfers: bytes) -> list[Message]:
    reader = PROTOCOL.reader(1000)
    return [message for transfer in transfers for message in reader.feed(transfer)]


ALL = (
    [1, {"a": "b"}, None, "Say", [1]],
    [1, {}, "1", "Say", [1], ["2"]],
    [4, {}, "3", "Count", [], None, "more"],
    [2, {}, "2", 5],
    [3, {}, "2", 2],
    [3, {}, "s1", 1, "no"],
    [3, {}, "s1", 3, 7],
    [5, {}, "3"],
    [6],
    [7, "bye"],
    [8, 1],
    [9, 2],
)


@given(st.lists(st.integers(0, 150), max_size=6))
def test_every_message_is_understood_cut_anywhere(cuts: list[int]) -> None:
    stream = framed(*ALL)
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[begin:end] for begin, end in itertools.pairwise(places)]
    assert parsed(*pieces) == [
        Invocation(None, "Say", msgspec.Raw(pack([1])), []),
        Invocation("1", "Say", msgspec.Raw(pack([1])), ["2"]),
        Invocation("3", "Count", msgspec.Raw(pack([])), [], True),
        StreamItem("2", msgspec.Raw(pack(5))),
        Completion("2"),
        Completion("s1", "no"),
        Completion("s1", None, msgspec.Raw(pack(7))),
        CancelInvocation("3"),
        Ping(),
        Close("bye"),
        Ack(1),
        Sequence(2),
    ]


def test_unknown_types_are_left_out() -> None:
    assert parsed(framed([10, 1, 2], [0], [99, {}], [6])) == [Ping()]


@pytest.mark.parametrize(
    "message", [5, [], ["1"], [1, {}], [1, {}, 5, "a", []], [3, {}, "1", 1], [3, {}, "1", 1, 5], [8, "x"], {}]
)
def test_what_is_no_message_is_told_apart(message: object) -> None:
    with pytest.raises(BadMessage):
        parsed(framed(message))


@pytest.mark.parametrize("begin", [b"\x95\x01\x80\xc0\xa1a", b"\x95\x01\x80\x05"])
def test_what_is_nested_too_deeply_is_no_message_and_no_argument(begin: bytes) -> None:
    deep = b"\x91" * 100_000 + b"\xc0"
    size = len(begin + deep)
    length = bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14])
    with pytest.raises(BadMessage):
        list(PROTOCOL.reader(300_000).feed(length + begin + deep))
    with pytest.raises(msgspec.DecodeError, match="nested too deeply"):
        PROTOCOL.parse(deep, list[object])


def test_a_message_has_a_largest_size_that_its_length_tells_already() -> None:
    with pytest.raises(BadMessage, match="more than 1000 bytes"):
        parsed(b"\xe9\x07")
    with pytest.raises(BadMessage, match="more than 5 bytes"):
        parsed(b"\x80\x80\x80", b"\x80\x80\x80")
