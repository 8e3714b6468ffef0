"""What plain HTTP hears: the sample page, /healthz, or a refusal in one sentence. Values in, values out; no
stream.
"""

from __future__ import annotations

import hashlib
import html
import importlib.resources
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources.abc import Traversable

from trioecho._http.messages import Request, Response, answer_to
from trioecho._http.refusals import Refused, listed, quoted

Headers = tuple[tuple[str, str], ...]

_CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
# The page needs its own script, style and images, and a WebSocket to any server that is typed into it;
# nothing else.
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' ws: wss:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# The place in index.html that says where the page finds its WebSocket.
_ENDPOINT = b'<meta name="trioecho-endpoint" content="%s">'
_ON_EVERY_RESPONSE: Headers = (("X-Content-Type-Options", "nosniff"),)


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file of the page: what is sent with 200, and the headers that a 304 repeats."""

    etag: str
    headers: Headers
    body: bytes


def respond(request: Request, paths: Collection[str]) -> Response:
    """Answers a request that does not want a WebSocket; `paths` are where WebSockets are served.

    The page and /healthz come before `paths`: a WebSocket served at `/` leaves the page there for browsers. OPTIONS of
    any of them, and of `*`, is answered with the methods that it takes.
    A body of the request is not read.
    """
    path = request.path
    if path == "*" and request.method == "OPTIONS":
        return _options("GET, HEAD, OPTIONS")
    file = page_files().get(path)
    if file is None and path != "/healthz" and path not in paths:
        return refusal(Refused(404, _not_found(path, paths)))
    if request.method not in ("GET", "HEAD"):
        plain = file is not None or path == "/healthz"
        allow, takes = (
            ("GET, HEAD, OPTIONS", "GET and HEAD")
            if plain
            else ("GET, OPTIONS", "WebSocket handshakes, which are GET")
        )
        if request.method == "OPTIONS":
            return _options(allow)
        sentence = f"{quoted(path)} takes {takes}; received {quoted(request.method)}."
        return refusal(Refused(405, sentence, (("Allow", allow),)))
    if file is not None:
        return _page(request, _with_endpoint(file, next(iter(paths), "/ws")))
    if path == "/healthz":
        return Response("ok", headers=(("Cache-Control", "no-store"), *_ON_EVERY_RESPONSE))
    sentence = (
        f"A WebSocket is served at {quoted(path)}; received a request without the headers that ask for one, "
        "'Upgrade: websocket' and 'Connection: Upgrade', which a proxy on the way may have removed."
    )
    return refusal(Refused(400, sentence))


def refusal(refused: Refused) -> Response:
    """The response that a refusal asks for: its status, its headers, its sentence."""
    response = answer_to(refused)
    response.headers += _ON_EVERY_RESPONSE
    return response


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


def _page(request: Request, file: PageFile) -> Response:
    if _has_current(request, file.etag):
        return Response(status=304, headers=file.headers)
    return Response(file.body, headers=file.headers)


def _has_current(request: Request, etag: str) -> bool:
    """If-None-Match, by the weak comparison it asks for (RFC 9110 §13.1.2)."""
    tags = [tag.strip() for value in request.headers.get_all("if-none-match") for tag in value.split(",")]
    return any(tag == "*" or tag.removeprefix("W/") == etag for tag in tags)


def _options(allow: str) -> Response:
    """Which methods there are (RFC 9110 §9.3.7)."""
    return Response(status=204, headers=(("Allow", allow), *_ON_EVERY_RESPONSE))


def _not_found(path: str, paths: Collection[str]) -> str:
    page = "the page is at '/', " if "/" in page_files() else ""
    return (
        f"Nothing is served at {quoted(path)}; {page}the health check at '/healthz', "
        f"WebSockets at {listed(paths)}."
    )
