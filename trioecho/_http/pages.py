"""What plain HTTP hears: the sample page, /healthz, or a refusal in one sentence. Values in, values out; no
stream.

Every answer closes its connection and says so. One connection carries one request here: there is nothing to
keep alive for, and a client that thinks otherwise would take a frame for a response.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import h11

from trioecho._http.refusals import Refused, listed, quoted
from trioecho._http.sample_page import PageFile, has_current, page_files, with_endpoint
from trioecho._http.upgrade import path_and_target

Headers = tuple[tuple[str, str], ...]

_TEXT = "text/plain; charset=utf-8"
_ON_EVERY_RESPONSE: Headers = (("X-Content-Type-Options", "nosniff"), ("Connection", "close"))


@dataclass(frozen=True, slots=True)
class Response:
    """A response to send: its headers are complete, its body is a GET's (a HEAD sends the headers alone)."""

    status: int
    headers: Headers
    body: bytes


def respond(request: h11.Request, paths: Collection[str]) -> Response:
    """Answers a request that does not want a WebSocket; `paths` are where WebSockets are served.

    The page and /healthz come before `paths`: a WebSocket served at `/` leaves the page there for browsers. OPTIONS of
    any of them, and of `*`, is answered with the methods that it takes.
    A body of the request is not read.
    """
    path, _ = path_and_target(request.target)
    if path == "*" and request.method == b"OPTIONS":
        return _options("GET, HEAD, OPTIONS")
    file = page_files().get(path)
    if file is None and path != "/healthz" and path not in paths:
        return refusal(Refused(404, _not_found(path, paths)))
    if request.method not in (b"GET", b"HEAD"):
        plain = file is not None or path == "/healthz"
        allow, takes = (
            ("GET, HEAD, OPTIONS", "GET and HEAD")
            if plain
            else ("GET, OPTIONS", "WebSocket handshakes, which are GET")
        )
        if request.method == b"OPTIONS":
            return _options(allow)
        sentence = f"{quoted(path)} takes {takes}; received {quoted(request.method.decode('ascii'))}."
        return refusal(Refused(405, sentence, (("Allow", allow),)))
    if file is not None:
        return _page(request, with_endpoint(file, next(iter(paths), "/ws")))
    if path == "/healthz":
        return _text(200, "ok", (("Cache-Control", "no-store"),))
    sentence = (
        f"A WebSocket is served at {quoted(path)}; received a request without the headers that ask for one, "
        "'Upgrade: websocket' and 'Connection: Upgrade', which a proxy on the way may have removed."
    )
    return refusal(Refused(400, sentence))


def refusal(refused: Refused) -> Response:
    """The response that a refusal asks for: its status, its headers, its sentence."""
    response = _text(refused.status, f"{refused.sentence}\n", refused.headers)
    if not any(name == "Upgrade" for name, _ in refused.headers):
        return response
    # Upgrade concerns this connection only, and Connection names what does (RFC 9110 §7.8).
    headers = [
        (name, "close, Upgrade" if name == "Connection" else value) for name, value in response.headers
    ]
    return replace(response, headers=tuple(headers))


def _page(request: h11.Request, file: PageFile) -> Response:
    headers = (*file.headers, ("Connection", "close"))
    tags = [value.decode("latin-1") for name, value in request.headers if name == b"if-none-match"]
    if has_current(tags, file.etag):
        return Response(304, headers, b"")
    return Response(200, (*headers, ("Content-Length", str(len(file.body)))), file.body)


def _options(allow: str) -> Response:
    """Which methods there are (RFC 9110 §9.3.7)."""
    return Response(204, (("Allow", allow), *_ON_EVERY_RESPONSE), b"")


def _not_found(path: str, paths: Collection[str]) -> str:
    page = "the page is at '/', " if "/" in page_files() else ""
    return (
        f"Nothing is served at {quoted(path)}; {page}the health check at '/healthz', "
        f"WebSockets at {listed(paths)}."
    )


def _text(status: int, body: str, headers: Headers = ()) -> Response:
    encoded = body.encode("utf-8")
    headers += (("Content-Type", _TEXT), ("Content-Length", str(len(encoded))))
    return Response(status, headers + _ON_EVERY_RESPONSE, encoded)
