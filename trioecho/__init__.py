"""trioecho: a WebSocket server for Trio that behaves well on its worst day."""

from trioecho._http.refusals import Refused
from trioecho._process.run import run
from trioecho._protocol import endings
from trioecho._protocol.record import ConnectionRecord
from trioecho._server.handlers import Handler, echo
from trioecho._server.routes import HttpRoute, RawRoute, Route, Routes, WebSocketRoute
from trioecho._server.serve import serve
from trioecho._server.server import Server
from trioecho._server.unix import UnixSocket
from trioecho._websocket.exceptions import ConnectionEnded, WebSocketBroken, WebSocketClosed, WebSocketEnded
from trioecho._websocket.websocket import WebSocket
from trioecho.live import LiveServer
from trioecho.options import WebSocketOptions

__all__ = [
    "ConnectionEnded",
    "ConnectionRecord",
    "Handler",
    "LiveServer",
    "Refused",
    "Server",
    "UnixSocket",
    "WebSocket",
    "WebSocketBroken",
    "WebSocketClosed",
    "WebSocketEnded",
    "WebSocketOptions",
    "echo",
    "endings",
    "run",
    "serve",
]
