"""picows (Cython) on uvloop.

picows calls a listener for each frame instead of running a handler per connection, and hands text over undecoded.
It is the least work of all contenders, and the only one on which a handler cannot wait.
"""

import asyncio

import picows
import uvloop
from contract import HOST, MAX_MESSAGE_SIZE, announce

MESSAGES = (picows.WSMsgType.TEXT, picows.WSMsgType.BINARY)


class Echo(picows.WSListener):
    """Send every message back."""

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """Answer one frame."""
        if frame.msg_type in MESSAGES:
            transport.send(frame.msg_type, frame.get_payload_as_bytes())
        elif frame.msg_type is picows.WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()


def listener(request: picows.WSUpgradeRequest) -> Echo:
    """One listener per connection."""
    return Echo()


async def main() -> None:
    """Serve until ended."""
    server = await picows.ws_create_server(listener, HOST, 0, max_frame_size=MAX_MESSAGE_SIZE)
    announce(server.sockets[0].getsockname()[1])
    await asyncio.Event().wait()


uvloop.run(main())
