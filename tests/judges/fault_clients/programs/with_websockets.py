"""The asyncio client of websockets."""

from __future__ import annotations

import asyncio

from jobs import KEEP_ALIVE, PIECE, TIMEOUT, Job, Told, jobs
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, ProtocolError


async def visit(job: Job, told: Told) -> None:
    ws = await connect(
        job.url,
        proxy=None,
        subprotocols=job.subprotocols or None,  # type: ignore[arg-type]
        compression="deflate" if job.compress else None,
        open_timeout=TIMEOUT,
        close_timeout=TIMEOUT,
        ping_interval=KEEP_ALIVE,
        ping_timeout=KEEP_ALIVE,
    )
    told.opened, told.subprotocol = True, ws.subprotocol or ""
    try:
        for text in job.say:
            await ws.send(text)
        while told.accepted < job.flood:
            await ws.send(bytes(PIECE))
            told.accepted += PIECE
        while True:
            if told.hear(await ws.recv()) == job.close_after:
                await ws.close()
    except ConnectionClosed as closed:
        told.fail(closed)
    finally:
        told.code, told.reason = ws.close_code, ws.close_reason or ""
        ws.transport.abort()


async def main() -> None:
    for job, told in jobs():
        try:
            async with asyncio.timeout(job.patience) as scope:
                await visit(job, told)
        except InvalidStatus as refused:
            told.status = refused.response.status_code
        except (OSError, InvalidHandshake, ProtocolError, EOFError) as error:
            told.fail(error)
        told.ended = not scope.expired()


asyncio.run(main())
