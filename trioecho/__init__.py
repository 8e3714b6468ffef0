"""trioecho: a WebSocket server for Trio that behaves well on its worst day.

`run` is a whole program, `serve` a part of one. Both take a handler, an async function of one `WebSocket` (the type
`Handler`), or a mapping from paths to what stands there (`Routes`): a handler, a `WebSocketRoute` with options of its
own, an `HttpRoute`, `Files`, or a `RawRoute` (each a `Route`).

Example:

    async def shout(ws: trioecho.WebSocket) -> None:
        async for message in ws:
            await ws.send(message.upper())

    handler: trioecho.Handler = shout
    small: trioecho.Route = trioecho.WebSocketRoute(handler, options={"max_message_size": 100})
    routes: trioecho.Routes = {"/ws": handler, "/small": small, "/healthz": trioecho.HttpRoute(trioecho.healthz)}

The client is `trioecho.client`; tests of handlers stand on `trioecho.testing`. `endings` is the module with the table
of how a connection ends, of whose rows `ConnectionRecord.cause` names one. Examples in docstrings assume that ``trio``
and ``trioecho`` are imported.
"""

from trioecho._http.address_limits import AddressLimits
from trioecho._http.authentication import basic_auth, bearer
from trioecho._http.cors import Cors
from trioecho._http.events import Event, EventStream, last_event_id
from trioecho._http.files import Files
from trioecho._http.messages import Accept, Request, Response, Tls
from trioecho._http.refusals import Refused
from trioecho._http.sample_page import healthz, readyz, sample_page
from trioecho._process.run import run
from trioecho._protocol import endings
from trioecho._protocol.deflate import Deflate
from trioecho._protocol.histogram import Distribution
from trioecho._protocol.record import ConnectionRecord
from trioecho._server.figures import Figures
from trioecho._server.handlers import Handler, echo
from trioecho._server.routes import HttpRoute, RawRoute, Route, RouteGroup, Routes, WebSocketRoute
from trioecho._server.serve import serve
from trioecho._server.server import Server
from trioecho._server.unix import UnixSocket
from trioecho._websocket.broadcast import broadcast
from trioecho._websocket.exceptions import ConnectionEnded, WebSocketBroken, WebSocketClosed, WebSocketEnded
from trioecho._websocket.memory import MemoryFigures
from trioecho._websocket.message_stream import MessageStream
from trioecho._websocket.prepared import Prepared
from trioecho._websocket.websocket import WebSocket
from trioecho.live import LiveServer
from trioecho.options import WebSocketOptions

__all__ = [
    "Accept",
    "AddressLimits",
    "ConnectionEnded",
    "ConnectionRecord",
    "Cors",
    "Deflate",
    "Distribution",
    "Event",
    "EventStream",
    "Figures",
    "Files",
    "Handler",
    "HttpRoute",
    "LiveServer",
    "MemoryFigures",
    "MessageStream",
    "Prepared",
    "RawRoute",
    "Refused",
    "Request",
    "Response",
    "Route",
    "RouteGroup",
    "Routes",
    "Server",
    "Tls",
    "UnixSocket",
    "WebSocket",
    "WebSocketBroken",
    "WebSocketClosed",
    "WebSocketEnded",
    "WebSocketOptions",
    "WebSocketRoute",
    "basic_auth",
    "bearer",
    "broadcast",
    "echo",
    "endings",
    "healthz",
    "last_event_id",
    "readyz",
    "run",
    "sample_page",
    "serve",
]
