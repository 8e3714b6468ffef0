"""trio-websocket on Trio: what trioecho is built on, used bare."""

from functools import partial

import trio
from contract import HOST, MAX_MESSAGE_SIZE, announce, tls_from_arguments
from trio_websocket import ConnectionClosed, WebSocketRequest, serve_websocket


async def echo(request: WebSocketRequest) -> None:
    """Send every message back."""
    ws = await request.accept()
    try:
        while True:
            await ws.send_message(await ws.get_message())
    except ConnectionClosed:
        pass


async def main() -> None:
    """Serve until ended."""
    serve = partial(serve_websocket, echo, HOST, 0, tls_from_arguments(), max_message_size=MAX_MESSAGE_SIZE)
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve)
        announce(server.port)


trio.run(main)
