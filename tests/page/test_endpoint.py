"""The page knows where its server's WebSocket is, and can be used as soon as it is seen."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

import pytest
import trio
from playwright.sync_api import BrowserContext, Page, Route, expect

import trioecho
from page.browser import Tab
from page.conftest import OpenTab, StartServer
from trioecho._http.messages import Request
from trioecho._http.sample_page import sample_page

UNUSUAL = ("/", "/straße", '/"quoted"\'&<b>', "/a\\b", "/100%", "/a;b=c,d@e:f+g/[h]", "/👋")


def get(url: str, **headers: str) -> tuple[int, str, bytes]:
    """The status, ETag and body that a browser would get."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as response:
            return response.status, response.headers["ETag"], response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["ETag"], error.read()


@pytest.mark.parametrize("path", ["/ws", "/chat", *UNUSUAL])
def test_page_connects_to_the_servers_path(start: StartServer, open_tab: OpenTab, path: str) -> None:
    """The URL field has the path that the server was given, encoded as URLs need it, and Connect opens it."""
    tab = open_tab(start(path=path))
    base = tab.evaluate("location.origin").replace("http", "ws")
    expect(tab["url"]).to_have_value(base + quote(path, safe="/;=,@:+'&"))
    tab.connect()
    tab.send("hello")
    tab.wait_for_rows(3)


def test_page_offers_the_first_of_several_paths(start: StartServer, open_tab: OpenTab) -> None:
    """With several handlers the page offers the first; of a path that is not served it says which one is."""
    tab = open_tab(start({"/first": trioecho.echo, "/second": trioecho.echo}))
    tab.allow_failed_connection()
    first = tab["url"].input_value()
    assert first.endswith("/first")
    tab["url"].fill(first.replace("/first", "/ws"))
    tab["url"].press("Enter")
    tab.notice("has no WebSocket at /ws", "the path is /first")
    tab["url"].fill(first.replace("/first", "/second"))
    tab["url"].press("Enter")
    tab.sees("Open")


class Below(BaseHTTPRequestHandler):
    """A server that has the page at /demo and below it, and nothing else."""

    page = sample_page("/chat")

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        request = Request("GET", path, self.path)
        if path.startswith("/demo/"):
            request.path_params = {"path": path.removeprefix("/demo/")}
        elif path != "/demo":
            self.send_error(404)
            return
        response = trio.run(self.page, request)
        assert isinstance(response.body, bytes)
        self.send_response(response.status)
        for name, value in (*response.headers, ("Content-Length", str(len(response.body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(response.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def below() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Below) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_page_works_below_another_path(context: BrowserContext, start: StartServer, below: str) -> None:
    """Mounted at /demo the page is found with and without a slash, and finds all its files below."""
    with Tab(context, f"{below}/demo?from=bookmark") as tab:
        assert tab.page.url == f"{below}/demo/?from=bookmark"
        expect(tab["url"]).to_have_value(f"{below.replace('http', 'ws')}/chat")
        tab["url"].fill(start().websocket_url)
        tab.connect()
        tab.send("hello")
        tab.wait_for_rows(3)


def test_page_works_below_a_root_path(context: BrowserContext, start: StartServer) -> None:
    """The prefix of a proxy is in front of its WebSocket; links and the look at why one failed stay below it, too."""
    server = start(root_path="/echo")
    with Tab(context, f"{server.url}/echo?from=bookmark") as tab:
        assert tab.page.url == f"{server.url}/echo/?from=bookmark"
        expect(tab["url"]).to_have_value(f"{server.url.replace('http', 'ws')}/echo/ws")
        tab.connect()
        tab.send("hello")
        tab.wait_for_rows(3)
        tab.allow_failed_connection()
        tab["close"].click()
        tab["url"].fill(f"{server.url.replace('http', 'ws')}/echo/nothing")
        tab["url"].press("Enter")
        tab.notice("has no WebSocket at /echo/nothing", "the path is /echo/ws")


def test_etag_follows_the_endpoint(start: StartServer) -> None:
    """A browser that has the page of one path does not take it for the page of another."""
    urls = [start(path=path).url for path in ("/ws", "/chat", "/chat")]
    (_, first, page), (_, second, other), (_, third, same) = map(get, urls)
    assert first != second == third
    assert b'content="/chat"' in other == same != page
    assert get(urls[1], **{"If-None-Match": second})[0] == 304
    assert get(urls[1], **{"If-None-Match": first})[:2] == (200, second)
    assert get(f"{urls[0]}/page.js")[1] == get(f"{urls[1]}/page.js")[1]


def test_path_that_is_no_unicode_leaves_the_page_alone(start: StartServer) -> None:
    """A byte that is not UTF-8 on the command line, which Python keeps as half a pair, does not break the page."""
    status, _, body = get(start(path="/\udcff").url)
    assert status == 200
    assert body.decode("utf-8").rstrip().endswith("</html>")


def test_click_right_after_loading_connects(context: BrowserContext, start: StartServer) -> None:
    """When the page has loaded, Connect works, however long the thread with the WebSocket takes to load."""
    held: list[Route] = []
    context.route("**/wire.js", lambda route: held.append(route))
    page = context.new_page()
    page.goto(start().url, wait_until="load")
    page.evaluate("document.getElementById('connect').click()")
    state = page.locator("#state")
    expect(state).to_have_text("Connecting…")
    for route in held:
        route.continue_()
    expect(state).to_have_text("Open")


def first_frame(page: Page) -> str:
    seen: str = page.evaluate(
        "() => new Promise((done) => { (function look() { 'seen' in window ? done(seen) : setTimeout(look, 10) })(); })"
    )
    return seen


def test_connect_is_never_seen_before_it_works(context: BrowserContext, start: StartServer) -> None:
    """In the first frame that is painted Connect can be pressed, although the script came late."""
    context.add_init_script(
        """(function look() { requestAnimationFrame(() => {
          const button = document.getElementById("connect");
          if (button) window.seen = button.disabled ? "disabled" : "enabled"; else look();
        }); })();"""
    )
    held: list[Route] = []
    context.route("**/page.js", lambda route: held.append(route))
    page = context.new_page()
    page.goto(start().url, wait_until="commit")
    page.evaluate(
        """() => new Promise((done) => { (function look(times) {
          document.getElementById("connect") && times > 20 ? done() : setTimeout(look, 10, times + 1);
        })(0); })"""
    )
    for route in held:
        route.continue_()
    assert first_frame(page) == "enabled"


def test_part_of_the_page_that_does_not_load_is_told(context: BrowserContext, start: StartServer) -> None:
    """Where the thread with the WebSocket cannot be loaded, the page says so instead of connecting for ever."""
    context.route("**/wire.js", lambda route: route.abort())
    page = context.new_page()
    page.goto(start().url)
    expect(page.locator("#notice")).to_contain_text("could not be loaded. Reload")
    expect(page.locator("#connect")).to_be_disabled()
