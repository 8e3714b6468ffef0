"""The client of aiohttp."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import aiohttp
from jobs import KEEP_ALIVE, PIECE, TIMEOUT, Job, Told, jobs


async def visit(session: aiohttp.ClientSession, job: Job, told: Told) -> None:
    ws = await session.ws_connect(
        job.url,
        protocols=job.subprotocols,
        compress=15 if job.compress else 0,
        timeout=aiohttp.ClientWSTimeout(ws_close=TIMEOUT),
        heartbeat=KEEP_ALIVE,
    )
    told.opened, told.subprotocol = True, ws.protocol or ""
    try:
        for text in job.say:
            await ws.send_str(text)
        while told.accepted < job.flood:
            await ws.send_bytes(bytes(PIECE))
            told.accepted += PIECE
        while (message := await ws.receive()).type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            if told.hear(message.data) == job.close_after:
                await ws.close()
        told.error = f"{message.type.name}: {message.data!r}"[:300]
        # What `close_code` says once aiohttp has closed by itself is its own.
        told.code = message.data if message.type is aiohttp.WSMsgType.CLOSE else ws.close_code
        told.reason = str(message.extra or "")
    finally:
        # At once: `ws.close` would wait for an answer.
        if (connection := ws.get_extra_info("socket")) is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


async def main() -> None:
    # Cookies of an address are kept only by a jar that is told so.
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(sock_connect=TIMEOUT), cookie_jar=aiohttp.CookieJar(unsafe=True)
    ) as session:
        for job, told in jobs():
            try:
                async with asyncio.timeout(job.patience) as scope:
                    await visit(session, job, told)
            except aiohttp.WSServerHandshakeError as refused:
                told.fail(refused)
                # It has the status 101 too where something else than the status was wrong.
                told.status = refused.status if refused.status != 101 else None
            except (aiohttp.ClientError, OSError) as error:
                told.fail(error)
            told.ended = not scope.expired()


asyncio.run(main())
