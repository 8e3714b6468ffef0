"""`ConnectionRoute`: which connection a request is for, who may, and what is answered to all that is not right."""

from __future__ import annotations

import contextlib
import re
import time
from typing import Any

import pytest
import trio
import trio.testing
from hubs.clients_of_transports import echo, receive_all, serving_route
from plain_http import plain_http
from serving import connected, open_stream, serving, until

import trioecho
from trioecho.hubs import Connection, ConnectionOptions, ConnectionRoute, connection_route
from trioecho.testing import RawClient

EVENTS = (("Accept", "text/event-stream"),)

UPGRADE = (
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
)


# Paths.


async def test_its_paths_match_in_any_case_of_letters() -> None:
    """As ASP.NET's do; also where the path has parameters, whose values stay as they were sent."""
    routes = {
        "/Chat": ConnectionRoute(echo),
        "/rooms/{room}/Hub": ConnectionRoute(room),
        "/": ConnectionRoute(echo),
    }
    async with serving(routes) as server, plain_http(server) as client:
        for path in ("/chat/negotiate", "/CHAT/Negotiate", "/negotiate"):
            assert (await client.ask(path, "POST")).status == 200
        assert (await client.ask("/chat/negotiate/", "POST")).status == 404
        async with connected(server, path="/ROOMS/Blue/hub") as websocket:
            assert await websocket.receive() == "Blue"


async def room(connection: Connection) -> None:
    await connection.send(connection.request.path_params["room"])


async def test_it_stands_beside_other_routes_and_others_of_its_kind() -> None:
    async with serving_route() as served:
        async with connected(served.server, path="/ws") as client:
            await client.send("hello")
            assert await client.receive() == "hello"
    one, other = ConnectionRoute(echo), ConnectionRoute(echo)
    async with serving({"/one": one, "/other": other}) as server, plain_http(server) as http:
        token = (await http.ask("/one/negotiate?negotiateVersion=1", "POST")).text.split('Token":"')[1][:57]
        assert (await http.ask(f"/other?id={token}")).status == 404
        assert (await http.ask(f"/one?id={token}")).status == 200


@pytest.mark.parametrize(
    ("given", "error", "sentence"),
    [
        (lambda: ConnectionRoute(echo(None)), TypeError, "write echo, without calling it"),  # type: ignore[call-arg, arg-type]
        (lambda: ConnectionRoute(ConnectionRoute), TypeError, "you gave the class"),  # type: ignore[arg-type]
        (lambda: ConnectionRoute(echo, admit=3), TypeError, "admit is an async function"),  # type: ignore[arg-type]
        (lambda: ConnectionRoute(echo, user="zoe"), TypeError, "user is a function"),  # type: ignore[arg-type]
        (lambda: ConnectionRoute(echo, options={}), TypeError, "options takes a ConnectionOptions"),  # type: ignore[arg-type]
        (
            lambda: ConnectionRoute(echo, options=ConnectionOptions(websocket={"path": "/x"})),
            ValueError,
            "path is the server's own option",
        ),
    ],
)
def test_what_will_not_do_is_told_in_one_sentence(given: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=re.escape(sentence)):
        given()


async def test_it_serves_on_one_server_at_a_time_and_may_serve_again() -> None:
    route = ConnectionRoute(echo)
    for _ in range(2):
        async with serving({"/c": route}) as server, plain_http(server) as client:
            assert (await client.ask("/c/negotiate", "POST")).status == 200
            with pytest.raises(RuntimeError, match="serves already; make another for each server"):
                await route.run(trio.Event())


# Negotiation.


async def test_a_negotiation_keeps_nothing() -> None:
    """However many there are; each names another connection."""
    async with serving_route(max_connections=1) as served, served.http() as client:
        answers = {(await client.ask("/c/negotiate", "POST")).body for _ in range(100)}
        assert len(answers) == 100
        assert not served.connections
        assert (await client.ask("/c/negotiate", "POST"))["cache-control"] == "no-store"


async def test_only_post_negotiates() -> None:
    async with serving_route() as served:
        assert (await served.ask("/c/negotiate")).status == 405


@pytest.mark.parametrize("version", [0, 1])
async def test_every_transport_takes_what_either_version_was_told(version: int) -> None:
    """Version 0 has one name for a connection, which is secret; version 1 tells a public one besides."""
    async with serving_route() as served:
        for transport in ("WebSockets", "ServerSentEvents", "LongPolling"):
            told = await served.negotiate(f"negotiateVersion={version}")
            assert told["negotiateVersion"] == version
            token = told["connectionToken"] if version else told["connectionId"]
            async with contextlib.AsyncExitStack() as stack:
                if transport == "WebSockets":
                    await stack.enter_async_context(served.websocket(token))
                elif transport == "ServerSentEvents":
                    await stack.enter_async_context(served.events(token))
                else:
                    assert (await served.ask(f"/c?id={token}")).status == 200
                await until(
                    lambda transport=transport: (
                        served.connections[-1:] and served.connections[-1].transport == transport
                    )
                )
                connection = served.connections[-1]
                assert (connection.id, connection.token) == (told["connectionId"], token)


async def test_what_was_told_is_good_for_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving_route(negotiation_timeout=15) as served:
        early, late = await served.token(), await served.token()
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 14)
        assert (await served.ask(f"/c?id={early}")).status == 200
        monkeypatch.setattr(time, "time", lambda: now + 16)
        assert (await served.ask(f"/c?id={late}")).status == 404
        # The connection goes on.
        await served.ask(f"/c?id={early}", "POST", body=b"x")
        assert (await served.ask(f"/c?id={early}")).body == b"x"


async def test_what_was_told_begins_one_connection() -> None:
    """Not another when that has ended, though its time is not over."""
    async with serving_route() as served:
        target = await served.begin_polling()
        await served.ask(target, "DELETE")
        await until(lambda: served.ended)
        for headers in ((), EVENTS, UPGRADE):
            assert (await served.ask(target, headers=headers)).status == 404


async def test_tokens_that_were_used_are_remembered_as_long_as_they_are_good(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And of a flood of them only the last."""
    monkeypatch.setattr(connection_route, "MOST_SPENT", 3)
    route = ConnectionRoute(echo, options=ConnectionOptions(negotiation_timeout=15))
    now = time.time()

    async with serving({"/c": route}) as server, plain_http(server) as client:

        async def come_and_go() -> str:
            token = (await client.ask("/c/negotiate?negotiateVersion=1", "POST")).text.split('Token":"')[1]
            target = f"/c?id={token.partition(chr(34))[0]}"
            for method, status in (("GET", 200), ("DELETE", 202)):
                assert (await client.ask(target, method)).status == status
            await until(lambda: not route._connections)
            return target

        targets = [await come_and_go() for _ in range(5)]
        assert len(route._spent) == 3
        assert [(await client.ask(each)).status for each in targets[-3:]] == [404] * 3
        monkeypatch.setattr(time, "time", lambda: now + 20)
        await come_and_go()
        assert len(route._spent) == 1


async def test_servers_with_one_secret_take_what_the_other_has_told() -> None:
    """So WebSockets need no sticky sessions."""
    options = ConnectionOptions(secret=b"s" * 32)
    async with (
        serving({"/c": ConnectionRoute(echo, options=options)}) as one,
        serving({"/c": ConnectionRoute(echo, options=options)}) as other,
        serving({"/c": ConnectionRoute(echo)}) as stranger,
    ):
        async with plain_http(one) as client:
            answer = await client.ask("/c/negotiate?negotiateVersion=1", "POST")
        token = answer.text.split('connectionToken":"')[1].partition('"')[0]
        async with connected(other, path=f"/c?id={token}") as websocket:
            await websocket.send("hello")
            assert await websocket.receive() == "hello"
        async with plain_http(stranger) as client:
            assert (await client.ask(f"/c?id={token}")).status == 404


@pytest.mark.parametrize("transport", ["websockets", "server-sent-events", "long-polling"])
async def test_only_the_transports_that_are_allowed_are_offered_and_taken(transport: str) -> None:
    names = {"websockets": UPGRADE, "server-sent-events": EVENTS, "long-polling": ()}
    async with serving_route(transports=[transport]) as served:
        (offered,) = (await served.negotiate())["availableTransports"]
        assert offered["transport"].lower() == transport.replace("-", "")
        for other, headers in names.items():
            if other != transport:
                answer = await served.ask(f"/c?id={await served.token()}", headers=headers)
                assert answer.status in (400, 404), other
        assert not served.connections


# Requests that are not right.


async def test_a_request_names_its_connection() -> None:
    """400 without a name, 404 with one that is none."""
    async with serving_route() as served:
        for method in ("GET", "POST", "DELETE"):
            missing, unknown = await served.ask("/c", method), await served.ask("/c?id=nobody", method)
            assert (missing.status, missing.text.strip()) == (400, "Connection ID required")
            assert (unknown.status, unknown.text.strip()) == (404, "No Connection with that ID")
        assert (await served.ask("/c?id=nobody", headers=UPGRADE)).status == 404
        assert (await served.ask("/c?id=", headers=EVENTS)).status == 400
        assert not served.connections


async def test_a_client_may_say_its_first_before_it_polls() -> None:
    """As signalrcore does, and ASP.NET takes it; then it is a connection of long polling."""
    async with serving_route() as served:
        target = f"/c?id={await served.token()}"
        assert (await served.ask(target, "POST", body=b"early")).status == 200
        assert (await served.ask(target, headers=EVENTS)).status == 400
        assert (await served.ask(target)).body == b"early"
        assert [connection.transport for connection in served.connections] == ["LongPolling"]


async def test_a_post_begins_nothing_where_long_polling_is_not_offered() -> None:
    """404: a client of Server-Sent Events has its stream before it sends."""
    async with serving_route(transports=("server-sent-events",)) as served:
        assert (await served.ask(f"/c?id={await served.token()}", "POST", body=b"x")).status == 404
        assert not served.connections


async def test_a_websocket_is_alone() -> None:
    """A second one with its name is refused, 409; POST, DELETE and the other transports do not belong to it."""
    async with serving_route() as served:
        token = await served.token()
        async with served.websocket(token) as client:
            for status, method, headers in (
                (409, "GET", UPGRADE),
                (405, "POST", ()),
                (400, "DELETE", ()),
                (400, "GET", ()),
                (400, "GET", EVENTS),
            ):
                assert (await served.ask(f"/c?id={token}", method, headers=headers)).status == status
            await client.send("still here")
            assert await client.receive() == "still here"


async def test_a_connection_cannot_change_its_transport() -> None:
    async with serving_route() as served:
        polling, token = await served.begin_polling(), await served.token()
        assert (await served.ask(polling, headers=EVENTS)).status == 400
        assert (await served.ask(polling, headers=UPGRADE)).status == 400
        async with served.events(token):
            target = f"/c?id={token}"
            assert (await served.ask(target)).status == 400
            assert (await served.ask(target, headers=UPGRADE)).status == 400
            assert (await served.ask(target, headers=EVENTS)).status == 409
            assert (await served.ask(target, "DELETE")).status == 400


async def test_head_begins_nothing_and_takes_nothing() -> None:
    async with serving_route() as served:
        token = await served.token()
        assert (await served.ask(f"/c?id={token}", "HEAD")).status == 405
        assert not served.connections
        target = await served.begin_polling()
        await served.ask(target, "POST", body=b"x")
        assert (await served.ask(target, "HEAD")).status == 405
        assert (await served.ask(target)).body == b"x"


async def test_there_are_as_many_connections_as_there_may_be() -> None:
    """503 and Retry-After for one more, over each transport, negotiated or not; and again when one has gone."""
    async with serving_route(max_connections=3) as served:
        tokens = [await served.token() for _ in range(4)]
        async with served.websocket(tokens[0]), served.events(tokens[1]):
            polling = await served.begin_polling()
            for target, headers in (
                (f"/c?id={tokens[2]}", ()),
                (f"/c?id={tokens[2]}", EVENTS),
                (f"/c?id={tokens[2]}", UPGRADE),
                ("/c", UPGRADE),
            ):
                answer = await served.ask(target, headers=headers)
                assert (answer.status, answer["retry-after"]) == (503, "5")
            assert (await served.ask("/c/negotiate", "POST")).status == 503
            await served.ask(polling, "DELETE")
            await until(lambda: served.ended)
            assert (await served.ask(f"/c?id={tokens[3]}")).status == 200


# Admission.


async def admit(request: trioecho.Request) -> trioecho.Accept | None:
    """By a header that names who it is."""
    user = request.headers.get("x-user")
    if user is None:
        raise trioecho.Refused(401, "Who are you?", {"WWW-Authenticate": "Bearer"})
    if user == "eve":
        raise trioecho.Refused(403, "Not you.")
    request.state["user"] = user
    return trioecho.Accept(headers={"Set-Cookie": "seen=1"})


async def test_every_request_is_admitted() -> None:
    """401 has an empty body, which SignalR's clients would show; other refusals have their own."""
    async with serving_route(admit=admit) as served:
        for target, method, headers in (
            ("/c/negotiate", "POST", ()),
            ("/c", "GET", ()),
            ("/c", "GET", EVENTS),
            ("/c", "GET", UPGRADE),
            ("/c", "POST", ()),
            ("/c", "DELETE", ()),
        ):
            answer = await served.ask(target, method, headers=headers)
            assert (answer.status, answer.body, answer["www-authenticate"]) == (401, b"", "Bearer")
            answer = await served.ask(target, method, headers=(*headers, ("X-User", "eve")))
            assert (answer.status, answer.text) == (403, "Not you.\n")


async def test_what_admission_adds_is_told_with_the_negotiation_and_the_101() -> None:
    async with serving_route(admit=admit) as served:
        zoe = (("X-User", "zoe"),)
        answer = await served.ask("/c/negotiate", "POST", headers=zoe)
        assert answer["set-cookie"] == "seen=1"
        client = RawClient(await open_stream(served.server))
        response = await client.handshake("/c", headers="X-User: zoe\r\n")
        assert b"\r\nSet-Cookie: seen=1" in response
        await until(lambda: served.connections)
        assert served.connections[0].user == "zoe"
        await trio.aclose_forcefully(client.stream)


async def test_another_user_does_not_find_the_connection() -> None:
    """Neither what was negotiated, nor what has begun, over any transport; and it goes on unharmed."""
    async with serving_route(admit=admit) as served:
        zoe, mallory = (("X-User", "zoe"),), (("X-User", "mallory"),)
        token = await served.token_as("zoe")
        for headers in ((), EVENTS, UPGRADE):
            assert (await served.ask(f"/c?id={token}", headers=(*headers, *mallory))).status == 404
        assert (await served.ask(f"/c?id={token}", headers=zoe)).status == 200
        for method in ("GET", "POST", "DELETE"):
            assert (await served.ask(f"/c?id={token}", method, headers=mallory)).status == 404
        await served.ask(f"/c?id={token}", "POST", body=b"mine", headers=zoe)
        assert (await served.ask(f"/c?id={token}", headers=zoe)).body == b"mine"


async def test_a_function_says_who_the_user_is() -> None:
    async def user(request: trioecho.Request) -> str | None:
        return request.headers.get("x-name")

    async with serving_route(user=user) as served:
        await served.ask("/c", headers=(*UPGRADE, ("X-Name", "zoe")))
        await until(lambda: served.connections)
        assert served.connections[0].user == "zoe"
        await served.ask("/c", headers=UPGRADE)
        await until(lambda: len(served.connections) == 2)
        assert served.connections[1].user is None


async def test_a_user_that_is_no_string_is_told_to_the_author(caplog: pytest.LogCaptureFixture) -> None:
    async with serving_route(user=lambda request: 7) as served:
        assert (await served.ask("/c/negotiate", "POST")).status == 500
        assert (await served.ask("/c", headers=UPGRADE)).status == 500
    assert "user returns a string or None; it returned 7" in caplog.text


async def test_a_token_in_the_query_is_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """Browsers put it there for WebSockets and Server-Sent Events."""
    caplog.set_level(0)
    bearer = trioecho.bearer({"zoe": "c2VzYW1l"}, query="access_token")
    async with serving_route(admit=bearer) as served:
        answer = await served.ask("/c/negotiate?access_token=c2VzYW1l", "POST")
        assert answer.status == 200
        async with connected(served.server, path="/c?access_token=c2VzYW1l"):
            await until(lambda: served.connections)
        await until(lambda: served.ended)
        assert served.connections[0].user == "zoe"
    assert "c2VzYW1l" not in caplog.text


async def test_pages_of_other_origins_are_told_what_they_may() -> None:
    """Their own origin, with credentials, before admission; refusals too, so that the page can read them."""
    page = ("Origin", "https://a.com")
    asked = (page, ("Access-Control-Request-Method", "POST"))
    async with serving_route(admit=admit, allowed_origins=["https://a.com"]) as served:
        answer = await served.ask("/c/negotiate", "OPTIONS", headers=asked)
        assert answer.status == 204
        assert answer["access-control-allow-origin"] == "https://a.com"
        assert answer["access-control-allow-credentials"] == "true"
        assert "X-SignalR-User-Agent" in (answer["access-control-allow-headers"] or "")
        answer = await served.ask("/c/negotiate", "POST", headers=(page,))
        assert (answer.status, answer["access-control-allow-origin"]) == (401, "https://a.com")
        stranger = await served.ask("/c", headers=(("Origin", "https://b.com"), *UPGRADE))
        assert stranger.status == 403
        stranger = await served.ask("/c/negotiate", "POST", headers=(("Origin", "https://b.com"),))
        assert stranger["access-control-allow-origin"] is None


# Ends.


async def test_a_server_that_stops_takes_nobody() -> None:
    """While it still waits for others."""
    leave = trio.Event()

    async def stays(connection: Connection) -> None:
        await receive_all(connection)
        await leave.wait()

    async with serving_route(stays) as served:
        token = await served.token()
        async with served.http() as client, served.http() as other, served.websocket(token):
            await until(lambda: served.connections)
            # Both have begun before the stop, and are read behind it.
            await client.stream.send_all(b"POST /c/negotiate HTTP/1.1\r\n")
            await other.stream.send_all(b"GET /c HTTP/1.1\r\nUpgrade: websocket\r\n")
            await trio.testing.wait_all_tasks_blocked(0.03)
            served.server.stop(timeout=30)
            await client.stream.send_all(b"Host: a\r\n\r\n")
            assert (await client.answer()).status == 503
            await other.stream.send_all(
                b"Host: a\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            assert (await other.answer()).status == 503
            leave.set()
