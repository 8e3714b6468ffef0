"""Durations counted by how long they were: what is kept of many of them, in a bounded space."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Distribution:
    """How many values there were between some bounds, and their sum: a value, of one moment.

    Example:

        async def main() -> None:
            some = trioecho.Distribution(bounds=(0.1, 1.0), counts=(7, 2, 0), total=1.5)
            assert (some + some).counts == (14, 4, 0)
            assert some.count == 9
    """

    bounds: tuple[float, ...]
    """The upper bounds, ascending; a value that is equal to one is below it."""
    counts: tuple[int, ...]
    """How many values were below the first bound, between the first and the second, and so on, and above the last."""
    total: float = 0.0
    """The sum of all values."""

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)

    def __add__(self, other: Distribution) -> Distribution:
        """Both together. Raises ValueError if their bounds differ."""
        if self.bounds != other.bounds:
            raise ValueError(
                f"two distributions with the same bounds can be added; these have {self.bounds} and {other.bounds}"
            )
        counts = tuple([one + two for one, two in zip(self.counts, other.counts, strict=True)])
        return Distribution(self.bounds, counts, self.total + other.total)


class Histogram:
    """A `Distribution` that grows."""

    __slots__ = ("_counts", "_total", "bounds")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def observe(self, value: float) -> None:
        """Count one more."""
        self._counts[bisect_left(self.bounds, value)] += 1
        self._total += value

    @property
    def distribution(self) -> Distribution:
        """What has been counted so far."""
        return Distribution(self.bounds, tuple(self._counts), self._total)
