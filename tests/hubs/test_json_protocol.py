"""Hub messages in JSON: what is written, and what is cut out of transfers however they are cut."""

from __future__ import annotations

import datetime
import itertools
import uuid

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioecho.hubs.json_protocol import JsonProtocol
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

PROTOCOL = JsonProtocol()


def test_what_is_written_is_as_the_specification_has_it() -> None:
    assert PROTOCOL.invocation("Say", b'["a",1]') == b'{"type":1,"target":"Say","arguments":["a",1]}\x1e'
    assert b'"invocationId":"s1"' in PROTOCOL.invocation("Say", b"[]", "s1")
    assert PROTOCOL.item("1", 42) == b'{"type":2,"invocationId":"1","item":42}\x1e'
    assert PROTOCOL.completion("1") == b'{"type":3,"invocationId":"1"}\x1e'
    assert PROTOCOL.result("1", None) == b'{"type":3,"invocationId":"1","result":null}\x1e'
    assert PROTOCOL.failure("1", "no") == b'{"type":3,"invocationId":"1","error":"no"}\x1e'
    assert PROTOCOL.ping == b'{"type":6}\x1e'
    assert PROTOCOL.close(None, False) == b'{"type":7}\x1e'
    assert PROTOCOL.close("x", True) == b'{"type":7,"error":"x","allowReconnect":true}\x1e'
    assert PROTOCOL.ack(3) == b'{"type":8,"sequenceId":3}\x1e'
    assert PROTOCOL.sequence(4) == b'{"type":9,"sequenceId":4}\x1e'


def test_values_of_many_types_can_be_sent_and_received() -> None:
    class Thing(msgspec.Struct):
        when: datetime.datetime
        what: uuid.UUID
        data: bytes

    thing = Thing(datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC), uuid.UUID(int=1), b"\x01\x02")
    assert PROTOCOL.parse(PROTOCOL.value(thing), Thing) == thing


def parsed(*transfers: bytes) -> list[Message]:
    reader = PROTOCOL.reader(1000)
    return [message for transfer in transfers for message in reader.feed(transfer)]


def test_every_message_is_understood_with_its_type_anywhere() -> None:
    assert parsed(
        b'{"target":"Say","arguments":[1],"invocationId":"1","streamIds":["2"],"type":1}\x1e'
        b'{"invocationId":"3","target":"Count","arguments":[],"type":4,"more":{}}\x1e'
        b'{"invocationId":"2","item":5,"type":2}\x1e{"invocationId":"2","type":3}\x1e'
        b'{"type":3,"invocationId":"s1","error":"no"}\x1e{"type":5,"invocationId":"3"}\x1e'
        b'{"type":6}\x1e{"type":7,"error":"bye"}\x1e{"type":8,"sequenceId":1}\x1e{"type":9,"sequenceId":2}\x1e'
    ) == [
        Invocation("1", "Say", msgspec.Raw(b"[1]"), ["2"]),
        Invocation("3", "Count", msgspec.Raw(b"[]"), [], True),
        StreamItem("2", msgspec.Raw(b"5")),
        Completion("2"),
        Completion("s1", "no"),
        CancelInvocation("3"),
        Ping(),
        Close("bye"),
        Ack(1),
        Sequence(2),
    ]


@given(st.lists(st.integers(0, 120), max_size=6))
def test_messages_may_be_cut_anywhere(cuts: list[int]) -> None:
    stream = b'{"type":6}\x1e{"type":1,"target":"a\xc3\xa4","arguments":["\xe2\x82\xac"]}\x1e'
    stream += b'{"type":8,"sequenceId":1}\x1e'
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[begin:end] for begin, end in itertools.pairwise(places)]
    assert parsed(*pieces) == [Ping(), Invocation(None, "aä", msgspec.Raw('["€"]'.encode()), []), Ack(1)]


def test_unknown_types_are_left_out() -> None:
    assert parsed(b'{"type":10}\x1e{"type":0}\x1e{"type":99,"invocationId":5}\x1e{"type":6}\x1e') == [Ping()]


@pytest.mark.parametrize(
    "data",
    [
        b"\x1e",
        b"{}\x1e",
        b"[]\x1e",
        b'{"type":1}\x1e',
        b'{"type":4,"target":"a"}\x1e',
        b'{"type":2}\x1e',
        b'{"type":8}\x1e',
        b'{"type":1,"target":5}\x1e',
        b'{"type":"1"}\x1e',
        b'{"type":6}}\x1e',
        b"\xff\x1e",
    ],
)
def test_what_is_no_message_is_told_apart(data: bytes) -> None:
    with pytest.raises(BadMessage):
        parsed(data)


@pytest.mark.parametrize("begin", [b'{"type":1,"target":"a","arguments":', b'{"target":5,"more":'])
def test_what_is_nested_too_deeply_is_no_message_and_no_argument(begin: bytes) -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    with pytest.raises(BadMessage):
        list(PROTOCOL.reader(300_000).feed(begin + deep + b"}\x1e"))
    with pytest.raises(msgspec.DecodeError, match="nested too deeply"):
        PROTOCOL.parse(deep, list[object])


def test_a_message_has_a_largest_size_however_it_comes() -> None:
    small = b'{"type":1,"target":"a","arguments":["%b"]}\x1e' % (b"x" * 900)
    assert len(parsed(small * 3)) == 3
    for transfers in (
        [b"x" * 1001],
        [b"x" * 600] * 2,
        [b"x" * 1001 + b"\x1e"],
        [b"x" * 600, b"x" * 600 + b"\x1e"],
    ):
        with pytest.raises(BadMessage, match="more than 1000 bytes"):
            parsed(*transfers)
