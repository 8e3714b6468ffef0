"""Masking is one function in two languages."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trioecho._protocol.masking import mask, mask_in_python

keys = st.binary(min_size=4, max_size=4)


@given(st.one_of(st.binary(max_size=70), st.binary(min_size=1020, max_size=1030)), keys)
@example(b"", b"\xff\xff\xff\xff")
@example(bytes(70_001), b"\x01\x02\x03\x04")
def test_each_byte_is_combined_with_its_byte_of_the_key(payload: bytes, key: bytes) -> None:
    """RFC 6455 §5.3: octet i of the payload XOR octet i modulo 4 of the key; in Python, and in what is used."""
    expected = bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))
    assert mask_in_python(payload, key) == expected
    assert mask(payload, key) == expected


@given(st.binary(max_size=2000), keys)
def test_masking_twice_gives_the_payload_back(payload: bytes, key: bytes) -> None:
    """The same function masks and unmasks."""
    assert mask_in_python(mask_in_python(payload, key), key) == payload


def test_the_mask_in_c_is_used_where_it_is_there() -> None:
    """With websockets installed, unmasking costs next to nothing."""
    speedups = pytest.importorskip("websockets.speedups")
    assert mask is speedups.apply_mask
