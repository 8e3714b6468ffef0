"""A call that waits, and a task that waits for one."""

from __future__ import annotations

import trio
from hubs.memory_connection import settled

from trioecho.hubs.call import NO_UPLOADS, Call, Worker
from trioecho.hubs.messages import ABSENT, Invocation


def test_a_call_has_no_uploads_and_no_scope_until_it_is_given_them() -> None:
    call = Call(Invocation("1", "a", ABSENT, []), None, "no such method")
    assert (call.uploads, call.scope, call.failure) == ([], None, "no such method")
    assert call.uploads is not NO_UPLOADS


async def test_a_worker_that_is_cancelled_while_it_waits_is_not_idle_any_more() -> None:
    idle: list[Worker] = []
    worker = Worker(idle)

    async def wait() -> None:
        worker.task = trio.lowlevel.current_task()
        idle.append(worker)
        await trio.lowlevel.wait_task_rescheduled(worker.abort)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await settled()
        assert idle == [worker]
        nursery.cancel_scope.cancel()
    assert idle == []
