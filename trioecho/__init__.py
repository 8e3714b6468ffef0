"""trioecho: a WebSocket server for Trio that behaves well on its worst day."""

from trioecho._http.refusals import Refused
from trioecho._process.run import run
from trioecho._protocol import endings
from trioecho._protocol.record import ConnectionRecord
from trioecho._server.routes import Handler, echo
from trioecho._server.serve import Server, serve
from trioecho._websocket.broadcast import broadcast
from trioecho._websocket.prepared import Prepared
from trioecho._websocket.websocket import WebSocket, WebSocketBroken, WebSocketClosed, WebSocketEnded
from trioecho.live import LiveServer
from trioecho.options import WebSocketOptions

__all__ = [
    "ConnectionRecord",
    "Handler",
    "LiveServer",
    "Prepared",
    "Refused",
    "Server",
    "WebSocket",
    "WebSocketBroken",
    "WebSocketClosed",
    "WebSocketEnded",
    "WebSocketOptions",
    "broadcast",
    "echo",
    "endings",
    "run",
    "serve",
]
