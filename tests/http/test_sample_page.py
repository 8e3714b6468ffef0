"""The sample page as a route's function: its files wherever it is mounted, and the health check."""

from __future__ import annotations

import pytest

from trioecho._http import sample_page as module
from trioecho._http.messages import Request, Response
from trioecho._http.paths import PathPattern, PathTable
from trioecho._http.refusals import Refused
from trioecho._http.sample_page import SamplePage, healthz, page_files, read_page, sample_page

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' ws: wss:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
INDEX = (
    '<!doctype html><meta name="trioecho-endpoint" content="/ws"><title>Zoë</title><!-- links -->'.encode()
)
SCRIPT = b"'use strict';"


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A page of our own, so that these tests do not depend on the words of the shipped one."""
    (tmp_path / "index.html").write_bytes(INDEX)
    (tmp_path / "page.js").write_bytes(SCRIPT)
    (tmp_path / "icon.svg").write_bytes(b"<svg/>")
    (tmp_path / ".hidden").write_bytes(b"a secret")
    (tmp_path / "folder.js").mkdir()
    found = read_page(tmp_path)
    monkeypatch.setattr(module, "page_files", lambda: found)
    return found


async def ask(page: SamplePage, target: str, *mounted: str, **headers: str) -> Response:
    """Answers a request by way of the paths at which the page is mounted."""
    path = target.partition("?")[0]
    request = Request("GET", path, target, {name.replace("_", "-"): value for name, value in headers.items()})
    found = PathTable([(PathPattern(text), page) for text in mounted]).find(path, target)
    assert found is not None
    page, request.path_params = found
    return await page(request)


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("target", "mounted", "body"),
    [
        ("/", ("/{path:path}",), INDEX),
        ("/page.js", ("/{path:path}",), SCRIPT),
        ("/demo/?from=bookmark", ("/demo/{path:path}",), INDEX),
        ("/demo//", ("/demo/{path:path}",), INDEX),
        ("/demo/page.js", ("/demo/{path:path}",), SCRIPT),
        ("/demo/p%61ge.js", ("/demo/{path:path}",), SCRIPT),
        ("/", ("/",), INDEX),
        ("/page.js", ("/page.js",), SCRIPT),
        ("/a/b/", ("/a/b/",), INDEX),
        ("/a/b/page.js", ("/a/b/page.js",), SCRIPT),
    ],
)
async def test_the_page_is_served_wherever_it_is_mounted(target, mounted, body) -> None:
    """With a parameter called path, or file by file."""
    response = await ask(sample_page(), target, *mounted)
    assert (response.status, response.body) == (200, body)


@pytest.mark.usefixtures("files")
async def test_the_page_leads_to_others_where_there_are_any() -> None:
    """By links relative to it; a page that leads nowhere is left as it is."""
    linked = await ask(SamplePage("/ws", links={"chat": "Chat & more"}), "/", "/")
    assert linked.body == INDEX.replace(b"<!-- links -->", b'<a href="chat">Chat &amp; more</a>')
    assert linked.body != INDEX
    assert (await ask(SamplePage("/ws"), "/", "/")).body == INDEX


@pytest.mark.usefixtures("files")
async def test_a_file_has_its_type_and_its_policy() -> None:
    """A browser is told what it is, and lets nothing else in."""
    response = await ask(sample_page(), "/", "/")
    headers = dict(response.headers)
    assert len(headers) == len(response.headers)
    assert headers.pop("ETag").startswith('"')
    assert headers == {
        "Cache-Control": "no-cache",
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": POLICY,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    script = await ask(sample_page(), "/page.js", "/page.js")
    assert dict(script.headers)["Content-Type"] == "text/javascript; charset=utf-8"


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    "name",
    [
        "index.html",
        ".hidden",
        "folder.js",
        "x/page.js",
        "page.js/",
        "..%2fpage.js",
        "../page.js",
        "%00",
        "<b>",
    ],
)
async def test_only_the_files_of_the_page_are_served(name) -> None:
    """No path reaches anything but the files that were read."""
    with pytest.raises(Refused) as caught:
        await ask(sample_page(), f"/demo/{name}", "/demo/{path:path}")
    assert caught.value.status == 404
    assert caught.value.sentence.startswith("Nothing is served at '/demo/")
    assert "<b>" not in caught.value.sentence


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/demo", "./demo/"),
        ("/demo?a=1&b=/2?", "./demo/?a=1&b=/2?"),
        ("/a/d%65mo?", "./d%65mo/?"),
        # Neither a scheme nor another host, whatever the path looks like.
        ("/javascript:x", "./javascript:x/"),
        ("//evil.com", "./evil.com/"),
    ],
)
async def test_a_slash_is_added_for_the_files_to_be_found(target, location) -> None:
    """Without the slash the browser would look for the page's files one level higher. The query is kept."""
    mounted = ("/demo", "/demo/{path:path}", "/a/d%65mo", "/javascript:x", "//evil.com")
    response = await ask(sample_page(), target, *mounted)
    assert (response.status, response.headers, response.body) == (308, (("Location", location),), b"")


async def test_a_browser_that_has_the_file_is_told_so(files) -> None:
    """A request with the file's ETag gets 304, its headers and no body; with another one, the file."""
    etag = files["/page.js"].etag
    for tags in (etag, f"W/{etag}", f'"old" , {etag}', "*"):
        response = await ask(sample_page(), "/page.js", "/page.js", If_None_Match=tags)
        assert (response.status, response.body) == (304, b"")
        assert response.headers == files["/page.js"].headers
    for tags in ('"old"', etag.strip('"'), ""):
        assert (await ask(sample_page(), "/page.js", "/page.js", If_None_Match=tags)).status == 200


@pytest.mark.usefixtures("files")
async def test_the_page_finds_its_endpoint_by_itself() -> None:
    """It is what was given, else what the server says, else /ws; escaped, and with an ETag of its own."""
    etags = set()
    for page, told, expected in (
        (sample_page(), None, b'content="/ws"'),
        (sample_page(), '/a"b', b'content="/a&quot;b"'),
        (sample_page("/mine"), "/theirs", b'content="/mine"'),
        (sample_page(), "/\udcff", b'content="/?"'),
    ):
        if told is not None:
            page.use_endpoint(told)
        response = await ask(page, "/", "/")
        assert isinstance(response.body, bytes)
        assert expected in response.body
        assert response.body.count(b"content=") == 1
        etags.add(dict(response.headers)["ETag"])
    assert len(etags) == 4


@pytest.mark.parametrize(
    ("endpoint", "kind"), [(7, TypeError), ("ws", ValueError), ("ws://host/ws", ValueError)]
)
def test_an_endpoint_that_is_no_path_is_refused(endpoint, kind) -> None:
    """One sentence says what would be right."""
    with pytest.raises(kind, match=r"endpoint takes a path .*; you gave"):
        sample_page(endpoint)


async def test_each_file_can_be_mounted_by_itself() -> None:
    """`paths` has them all, and each answers with its file."""
    page = sample_page()
    assert {"/", "/page.js", "/style.css"} <= set(page.paths)
    for path in page.paths:
        response = await ask(page, path, *page.paths)
        assert (response.status, response.body) == (200, page_files()[path].body)


async def test_the_health_check_is_ok() -> None:
    """/healthz answers `ok`, and nobody may keep that answer."""
    response = await healthz(Request("GET", "/healthz", "/healthz"))
    assert (response.status, response.body) == (200, b"ok")
    headers = dict(response.headers)
    assert (headers["Cache-Control"], headers["Content-Type"]) == ("no-store", "text/plain; charset=utf-8")


async def test_the_picker_of_faults_is_there_where_it_is_asked_for() -> None:
    """With its files and the path of its table; without, the page is what it was, and they are not served."""
    plain, faulty = sample_page("/ws"), sample_page("/ws", faults='/a"b/faults')
    more = {"/faults.js", "/faultrun.js", "/trial.js", "/faults.css"}
    assert set(faulty.paths) - set(plain.paths) == more
    assert "/faults.html" not in faulty.paths
    page = (await ask(plain, "/", "/{path:path}")).body
    assert isinstance(page, bytes)
    assert b"fault" not in page
    with pytest.raises(Refused):
        await ask(plain, "/faults.js", "/{path:path}")
    other = await ask(faulty, "/", "/{path:path}")
    assert isinstance(other.body, bytes)
    assert b'<meta name="trioecho-faults" content="/a&quot;b/faults">' in other.body
    assert other.body.count(b"<dialog") == page.count(b"<dialog") + 1
    for line in page.splitlines():
        assert line in other.body
    assert dict(other.headers)["ETag"] != dict((await ask(plain, "/", "/{path:path}")).headers)["ETag"]
    assert (await ask(faulty, "/trial.js", "/{path:path}")).status == 200


def test_what_is_no_path_of_faults_is_said_in_a_sentence() -> None:
    """As for the endpoint."""
    with pytest.raises(TypeError, match="faults takes a path such as '/faults', or None; you gave True"):
        sample_page(faults=True)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="faults takes a path that begins with a slash; you gave 'faults'"):
        sample_page(faults="faults")
