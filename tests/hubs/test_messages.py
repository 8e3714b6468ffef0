"""The messages of the hub protocol, whatever encodes them."""

from __future__ import annotations

import msgspec
import pytest

from trioecho.hubs.handshake import PROTOCOLS
from trioecho.hubs.messages import ABSENT, NUMBERED, Ack, Close, Completion, Invocation, Ping, Sequence


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_what_is_written_can_be_read(protocol) -> None:  # type: ignore[no-untyped-def]
    reader = protocol.reader(1000)
    written = [
        protocol.invocation("a", protocol.value([1, "x"]), "s1"),
        protocol.completion("1"),
        protocol.failure("1", "no"),
        protocol.ping,
        protocol.close("bye", True),
        protocol.ack(5),
        protocol.sequence(6),
    ]
    call, *others = reader.feed(b"".join(written))
    assert (call.id, call.target, protocol.parse(call.arguments, list)) == ("s1", "a", [1, "x"])
    assert others == [Completion("1"), Completion("1", "no"), Ping(), Close("bye"), Ack(5), Sequence(6)]
    assert others[0].result is ABSENT


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_a_result_of_none_is_no_missing_result(protocol) -> None:  # type: ignore[no-untyped-def]
    [void, null] = protocol.reader(1000).feed(protocol.completion("1") + protocol.result("1", None))
    assert void.result is ABSENT
    assert null.result is not ABSENT
    assert protocol.parse(null.result, type(None)) is None


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_what_cannot_be_encoded_is_a_type_error(protocol) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(TypeError):
        protocol.value(object())
    with pytest.raises(msgspec.DecodeError):
        protocol.parse(protocol.value("x"), int)


def test_only_what_carries_calls_and_streams_is_counted() -> None:
    assert isinstance(Invocation(None, "a", ABSENT, []), NUMBERED)
    assert not isinstance(Ping(), NUMBERED)
    assert not isinstance(Ack(1), NUMBERED)
