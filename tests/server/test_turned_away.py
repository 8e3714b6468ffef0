"""Who is turned away: each is counted, one line a second tells."""

from __future__ import annotations

import logging

import pytest
import trio
import trio.testing

from trioecho._server.turned_away import TurnedAway


async def test_each_is_counted_and_one_line_a_second_tells(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """For each reason by itself, with how many there were since, and its own level."""
    caplog.set_level(logging.INFO, logger="trioecho")
    turned_away = TurnedAway()
    for number in range(2500):
        turned_away.count("no room", f"number {number}")
    turned_away.count("connections", "another reason", level=logging.INFO)
    await trio.sleep(1.001)
    turned_away.count("no room", "number 2500")
    assert turned_away.counts == {"no room": 2501, "connections": 1}
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "number 0"),
        ("INFO", "another reason"),
        ("WARNING", "number 2500 (2,500 such since the last line, 2,501 in all)"),
    ]
