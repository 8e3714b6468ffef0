"""permessage-deflate: what is agreed on, and each side's context."""

from __future__ import annotations

import dataclasses
import inspect
import zlib

import pytest
from deflating import OFFER, TAIL, agreed, alone, json_of
from hypothesis import given
from hypothesis import strategies as st

from trioecho._protocol.deflate import Deflate, Deflater, Inflater, agree
from trioecho._protocol.extensions import parse_offers
from trioecho._protocol.frames import FrameError

ALL = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


@pytest.mark.parametrize(
    ("offers", "deflate", "answer"),
    [
        # What browsers, and other people's clients, send.
        (OFFER, {}, "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"),
        ("permessage-deflate", {}, "permessage-deflate; server_max_window_bits=12"),
        ("permessage-deflate", {"server_max_window_bits": 15}, "permessage-deflate"),
        (
            OFFER,
            {"server_max_window_bits": 15, "client_max_window_bits": 15},
            "permessage-deflate; client_max_window_bits=15",
        ),
        # Less than we would take.
        (
            "permessage-deflate; server_max_window_bits=10; client_max_window_bits=9",
            {},
            "permessage-deflate; server_max_window_bits=10; client_max_window_bits=9",
        ),
        (
            'permessage-deflate; server_max_window_bits="8"; client_max_window_bits=8',
            {},
            "permessage-deflate; server_max_window_bits=8; client_max_window_bits=8",
        ),
        # More.
        (
            "permessage-deflate; server_max_window_bits=15; client_max_window_bits=15",
            {},
            "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
        ),
        (
            "permessage-deflate; server_max_window_bits=15",
            {"server_max_window_bits": 15},
            "permessage-deflate; server_max_window_bits=15",
        ),
        # Context takeover is given up where either side says so.
        (ALL, {}, f"{ALL}; server_max_window_bits=12"),
        (
            "permessage-deflate",
            {"server_context_takeover": False, "client_context_takeover": False},
            f"{ALL}; server_max_window_bits=12",
        ),
        # One that is no good, and the next one.
        (
            f"permessage-deflate; unknown, {OFFER}",
            {},
            "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
        ),
        ("x-webkit-deflate-frame, permessage-deflate", {}, "permessage-deflate; server_max_window_bits=12"),
    ],
)  # fmt: skip
def test_the_first_good_offer_is_agreed_on(offers: str, deflate: dict[str, int], answer: str) -> None:
    """The answer promises no more than both sides can keep, and names nothing that was not offered but for the server's
    own window."""
    assert agreed(offers, **deflate).answer == answer


@pytest.mark.parametrize(
    "parameters",
    [
        "unknown",
        "client_max_window_bits; client_max_window_bits",
        "server_no_context_takeover; server_no_context_takeover",
        "server_no_context_takeover=1",
        "client_no_context_takeover=true",
        "server_max_window_bits",
        "server_max_window_bits=08",
        "server_max_window_bits=7",
        "server_max_window_bits=16",
        "server_max_window_bits=1e1",
        "server_max_window_bits=-9",
        "client_max_window_bits=7",
        "client_max_window_bits=16",
        "client_max_window_bits=09",
        "Client_max_window_bits",
    ],
)
def test_an_offer_with_a_wrong_parameter_is_declined(parameters: str) -> None:
    """It alone: the next one is looked at, and there need not be one."""
    assert agree(parse_offers([f"permessage-deflate; {parameters}"]), Deflate()) is None
    fallback = agree(parse_offers([f"permessage-deflate; {parameters}", "permessage-deflate"]), Deflate())
    assert fallback is not None
    assert fallback.answer == "permessage-deflate; server_max_window_bits=12"


def test_a_client_that_cannot_be_asked_gets_an_inflater_of_15_bits() -> None:
    """Firefox offers nothing but the name."""
    assert agreed("permessage-deflate", client_max_window_bits=9).client_window_bits == 15
    assert agreed(OFFER, client_max_window_bits=9).client_window_bits == 9


def test_short_messages_are_compressed_where_earlier_ones_help() -> None:
    """Unless something else is asked for."""
    assert agreed().threshold == 128
    assert agreed(server_context_takeover=False).threshold == 512
    assert agreed("permessage-deflate; server_no_context_takeover").threshold == 512
    assert agreed("permessage-deflate; server_no_context_takeover", threshold=0).threshold == 0


@pytest.mark.parametrize(
    ("name", "value", "error", "sentence"),
    [
        ("server_max_window_bits", 7, ValueError, "server_max_window_bits must be from 8 to 15; you gave 7"),
        ("server_max_window_bits", 16, ValueError, "server_max_window_bits must be from 8 to 15; you gave 16"),
        ("client_max_window_bits", 8, ValueError, "client_max_window_bits must be from 9 to 15; you gave 8"),
        ("client_max_window_bits", "12", TypeError,
         "client_max_window_bits takes a whole number from 9 to 15; you gave '12'"),
        ("server_context_takeover", 1, TypeError, "server_context_takeover takes True or False; you gave 1"),
        ("client_context_takeover", None, TypeError, "client_context_takeover takes True or False; you gave None"),
        ("level", 0, ValueError, "level must be from 1 to 9; you gave 0"),
        ("level", True, TypeError, "level takes a whole number from 1 to 9; you gave True"),
        ("memory_level", 10, ValueError, "memory_level must be from 1 to 9; you gave 10"),
        ("threshold", -1, ValueError, "threshold must be at least 0 (bytes), or None; you gave -1"),
        ("threshold", 1.5, TypeError, "threshold takes a whole number of bytes, or None; you gave 1.5"),
    ],
)  # fmt: skip
def test_a_mistake_is_answered_with_what_would_be_right(
    name: str, value: object, error: type[Exception], sentence: str
) -> None:
    """When it is made, in one sentence."""
    with pytest.raises(error) as refused:
        Deflate(**{name: value})
    assert str(refused.value) == sentence


def test_every_parameter_is_documented_with_its_default() -> None:
    """And the class tells what must not be compressed."""
    documentation = inspect.getdoc(Deflate) or ""
    for each in dataclasses.fields(Deflate):
        assert f"\n- `{each.name}` (default {each.default}" in documentation
    for word in ("CRIME", "BREACH", "compress=False"):
        assert word in documentation


def test_it_cannot_be_changed_and_is_equal_by_value() -> None:
    """As the options that hold it."""
    assert Deflate() == Deflate(level=6)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Deflate().level = 9  # type: ignore[misc]


def inflated(payloads: list[bytes], bits: int = 15) -> list[bytes]:
    """What one zlib makes of messages in order."""
    inflater = zlib.decompressobj(-bits)
    return [inflater.decompress(payload + TAIL) for payload in payloads]


def deflater(**deflate: int) -> Deflater:
    agreement = agreed(**deflate)
    return Deflater(agreement.encoding, takeover=agreement.server_takeover)


@given(st.lists(st.binary(max_size=300), max_size=6), st.integers(8, 15), st.booleans())
def test_what_is_deflated_is_inflated(messages: list[bytes], bits: int, takeover: bool) -> None:
    """By zlib with the window that was agreed on, which for 8 bits is one of 9 with distances of 250 at most."""
    one = deflater(server_max_window_bits=bits, server_context_takeover=takeover)
    assert inflated([one.deflate(each) for each in messages], bits) == messages


@pytest.mark.parametrize("takeover", [True, False])
def test_a_window_of_8_bits_is_not_looked_beyond(takeover: bool) -> None:
    """zlib compresses with 9 bits where 8 are asked of it: a peer that keeps 256 bytes understands it all the same."""
    text = json_of(20_000).encode()
    one = deflater(server_max_window_bits=8, server_context_takeover=takeover)
    payloads = [one.deflate(text[start : start + 100]) for start in range(0, len(text), 100)]
    # In small steps, for within one output zlib could look back by more than its window.
    inflater = zlib.decompressobj(-8)
    assert b"".join(inflater.decompress(payload + TAIL) for payload in payloads) == text


def test_an_empty_message_is_one_byte() -> None:
    """Also behind another, where zlib has nothing more to flush, and for the context it is nothing."""
    one = deflater()
    messages = [b"", b"a" * 200, b"", b"", b"a" * 200]
    payloads = [one.deflate(each) for each in messages]
    assert [payloads[0], payloads[2], payloads[3]] == [b"\x00"] * 3
    assert inflated(payloads) == messages


def test_context_takeover_makes_the_second_message_shorter() -> None:
    """And without it, each is as the first, and can be inflated alone."""
    text = json_of(300).encode()
    one = deflater()
    assert len(one.deflate(text)) > 5 * len(one.deflate(text))
    one = deflater(server_context_takeover=False)
    payloads = {one.deflate(text) for _ in range(3)}
    assert len(payloads) == 1
    assert inflated([*payloads]) == [text]


def test_after_forgetting_a_peer_that_remembers_still_understands() -> None:
    """What was compressed and not sent is not referred to."""
    one = deflater()
    kept, lost = json_of(400).encode(), json_of(400).encode()
    sent = [one.deflate(kept)]
    one.deflate(lost)
    one.forget()
    sent += [one.deflate(lost), one.deflate(kept)]
    assert inflated(sent) == [kept, lost, kept]
    broken = deflater()
    sent = [broken.deflate(kept)]
    broken.deflate(lost)
    sent += [broken.deflate(lost)]
    try:
        assert inflated(sent) != [kept, lost], "corrupted, and nobody notices"
    except zlib.error:
        pass


def test_a_message_in_parts_is_one_message() -> None:
    """Whole parts, an empty one among them, flushed as they come; the end is a byte."""
    for takeover in (True, False):
        one = deflater(server_context_takeover=takeover)
        payload = b""
        for part in (b"one " * 50, b"", b"two " * 50):
            payload += one.feed(part) + one.flush()
        payload += one.end()
        assert payload.endswith(TAIL + b"\x00")
        assert inflated([payload, one.deflate(b"three")]) == [b"one " * 50 + b"two " * 50, b"three"]


def test_contexts_are_made_when_they_are_needed_and_go_with_takeover() -> None:
    """Nothing is held before the first message, nor behind one without takeover."""
    for takeover in (True, False):
        one, other = Deflater((12, 6, 5), takeover=takeover), Inflater(12, takeover=takeover)
        assert one._compressor is None
        assert other._decompressor is None
        assert other.inflate(one.deflate(b"hello"), 10, last=True) == b"hello"
        assert (one._compressor is not None) is takeover
        assert (other._decompressor is not None) is takeover


def inflater() -> Inflater:
    return Inflater(15, takeover=True)


HELLO = bytes.fromhex("f248cdc9c90700")
"""RFC 7692 §7.2.3.1."""
AGAIN = bytes.fromhex("f200110000")
"""§7.2.3.2: "Hello" once more, by looking back."""
STORED = bytes.fromhex("000500faff48656c6c6f00")
"""§7.2.3.3: not compressed at all."""
FINAL = bytes.fromhex("f348cdc9c9070000")
"""§7.2.3.4: with BFINAL set."""
TWO_BLOCKS = bytes.fromhex("f248050000 00ffffcac9c90700")
"""§7.2.3.5."""


def test_the_examples_of_the_rfc_are_understood() -> None:
    """§7.2.3, in one connection."""
    one = inflater()
    for payload in (HELLO, AGAIN, STORED, TWO_BLOCKS, AGAIN, FINAL, HELLO):
        assert one.inflate(payload, 5, last=True) == b"Hello"
    assert one.inflate(b"\x00", 5, last=True) == b""


def test_a_final_block_ends_the_context() -> None:
    """The next message begins anew, and cannot look back behind it."""
    one = inflater()
    assert one.inflate(FINAL, 5, last=True) == b"Hello"
    with pytest.raises(FrameError, match=r"1007 .*distance too far back"):
        one.inflate(AGAIN, 5, last=True)


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_nothing_may_stand_behind_a_final_block(size: int) -> None:
    """64 KiB of empty final blocks would begin 32,768 times; in pieces of any size they are refused."""
    data = bytes.fromhex("0300") * 100
    one = inflater()
    parts = [data[start : start + size] for start in range(0, len(data), size)]
    with pytest.raises(FrameError, match="1007 compressed message goes on behind its final block"):
        [one.inflate(part, 5, last=False) for part in parts]
    with pytest.raises(FrameError, match="1007"):
        inflater().inflate(FINAL + HELLO, 50, last=True)


@pytest.mark.parametrize("cut", range(len(FINAL) + 1))
def test_a_final_block_may_come_in_pieces(cut: int) -> None:
    """With or without the empty block behind it."""
    one = inflater()
    assert one.inflate(FINAL[:cut], 5, last=False) + one.inflate(FINAL[cut:], 5, last=True) == b"Hello"


@pytest.mark.parametrize("payload", ["ff", "07", "000500faf048656c6c6f00"])
def test_what_cannot_be_inflated_is_1007(payload: str) -> None:
    """Whatever zlib says of it."""
    with pytest.raises(FrameError, match=r"1007 compressed message cannot be inflated: [a-z]"):
        inflater().inflate(bytes.fromhex(payload), 100, last=True)


def test_no_more_is_inflated_than_there_is_room_for() -> None:
    """One byte more tells that it was too much, also where there is no room at all."""
    bomb = alone(bytes(1_000_000))
    for room in (0, 1, 1000, 999_999):
        assert len(inflater().inflate(bomb, room, last=True)) == room + 1
    assert len(inflater().inflate(bomb, 1_000_000, last=True)) == 1_000_000
    assert inflater().inflate(alone(b""), 0, last=True) == b""


def test_clients_that_offer_the_same_share_what_is_agreed_on() -> None:
    """It is kept once, not for each connection; with other parameters it is another."""
    one, other = agreed(), agreed()
    assert one is other
    assert agreed(level=1) is not one
    assert agreed(level=1).encoding != one.encoding
    assert agreed("permessage-deflate").answer != one.answer
