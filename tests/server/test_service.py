"""What connections share: room for one more, the time that each phase has, and how all are told to end."""

from __future__ import annotations

from typing import Any, cast

import pytest
import trio
import trio.testing

import trioecho
from trioecho import RouteGroup
from trioecho._protocol.record import ConnectionRecord
from trioecho._server.routes import RouteTable
from trioecho._server.service import RECORDS_KEPT, STOPPING_COURTESY, Service


def service(**options: Any) -> Service:
    return Service(cast(Any, {}), trioecho.WebSocketOptions(**options))


class Told:
    """In the place of a connection: what it was told, in order."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def stop(self, deadline: float, code: int) -> None:
        self.heard.append(deadline)

    def abort(self) -> None:
        self.heard.append("abort")


def connected(to: Service) -> Told:
    told = Told()
    to.connections[cast(Any, told)] = cast(Any, None)
    return told


async def test_there_is_room_up_to_the_limit_and_until_the_stop() -> None:
    """`max_connections` may be reached, and not passed; without it there is no end. Who stops has none."""
    bounded, unbounded = service(max_connections=2), service(max_connections=None)
    for each in (bounded, unbounded):
        connected(each)
        assert each.room
        connected(each)
    assert not bounded.room
    assert unbounded.room
    bounded.connections.popitem()
    assert bounded.room
    for each in (bounded, unbounded):
        each.stop(trio.current_time())
        assert not each.room


async def test_a_phase_is_bounded_and_forgotten(autojump_clock: trio.testing.MockClock) -> None:
    """It ends after its seconds, whether the server stops or not, and leaves nothing to be told."""
    ours = service()
    for courtesy in (False, True):
        before = trio.current_time()
        with ours.phase(3, courtesy=courtesy) as scope:
            await trio.sleep_forever()
        assert scope.cancelled_caught
        assert trio.current_time() - before == 3
    with ours.silence():
        await trio.lowlevel.checkpoint()
    assert [*ours.phases, *ours.courtesies, *ours.silences] == []


@pytest.mark.parametrize(("seconds", "left", "ended_after"), [(60, 10, 10), (5, 10, 5)])
async def test_a_stop_shortens_what_is_owed_and_never_lengthens_it(
    seconds: float, left: float, ended_after: float, autojump_clock: trio.testing.MockClock
) -> None:
    """Of a phase that runs, and of one that begins afterwards."""
    ours = service()
    before = trio.current_time()
    with ours.phase(seconds):
        ours.stop(before + left)
        ours.stop(before + 1000)
        await trio.sleep_forever()
    assert trio.current_time() - before == ended_after
    with ours.phase(60):
        await trio.sleep_forever()
    assert trio.current_time() - before == max(ended_after, left)


async def test_a_stop_does_not_wait_for_the_manners_of_who_was_refused(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It may hang up within half a second; with no courtesy left, at once."""
    ours = service()
    before = trio.current_time()
    with ours.phase(60, courtesy=True):
        ours.stop(before + 10)
        await trio.sleep_forever()
    assert trio.current_time() - before == STOPPING_COURTESY
    before = trio.current_time()
    with ours.phase(60, courtesy=True):
        await trio.sleep_forever()
    assert trio.current_time() - before == STOPPING_COURTESY
    with ours.phase(60, courtesy=True):
        ours.stop(trio.current_time())
        await trio.sleep_forever()
    assert trio.current_time() - before == STOPPING_COURTESY


async def test_who_has_said_nothing_is_left_at_once() -> None:
    """A wait for the first word is cancelled by the stop, and does not begin after it."""
    ours = service()
    after: list[str] = []
    with ours.silence():
        ours.stop(trio.current_time() + 1000)
        await trio.lowlevel.checkpoint()
        after.append("during the stop")
    with ours.silence():
        await trio.lowlevel.checkpoint()
        after.append("after the stop")
    assert after == []


async def test_every_connection_is_told() -> None:
    """The stop and its deadline; an abort is a stop at once, and more. One may leave while the others are told."""
    ours = service()
    first, second = connected(ours), connected(ours)
    ours.stop(1000.0)
    assert first.heard == second.heard == [1000.0]
    ours.abort()
    for told in (first, second):
        assert len(told.heard) == 3
        assert told.heard[1] <= trio.current_time()  # type: ignore[operator]
        assert told.heard[2] == "abort"
    assert ours.deadline <= trio.current_time()


async def test_who_leaves_when_told_disturbs_nobody() -> None:
    """A connection takes itself out of the list that is being walked through."""
    ours = service()

    class Leaving(Told):
        def stop(self, deadline: float, code: int) -> None:
            super().stop(deadline, code)
            ours.connections.pop(cast(Any, self))

    leaving = [Leaving(), Leaving()]
    for each in leaving:
        ours.connections[cast(Any, each)] = cast(Any, None)
    last = connected(ours)
    ours.stop(5.0)
    assert [each.heard for each in (*leaving, last)] == [[5.0]] * 3


async def test_the_last_records_are_kept() -> None:
    """The latest thousand, so a server that runs for a year keeps no more than one of a day."""
    ours = service()
    for number in range(RECORDS_KEPT + 5):
        ours.records.append(ConnectionRecord(peer=str(number), path="/ws"))
    assert [ours.records[0].peer, ours.records[-1].peer] == ["5", str(RECORDS_KEPT + 4)]


class Task(RouteGroup):
    """Notes what its task lives through."""

    def __init__(self, *, stays: bool = False) -> None:
        self.lived: list[str] = []
        self._stays = stays

    def routes(self) -> dict[str, list[Any]]:
        return {"": [trioecho.echo]}

    async def run(
        self, stopping: trio.Event, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        await trio.lowlevel.checkpoint()
        self.lived.append("started")
        task_status.started()
        try:
            await stopping.wait()
            self.lived.append("stopping")
            if self._stays:
                await trio.sleep_forever()
        finally:
            self.lived.append("ended")


def serving_groups(*groups: RouteGroup) -> Service:
    options = trioecho.WebSocketOptions()
    return Service(RouteTable({f"/{number}": each for number, each in enumerate(groups)}, options), options)


async def test_the_tasks_of_groups_run_from_before_the_first_connection_to_behind_the_last() -> None:
    """They are told of the stop, and waited for."""
    groups = Task(), Task()
    serving = serving_groups(*groups)
    async with serving.groups_running():
        assert [each.lived for each in groups] == [["started"]] * 2
        serving.stop(trio.current_time() + 10)
        await trio.testing.wait_all_tasks_blocked()
        assert [each.lived for each in groups] == [["started", "stopping", "ended"]] * 2


async def test_a_group_that_does_not_end_is_cancelled_at_the_deadline_of_the_stop(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The last that was given; the block is not, which may have to say goodbye."""
    group = Task(stays=True)
    serving = serving_groups(group)
    begun = trio.current_time()
    async with serving.groups_running():
        serving.stop(begun + 10)
        await trio.sleep(3)
        serving.stop(begun + 5)
        await trio.sleep(4)
        assert group.lived == ["started", "stopping", "ended"]


async def test_an_abort_waits_for_no_group() -> None:
    group = Task(stays=True)
    serving = serving_groups(group)
    async with serving.groups_running():
        serving.abort()
    assert group.lived[-1] == "ended"


async def test_what_a_group_raises_ends_the_server() -> None:
    class Failing(Task):
        async def run(
            self, stopping: trio.Event, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
        ) -> None:
            task_status.started()
            raise OSError("no database")

    with pytest.raises(BaseExceptionGroup) as raised:
        async with serving_groups(Failing()).groups_running():
            await trio.sleep_forever()
    assert [str(each) for each in raised.value.exceptions] == ["no database"]


async def test_a_group_without_work_of_its_own_waits_for_the_stop() -> None:
    class Idle(RouteGroup):
        def routes(self) -> dict[str, list[Any]]:
            return {"": [trioecho.echo]}

    serving = serving_groups(Idle())
    async with serving.groups_running():
        serving.stop(trio.current_time() + 10)
