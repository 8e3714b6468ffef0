"""Who is away too long is lost, and nobody else."""

from __future__ import annotations

import trio
import trio.testing

from trioecho.hubs.absences import Absences


class Away:
    """Notes when it was lost."""

    def __init__(self) -> None:
        self.lost_at: float | None = None

    def lose(self) -> None:
        assert self.lost_at is None
        self.lost_at = trio.current_time()


async def test_each_is_lost_when_its_own_time_is_over(autojump_clock: trio.testing.MockClock) -> None:
    """Who has come back is not, and who has gone again has all of it anew."""
    absences = Absences(15)
    begun = trio.current_time()
    first, back, again, later = Away(), Away(), Away(), Away()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(absences.watch)
        absences.add(first)
        absences.add(back)
        absences.add(again)
        await trio.sleep(10)
        absences.discard(back)
        absences.add(again)
        await trio.sleep(50)
        absences.add(later)
        await trio.sleep(50)
        nursery.cancel_scope.cancel()
    assert [each.lost_at and each.lost_at - begun for each in (first, again, later)] == [15, 25, 75]
    assert back.lost_at is None
