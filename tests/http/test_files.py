"""A directory of static files: what is served, what is not, and that nothing outside it ever is."""

from __future__ import annotations

import errno
import gc
import os
import re
import socket
import stat
import threading
from collections.abc import AsyncIterable, Callable, Iterator, Mapping
from contextlib import aclosing, suppress
from pathlib import Path
from urllib.parse import quote, unquote, urljoin

import pytest
import trio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from trioecho._http import beneath, files
from trioecho._http.beneath import OpenFile, open_beneath
from trioecho._http.files import MOST_THREADS, PIECE, Files
from trioecho._http.messages import Request, Response
from trioecho._http.paths import PathPattern, PathTable
from trioecho._http.refusals import Refused

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
    with trio.fail_after(5):
        while open_below(path):
            gc.collect()
            await trio.sleep(0.001)


def request_for(
    target: str,
    headers: Mapping[str, str] | list[tuple[str, str]] = (),  # type: ignore[assignment]
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


# What is served


async def test_a_file_is_served_with_all_that_belongs_to_it(root: Path, way_of_opening: str) -> None:
    """Its type, its validators, what caches may do with it."""
    os.utime(root / "hello.txt", (784_111_777, 784_111_777))
    response = await Files(root)(request_for("/static/hello.txt"))
    fields = fields_of(response)
    assert (response.status, response.body) == (200, b"inside: hello")
    assert re.fullmatch('"[0-9a-f]{32}"', fields.pop("etag"))
    assert fields == {
        "content-type": "text/plain; charset=utf-8",
        "x-content-type-options": "nosniff",
        "cache-control": "no-cache",
        "last-modified": "Sun, 06 Nov 1994 08:49:37 GMT",
        "accept-ranges": "bytes",
    }


async def test_a_file_is_found_by_the_routes_parameter_or_by_the_path(root: Path) -> None:
    """The path of the request counts where the route has no parameter `path`."""
    endpoint = Files(root)
    for target, pattern in [
        ("/static/docs/deep/page.html", "/static/{path:path}"),
        ("/docs/deep/page.html", "/docs/deep/page.html"),
        ("/docs/deep/page.html", "/docs/{rest:path}"),
        ("/a%2Fb/docs/deep/page.html", "/{user}/{path:path}"),
        ("/%64ocs/deep/pag%65.html?v=%2F..", "/{path:path}"),
    ]:
        response = await endpoint(request_for(target, pattern=pattern))
        assert response.body == b"inside: page", target


async def test_a_name_may_have_any_character(root: Path) -> None:
    """As long as it is UTF-8 and one name."""
    for name in [
        "ü ñ.txt",
        "100%.txt",
        "a%2Fb.txt",
        "a?b#c.txt",
        "a:b.txt",
        "...".join("ab"),
        "\U0001f600",
        "\n",
    ]:
        (root / name).write_text(name)
        response = await Files(root)(request_for("/static/" + quote(name, safe="")))
        assert response.body == name.encode(), name


async def test_a_directory_with_a_slash_is_its_index(root: Path) -> None:
    """The root too."""
    endpoint = Files(root)
    assert (await endpoint(request_for("/static/"))).body == b"inside: index"
    assert (await endpoint(request_for("/static/docs/"))).body == b"inside: docs"
    assert (await endpoint(request_for("/", pattern="/"))).body == b"inside: index"
    response = await Files(root, index="hello.txt")(request_for("/static/"))
    assert fields_of(response)["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("target", "pattern", "location"),
    [
        ("/static/docs", "/static/{path:path}", "/static/docs/"),
        ("/static/d%6Fcs?a=/b&c=%2F", "/static/{path:path}", "/static/d%6Fcs/?a=/b&c=%2F"),
        ("/docs", "/docs", "/docs/"),
        ("/static/java:docs?x", "/static/{path:path}", "/static/java:docs/?x"),
    ],
)
async def test_a_directory_without_a_slash_is_redirected(
    root: Path, target: str, pattern: str, location: str
) -> None:
    """To the same path with a slash, the query kept."""
    (root / "java:docs").symlink_to("docs")
    refused = await refused_by(Files(root), request_for(target, pattern=pattern))
    assert refused.status == 308
    assert urljoin(f"http://here{target}", fields_of(refused)["location"]) == f"http://here{location}"


@pytest.mark.parametrize(
    "target", ["//docs", "//evil.example/docs", "/\\docs", "/%2Fdocs", "/%5Cdocs", "///docs"]
)
async def test_no_redirect_leads_to_another_host(root: Path, target: str) -> None:
    """A path that a browser could take for a host's name is not found."""
    (root / "evil.example").symlink_to(".")
    for pattern in ("/{path:path}", "/{other:path}"):
        refused = await refused_by(Files(root), request_for(target, pattern=pattern))
        assert refused.status == 404
    # Even where a route begins with two slashes, the redirect stays on this host.
    if target == "//evil.example/docs":
        refused = await refused_by(Files(root), request_for(target, pattern="//evil.example/{path:path}"))
        assert fields_of(refused)["location"] == "./docs/"


async def test_a_directory_without_an_index_is_not_found(root: Path) -> None:
    """Neither with the slash nor without it, so nobody learns that it is there."""
    for endpoint, targets in [
        (Files(root), ["/static/empty", "/static/empty/", "/static/docs/deep", "/static/docs/deep/"]),
        (Files(root, index=None), ["/static/", "/static/docs", "/static/docs/"]),
        (Files(root, index="docs"), ["/static/", "/static/docs"]),
    ]:
        for target in targets:
            assert (await refused_by(endpoint, request_for(target))).status == 404, target


async def test_a_link_within_the_directory_is_followed(root: Path, way_of_opening: str) -> None:
    """To a file, through a directory, over several links, and to what is hidden: its owner has put it there."""
    (root / "..data").symlink_to("docs")
    (root / "by-link.html").symlink_to("..data/index.html")
    (root / "absolute").symlink_to(root / "docs")
    (root / "self").symlink_to(".")
    (root / "up-and-down").symlink_to("../root/docs")
    endpoint = Files(root)
    for target in (
        "by-link.html",
        "absolute/",
        "self/docs/",
        "up-and-down/index.html",
        "self/self/absolute/",
    ):
        assert (await endpoint(request_for(f"/static/{target}"))).body == b"inside: docs", target
    assert (await refused_by(endpoint, request_for("/static/absolute"))).status == 308
    assert (await endpoint(request_for("/static/self/"))).body == b"inside: index"
    assert (await refused_by(endpoint, request_for("/static/self"))).status == 308


async def test_the_directory_may_be_a_link_that_changes(
    root: Path, tmp_path: Path, way_of_opening: str
) -> None:
    """As a deployment does it: what is served follows at once."""
    (tmp_path / "current").symlink_to("root")
    endpoint = Files(tmp_path / "current")
    assert (await endpoint(request_for("/static/hello.txt"))).body == b"inside: hello"
    (tmp_path / "next").symlink_to("root/docs")
    (tmp_path / "next").rename(tmp_path / "current")
    assert (await endpoint(request_for("/static/"))).body == b"inside: docs"
    (tmp_path / "current").unlink()
    assert (await refused_by(endpoint, request_for("/static/"))).status == 404


async def test_a_relative_directory_is_that_of_the_beginning(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later chdir changes nothing."""
    monkeypatch.chdir(root.parent)
    endpoint = Files("root")
    monkeypatch.chdir("/")
    assert (await endpoint(request_for("/static/hello.txt"))).body == b"inside: hello"


async def test_a_file_that_is_replaced_is_served_from_then_on(root: Path) -> None:
    """With another entity tag, even if it has the same size and time."""
    endpoint = Files(root)
    before = await endpoint(request_for("/static/hello.txt"))
    (root / "new").write_bytes(b"INSIDE: HELLO")
    times = (root / "hello.txt").stat()
    os.utime(root / "new", ns=(times.st_mtime_ns, times.st_mtime_ns))
    (root / "new").rename(root / "hello.txt")
    after = await endpoint(request_for("/static/hello.txt"))
    assert after.body == b"INSIDE: HELLO"
    assert fields_of(before)["etag"] != fields_of(after)["etag"]
    assert fields_of(after)["etag"] == fields_of(await endpoint(request_for("/static/hello.txt")))["etag"]


async def test_a_change_in_the_future_is_told_as_now(root: Path) -> None:
    """A Last-Modified is never later than the answer, and one before 1970 is not told."""
    os.utime(root / "hello.txt", (2**33, 2**33))
    response = await Files(root)(request_for("/static/hello.txt"))
    assert int(fields_of(response)["last-modified"].split()[3]) < 2200
    os.utime(root / "hello.txt", (-1, -1))
    response = await Files(root)(request_for("/static/hello.txt"))
    assert "last-modified" not in fields_of(response)


async def test_own_headers_and_types_are_sent(root: Path) -> None:
    """On refusals as well; and Cache-Control may be another, or none."""
    own = Files(
        root,
        headers={"Content-Security-Policy": "default-src 'self'"},
        cache_control=None,
        content_types={".txt": "text/x-mine"},
    )
    fields = fields_of(await own(request_for("/static/hello.txt")))
    assert fields["content-security-policy"] == "default-src 'self'"
    assert fields["content-type"] == "text/x-mine"
    assert "cache-control" not in fields
    refused = await refused_by(own, request_for("/static/nothing"))
    assert fields_of(refused)["content-security-policy"] == "default-src 'self'"
    forever = Files(root, cache_control="public, immutable")
    assert fields_of(await forever(request_for("/static/hello.txt")))["cache-control"] == "public, immutable"


# Methods, conditions, parts


async def test_a_head_is_answered_without_reading(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the fields of a GET, and a length, but the file is closed before it is answered."""
    endpoint = Files(root)
    for name in ("hello.txt", "large.bin", "empty.css"):
        got = fields_of(await endpoint(request_for(f"/static/{name}")))
        gc.collect()
        with monkeypatch.context() as patch:
            patch.setattr(OpenFile, "read", None)
            response = await endpoint(
                request_for(f"/static/{name}", {"Range": "bytes=0-1,2-3"}, method="HEAD")
            )
            ranged = await endpoint(
                request_for(f"/static/{name}", {"Range": "bytes=9999999-"}, method="HEAD")
            )
        fields = fields_of(response)
        assert response.status == ranged.status == 200
        assert isinstance(response.body, AsyncIterable)
        assert fields["content-length"] == str((root / name).stat().st_size)
        assert {**got, "content-length": fields["content-length"]} == fields
        assert open_below(root) == []


async def test_other_methods_are_refused(root: Path) -> None:
    """With the methods that there are; it is not looked whether there is a file."""
    for target in ("hello.txt", "nothing", "..", ".env"):
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "get"):
            refused = await refused_by(Files(root), request_for(f"/static/{target}", method=method))
            assert (refused.status, fields_of(refused)["allow"]) == (405, "GET, HEAD")
            assert refused.sentence == f"A file takes GET and HEAD; received {method!r}."


async def test_what_the_client_has_is_not_sent_again(root: Path) -> None:
    """304 by the entity tag or the date, with the fields that it has to repeat; the file is closed."""
    endpoint = Files(root)
    for name in ("hello.txt", "large.bin"):
        fields = fields_of(await endpoint(request_for(f"/static/{name}")))
        gc.collect()
        for condition in (
            {"If-None-Match": f'"x", W/{fields["etag"]}'},
            {"If-Modified-Since": fields["last-modified"]},
        ):
            for method in ("GET", "HEAD"):
                response = await endpoint(request_for(f"/static/{name}", condition, method=method))
                assert (response.status, response.body) == (304, b"")
                assert fields_of(response) == {
                    key: fields[key]
                    for key in ("etag", "last-modified", "cache-control", "x-content-type-options")
                }
                assert open_below(root) == []
        assert (await endpoint(request_for(f"/static/{name}", {"If-None-Match": '"x"'}))).status == 200
        gc.collect()


async def test_a_condition_that_does_not_hold_is_told(root: Path) -> None:
    """412, for a client that wants the rest of what it has begun."""
    for condition in ({"If-Match": '"x"'}, {"If-Unmodified-Since": "Sun, 06 Nov 1994 08:49:37 GMT"}):
        refused = await refused_by(Files(root), request_for("/static/large.bin", condition))
        assert refused.status == 412
        assert "etag" in fields_of(refused)


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ("bytes=0-0", slice(0, 1)),
        ("bytes=7-", slice(7, None)),
        ("bytes=-7", slice(-7, None)),
        (f"bytes=1-{PIECE}", slice(1, PIECE + 1)),
        (f"bytes=1-{PIECE + 1}", slice(1, PIECE + 2)),
        ("bytes=200000-999999999", slice(200000, None)),
    ],
)
async def test_a_part_of_a_file_is_sent(root: Path, value: str, part: slice) -> None:
    """206, read whole if it is small, streamed if it is large."""
    response = await Files(root)(request_for("/static/large.bin", {"Range": value}))
    first, last, size = map(int, re.findall("[0-9]+", fields_of(response)["content-range"]))
    assert response.status == 206
    assert (first, last + 1, size) == (*part.indices(len(LARGE))[:2], len(LARGE))
    assert await content_of(response) == LARGE[part]


async def test_several_parts_are_the_whole(root: Path) -> None:
    """200, and so where the part would not fit what the client has."""
    endpoint = Files(root)
    etag = fields_of(await endpoint(request_for("/static/hello.txt")))["etag"]
    for headers in (
        {"Range": "bytes=0-1,3-4"},
        {"Range": "bytes=0-1", "If-Range": '"x"'},
        {"Range": "bytes=99-", "If-Range": '"x"'},
    ):
        response = await endpoint(request_for("/static/hello.txt", headers))
        assert (response.status, response.body) == (200, b"inside: hello")
        assert "content-range" not in fields_of(response)
    response = await endpoint(request_for("/static/hello.txt", {"Range": "bytes=0-5", "If-Range": etag}))
    assert (response.status, response.body) == (206, b"inside")


async def test_a_part_behind_the_end_is_refused(root: Path) -> None:
    """416 with the size."""
    refused = await refused_by(Files(root), request_for("/static/hello.txt", {"Range": "bytes=13-"}))
    assert (refused.status, fields_of(refused)["content-range"]) == (416, "bytes */13")
    empty = await Files(root)(request_for("/static/empty.css"))
    assert (empty.status, empty.body) == (200, b"")
    assert fields_of(empty)["content-type"] == "text/css; charset=utf-8"


# What is not served


@pytest.mark.parametrize(
    "path",
    [
        "nothing",
        "hello.txt/",
        "hello.txt/x",
        "docs//index.html",
        "/hello.txt",
        "//",
        "../secret.txt",
        "..",
        "../",
        "docs/../hello.txt",
        "./hello.txt",
        "docs/.",
        "%2e%2e/secret.txt",
        "%2E%2E%2Fsecret.txt",
        "..%2fsecret.txt",
        "..%5csecret.txt",
        "%252e%252e/secret.txt",
        "docs%2Findex.html",
        "docs%2findex.html",
        "docs\\index.html",
        "docs%5Cindex.html",
        "hello.txt%00",
        "hello.txt%00.html",
        "%FF",
        "hello.txt%FF",
        "%C0%AE%C0%AE/secret.txt",
        "%ED%B2%80",
        ".env",
        ".git/config",
        ".git",
        ".git/",
        "docs/.hidden",
        "../root/hello.txt",
        "../root-too/secret.txt",
        "a" * 256,
        "a" * 4096,
        "a/" * 2000,
        "a" * 16_000,
        "docs/" * 800,
        "~",
        "fifo",
        "socket",
        "null",
        "out.txt",
        "out/secret.txt",
        "out-and-in/hello.txt",
        "sibling/secret.txt",
        "proc/self/environ",
        "dangling",
        "loop",
        "to-fifo",
        "caf%E9",
    ],
)
async def test_all_that_is_not_served_is_not_found(
    root: Path, path: str, way_of_opening: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same sentence for all, whether it exists or not; and nothing waits for a FIFO."""
    (root / "docs" / ".hidden").write_text("hidden")
    os.mkfifo(root / "fifo")
    (root / "to-fifo").symlink_to("fifo")
    (root / "null").symlink_to("/dev/null")
    (root / "out.txt").symlink_to("../secret.txt")
    (root / "out").symlink_to("..")
    (root / "out-and-in").symlink_to("../out-and-in")
    (root.parent / "out-and-in").symlink_to("/")
    (root / "sibling").symlink_to("../root-too")
    (root / "proc").symlink_to("/proc")
    (root / "dangling").symlink_to("nothing")
    (root / "loop").symlink_to("loop")
    (root / os.fsdecode(b"caf\xe9")).write_text("no UTF-8")
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(root)  # the path of a socket is short
        listener.bind("socket")
        request = request_for(f"/static/{path}")
        with trio.fail_after(5):
            refused = await refused_by(Files(root), request)
    assert refused.status == 404
    assert re.fullmatch(r"Nothing is served at .*\.", refused.sentence)
    assert "/static/" in refused.sentence
    assert len(refused.sentence) < 600
    assert refused.sentence.isascii()


async def test_a_lone_surrogate_is_no_name(root: Path) -> None:
    """It would be a byte of a name that is not UTF-8."""
    (root / os.fsdecode(b"\xff")).write_text("no UTF-8")
    request = Request("GET", "/\udcff", "/%FF")
    assert (await refused_by(Files(root), request)).status == 404


@pytest.mark.parametrize(
    "number", [errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO, errno.EINVAL]
)
async def test_what_may_not_be_read_is_not_found(
    root: Path, number: int, monkeypatch: pytest.MonkeyPatch, way_of_opening: str
) -> None:
    """Whatever the kernel says about it."""
    failing(monkeypatch, number)
    assert (await refused_by(Files(root), request_for("/static/hello.txt"))).status == 404


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.ENOMEM, errno.ESTALE])
async def test_a_failure_of_the_machine_is_one(
    root: Path, number: int, monkeypatch: pytest.MonkeyPatch, way_of_opening: str
) -> None:
    """It is raised, for the log and a 500."""
    failing(monkeypatch, number)
    with pytest.raises(OSError, match=re.escape(os.strerror(number))) as raised:
        await Files(root)(request_for("/static/hello.txt"))
    assert raised.value.errno == number


def failing(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Lets `os.open` fail for the file."""
    really = os.open

    def fail(path: bytes, *arguments: int, dir_fd: int | None = None) -> int:
        if path.endswith(b"hello.txt"):
            raise OSError(number, os.strerror(number))
        return really(path, *arguments, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", fail)


async def test_a_fifo_is_not_even_opened(root: Path) -> None:
    """A process that waits for its reader goes on waiting."""
    os.mkfifo(root / "fifo")
    assert (await refused_by(Files(root), request_for("/static/fifo"))).status == 404
    with pytest.raises(OSError, match="No such device or address"):
        os.open(root / "fifo", os.O_WRONLY | os.O_NONBLOCK)


def to_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("../secret.txt")


def to_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def to_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("change", [to_link, to_fifo, to_directory, Path.unlink])
async def test_what_is_replaced_after_it_was_looked_at_is_not_opened(
    root: Path, change: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between `stat` and `open` whoever may write there can do anything."""
    check = beneath._check_kind

    def check_and_change(status: os.stat_result) -> None:
        check(status)
        if stat.S_ISREG(status.st_mode):
            change(root / "hello.txt")

    monkeypatch.setattr(beneath, "_check_kind", check_and_change)
    with trio.fail_after(5):
        assert (await refused_by(Files(root), request_for("/static/hello.txt"))).status == 404


async def test_a_link_put_on_the_way_is_not_followed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that was resolved is walked again, and then without any link."""
    (root / "link").symlink_to("docs")
    (root.parent / "deep").mkdir()
    (root.parent / "deep" / "page.html").write_bytes(b"outside")
    resolve = beneath._resolved

    def resolve_and_change(directory: str, names: tuple[bytes, ...]) -> tuple[bytes, list[bytes]]:
        resolved = resolve(directory, names)
        (root / "docs").rename(root / "old")
        (root / "docs").symlink_to("..")
        return resolved

    endpoint = Files(root)
    assert (await endpoint(request_for("/static/link/deep/page.html"))).body == b"inside: page"
    monkeypatch.setattr(beneath, "_resolved", resolve_and_change)
    assert (await refused_by(endpoint, request_for("/static/link/deep/page.html"))).status == 404


PIECES_OF_PATHS = re.findall(
    r"\S+",
    r". .. ... root docs deep page.html hello.txt secret.txt .env .git config out out.txt self up root-too %2e%2e %2E. "
    r".%2e ..%00 %2F %2f ..%2f.. %5c ..%5c.. \ %252e%252e %FF %C0%AE ~ proc fd",
)
NAMES = st.one_of(
    st.sampled_from(["", *PIECES_OF_PATHS]),
    st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="?"), max_size=4),
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(NAMES, max_size=7), relative=st.booleans(), by_parameter=st.booleans())
@example(names=["..", "secret.txt"], relative=True, by_parameter=True)
@example(names=["out", "secret.txt"], relative=False, by_parameter=True)
@example(names=["self", "..%2fsecret.txt"], relative=True, by_parameter=True)
def test_no_path_leads_out(
    names: list[str], relative: bool, by_parameter: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever is asked for, what is served is a file beneath the directory that is not hidden."""
    place = tmp_path_factory.getbasetemp() / "no_path_leads_out"
    if not place.exists():
        (place / "root" / "docs" / "deep").mkdir(parents=True)
        (place / "root" / ".git").mkdir()
        (place / "root-too").mkdir()
        for name in ("hello.txt", "docs/page.html", "docs/deep/page.html", "docs/deep/secret.txt"):
            (place / "root" / name).write_bytes(b"inside")
        for name in ("root/.env", "root/.git/config", "secret.txt", "root-too/secret.txt", "page.html"):
            (place / name).write_bytes(b"outside or hidden")
        (place / "root" / "out").symlink_to("..")
        (place / "root" / "docs" / "up").symlink_to("../..")
        (place / "root" / "out.txt").symlink_to("docs/../../secret.txt")
        (place / "root" / "self").symlink_to(".")
    endpoint = Files(place / "root")
    pattern = "/s/{path:path}" if by_parameter else "/s/{other:path}"
    request = request_for("/s/" + "/".join(names), pattern=pattern)
    if not by_parameter:
        request.path = request.path.removeprefix("/s")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(beneath, "_RELATIVE", relative)
        try:
            response = trio.run(endpoint, request)
        except Refused as refused:
            assert refused.status == 404  # noqa: PT017 (most are refused, not all)
        else:
            assert response.body == b"inside"


@given(
    st.lists(
        st.one_of(st.sampled_from([b"..", b".", b"", b"/etc/passwd", b"../secret"]), st.binary()), max_size=4
    )
)
def test_no_names_lead_out(names: list[bytes]) -> None:
    """What opens the file does not rely on what the endpoint lets through."""
    with pytest.raises((FileNotFoundError, IsADirectoryError)):
        open_beneath("/nowhere", [*names, b"passwd"])
    if any(name in (b"..", b".", b"") or b"/" in name for name in names):
        with pytest.raises(FileNotFoundError):
            open_beneath("/", [*names, b"etc"])


# Streams, threads, and how files are closed


async def test_a_large_file_is_streamed_in_pieces(root: Path) -> None:
    """Each of 64 KiB at most; then the file is closed, without being told to."""
    response = await Files(root)(request_for("/static/large.bin"))
    assert await content_of(response) == LARGE
    assert fields_of(response)["content-length"] == str(len(LARGE))
    assert open_below(root) == []


async def test_a_small_file_costs_one_call_in_a_thread(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A larger one costs one more for each piece."""
    calls: list[object] = []
    really = trio.to_thread.run_sync

    async def counted(function: Callable[..., object], *arguments: object, **options: object) -> object:
        calls.append(function)
        return await really(function, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(trio.to_thread, "run_sync", counted)
    endpoint = Files(root)
    for size, expected in [(0, 1), (1, 1), (PIECE, 1), (PIECE + 1, 3), (4 * PIECE, 5)]:
        calls.clear()
        (root / "file").write_bytes(b"x" * size)
        assert await content_of(await endpoint(request_for("/static/file"))) == b"x" * size
        assert len(calls) == expected, size


async def test_a_file_that_becomes_shorter_breaks_off(root: Path) -> None:
    """The rest is not made up, and the file is closed."""
    response = await Files(root)(request_for("/static/large.bin"))
    assert isinstance(response.body, AsyncIterable)
    pieces = aiter(response.body)
    await anext(pieces)
    os.truncate(root / "large.bin", PIECE + 10)
    assert len(await anext(pieces)) == 10
    sentence = f"the file 'large.bin' became shorter while it was sent: {3 * PIECE - 10} bytes are missing"
    with pytest.raises(EOFError, match=sentence):
        await anext(pieces)
    assert open_below(root) == []


async def test_a_file_that_grows_is_sent_as_long_as_was_said(root: Path) -> None:
    """Never more than Content-Length."""
    response = await Files(root)(request_for("/static/large.bin"))
    (root / "large.bin").write_bytes(LARGE + b"more")
    assert await content_of(response) == LARGE


async def test_a_small_file_that_becomes_shorter_is_to_be_asked_for_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing has been sent of it yet, so the client can be told: 503 with Retry-After."""
    monkeypatch.setattr(OpenFile, "read", lambda self, offset, size: b"half")
    refused = await refused_by(Files(root), request_for("/static/hello.txt"))
    assert (refused.status, fields_of(refused)["retry-after"]) == (503, "1")
    assert open_below(root) == []


async def test_a_disk_that_fails_closes_the_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, and in the middle of a stream."""

    def fail(self: OpenFile, offset: int, size: int) -> bytes:
        raise OSError(errno.EIO, "the disk has failed")

    streamed = await Files(root)(request_for("/static/large.bin"))
    monkeypatch.setattr(OpenFile, "read", fail)
    assert isinstance(streamed.body, AsyncIterable)
    with pytest.raises(OSError, match="the disk has failed"):
        await anext(aiter(streamed.body))
    with pytest.raises(OSError, match="the disk has failed"):
        await Files(root)(request_for("/static/hello.txt"))
    assert open_below(root) == []


async def test_a_stream_that_is_not_finished_closes_the_file(root: Path) -> None:
    """When it is told to, when it is cancelled, and when it is forgotten, begun or not."""
    endpoint = Files(root)

    async def stream() -> AsyncIterable[bytes]:
        body = (await endpoint(request_for("/static/large.bin"))).body
        assert isinstance(body, AsyncIterable)
        assert open_below(root)
        return body  # type: ignore[return-value]

    for begun in (True, False):
        body = await stream()
        async with aclosing(body):  # type: ignore[type-var]
            if begun:
                await anext(aiter(body))
        assert open_below(root) == []
        assert [piece async for piece in body] == []

        body = await stream()
        if begun:
            await anext(aiter(body))
        with trio.CancelScope() as scope:
            scope.cancel()
            await anext(aiter(body))
        assert open_below(root) == []

        body = await stream()
        if begun:
            await anext(aiter(body))
        del body
        await until_closed(root)


class Disk:
    """A disk that hangs until it is told to go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waiting = 0
        self._goes_on = threading.Event()
        self._lock = threading.Lock()
        really_read, really_open = os.read, files.open_beneath

        def read(descriptor: int, size: int) -> bytes:
            self._wait()
            return really_read(descriptor, size)

        def open_(directory: str, names: tuple[bytes, ...]) -> OpenFile:
            if names[-1] == b"hangs":
                self._wait()
                names = (*names[:-1], b"large.bin")
            return really_open(directory, names)

        # Only where files are read: the rest of the machine goes on.
        monkeypatch.setattr(beneath, "os", type("os", (), {**vars(os), "read": staticmethod(read)}))
        monkeypatch.setattr(files, "open_beneath", open_)

    def _wait(self) -> None:
        with self._lock:
            self.waiting += 1
        assert self._goes_on.wait(20)
        with self._lock:
            self.waiting -= 1

    async def until_waiting(self, number: int) -> None:
        with trio.fail_after(10):
            while self.waiting != number:
                await trio.sleep(0.001)

    async def goes_on(self) -> None:
        self._goes_on.set()
        await self.until_waiting(0)


async def test_a_disk_that_hangs_holds_up_nobody_else(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the rest of the program's threads, nor another `Files`; nor a cancellation."""
    disk = Disk(monkeypatch)
    endpoint = Files(root)
    try:
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                for _ in range(MOST_THREADS + 4):
                    nursery.start_soon(endpoint, request_for("/static/hangs"))
                await disk.until_waiting(MOST_THREADS)
                assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
                assert (await Files(root)(request_for("/static/empty.css"))).body == b""
                nursery.cancel_scope.cancel()
    finally:
        await disk.goes_on()
    # What the threads opened after all is closed.
    await until_closed(root)


async def test_a_file_is_not_closed_under_a_thread_that_reads_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its descriptor could be another file's by then; the thread closes it when it is done."""
    body = (await Files(root)(request_for("/static/large.bin"))).body
    assert isinstance(body, AsyncIterable)
    disk = Disk(monkeypatch)
    try:
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(anext, aiter(body))
                await disk.until_waiting(1)
                nursery.cancel_scope.cancel()
        assert len(open_below(root)) == 1
    finally:
        await disk.goes_on()
    await until_closed(root)


def test_the_same_files_may_be_served_in_several_runs(root: Path) -> None:
    """One after the other, as tests and notebooks do."""
    endpoint = Files(root)
    for _ in range(2):
        assert trio.run(endpoint, request_for("/static/hello.txt")).body == b"inside: hello"


# Bad input


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ({"directory": None}, TypeError, "an existing directory, such as 'static'; you gave None"),
        ({"directory": b"/"}, TypeError, "you gave b'/'"),
        ({"directory": ""}, ValueError, "you gave ''"),
        ({"directory": "/\0"}, ValueError, r"you gave '/\x00'"),
        ({"directory": "/nowhere"}, ValueError, "you gave '/nowhere', where nothing is"),
        ({"directory": __file__}, ValueError, "which is a file"),
        ({"directory": f"{__file__}/x"}, ValueError, "Not a directory"),
        ({"index": 1}, TypeError, "the name of a file such as 'index.html', or None; you gave 1"),
        ({"index": ""}, ValueError, "you gave ''"),
        ({"index": "a/b"}, ValueError, "you gave 'a/b'"),
        ({"index": ".."}, ValueError, "you gave '..'"),
        ({"cache_control": 60}, TypeError, "a string such as 'no-cache', or None; you gave 60"),
        ({"cache_control": "a\nb"}, ValueError, "printable characters"),
        ({"headers": "X: y"}, TypeError, "headers takes a mapping or pairs"),
        ({"headers": {"ETag": '"1"'}}, ValueError, "the header ETag is made for each file"),
        ({"headers": {"Connection": "close"}}, ValueError, "the header Connection is the server's own"),
        ({"headers": {"Content-Length": "1"}}, ValueError, "the header Content-Length is made for each file"),
        ({"content_types": {"obj": "model/obj"}}, ValueError, "such as '.obj'"),
    ],
)
def test_what_will_not_do_is_refused_at_once(
    arguments: dict[str, object], error: type[Exception], sentence: str
) -> None:
    """With one sentence that says what would."""
    with pytest.raises(error, match=re.escape(sentence)):
        Files(**{"directory": "/", **arguments})  # type: ignore[arg-type]


def test_it_shows_which_directory_it_serves(root: Path) -> None:
    """For logs and notebooks."""
    assert repr(Files(root)) == f"<trioecho.Files {str(root)!r}>"
