"""A directory of files to be served, requests for them, and a look at which are open."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

import pytest
import trio

from trioecho._http import beneath
from trioecho._http.files import PIECE, Files
from trioecho._http.messages import Request, Response
from trioecho._http.paths import PathPattern, PathTable
from trioecho._http.refusals import HeadersLike, Refused

LARGE = bytes(range(256)) * 1024  # four pieces


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A directory with something in it, beside a secret; no file may be left open in either."""
    root = tmp_path / "root"
    (root / "docs" / "deep").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / ".git").mkdir()
    (root / "hello.txt").write_bytes(b"inside: hello")
    (root / "index.html").write_bytes(b"inside: index")
    (root / "docs" / "index.html").write_bytes(b"inside: docs")
    (root / "docs" / "deep" / "page.html").write_bytes(b"inside: page")
    (root / ".git" / "config").write_bytes(b"inside, hidden")
    (root / ".env").write_bytes(b"inside, hidden")
    (root / "empty.css").write_bytes(b"")
    (root / "large.bin").write_bytes(LARGE)
    (tmp_path / "secret.txt").write_bytes(b"outside")
    (tmp_path / "root-too").mkdir()
    (tmp_path / "root-too" / "secret.txt").write_bytes(b"outside")
    yield root
    assert open_below(tmp_path) == []


@pytest.fixture(params=["relative", "resolved"])
def way_of_opening(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Relative to a directory's descriptor, or, as on Windows, by the whole path."""
    monkeypatch.setattr(beneath, "_RELATIVE", request.param == "relative")
    return str(request.param)


def open_below(path: Path) -> list[str]:
    """What this process has open there."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            target = os.readlink(descriptor)
            if target.startswith(str(path)):
                found.append(target)
    return found


async def until_closed(path: Path) -> None:
    """A thread that has just reported back may hold on to the file for a moment."""
    with trio.fail_after(60):
        while open_below(path):
            gc.collect()
            await trio.sleep(0.001)


def request_for(
    target: str,
    headers: HeadersLike = (),
    *,
    method: str = "GET",
    pattern: str = "/static/{path:path}",
) -> Request:
    """A request as it reaches the endpoint of a route."""
    path = target.partition("?")[0]
    with suppress(UnicodeDecodeError):
        path = unquote(path.replace("%2F", "%252F").replace("%2f", "%252f"), errors="strict")
    request = Request(method, path, target, headers)
    found = PathTable([(PathPattern(pattern), True)]).find(path, target)
    assert found is not None, f"{target!r} is not of the route {pattern!r}"
    request.path_params = found[1]
    return request


async def refused_by(endpoint: Files, request: Request) -> Refused:
    with pytest.raises(Refused) as refused:
        await endpoint(request)
    assert ("X-Content-Type-Options", "nosniff") in refused.value.headers
    return refused.value


async def content_of(response: Response) -> bytes:
    """The body, streamed or not; it has as many bytes as Content-Length says."""
    if isinstance(response.body, bytes):
        return response.body
    pieces = [piece async for piece in response.body]
    assert all(isinstance(piece, bytes) and 0 < len(piece) <= PIECE for piece in pieces)
    content = b"".join(piece for piece in pieces if isinstance(piece, bytes))
    assert fields_of(response)["content-length"] == str(len(content))
    return content


def fields_of(response: Response | Refused) -> dict[str, str]:
    fields = {name.lower(): value for name, value in response.headers}
    assert len(fields) == len(response.headers)
    return fields
