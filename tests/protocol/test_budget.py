"""The bytes that one server holds: the marks, and what is counted once."""

from __future__ import annotations

import pytest

from trioecho._protocol.budget import FULL, OVER, TIGHT, Budget


@pytest.mark.parametrize(("share", "name"), [(TIGHT, "tight"), (FULL, "full"), (OVER, "over")])
def test_each_mark_is_passed_by_one_byte_and_back(share: float, name: str) -> None:
    """At the mark is not above it."""
    budget = Budget(1_000_000)
    budget.add(int(1_000_000 * share))
    assert not getattr(budget, name)
    budget.add(1)
    assert getattr(budget, name)
    budget.add(-1)
    assert not getattr(budget, name)


def test_the_dearest_remedy_is_the_last() -> None:
    """Not reading before refusing, and refusing before giving up; and that before all of it is used up."""
    assert 0 < TIGHT < FULL < OVER < 1


def test_without_a_limit_it_only_counts() -> None:
    """However much."""
    budget = Budget()
    budget.add(2**60)
    assert (budget.held, budget.tight, budget.full, budget.over) == (2**60, False, False, False)


def test_a_frame_on_many_connections_counts_once() -> None:
    """Until the last of them has let go of it; each has its share."""
    budget, frame = Budget(), bytes(1000)
    for _ in range(4):
        budget.hold(frame)
    assert (budget.held, budget.share(frame)) == (1000, 250)
    for _ in range(3):
        budget.release(frame)
    assert (budget.held, budget.share(frame)) == (1000, 1000)
    budget.release(frame)
    assert budget.held == 0
