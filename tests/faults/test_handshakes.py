"""Faults of the opening handshake."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest
import trio
from fault_clients import at, clients, fault_server, seen_by, serving_faults, visit
from plain_http import Answer, plain_http

import trioecho
from trioecho.testing import SAMPLE_KEY, RawClient

pytestmark = pytest.mark.keeps_open

HANDSHAKE = (
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", SAMPLE_KEY),
)


@pytest.fixture(scope="module")
def live() -> Iterator[trioecho.LiveServer]:
    with fault_server() as server:
        yield server


async def ask(server: trioecho.Server, path: str, *headers: tuple[str, str]) -> Answer:
    """What a handshake at `path` is answered with."""
    async with plain_http(server) as client:
        return await client.ask(path, headers=(*HANDSHAKE, *headers))


async def test_the_101_comes_late() -> None:
    """By as much as it was told, and then all is well."""
    async with serving_faults() as server:
        began = trio.current_time()
        async with at(server, "/handshake?delay=0.3") as client:
            assert trio.current_time() - began >= 0.3
            await client.send("hello")
            assert await client.receive() == "hello"


async def test_no_answer_comes_at_all() -> None:
    """TCP is open, and nothing is said; /seen tells that nothing was."""
    async with serving_faults() as server, plain_http(server) as client:
        await client.send("/handshake?hang=1&id=it", headers=HANDSHAKE)
        with trio.move_on_after(0.4):
            raise AssertionError(await client.stream.receive_some())
        assert (await seen_by(server, wait=0))["status"] is None


@pytest.mark.parametrize(
    ("query", "field", "value"),
    [
        ("", "Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ("key=missing", "Sec-WebSocket-Accept", None),
        ("subprotocol=chat.v1", "Sec-WebSocket-Protocol", "chat.v1"),
        ("extension=permessage-deflate;%20x=1", "Sec-WebSocket-Extensions", "permessage-deflate; x=1"),
    ],
)
async def test_the_101_says_what_it_was_told(query: str, field: str, value: str | None) -> None:
    """RFC 6455's own example of a key; what nobody has asked for."""
    async with serving_faults() as server:
        answer = await ask(server, f"/handshake?{query}")
    assert answer.status == 101
    assert answer[field] == value


async def test_the_accept_key_is_wrong() -> None:
    """It looks like one."""
    async with serving_faults() as server:
        answer = await ask(server, "/handshake?key=wrong")
    accept = answer["Sec-WebSocket-Accept"]
    assert accept is not None
    assert accept != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert len(base64.b64decode(accept)) == 20


async def test_the_first_message_comes_with_the_101() -> None:
    """In the same segment."""
    async with serving_faults() as server, plain_http(server) as client:
        await client.send("/handshake?glue=hello&id=it", headers=HANDSHAKE)
        received = await client.stream.receive_some()
        assert received.startswith(b"HTTP/1.1 101 ")
        assert received.endswith(b"\r\n\r\n\x81\x05hello")
        assert (await seen_by(server, wait=0))["frames"][0]["text"] == "hello"


async def test_a_status_with_body_and_headers() -> None:
    """No browser takes it for a page; the connection's id is told."""
    async with serving_faults() as server:
        answer = await ask(
            server, "/status/503?retry_after=7&body=<b>later</b>&header=X-Why:%20busy&header=X-Why:no&id=it"
        )
        assert (answer.status, answer.text) == (503, "<b>later</b>")
        assert (answer["Retry-After"], answer["X-Why"], answer["Trioecho-Seen"]) == ("7", "busy, no", "it")
        assert answer["Content-Security-Policy"] == "sandbox; default-src 'none'"
        assert (await ask(server, "/status/404")).text == "404 Not Found\n"
        assert (await ask(server, "/status/204")).body == b""
        assert (await ask(server, "/status/503?header=Connection:x")).status == 400
        assert (await ask(server, "/status/101")).status == 400
        async with plain_http(server) as client:
            assert (await client.ask("/status/418", "HEAD")).body == b""


async def test_redirects_count_down() -> None:
    """Each leads to the next, the query and all, and the last one to an echo."""
    async with serving_faults() as server:
        path, answers = "/redirect/3?code=307", []
        while (answer := await ask(server, path)).status != 101:
            path = str(answer["Location"])
            answers.append((answer.status, path))
    assert answers == [(307, f"/redirect/{n}?code=307") for n in (2, 1, 0)]


async def test_basic_credentials_are_checked() -> None:
    """401 with a challenge; what stands in the path is told nowhere."""
    right = base64.b64encode(b"ada:engine").decode()
    async with serving_faults() as server:
        answer = await ask(server, "/auth/basic/ada/engine")
        assert (answer.status, answer["WWW-Authenticate"]) == (401, 'Basic realm="faults", charset="UTF-8"')
        wrong = ("Authorization", "Basic " + base64.b64encode(b"ada:x").decode())
        assert (await ask(server, "/auth/basic/ada/engine", wrong)).status == 401
        answer = await ask(server, "/auth/basic/ada/engine?id=it", ("Authorization", f"Basic {right}"))
        assert answer.status == 101
        assert (await ask(server, "/auth/basic/a:b/engine")).status == 400
        told = await seen_by(server, wait=0)
    assert "engine" not in json.dumps(told)
    assert right not in json.dumps(told)


async def test_tokens_are_checked() -> None:
    """In each place where a client may have put one."""
    async with serving_faults() as server:
        path = "/auth/bearer/c2VzYW1l"
        assert (await ask(server, path)).status == 401
        assert (await ask(server, path, ("Authorization", "Bearer c2VzYW1l"))).status == 101
        assert (await ask(server, f"{path}?access_token=c2VzYW1l")).status == 101
        assert (await ask(server, f"{path}?access_token=other")).status == 401
        assert (await ask(server, path, ("Sec-WebSocket-Protocol", "bearer.c2VzYW1l"))).status == 101
        assert (await ask(server, "/auth/bearer/a%20b")).status == 400


async def test_cookies_are_set_and_seen() -> None:
    """Several at once; those that came are the first message."""
    async with serving_faults() as server:
        answer = await ask(server, "/cookies?set=one:1&set=two:2")
        assert answer["Set-Cookie"] == "one=1; Path=/; SameSite=Lax, two=2; Path=/; SameSite=Lax"
        async with at(server, "/cookies", headers="Cookie: one=1; two=2\r\n") as client:
            assert json.loads(str(await client.receive())) == {"one": "1", "two": "2"}
        assert (await ask(server, "/cookies?set=one:1;Domain=x")).status == 400


async def test_the_first_attempts_fail() -> None:
    """Counted by key; a request that is no handshake counts for nothing."""
    async with serving_faults() as server:
        path = "/flaky?fail=2&key=mine&status=502"
        async with plain_http(server) as client:
            assert (await client.ask(path)).status == 400
        assert [(await ask(server, path)).status for _ in range(3)] == [502, 502, 101]
        assert (await ask(server, "/flaky?fail=1&key=other")).status == 503


async def test_what_is_no_handshake_is_told_what_one_is() -> None:
    """A page in a browser, for instance."""
    async with serving_faults() as server, plain_http(server) as client:
        answer = await client.ask("/close/4001")
    assert answer.status == 400
    assert "websocket" in answer.text


@clients
@pytest.mark.parametrize(
    "query", ["key=wrong", "key=missing", "extension=x-unknown", "extension=permessage-deflate"]
)
def test_clients_fail_a_wrong_handshake(client: str, query: str, live: trioecho.LiveServer) -> None:
    """But for aiohttp, which does not look at extensions when it has offered none."""
    told = visit(client, live, f"/handshake?{query}", "hello", close_after=1)
    assert told.opened == (client == "aiohttp" and query.startswith("extension"))


@clients
def test_clients_deliver_what_comes_with_the_101(client: str, live: trioecho.LiveServer) -> None:
    """First of all."""
    told = visit(client, live, "/handshake?glue=first", "second", close_after=2)
    assert told.heard == ["first", "second"]


@clients
def test_clients_tell_the_status(client: str, live: trioecho.LiveServer) -> None:
    """And do not open."""
    told = visit(client, live, "/status/429?retry_after=1")
    assert (told.opened, told.status) == (False, 429)


@pytest.mark.parametrize("client", ["websockets", "aiohttp"])
def test_clients_follow_redirects(client: str, live: trioecho.LiveServer) -> None:
    """Those that do; `ws` does when it is asked to."""
    assert visit(client, live, "/redirect/2", "hello", close_after=1).heard == ["hello"]


@clients
def test_clients_get_through_at_last(client: str, live: trioecho.LiveServer) -> None:
    """Who tries again."""
    told = [visit(client, live, f"/flaky?fail=1&key={client}", "hello", close_after=1) for _ in range(2)]
    assert [each.heard for each in told] == [[], ["hello"]]
    assert [each.status for each in told] == [503, 101]


def test_a_raw_client_is_not_needed_for_the_id(live: trioecho.LiveServer) -> None:
    """Every 101 names the connection."""

    async def story() -> bytes:
        client = RawClient(await trio.open_tcp_stream("127.0.0.1", live.server.port))
        head = await client.handshake("/echo?id=named")
        await client.stream.aclose()
        return head

    assert b"\r\nTrioecho-Seen: named\r\n" in trio.run(story) + b"\r\n"
