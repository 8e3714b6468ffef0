"""trioecho: a WebSocket server for Trio that behaves well on its worst day."""

from trioecho.handlers import Handler, echo
from trioecho.handshake import RequestRefused
from trioecho.live import LiveServer
from trioecho.options import WebSocketOptions
from trioecho.record import ConnectionRecord
from trioecho.server import Server, serve
from trioecho.websocket import WebSocket, WebSocketBroken, WebSocketClosed, WebSocketEnded

__all__ = [
    "ConnectionRecord",
    "Handler",
    "LiveServer",
    "RequestRefused",
    "Server",
    "WebSocket",
    "WebSocketBroken",
    "WebSocketClosed",
    "WebSocketEnded",
    "WebSocketOptions",
    "echo",
    "serve",
]
