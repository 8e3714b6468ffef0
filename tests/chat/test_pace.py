"""How fast one client may speak."""

from __future__ import annotations

from trioecho.chat.pace import BURST, PER_SECOND, Pace


def test_some_come_at_once_and_then_as_fast_as_people_read() -> None:
    pace = Pace(100.0)
    assert [pace.allows(100.0) for _ in range(BURST + 2)] == [True] * BURST + [False] * 2
    assert pace.allows(100.0 + 1 / PER_SECOND)
    assert not pace.allows(100.0 + 1 / PER_SECOND)


def test_silence_saves_up_no_more_than_the_burst() -> None:
    pace = Pace(0.0)
    assert sum(pace.allows(1e6) for _ in range(100)) == BURST
