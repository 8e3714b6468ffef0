"""websockets on Trio."""

from functools import partial

import trio
from contract import HOST, MAX_MESSAGE_SIZE, announce, log_to_stderr, tls_from_arguments
from websockets.trio.server import ServerConnection, serve


async def echo(ws: ServerConnection) -> None:
    """Send every message back."""
    async for message in ws:
        await ws.send(message)


async def main() -> None:
    """Serve until ended."""
    log_to_stderr()
    start = partial(
        serve,
        echo,
        0,
        host=HOST,
        compression=None,
        max_size=MAX_MESSAGE_SIZE,
        ssl=tls_from_arguments(),
    )
    async with trio.open_nursery() as nursery:
        server = await nursery.start(start)
        announce(server.listeners[0].socket.getsockname()[1])


trio.run(main)
