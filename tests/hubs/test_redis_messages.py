"""What goes over Redis: each message and back, and the names of the channels."""

from __future__ import annotations

import msgspec
import pytest

from trioecho.hubs import Address
from trioecho.hubs.redis_messages import (
    Answered,
    AnyMessage,
    Call,
    Cancel,
    Channels,
    Done,
    Join,
    Leave,
    Sent,
    Still,
    decode,
    encode,
    new_name,
    sender_of,
)


@pytest.mark.parametrize(
    "message",
    [
        Sent({"json": b"{}\x1e", "messagepack": b"\x02\x91\x06"}, ["a", "b"]),
        Join(1, "a", "red"),
        Leave(2, "a", "red"),
        Done(2, False, "no"),
        Call(3, "a", "Pick", {"json": b"[]"}),
        Cancel(3),
        Still(3),
        Answered(3, "json", b"5"),
    ],
)
def test_a_message_arrives_as_it_was_sent(message: AnyMessage) -> None:
    name = new_name()
    payload = encode(name, message)
    assert sender_of(payload) == name
    assert decode(payload) == message


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"hello",
        b"12345678",
        b"12345678\x91\x63",
        b"12345678\x92\x01\x01",
        b"12345678\x94\x00\x80\x90" + b"\x91" * 100_000,
    ],
)
def test_what_is_no_message_is_told(payload: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(payload)


def test_each_address_and_each_process_has_a_channel_of_its_own() -> None:
    channels = Channels("app", "Chat")
    assert channels.of(Address("all")) == b"app:Chat:all"
    assert channels.of(Address("group", "red")) == b"app:Chat:group:red"
    assert channels.of(Address("user", "\ud800ü")) == b"app:Chat:user:\xed\xa0\x80\xc3\xbc"
    assert channels.of(Address("connection", "a:b")) == b"app:Chat:connection:a:b"
    assert channels.process(b"\x01") == b"app:Chat:process:01"
    assert channels.pulse(b"\x01") == b"app:Chat:pulse:01"
