"""What plain HTTP hears: the sample page, /healthz, or a refusal in one sentence. Values in, values out; no
stream.

Every answer closes its connection and says so. One connection carries one request here: there is nothing to
keep alive for, and a client that thinks otherwise would take a frame for a response.
"""

from __future__ import annotations

import hashlib
import html
import importlib.resources
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from importlib.resources.abc import Traversable

import h11

from trioecho._http.refusals import Refused, listed, quoted
from trioecho._http.upgrade import path_and_target

Headers = tuple[tuple[str, str], ...]

_CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
_TEXT = "text/plain; charset=utf-8"
# The page needs its own script, style and images, and a WebSocket to any server that is typed into it;
# nothing else.
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' ws: wss:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# The place in index.html that says where the page finds its WebSocket.
_ENDPOINT = b'<meta name="trioecho-endpoint" content="%s">'
_ON_EVERY_RESPONSE: Headers = (("X-Content-Type-Options", "nosniff"), ("Connection", "close"))


@dataclass(frozen=True, slots=True)
class Response:
    """A response to send: its headers are complete, its body is a GET's (a HEAD sends the headers alone)."""

    status: int
    headers: Headers
    body: bytes


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file of the page: what is sent with 200, and the headers that a 304 repeats."""

    etag: str
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
        return _page(request, _with_endpoint(file, next(iter(paths), "/ws")))
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


@cache
def page_files() -> Mapping[str, PageFile]:
    """The files of the package's folder `page` by the path of their URL, read once; `/` is index.html."""
    return read_page(importlib.resources.files("trioecho") / "page")


def read_page(folder: Traversable) -> Mapping[str, PageFile]:
    """The files in a folder by path: those of a known type, none in folders below; no folder, no files.

    Everything that can be asked for is in this mapping, so no request ever names a file on the disk.
    """
    files: dict[str, PageFile] = {}
    if not folder.is_dir():
        return files
    for entry in folder.iterdir():
        suffix = entry.name[entry.name.rfind(".") :]
        if entry.is_file() and suffix in _CONTENT_TYPES:
            files["/" if entry.name == "index.html" else f"/{entry.name}"] = _page_file(
                entry.read_bytes(), suffix
            )
    return files


def _page_file(body: bytes, suffix: str) -> PageFile:
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = (
        ("ETag", etag),
        # Keep it, but ask before use: a page of another version must not meet this version's script.
        ("Cache-Control", "no-cache"),
        ("Content-Type", _CONTENT_TYPES[suffix]),
        ("Content-Security-Policy", _PAGE_POLICY),
        ("Referrer-Policy", "no-referrer"),
    )
    return PageFile(etag, headers + _ON_EVERY_RESPONSE, body)


@lru_cache(maxsize=64)
def _with_endpoint(file: PageFile, path: str) -> PageFile:
    """The file with the path of its WebSocket filled in; itself, if it has no place for one."""
    # A path from the command line may hold half a surrogate pair: it must not cost the server its page.
    content = html.escape(path).encode("utf-8", "replace")
    body = file.body.replace(_ENDPOINT % b"/ws", _ENDPOINT % content)
    return file if body == file.body else _page_file(body, ".html")


def _page(request: h11.Request, file: PageFile) -> Response:
    if _has_current(request, file.etag):
        return Response(304, file.headers, b"")
    return Response(200, (*file.headers, ("Content-Length", str(len(file.body)))), file.body)


def _has_current(request: h11.Request, etag: str) -> bool:
    """If-None-Match, by the weak comparison it asks for (RFC 9110 §13.1.2)."""
    tags = [
        tag.strip()
        for name, value in request.headers
        if name == b"if-none-match"
        for tag in value.split(b",")
    ]
    return any(tag == b"*" or tag.removeprefix(b"W/") == etag.encode("ascii") for tag in tags)


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
