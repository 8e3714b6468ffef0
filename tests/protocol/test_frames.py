"""Frames as bytes: wsproto reads what is encoded, and a Close means what the RFC says."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from wsproto.frame_protocol import FrameProtocol, Opcode

from trioecho._protocol.frames import (
    BINARY,
    BINARY_HEADERS,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    TEXT_HEADERS,
    FrameError,
    close_code_allowed,
    encode_frame,
    long_header,
    parse_close,
    shortened_reason,
)

KEYS = st.none() | st.binary(min_size=4, max_size=4)


def test_the_opcodes_are_those_of_the_rfc() -> None:
    """RFC 6455 §11.8."""
    assert (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG) == (0, 1, 2, 8, 9, 10)


@given(st.binary(max_size=200), KEYS, st.booleans())
@example(bytes(65_535), b"\x01\x02\x03\x04", True)
@example(bytes(65_536), None, False)
def test_wsproto_reads_what_is_encoded(payload: bytes, key: bytes | None, fin: bool) -> None:
    """With a key it is a client's frame, without one a server's; lengths of each size, and fragments."""
    reader = FrameProtocol(client=key is None, extensions=[])
    reader.receive_bytes(encode_frame(BINARY, payload, fin=fin, key=key))
    frames = list(reader.received_frames())
    assert {frame.opcode for frame in frames} == {Opcode.BINARY}
    assert b"".join(bytes(frame.payload) for frame in frames) == payload
    assert frames[-1].message_finished is fin


@pytest.mark.parametrize("opcode", [PING, PONG])
@pytest.mark.parametrize("key", [None, b"abcd"])
def test_control_frames_are_encoded_likewise(opcode: int, key: bytes | None) -> None:
    """They may have up to 125 bytes, in a header of two."""
    encoded = encode_frame(opcode, bytes(125), key=key)
    assert encoded[0] == 0x80 | opcode
    assert len(encoded) == 2 + len(key or b"") + 125


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (3999, "gruß")])
def test_a_close_of_wsproto_is_understood(code: int, reason: str) -> None:
    """What another implementation encodes means the same here."""
    encoded = FrameProtocol(client=False, extensions=[]).close(code, reason)
    assert parse_close(encoded[2:]) == (code, reason)


def test_an_error_says_its_code_and_its_reason() -> None:
    """For the Close and for the log."""
    error = FrameError(1002, "opcode 0x3 is reserved")
    assert (error.close_code, error.reason) == (1002, "opcode 0x3 is reserved")
    assert str(error) == "1002 opcode 0x3 is reserved"


def meaning_or_code(payload: bytes) -> tuple[int, str] | int:
    try:
        return parse_close(payload)
    except FrameError as error:
        return error.close_code


@given(st.binary(max_size=130))
def test_any_payload_of_a_close_is_a_meaning_or_an_error(payload: bytes) -> None:
    """Nothing else can come of what a peer sends; and what is understood is the payload, whole."""
    found = meaning_or_code(payload)
    if isinstance(found, int):
        assert found in (1002, 1007)
    else:
        code, reason = found
        assert payload == (b"" if code == 1005 else code.to_bytes(2) + reason.encode())


@pytest.mark.parametrize(
    ("payload", "meaning"),
    [
        (b"", (1005, "")),
        (b"\x03\xe8", (1000, "")),
        (b"\x03\xf6bad gateway", (1014, "bad gateway")),
        (b"\x13\x87" + "gruß".encode(), (4999, "gruß")),
    ],
)
def test_a_close_means_its_code_and_reason(payload: bytes, meaning: tuple[int, str]) -> None:
    """An empty one means 1005 (RFC 6455 §7.1.5)."""
    assert parse_close(payload) == meaning


@pytest.mark.parametrize("payload", [b"\x03", b"\x03\xed", b"\x00\x00", b"\x03\xe8\xff"])
def test_a_broken_close_is_refused(payload: bytes) -> None:
    """One byte, a code that may not be sent: 1002; a reason that is not UTF-8: 1007."""
    with pytest.raises(FrameError) as caught:
        parse_close(payload)
    assert caught.value.close_code == (1007 if payload.endswith(b"\xff") else 1002)


def test_the_close_codes_are_those_of_aspnet() -> None:
    """1000-1003, 1007-1014, 3000-4999."""
    allowed = {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}
    assert {code for code in range(65_536) if close_code_allowed(code)} == allowed


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_headers_are_those_of_the_encoder(size: int) -> None:
    """The ready-made headers and the long ones say what `encode_frame` says."""
    for opcode, headers in ((TEXT, TEXT_HEADERS), (BINARY, BINARY_HEADERS)):
        assert len(headers) == 126
        header = headers[size] if size < 126 else long_header(opcode, size)
        assert header + bytes(size) == encode_frame(opcode, bytes(size))


@given(st.text(max_size=200))
def test_a_shortened_reason_fits_and_is_a_beginning(reason: str) -> None:
    """At most 123 bytes, cut between characters, and no shorter than it must be."""
    short = shortened_reason(reason)
    assert reason.startswith(short)
    assert len(short.encode()) <= 123
    assert short == reason or len((short + reason[len(short)]).encode()) > 123
