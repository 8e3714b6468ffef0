"""The client of trio-websocket."""

from __future__ import annotations

import trio
from jobs import PIECE, TIMEOUT, Job, Told, jobs
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    ConnectionTimeout,
    DisconnectionTimeout,
    HandshakeError,
    open_websocket_url,
)


async def visit(job: Job, told: Told) -> None:
    async with open_websocket_url(
        job.url, subprotocols=job.subprotocols, connect_timeout=TIMEOUT, disconnect_timeout=TIMEOUT
    ) as ws:
        told.opened, told.subprotocol = True, ws.subprotocol or ""
        try:
            for text in job.say:
                await ws.send_message(text)
            while told.accepted < job.flood:
                await ws.send_message(bytes(PIECE))
                told.accepted += PIECE
            while True:
                message = await ws.get_message()
                if told.hear(message) == job.close_after:
                    # Only the end of the block has a timeout.
                    break
        except ConnectionClosed as closed:
            told.fail(closed)
            # The block may take long to end.
            told.code, told.reason = closed.reason.code, closed.reason.reason or ""
    if told.code is None and ws.closed is not None:
        told.code, told.reason = ws.closed.code, ws.closed.reason or ""


async def main() -> None:
    for job, told in jobs():
        with trio.move_on_after(job.patience) as scope:
            try:
                await visit(job, told)
            except* ConnectionRejected as refused:
                told.status = next(_leaves(refused)).status_code
            except* DisconnectionTimeout as late:
                told.fail(next(_leaves(late)))
                told.code = 1006
            except* (HandshakeError, ConnectionTimeout, OSError, trio.BrokenResourceError) as failed:
                told.fail(next(_leaves(failed)))
            except* Exception as defect:
                told.fail(next(_leaves(defect)))
        told.ended = not scope.cancelled_caught


def _leaves(group):  # type: ignore[no-untyped-def]
    for error in group.exceptions:
        yield from _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]


trio.run(main)
