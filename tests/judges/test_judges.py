"""The small servers do what the judges ask of them; the judges themselves are run by hand (README.md)."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from hubs.redis_server import running_redis
from judges import signalr_run
from judges.h1spec_server import METHODS, echo_body
from judges.signalr_server import raw_routes
from judges.wpt_endpoints import ENDPOINTS, OPTIONS
from judges.wpt_server import Site, metadata
from plain_http import plain_http
from serving import connected, serving

import trioecho
from trioecho.testing import TEXT, Frame, open_client

CREDENTIALS = "Authorization: Basic Zm9vOmJhcg==\r\n"
OFFER = "Sec-WebSocket-Protocol: foobar, foobar2\r\n"


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"HEAD"}))
async def test_h1spec_gets_its_body_back(method: str) -> None:
    async with serving({"/": trioecho.HttpRoute(echo_body, METHODS)}) as server, plain_http(server) as client:
        assert (await client.ask("/", method, body=b"hello")).body == b"hello"


@pytest.mark.parametrize(
    ("path", "headers", "says"),
    [
        ("/echo-query?a=b&c", "", "a=b&c"),
        ("/echo-cookie", "Cookie: a=b\r\n", "a=b"),
        ("/echo-cookie", "", "(none)"),
        ("/origin", "Origin: http://client.com\r\n", "http://client.com"),
        ("/referrer", "", "MISSING AS PER FETCH"),
        ("/protocol_array", OFFER, "foobar"),
    ],
)
async def test_an_endpoint_says_what_its_client_sent(path: str, headers: str, says: str) -> None:
    async with open_client(ENDPOINTS, path=path, headers=headers) as client:
        assert await client.receive() == says
        assert await client.receive_close() == (1000, "")


@pytest.mark.parametrize(
    ("path", "headers", "line"),
    [
        ("/echo", "Sec-WebSocket-Protocol: chat, echo\r\n", "Sec-WebSocket-Protocol: echo"),
        ("/set-cookie?1", "", "Set-Cookie: ws_test_1=test; Path=/"),
        ("/set-cookie_http?1", "", "Set-Cookie: ws_test_1=test; Path=/; HttpOnly"),
        ("/set-cookie-secure?1", "", "Set-Cookie: ws_test_1=test; Secure; Path=/"),
        ("/set-cookies-samesite?value=7", "", "Set-Cookie: samesite-none=7; Path=/; SameSite=None; Secure"),
        ("/set-cookies-samesite?clear", "", "Set-Cookie: samesite-lax=1; Path=/; SameSite=Lax; Max-Age=0"),
        ("/handshake_protocol", "", "Sec-WebSocket-Protocol: foobar"),
        ("/wrong_accept_key", "", "Sec-WebSocket-Accept: thisisawrongacceptkey"),
        ("/basic_auth", CREDENTIALS, "Upgrade: websocket"),
    ],
)
async def test_an_endpoint_answers_the_handshake_with_a_line(path: str, headers: str, line: str) -> None:
    async with open_client(ENDPOINTS, path=path, headers=headers) as client:
        assert line in client.response.decode().split("\r\n")


async def test_no_subprotocol_is_agreed_on_where_the_test_wants_none() -> None:
    async with open_client(ENDPOINTS, path="/handshake_no_protocol", headers=OFFER) as client:
        assert b"Sec-WebSocket-Protocol" not in client.response


@pytest.mark.parametrize("path", ["/basic_auth", "/invalid", "/does-not-exist"])
async def test_an_endpoint_refuses(path: str) -> None:
    async with serving(ENDPOINTS) as server:
        with pytest.raises(AssertionError):
            async with connected(server, path=path):
                pass


@pytest.mark.parametrize(
    ("path", "ending"),
    [
        ("/remote-close?code=4567&reason=robot", (4567, "robot")),
        ("/remote-close", (1005, "")),
        ("/simple_handshake", (1001, "PASS")),
    ],
)
async def test_an_endpoint_closes(path: str, ending: tuple[int, str]) -> None:
    async with open_client(ENDPOINTS, path=path) as client:
        assert await client.receive_close() == ending


async def test_a_message_comes_back_without_a_frame_around_it() -> None:
    async with open_client(ENDPOINTS, path="/echo_raw") as client:
        await client.send(b"\x81\x04test")
        assert await client.receive_frame() == Frame(True, TEXT, b"test")


async def test_tcp_is_ended_beneath_a_connection_without_a_close() -> None:
    async with (
        serving(ENDPOINTS) as server,
        connected(server, path="/passive-close-abort") as client,
        connected(server, path="/echo") as other,
    ):
        await client.close()
        assert await client.receive_rest() == []
        await other.send("nobody else is cut off")
        assert await other.receive() == "nobody else is cut off"


@pytest.mark.parametrize("path", ["/delayed-passive-close", "/sleep_10_v13", "/handshake_sleep_2"])
async def test_an_endpoint_takes_its_time(path: str, autojump_clock: object) -> None:
    async with open_client(ENDPOINTS, path=path, options=OPTIONS) as client:
        await client.close()
        assert await client.receive_close() == (1000, "")


async def test_a_script_becomes_pages_and_a_worker(tmp_path: Path) -> None:
    (tmp_path / "resources").mkdir()
    (tmp_path / "a.any.js").write_text("// META: script=b.sub.js\n// META: timeout=long\ntest();\n")
    (tmp_path / "b.sub.js").write_text("const at = '{{host}}:{{ports[ws][0]}}', not = '{{ports[h2][0]}}';\n")
    site = Site(tmp_path)
    site.ports = {"ws": 5000}
    async with serving({"/{path:path}": trioecho.HttpRoute(site)}) as server, plain_http(server) as client:
        page = (await client.ask("/a.any.html?wss")).text
        assert '<script src="b.sub.js"></script><script src="/a.any.js"></script>' in page
        assert '<meta name="timeout" content="long">' in page
        assert 'new Worker("/a.any.worker.js" ' in (await client.ask("/a.any.worker.html")).text
        worker = (await client.ask("/a.any.worker.js")).text
        assert 'importScripts("b.sub.js");\nimportScripts("/a.any.js");\ndone();' in worker
        assert (await client.ask("/b.sub.js")).text == "const at = 'web-platform.test:5000', not = '0';\n"
        assert "window.results" in (await client.ask("/resources/testharnessreport.js")).text
        assert (await client.ask("/a.any.js")).text.startswith("// META")
        assert (await client.ask("/../../x.sub.js")).status == 404
        assert (await client.ask("/c.any.html")).status == 404


async def test_what_a_test_stashes_is_taken_once(tmp_path: Path) -> None:
    async with (
        serving({"/{path:path}": trioecho.HttpRoute(Site(tmp_path))}) as server,
        plain_http(server) as client,
    ):
        assert (await client.ask("/stash-put.py?key=a&value=b")).status == 200
        assert (await client.ask("/stash-take.py?key=a")).text == '"b"'
        assert (await client.ask("/stash-take.py?key=a")).text == "null"


def test_metadata_ends_with_the_first_other_line() -> None:
    assert metadata("// META: script=a\n// META: variant=?wss\n\n// META: script=b\n", "script") == ["a"]


@pytest.mark.keeps_open  # the browser's pipes
@pytest.mark.timeout(signalr_run.LONGEST)
@pytest.mark.parametrize(
    ("row", "stateful", "over_redis"),
    [*((row, False, False) for row in signalr_run.ROWS), ("node", True, False), ("node", False, True)],
)
def test_microsofts_suite_of_signalrs_client_passes(row: str, stateful: bool, over_redis: bool) -> None:
    """Where the environment says where it is."""
    directory = os.environ.get("TRIOECHO_SIGNALR_SUITE")
    if directory is None:
        pytest.skip(
            "needs the suite, see tests/judges/README.md, and TRIOECHO_SIGNALR_SUITE to name its directory"
        )
    with running_redis() if over_redis else contextlib.nullcontext() as redis:
        suite = signalr_run.Suite(Path(directory).resolve(), redis and redis.url, stateful)
        found = signalr_run.run(suite, row)
    assert not found.failed
    assert found.passed > 100


async def test_signalrs_suite_is_redirected() -> None:
    """By a status, with the query, and by what a negotiation says, which counts."""
    async with serving(raw_routes()) as server, plain_http(server) as client:
        answer = await client.ask("/echoredirect/negotiate?negotiateVersion=1", "POST")
        assert (answer.status, answer["location"]) == (307, "/echo/negotiate?negotiateVersion=1")
        for number in (1, 2):
            told = (await client.ask("/redirect/negotiate?baseUrl=http://a", "POST")).text
            assert told == f'{{"url":"http://a/testHub?numRedirects={number}"}}'


async def test_signalrs_suite_gets_three_cookies_with_a_negotiation() -> None:
    """One of them has expired; and the refusal that it shows."""
    async with serving(raw_routes()) as server, plain_http(server) as client:
        answer = await client.ask("/echo/negotiate", "POST")
        assert [value.partition("=")[0] for name, value in answer.headers if name == "set-cookie"] == [
            "testCookie",
            "testCookie2",
            "expiredCookie",
        ]
        assert (await client.ask("/echo"))["set-cookie"] is None
        answer = await client.ask("/bad-negotiate/negotiate", "POST")
        assert (answer.status, answer.text) == (400, "Some response from server")
