"""A directory of static files: what is served and how, what is not found, and what will not do."""

from __future__ import annotations

import gc
import os
import re
import socket
from collections.abc import AsyncIterable
from pathlib import Path
from urllib.parse import quote, urljoin

import pytest
import trio
from static_files import (
    LARGE,
    content_of,
    fields_of,
    open_below,
    refused_by,
    request_for,
    root,
    way_of_opening,
)

from trioecho._http import files
from trioecho._http.beneath import OpenFile
from trioecho._http.files import PIECE, Files
from trioecho._http.messages import Request

__all__ = ["root", "way_of_opening"]


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
        "back\\slash.txt",
        "back%5Cslash.txt",
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
        "tour.txt",
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
    (root / "back\\slash.txt").write_text("what Windows takes for two names")
    # A place outside whose path is as long as that of one within.
    (root.parent / "tour").mkdir()
    (root.parent / "tour" / "hello.txt").write_text("outside")
    (root / "tour.txt").symlink_to("../tour/hello.txt")
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
        with trio.fail_after(60):
            refused = await refused_by(Files(root), request)
    assert refused.status == 404
    assert re.fullmatch(r"Nothing is served at .*\.", refused.sentence)
    assert "/static/" in refused.sentence
    assert len(refused.sentence) < 600
    assert refused.sentence.isascii()


async def test_the_disk_is_not_asked_for_what_cannot_be_there(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path that is too long, or has a name that is never served."""
    monkeypatch.setattr(files, "open_beneath", None)
    for path in ("a/" * 2048 + "b", "docs//x", "docs/../x", ".env", "a%2Fb", "a%00"):
        assert (await refused_by(Files(root), request_for(f"/static/{path}"))).status == 404


async def test_a_lone_surrogate_is_no_name(root: Path) -> None:
    """It would be a byte of a name that is not UTF-8."""
    (root / os.fsdecode(b"\xff")).write_text("no UTF-8")
    request = Request("GET", "/\udcff", "/%FF")
    assert (await refused_by(Files(root), request)).status == 404


def test_the_same_files_may_be_served_in_several_runs(root: Path) -> None:
    """One after the other, as tests and notebooks do."""
    endpoint = Files(root)
    for _ in range(2):
        assert trio.run(endpoint, request_for("/static/hello.txt")).body == b"inside: hello"


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
