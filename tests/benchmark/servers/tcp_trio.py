"""Raw TCP echo over `trio.SocketStream`: what Trio itself costs, without any protocol."""

from functools import partial

import trio
from contract import HOST, announce


async def echo(stream: trio.SocketStream) -> None:
    """Send every byte back."""
    async for data in stream:
        await stream.send_all(data)


async def main() -> None:
    """Serve until ended."""
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, echo, 0, host=HOST))
        announce(listeners[0].socket.getsockname()[1])


trio.run(main)
