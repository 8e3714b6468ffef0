"""How many frames without a message a client may send."""

from __future__ import annotations

import math

from trioecho._websocket.flooding import BURST, Allowance


def test_a_client_may_use_up_two_and_a_half_minutes_at_once() -> None:
    """And what it earns while it does."""
    allowance = Allowance(10, 100.0)
    allowance.left -= 10 * BURST
    assert allowance.left == 0
    allowance.left -= 20
    assert not allowance.used_up(102.0)
    allowance.left -= 1
    assert allowance.used_up(102.0)
    assert str(allowance) == "more than 10 Pings, unasked Pongs and short fragments a second"


def test_a_client_that_was_quiet_has_no_more_than_that() -> None:
    """However long it was."""
    allowance = Allowance(10, 0.0)
    assert not allowance.used_up(1_000_000.0)
    assert allowance.left == 10 * BURST


def test_without_a_limit_it_is_never_used_up() -> None:
    allowance = Allowance(None, 0.0)
    allowance.left -= 10**9
    assert allowance.left == math.inf
    assert not allowance.used_up(0.0)
