"""Numbers in sentences for people agree with what they count."""

from __future__ import annotations

import pytest

from trioecho._protocol.counted import counted


@pytest.mark.parametrize(
    ("number", "unit", "text"),
    [
        (0, "byte", "0 bytes"),
        (1, "byte", "1 byte"),
        (2, "byte", "2 bytes"),
        (1_048_576, "byte", "1048576 bytes"),
        (1.0, "second", "1 second"),
        (0.5, "second", "0.5 seconds"),
        (10.0, "second", "10 seconds"),
    ],
)
def test_one_is_singular_and_all_else_plural(number: float, unit: str, text: str) -> None:
    """Seconds without a needless point, bytes without an exponent."""
    assert counted(number, unit) == text
