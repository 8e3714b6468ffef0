"""What plain HTTP hears: the page, /healthz, and refusals."""

import h11
import pytest

from trioecho._http import pages as responses
from trioecho._http.pages import Response, page_files, refusal, respond
from trioecho._http.refusals import Refused
from trioecho._http.sample_page import read_page

PATHS = ("/ws", "/chat")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' ws: wss:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
INDEX = "<!doctype html><title>Zoë</title>".encode()


@pytest.fixture(autouse=True)
def page(tmp_path, monkeypatch):
    """A page of our own, so that these tests do not depend on the words of the shipped one."""
    (tmp_path / "index.html").write_bytes(INDEX)
    (tmp_path / "page.js").write_bytes(b"'use strict';")
    (tmp_path / "style.css").write_bytes(b"body{}")
    (tmp_path / "icon.svg").write_bytes(b"<svg/>")
    (tmp_path / "page.js~").write_bytes(b"an editor's backup")
    (tmp_path / ".hidden").write_bytes(b"a secret")
    (tmp_path / "folder.js").mkdir()
    files = read_page(tmp_path)
    monkeypatch.setattr(responses, "page_files", lambda: files)
    return files


def ask(target: str = "/", method: str = "GET", **headers: str) -> Response:
    fields = [("Host", "127.0.0.1"), *((name.replace("_", "-"), value) for name, value in headers.items())]
    return respond(h11.Request(method=method, target=target, headers=fields), PATHS)


def test_the_page_is_served_with_its_policy():
    """`/` is index.html, with its type, its length, and headers that let nothing else in."""
    response = ask("/?from=bookmark")
    headers = dict(response.headers)
    assert (response.status, response.body) == (200, INDEX)
    assert len(headers) == len(response.headers)
    assert headers.pop("ETag").startswith('"')
    assert headers == {
        "Cache-Control": "no-cache",
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": POLICY,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Connection": "close",
        "Content-Length": str(len(INDEX)),
    }


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/page.js", "text/javascript; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
        ("/p%61ge.js", "text/javascript; charset=utf-8"),
    ],
)
def test_each_file_of_the_page_has_its_type(path, content_type):
    """A browser that is told nosniff needs the right type for every file."""
    response = ask(path)
    assert (response.status, dict(response.headers)["Content-Type"]) == (200, content_type)


@pytest.mark.parametrize(
    "path",
    [
        "/index.html",
        "/page.js~",
        "/.hidden",
        "/folder.js",
        "/../responses.py",
        "/..%2fresponses.py",
        "/page.js/",
    ],
)
def test_only_the_files_of_the_page_are_served(path):
    """No path reaches anything but the files that were read."""
    assert ask(path).status == 404


def test_a_browser_that_has_the_file_is_told_so():
    """A request with the file's ETag gets 304 and no body; with another one, the file."""
    etag = dict(ask("/page.js").headers)["ETag"]
    for tags in (etag, f"W/{etag}", f'"old", {etag}', "*"):
        response = ask("/page.js", If_None_Match=tags)
        headers = dict(response.headers)
        assert (response.status, response.body) == (304, b"")
        assert (headers["ETag"], headers["Cache-Control"]) == (etag, "no-cache")
        assert headers["Content-Security-Policy"] == POLICY
        assert "Content-Length" not in headers
    for tags in ('"old"', etag.strip('"'), ""):
        assert ask("/page.js", If_None_Match=tags).status == 200


def test_another_content_has_another_etag(page, tmp_path):
    """The ETag is that of the bytes: it changes with them and only with them."""
    assert read_page(tmp_path) == page
    (tmp_path / "page.js").write_bytes(b"'use strict'; ")
    assert read_page(tmp_path)["/page.js"].etag != page["/page.js"].etag


def test_a_package_without_a_page_has_no_files(tmp_path):
    """A folder that is not there is a page without files, not an error."""
    assert read_page(tmp_path / "missing") == {}


def test_the_package_ships_its_page():
    """The installed package has the sample page at `/`."""
    assert dict(page_files()["/"].headers)["Content-Type"] == "text/html; charset=utf-8"


def test_the_health_check_is_ok():
    """/healthz answers `ok`, and nobody may keep that answer."""
    response = ask("/healthz")
    assert (response.status, response.body) == (200, b"ok")
    assert dict(response.headers)["Cache-Control"] == "no-store"


def test_a_plain_request_to_a_websocket_path_hears_how_to_ask():
    """Without an upgrade, a WebSocket path answers 400."""
    response = ask("/ws?a=1")
    assert response.status == 400
    assert response.body == (
        b"A WebSocket is served at '/ws'; received a request without the headers that ask for one, "
        b"'Upgrade: websocket' and 'Connection: Upgrade', which a proxy on the way may have removed.\n"
    )


def test_an_unknown_path_hears_what_there_is():
    """404 names the path that was received and those that exist."""
    response = ask("/<b>?x=<i>")
    assert response == Response(
        404,
        (
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(response.body))),
            ("X-Content-Type-Options", "nosniff"),
            ("Connection", "close"),
        ),
        b"Nothing is served at '/\\x3cb\\x3e'; the page is at '/', the health check at '/healthz', "
        b"WebSockets at '/ws', '/chat'.\n",
    )


@pytest.mark.parametrize(
    ("path", "allow", "sentence"),
    [
        ("/", "GET, HEAD, OPTIONS", b"'/' takes GET and HEAD; received 'POST'.\n"),
        ("/page.js", "GET, HEAD, OPTIONS", b"'/page.js' takes GET and HEAD; received 'POST'.\n"),
        ("/healthz", "GET, HEAD, OPTIONS", b"'/healthz' takes GET and HEAD; received 'POST'.\n"),
        ("/ws", "GET, OPTIONS", b"'/ws' takes WebSocket handshakes, which are GET; received 'POST'.\n"),
    ],
)
def test_another_method_hears_which_are_allowed(path, allow, sentence):
    """405 says in Allow, and in words, what would have been accepted."""
    response = ask(path, "POST")
    assert (response.status, dict(response.headers)["Allow"], response.body) == (405, allow, sentence)


@pytest.mark.parametrize(
    ("target", "allow"),
    [
        ("*", "GET, HEAD, OPTIONS"),
        ("/?from=bookmark", "GET, HEAD, OPTIONS"),
        ("/page.js", "GET, HEAD, OPTIONS"),
        ("/healthz", "GET, HEAD, OPTIONS"),
        ("/ws", "GET, OPTIONS"),
        ("http://127.0.0.1/ws", "GET, OPTIONS"),
    ],
)
def test_options_are_told(target, allow):
    """OPTIONS, of the server or of what is there, is answered with the methods that will do."""
    assert ask(target, "OPTIONS") == Response(
        204, (("Allow", allow), ("X-Content-Type-Options", "nosniff"), ("Connection", "close")), b""
    )


def test_options_of_nothing_is_not_found():
    """OPTIONS of an unknown path is as wrong as any other request for it, and only OPTIONS knows the asterisk."""
    assert ask("/unknown", "OPTIONS").status == 404
    assert ask("*").status == 404


@pytest.mark.parametrize("path", ["/", "/page.js", "/healthz", "/ws", "/unknown"])
def test_head_is_answered_like_get(path):
    """HEAD has the status and headers of GET, the length too; the body is the sender's to leave out."""
    assert ask(path, "HEAD") == ask(path)


@pytest.mark.parametrize("path", ["/", "/healthz"])
def test_a_websocket_at_the_same_path_leaves_the_page_where_it_is(path):
    """Where a WebSocket is served at `/`, a browser that opens `/` still sees the page."""
    plain = h11.Request(method="GET", target=path, headers=[("Host", "127.0.0.1")])
    assert respond(plain, (path,)).status == 200


def test_a_refusal_becomes_its_response():
    """Status, headers and sentence are those of the refusal; the connection closes, and it says so."""
    refused = Refused(503, "Full; try again later.", (("Retry-After", "5"),))
    assert refusal(refused) == Response(
        503,
        (
            ("Retry-After", "5"),
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", "23"),
            ("X-Content-Type-Options", "nosniff"),
            ("Connection", "close"),
        ),
        b"Full; try again later.\n",
    )
