"""A number with what it counts, in the singular or the plural: ``1 second``, ``0.5 seconds``, ``3 messages``."""

from __future__ import annotations


def counted(number: float, unit: str) -> str:
    """Return `number` with `unit`, an English noun whose plural takes an s: ``counted(1, "second")``."""
    # `g` would give 1048576 bytes as 1.04858e+06.
    figures = str(number) if isinstance(number, int) else f"{number:g}"
    return f"{figures} {unit}" if number == 1 else f"{figures} {unit}s"
