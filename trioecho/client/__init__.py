"""A WebSocket client for Trio, on the library trio-websocket.

    async with trioecho.client.connect("ws://127.0.0.1:5000/ws") as ws:
        await ws.send("hello")
        print(await ws.receive())

Leaving the block closes the connection; where none could be opened, `HandshakeFailed` or OSError says why.
"""

from trioecho.client.connecting import connect
from trioecho.client.refusals import HandshakeFailed, HandshakeRefused
from trioecho.client.websocket import WebSocket

__all__ = ["HandshakeFailed", "HandshakeRefused", "WebSocket", "connect"]
