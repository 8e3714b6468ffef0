"""Admission: who comes in, what the 101 says besides, and that a failure in it is nobody else's concern."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio
import trio.testing
from plain_http import PlainHttp, plain_http
from serving import connected, one_way, serving, serving_in_memory, someone_else_is_served, way_of_reading

import trioecho
from trioecho import Accept, Refused, Request, WebSocketRoute, echo

__all__ = ["way_of_reading"]

pytestmark = one_way

HANDSHAKE = (
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
)


async def knock(client: PlainHttp, target: str = "/ws", *headers: tuple[str, str]) -> Any:
    """Ask for a WebSocket; returns the answer, whatever it is."""
    return await client.ask(target, headers=(*HANDSHAKE, *headers))


async def test_a_refusal_is_answered_as_it_says() -> None:
    """Any status from 300 to 599, with headers and a body of its own; the connection is closed."""

    async def admit(request: Request) -> None:
        if "moved" in request.query:
            raise Refused(302, "Elsewhere.", {"Location": "/login"})
        raise Refused(401, "Who are you?", {"WWW-Authenticate": "Basic"}, body=b"\x00")

    async with serving({"/ws": WebSocketRoute(echo, admit=admit)}) as server:
        async with plain_http(server) as client:
            answer = await knock(client)
            assert (answer.status, answer["www-authenticate"], answer.body) == (401, "Basic", b"\x00")
            assert answer["connection"] == "close"
            assert await client.ended()
        async with plain_http(server) as client:
            answer = await knock(client, "/ws?moved")
            assert (answer.status, answer["location"], answer.text) == (302, "/login", "Elsewhere.\n")


async def test_the_101_carries_what_admission_adds() -> None:
    """Cookies, each in a line of its own, and a subprotocol among those offered."""

    async def admit(request: Request) -> Accept:
        request.state["user"] = "ann"
        return Accept(subprotocol="b", headers=[("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])

    async def whoami(ws: trioecho.WebSocket) -> None:
        await ws.send(f"{ws.request.state['user']} {ws.subprotocol}")

    async with serving({"/ws": WebSocketRoute(whoami, admit=admit)}) as server:
        async with connected(server, headers="Sec-WebSocket-Protocol: a, b\r\n") as client:
            assert client.response.count(b"\r\nSet-Cookie: ") == 2
            assert b"Sec-WebSocket-Protocol: b" in client.response
            assert await client.receive() == "ann b"


async def test_admission_comes_behind_origin_and_handshake_and_before_room() -> None:
    """It is asked for nothing that could not be accepted; 503 is said last."""
    asked: list[str] = []

    async def admit(request: Request) -> None:
        asked.append(request.path)

    routes = {"/ws": WebSocketRoute(echo, admit=admit)}
    async with serving(routes, allowed_origins=["https://a.com"], max_connections=1) as server:
        for headers, status in (
            ([("Origin", "https://b.com")], 403),
            ([("Sec-WebSocket-Protocol", "@")], 400),
        ):
            async with plain_http(server) as client:
                assert (await knock(client, "/ws", *headers)).status == status
        assert asked == []
        async with connected(server), plain_http(server) as client:
            assert (await knock(client)).status == 503
        assert asked == ["/ws", "/ws"]


async def test_a_failure_in_admission_is_a_500_and_no_one_elses(caplog: pytest.LogCaptureFixture) -> None:
    """Logged with its traceback; the client learns nothing of it; so is an answer that is none."""

    async def admit(request: Request) -> Any:
        if "wrong" in request.query:
            return True
        raise ZeroDivisionError("secret")

    async with serving({"/ws": echo, "/a": WebSocketRoute(echo, admit=admit)}) as server:
        for target in ("/a", "/a?wrong"):
            async with plain_http(server) as client:
                answer = await knock(client, target)
                assert answer.status == 500
                assert "secret" not in answer.text
        await someone_else_is_served(server)
    assert [record.exc_info is not None for record in caplog.records if record.levelno == logging.ERROR] == [
        True,
        True,
    ]


async def test_admission_has_the_time_of_the_handshake(autojump_clock: trio.testing.MockClock) -> None:
    """Then 503; what it was waiting for is cancelled."""
    cancelled = trio.Event()

    async def admit(request: Request) -> None:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async with serving_in_memory({"/ws": WebSocketRoute(echo, admit=admit)}, handshake_timeout=3) as stream:
        answer = await knock(PlainHttp(stream))
    assert answer.status == 503
    assert answer.text == "The server did not decide on this request within 3 seconds.\n"
    assert cancelled.is_set()


async def test_a_function_chooses_the_subprotocol() -> None:
    """None is none; one that was not offered is the server's mistake."""

    def choose(request: Request, offered: tuple[str, ...]) -> str | None:
        return request.query.get("choose")

    async with serving({"/ws": WebSocketRoute(echo, subprotocols=choose)}) as server:
        for target, status, chosen in (
            ("/ws", 101, None),
            ("/ws?choose=b", 101, "b"),
            ("/ws?choose=c", 500, None),
        ):
            async with plain_http(server) as client:
                answer = await knock(client, target, ("Sec-WebSocket-Protocol", "a, b"))
                assert (answer.status, answer["sec-websocket-protocol"]) == (status, chosen)


async def test_a_route_has_a_limit_of_its_own() -> None:
    """Connections of other routes do not count, and one that has ended makes room."""
    routes = {"/ws": echo, "/few": WebSocketRoute(echo, options={"max_connections": 1})}
    async with serving(routes) as server:
        async with connected(server, path="/few"), connected(server), plain_http(server) as client:
            answer = await knock(client, "/few")
            assert answer.status == 503
            assert "The one connection of this path is taken" in answer.text
        while server.connections:
            await trio.sleep(0.001)
        async with connected(server, path="/few"):
            pass


async def test_a_routes_origins_are_judged_by_its_own_list() -> None:
    """And a path that is not served by the server's."""
    routes = {"/ws": WebSocketRoute(echo, options={"allowed_origins": ["https://b.com"]})}
    async with serving(routes, allowed_origins=["https://a.com"]) as server:
        for target, origin, status in (
            ("/ws", "https://b.com", 101),
            ("/ws", "https://a.com", 403),
            ("/no", "https://b.com", 403),
            ("/no", "https://a.com", 404),
        ):
            async with plain_http(server) as client:
                assert (await knock(client, target, ("Origin", origin))).status == status


async def test_a_service_tells_nothing_of_its_other_paths() -> None:
    """Only the sample lists them."""
    async with serving({"/secret": echo}) as server, plain_http(server) as client:
        answer = await knock(client, "/no")
        assert (answer.status, answer.text) == (404, "No WebSocket is served at '/no'.\n")


async def test_the_request_stays_with_its_websocket() -> None:
    """Path parameters, query, cookies and headers are there for the handler."""

    async def tell(ws: trioecho.WebSocket) -> None:
        request = ws.request
        await ws.send(
            f"{request.method} {request.path} {dict(request.path_params)} {request.query.get_all('a')} "
            f"{request.cookies} {request.headers['HOST']} {request.http_version} {request.scheme} {request.host}"
        )

    async with serving({"/rooms/{room}": tell}) as server:
        async with connected(server, path="/rooms/%C3%BC?a=1&a=2", headers="Cookie: c=d\r\n") as client:
            assert await client.receive() == (
                "GET /rooms/ü {'room': 'ü'} ('1', '2') {'c': 'd'} localhost 1.1 http localhost"
            )


async def test_a_token_among_the_subprotocols_is_never_agreed_on(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever chooses does not see it, and it is in no line of the log."""
    caplog.set_level(logging.DEBUG)
    seen: list[tuple[str, ...]] = []

    def first(request: Request, offered: tuple[str, ...]) -> str | None:
        seen.append(offered)
        return offered[0] if offered else None

    async def whoami(ws: trioecho.WebSocket) -> None:
        await ws.send(ws.request.state["user"])

    routes = {
        "/ws": WebSocketRoute(whoami, admit=trioecho.bearer({"ann": "s3cret"}), subprotocols=first),
        "/echoes": WebSocketRoute(
            whoami, admit=trioecho.bearer({"ann": "s3cret"}), subprotocols=["bearer.s3cret"]
        ),
    }
    async with serving(routes) as server:
        async with connected(server, headers="Sec-WebSocket-Protocol: bearer.s3cret, chat\r\n") as client:
            assert b"Sec-WebSocket-Protocol: chat" in client.response
            assert await client.receive() == "ann"
        for target in ("/ws?access_token=s3cret", "/echoes"):
            headers = "" if "?" in target else "Sec-WebSocket-Protocol: bearer.s3cret\r\n"
            async with connected(server, path=target, headers=headers) as client:
                assert b"Sec-WebSocket-Protocol" not in client.response
                assert await client.receive() == "ann"
        async with plain_http(server) as client:
            assert (await knock(client, "/ws?access_token=wr0ng")).status == 401
    assert seen == [("chat",), ()]
    assert "s3cret" not in caplog.text
    assert "wr0ng" not in caplog.text


async def test_each_route_offers_its_own_compression() -> None:
    """And a header that is no list of extensions is refused where there is one that reads it."""
    compressing = trioecho.WebSocketOptions(compression=trioecho.Deflate(server_max_window_bits=9))
    routes = {"/plain": echo, "/small": WebSocketRoute(echo, options=compressing)}
    offer = ("Sec-WebSocket-Extensions", "permessage-deflate")
    async with serving(routes) as server:
        for path, answer in (("/small", "permessage-deflate; server_max_window_bits=9"), ("/plain", None)):
            async with plain_http(server) as client:
                accepted = await knock(client, path, offer)
                assert accepted.status == 101
                assert dict(accepted.headers).get("sec-websocket-extensions") == answer
        for path, status in (("/small", 400), ("/plain", 101)):
            async with plain_http(server) as client:
                answer = await knock(client, path, ("Sec-WebSocket-Extensions", "permessage-deflate;;"))
                assert answer.status == status
