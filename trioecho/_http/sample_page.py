"""The sample page: a client for WebSockets in the browser, which any route can serve; and the health check.

The page is the folder `page` of the package. Its files refer to each other relatively, so it may stand anywhere.
"""

from __future__ import annotations

import html
import importlib.resources
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING

from trioecho._http.conditional import Validators, etag_of, precondition
from trioecho._http.content_types import NOSNIFF, UNKNOWN, content_type
from trioecho._http.messages import Response
from trioecho._http.refusals import Refused, quoted

if TYPE_CHECKING:
    from trioecho._http.messages import Request

# The page needs its own script, style and images, and a WebSocket to any server that is typed into it;
# nothing else.
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' ws: wss:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_DEFAULT_ENDPOINT = "/ws"
# The place in index.html that says where the page finds its WebSocket.
_ENDPOINT = b'<meta name="trioecho-endpoint" content="%s">'
# What is added to index.html for the picker of faults, besides its dialog.
_FAULTS_HEAD = (
    b'<meta name="trioecho-faults" content="%s">\n<link rel="stylesheet" href="faults.css">\n'
    b'<script type="module" src="faults.js" blocking="render"></script>\n</head>'
)
# The place for links to other pages of the server.
_LINKS = b"<!-- links -->"


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file of the page: what is sent with 200, and the headers that a 304 repeats."""

    etag: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def answer(self, request: Request) -> Response:
        """Return the file, or 304 if the client has it (RFC 9110 §13.1.2)."""
        status = precondition(request.method, request.headers, Validators(self.etag))
        if status is not None:
            return Response(status=status, headers=self.headers)
        return Response(self.body, headers=self.headers)


class SamplePage:
    """What `sample_page` returns: an async function of a request, which answers with a file of the page."""

    __slots__ = ("_endpoint", "_faults", "_found", "_links")

    def __init__(
        self,
        endpoint: str | None = None,
        faults: str | None = None,
        links: Mapping[str, str] | None = None,
    ) -> None:
        """`links` are names of other pages of the server by their URLs, relative to this one's."""
        _check_path("endpoint", endpoint, "/ws")
        _check_path("faults", faults, "/faults")
        self._endpoint = endpoint
        self._faults = faults
        self._found = _DEFAULT_ENDPOINT
        self._links = tuple((links or {}).items())

    def __repr__(self) -> str:
        return f"<trioecho.SamplePage of {self.endpoint!r}>"

    @property
    def endpoint(self) -> str:
        """The path of the WebSocket that the page offers to connect to, decoded."""
        return self._found if self._endpoint is None else self._endpoint

    def use_endpoint(self, path: str) -> None:
        """Say where the server has its first WebSocket. The server does; what `sample_page` was given takes
        precedence."""
        self._found = path

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of all files, to mount each by itself: "/" is the page, "/page.js" its script, and so on."""
        return tuple(page_files() if self._faults is None else files_with_faults(self._faults))

    async def __call__(self, request: Request) -> Response:
        """Answer a GET or HEAD with a file, or 304 if the client has it (RFC 9110 §13.1.2).

        The file is that of the route's parameter `path`; without one, that of the path's last segment, and where this
        is no file the page stands at this path itself, and the answer leads to the same with a slash. Raises `Refused`
        (404) for a file that is not there. Not a checkpoint.
        """
        name = request.path_params.get("path")
        mounted_alone = name is None
        if name is None:
            name = request.path.rpartition("/")[2]
        table = None if self._faults is None else request.root_path + self._faults
        files = page_files() if table is None else files_with_faults(table)
        file = files.get("/" if name == "/" else f"/{name}")
        if file is None and mounted_alone:
            return _with_slash(request)
        if file is None:
            raise Refused(404, f"Nothing is served at {quoted(request.path)}.")
        return filled_in(file, request.root_path + self.endpoint, self._links).answer(request)


def sample_page(endpoint: str | None = None, *, faults: str | None = None) -> SamplePage:
    """Make the sample page, a client for WebSockets in the browser, to be given as a route.

    It has several files, so mount it with a parameter called `path`: ``{"/demo": page, "/demo/{path:path}": page}``,
    where the first is for those who leave out the slash, and is sent on to the second.

    `endpoint` is the path of the WebSocket that it offers to connect to; by default, the first one of its server.
    `faults` is the path of the table of `trioecho.faults.routes`, "/faults", where the page is to have a picker of the
    faults, which can also try all of them against the browser. Their paths have to stand beside that of the table.

    Example:

        page = trioecho.sample_page("/echo")
        routes = {"/echo": trioecho.echo, "/demo": page, "/demo/{path:path}": page}

    Raises TypeError or ValueError with one sentence for what is no path.
    """
    return SamplePage(endpoint, faults)


async def healthz(request: Request) -> Response:
    """Answer "ok": whoever hears it knows that the server takes requests. Not a checkpoint.

    Where a `RouteGroup` of the server says that it is not healthy, such as a hub that cannot reach the other processes,
    the answer is "unhealthy", with 503.
    """
    healthy = request.server is None or request.server.healthy
    return Response(
        "ok" if healthy else "unhealthy",
        status=200 if healthy else 503,
        headers=(("Cache-Control", "no-store"), NOSNIFF),
    )


async def readyz(request: Request) -> Response:
    """Answer "ok", or 503 "stopping" from when the server has begun to stop (`Server.stop`), while it still serves: a
    load balancer that hears it sends no more clients here. Not a checkpoint.

    Example:

        health = trioecho.HttpRoute(trioecho.healthz)
        routes = {"/ws": trioecho.echo, "/livez": health, "/readyz": trioecho.HttpRoute(trioecho.readyz)}
    """
    headers = (("Cache-Control", "no-store"), NOSNIFF)
    return (
        Response("ok", headers=headers)
        if request.ready
        else Response("stopping", status=503, headers=headers)
    )


@cache
def page_files() -> Mapping[str, PageFile]:
    """The files of the package's folder `page` by the path of their URL, read once; `/` is index.html."""
    return read_page(importlib.resources.files("trioecho") / "page")


@lru_cache(maxsize=8)
def files_with_faults(table: str) -> Mapping[str, PageFile]:
    """The files of the page with the picker of faults, whose table is at the path `table`."""
    folder = importlib.resources.files("trioecho") / "page" / "faults"
    more = dict(read_page(folder))
    dialog = more.pop("/faults.html").body
    content = html.escape(table).encode("utf-8", "replace")
    page = page_files()["/"].body.replace(b"</head>", _FAULTS_HEAD % content)
    page = page.replace(b"</body>", dialog + b"</body>")
    return {**page_files(), **more, "/": _page_file(page, content_type("index.html"), _PAGE_POLICY)}


def read_page(folder: Traversable, policy: str = _PAGE_POLICY) -> Mapping[str, PageFile]:
    """The files in a folder by path: those of a known type, none in folders below; no folder, no files.

    `policy` is their Content-Security-Policy. Everything that can be asked for is in this mapping, so no request ever
    names a file on the disk.
    """
    files: dict[str, PageFile] = {}
    if not folder.is_dir():
        return files
    for entry in folder.iterdir():
        if entry.is_file() and content_type(entry.name) != UNKNOWN:
            files["/" if entry.name == "index.html" else f"/{entry.name}"] = _page_file(
                entry.read_bytes(), content_type(entry.name), policy
            )
    return files


@lru_cache(maxsize=64)
def filled_in(file: PageFile, path: str, links: tuple[tuple[str, str], ...] = ()) -> PageFile:
    """The file with the path of its WebSocket and the links filled in; itself, if it has no place for them."""
    # A path from the command line may hold half a surrogate pair: it must not cost the server its page.
    content = html.escape(path).encode("utf-8", "replace")
    body = file.body.replace(_ENDPOINT % _DEFAULT_ENDPOINT.encode(), _ENDPOINT % content)
    if links:
        anchors = [f'<a href="{html.escape(url)}">{html.escape(name)}</a>' for url, name in links]
        body = body.replace(_LINKS, " ".join(anchors).encode())
    return file if body == file.body else _page_file(body, content_type("index.html"), _PAGE_POLICY)


def _check_path(name: str, path: object, example: str) -> None:
    """Raise TypeError or ValueError for what is no path and not None."""
    if path is None:
        return
    if not isinstance(path, str):
        raise TypeError(f"{name} takes a path such as {example!r}, or None; you gave {path!r}")
    if not path.startswith("/"):
        raise ValueError(f"{name} takes a path that begins with a slash; you gave {path!r}")


def _page_file(body: bytes, kind: str, policy: str) -> PageFile:
    etag = etag_of(body)
    headers = (
        ("ETag", etag),
        # Keep it, but ask before use: a page of another version must not meet this version's script.
        ("Cache-Control", "no-cache"),
        ("Content-Type", kind),
        ("Content-Security-Policy", policy),
        ("Referrer-Policy", "no-referrer"),
        NOSNIFF,
    )
    return PageFile(etag, headers, body)


def _with_slash(request: Request) -> Response:
    """Lead to the same path with a slash behind it, below which the page finds its files."""
    path, question_mark, query = request.target.partition("?")
    # Relative to where the client is: a path with two slashes at its front would be taken for another host.
    location = f"./{path.rpartition('/')[2]}/{question_mark}{query}"
    return Response(status=308, headers={"Location": location})
