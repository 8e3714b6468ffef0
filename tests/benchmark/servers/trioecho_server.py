"""trioecho itself."""

from functools import partial

import trio
from contract import HOST, MAX_MESSAGE_SIZE, announce, tls_from_arguments

import trioecho


async def echo(ws: trioecho.WebSocket) -> None:
    """Send every message back."""
    async for message in ws:
        await ws.send(message)


async def main() -> None:
    """Serve until ended."""
    serve = partial(
        trioecho.serve,
        echo,
        host=HOST,
        port=0,
        options=trioecho.WebSocketOptions(max_message_size=MAX_MESSAGE_SIZE),
        ssl_context=tls_from_arguments(),
    )
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve)
        announce(server.port)


trio.run(main)
