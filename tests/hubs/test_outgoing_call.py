"""A call to many clients is encoded once for each protocol."""

from __future__ import annotations

import pytest

from trioecho.hubs.handshake import PROTOCOLS
from trioecho.hubs.outgoing_call import EncodedCall, OutgoingArguments, OutgoingCall

JSON, MESSAGEPACK = PROTOCOLS["json"], PROTOCOLS["messagepack"]


def test_it_is_encoded_once_for_each_protocol_and_only_when_it_is_needed() -> None:
    call = OutgoingCall("say", ("a", 1), ("json", "messagepack"))
    message = call.prepared(JSON)
    assert message.text
    assert bytes(message.payload) == b'{"type":1,"target":"say","arguments":["a",1]}\x1e'
    assert call.prepared(JSON) is message
    assert not call.prepared(MESSAGEPACK).text
    # What only MessagePack can carry does not matter where nobody speaks JSON.
    bad = OutgoingCall("say", ({1: object()},), ("json",))
    with pytest.raises(TypeError):
        bad.prepared(JSON)


def test_for_a_backplane_it_is_a_mapping_of_whole_messages() -> None:
    call = OutgoingCall("say", ("a",), ("json", "messagepack"))
    messages = dict(call)
    assert list(messages) == ["json", "messagepack"]
    assert len(call) == 2
    there = EncodedCall(messages)
    assert there.prepared(JSON).frame == call.prepared(JSON).frame
    assert there.prepared(MESSAGEPACK).frame == call.prepared(MESSAGEPACK).frame
    assert there.prepared(JSON) is there.prepared(JSON)


def test_arguments_alone_are_encoded_by_protocol() -> None:
    arguments = OutgoingArguments(("a", 1), ("json", "messagepack"))
    assert dict(arguments) == {"json": b'["a",1]', "messagepack": b"\x92\xa1a\x01"}
    assert len(arguments) == 2
