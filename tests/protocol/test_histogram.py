"""Durations counted between bounds, and added up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioecho._protocol.histogram import Distribution, Histogram


def test_a_value_is_counted_below_the_first_bound_that_it_does_not_exceed() -> None:
    """A bound itself is below it, as Prometheus' `le` has it; what exceeds all of them is counted last."""
    histogram = Histogram((0.1, 1.0))
    for value in (0.0, 0.1, 0.2, 1.0, 1.5, 100.0):
        histogram.observe(value)
    assert histogram.distribution == Distribution((0.1, 1.0), (2, 2, 2), 102.8)


def test_a_distribution_does_not_change_when_more_is_counted() -> None:
    """It is a value, of one moment."""
    histogram = Histogram((1.0,))
    before = histogram.distribution
    histogram.observe(0.5)
    assert before.count == 0
    assert histogram.distribution.count == 1


@given(st.lists(st.floats(0, 10)), st.lists(st.floats(0, 10)))
def test_a_sum_is_as_if_all_had_been_counted_together(some: list[float], others: list[float]) -> None:
    """Of any two lists of values."""
    one, two, both = Histogram((1.0, 5.0)), Histogram((1.0, 5.0)), Histogram((1.0, 5.0))
    for histogram, values in ((one, some), (two, others), (both, some + others)):
        for value in values:
            histogram.observe(value)
    added = one.distribution + two.distribution
    assert (added.bounds, added.counts) == (both.bounds, both.distribution.counts)
    assert added.total == pytest.approx(both.distribution.total)


def test_what_has_other_bounds_is_not_added() -> None:
    """The sentence names both."""
    with pytest.raises(ValueError, match=r"these have \(1.0,\) and \(2.0,\)"):
        Distribution((1.0,), (0, 0)) + Distribution((2.0,), (0, 0))
