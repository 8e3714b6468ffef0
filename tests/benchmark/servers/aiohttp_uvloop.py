"""aiohttp on uvloop."""

import asyncio

import uvloop
from aiohttp import WSMsgType, web
from contract import DEFLATE, HOST, MAX_MESSAGE_SIZE, announce


async def echo(request: web.Request) -> web.WebSocketResponse:
    """Send every message back."""
    # With `compress` the window is the one that the client asks for, and level and memory level are aiohttp's own.
    ws = web.WebSocketResponse(compress=DEFLATE, max_msg_size=MAX_MESSAGE_SIZE)
    await ws.prepare(request)
    async for message in ws:
        if message.type is WSMsgType.TEXT:
            await ws.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await ws.send_bytes(message.data)
    return ws


async def main() -> None:
    """Serve until ended."""
    app = web.Application()
    app.router.add_get("/ws", echo)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0).start()
    announce(runner.addresses[0][1])
    await asyncio.Event().wait()


uvloop.run(main())
