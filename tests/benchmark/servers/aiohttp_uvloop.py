"""aiohttp on uvloop."""

import asyncio

import uvloop
from aiohttp import WSMsgType, web
from contract import (
    DEFLATE,
    FOLDER,
    HOST,
    LOG,
    MAX_MESSAGE_SIZE,
    announce,
    log_to_stderr,
    tls_from_arguments,
)


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


async def take_body(request: web.Request) -> web.Response:
    """Read a body."""
    await request.read()
    return web.Response(status=204)


async def main() -> None:
    """Serve until ended."""
    log_to_stderr()
    app = web.Application()
    app.router.add_get("/ws", echo)
    if FOLDER is not None:
        app.router.add_static("/files", FOLDER)
        app.router.add_post("/bodies", take_body)
    runner = web.AppRunner(app) if LOG else web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0, ssl_context=tls_from_arguments()).start()
    announce(runner.addresses[0][1])
    await asyncio.Event().wait()


uvloop.run(main())
