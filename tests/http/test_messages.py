"""Requests and responses as handlers see them: what is read out of them, and what they do not take."""

from __future__ import annotations

import gc
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

from trioecho._http.messages import Accept, Request, Response, Tls, answer_to
from trioecho._http.refusals import Refused
from trioecho._protocol.budget import Budget

FIELDS = "host:a.example:5000\norigin:https://a.example\ncookie:user=me\ncookie:theme=dark"


def request(**changes: Any) -> Request:
    arguments = {"method": "POST", "path": "/über", "target": "/%C3%BCber?tag=a&tag=b", "headers": FIELDS}
    return Request(**{**arguments, **changes})


def receiving(*pieces: bytes) -> Callable[[], Awaitable[bytes]]:
    """What gives a request's body, b"" at its end."""
    left = list(pieces)

    async def receive() -> bytes:
        await trio.lowlevel.checkpoint()
        return left.pop(0) if left else b""

    return receive


# Requests


def test_a_request_says_what_was_asked_for() -> None:
    """Its header fields with their doubles, its query, cookies, Origin and Host."""
    asked = request(client=("127.0.0.1", 5), tls=Tls("TLSv1.3"), scheme="https")
    assert asked.headers["Host"] == asked.host == "a.example:5000"
    assert asked.headers.get_all("Cookie") == ("user=me", "theme=dark")
    assert asked.header_pairs() == tuple(tuple(line.split(":", 1)) for line in FIELDS.split("\n"))
    assert asked.query.get_all("tag") == ("a", "b")
    assert asked.cookies == {"user": "me", "theme": "dark"}
    assert asked.origin == "https://a.example"
    assert (asked.client, asked.scheme, asked.http_version) == (("127.0.0.1", 5), "https", "1.1")
    assert (asked.tls, asked.path_params, asked.nursery) == (Tls("TLSv1.3", None, None), {}, None)
    assert repr(asked) == "<trioecho.Request POST /über>"


def test_an_empty_request_has_nothing() -> None:
    """None where there was no field, and mappings without names."""
    bare = request(target="/", headers=())
    assert (bare.origin, bare.host, bare.cookies) == (None, None, {})
    assert (bare.header_pairs(), len(bare.headers), len(bare.query)) == ((), 0, 0)


def test_a_test_may_give_the_fields_as_pairs_or_as_a_mapping() -> None:
    """And a field that no client can send is refused."""
    for fields in ({"X-A": "1:2"}, [("X-A", "1:2")]):
        assert request(headers=fields).headers["x-a"] == "1:2"
    with pytest.raises(ValueError, match="printable characters"):
        request(headers={"X": "a\nb: c"})


def test_headers_are_made_once_and_the_state_is_the_requests_own() -> None:
    """What admission writes into the state, the handler finds; another request does not."""
    asked = request()
    assert asked.headers is asked.headers
    asked.state["user"] = "me"
    assert asked.state == {"user": "me"}
    assert request().state == {}


async def test_a_body_is_read_whole_or_piece_by_piece() -> None:
    """Until b"" comes."""
    assert await request(receive=receiving(b"one", b"two")).body() == b"onetwo"
    assert [piece async for piece in request(receive=receiving(b"one", b"two")).stream()] == [b"one", b"two"]


async def test_a_request_without_a_body_has_an_empty_one() -> None:
    """And to read it is no checkpoint."""
    with trio.testing.assert_no_checkpoints():
        assert await request().body() == b""
        assert [piece async for piece in request().stream()] == []


async def test_a_body_is_bounded_when_it_is_collected() -> None:
    """413 for a byte too many; as a stream it has no limit, for nothing is kept."""
    pieces = (b"x" * 4, b"x" * 4, b"x" * 4)
    fitting = request(receive=receiving(*pieces))
    fitting.max_body_size = 12
    assert len(await fitting.body()) == 12
    large = request(receive=receiving(*pieces))
    large.max_body_size = 11
    with pytest.raises(Refused, match="A body may have 11 bytes; received more") as refused:
        await large.body()
    assert refused.value.status == 413
    streamed = request(receive=receiving(*pieces))
    streamed.max_body_size = 1
    assert len([piece async for piece in streamed.stream()]) == 3


async def test_a_body_may_be_left_in_the_middle() -> None:
    """By a handler that has seen enough, and by one whose wait was cancelled: nothing is lost, and nothing warns."""
    asked = request(receive=receiving(b"one", b"two", b"three"))
    async for piece in asked.stream():
        assert piece == b"one"
        break
    pieces = asked.stream()
    with trio.CancelScope() as scope:
        scope.cancel()
        await anext(pieces)
    assert scope.cancelled_caught
    assert await anext(pieces) == b"two"
    gc.collect()
    assert await asked.body() == b"three"


# How to accept


def test_accept_has_what_it_was_given() -> None:
    """A subprotocol, or None to leave the choice to the route; headers for the 101."""
    accept = Accept(subprotocol="chat.v1", headers=[("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    assert accept.subprotocol == "chat.v1"
    assert accept.headers == (("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"))
    assert repr(Accept()) == "Accept(subprotocol=None, headers=[])"


@pytest.mark.parametrize("subprotocol", ["", "a b", "a,b", 5, b"chat"])
def test_what_is_no_subprotocol_gets_a_lesson(subprotocol: Any) -> None:
    """It would break the list in which it is answered."""
    with pytest.raises(ValueError, match=r"subprotocol takes a token such as 'chat.v1', or None; you gave"):
        Accept(subprotocol=subprotocol)


@pytest.mark.parametrize(
    "name",
    [
        "Connection",
        "upgrade",
        "Content-Length",
        "TRANSFER-ENCODING",
        "Sec-WebSocket-Accept",
        "sec-websocket-x",
    ],
)
def test_what_makes_the_handshake_is_the_servers_own(name: str) -> None:
    """In any case of its letters."""
    with pytest.raises(ValueError, match=f"the header {name} is the server's own: leave it out of Accept"):
        Accept(headers={name: "x"})


# Responses


async def pieces_of_text() -> AsyncIterator[str]:
    yield "text"


@pytest.mark.parametrize(
    ("body", "sent", "kind"),
    [
        ("grüße", "grüße".encode(), "text/plain; charset=utf-8"),
        (b"\x00", b"\x00", "application/octet-stream"),
        (bytearray(b"\x00"), b"\x00", "application/octet-stream"),
        (memoryview(b"\x00"), b"\x00", "application/octet-stream"),
        (b"", b"", None),
        ("", b"", None),
    ],
)
def test_a_body_has_its_type(body: str | bytes, sent: bytes, kind: str | None) -> None:
    """Text is UTF-8 and says so; of an empty body nothing is said."""
    response = Response(body)
    assert (response.status, response.body) == (200, sent)
    assert dict(response.headers).get("Content-Type") == kind


def test_a_stream_is_kept_as_it_is() -> None:
    """Nothing is asked of it before it is sent."""
    pieces = pieces_of_text()
    response = Response(pieces)
    assert response.body is pieces
    assert response.headers == (("Content-Type", "application/octet-stream"),)
    assert Response(pieces, headers={"Content-Length": "4"}).headers[0] == ("Content-Length", "4")


def test_the_type_can_be_given() -> None:
    """As an argument, or among the headers; then none is added."""
    assert Response("<p>", content_type="text/html").headers == (("Content-Type", "text/html"),)
    assert Response("<p>", headers={"content-type": "text/html"}).headers == (("content-type", "text/html"),)


def test_json_is_compact_and_utf_8() -> None:
    """It can be parsed again, and says what it is."""
    response = Response.json({"ü": [1, None]}, status=201, headers={"X-A": "1"})
    assert response.body == '{"ü":[1,null]}'.encode()
    assert json.loads(response.body) == {"ü": [1, None]}
    assert response.status == 201
    assert response.headers == (("X-A", "1"), ("Content-Type", "application/json"))
    assert repr(response) == "<trioecho.Response 201>"
    assert Response.json(None).status == 200


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ({"status": "200"}, TypeError, "status takes a number such as 200; you gave '200'"),
        ({"status": True}, TypeError, "status takes a number such as 200; you gave True"),
        ({"status": 199}, ValueError, "status takes a number from 200 to 599; you gave 199"),
        ({"status": 600}, ValueError, "you gave 600"),
        ({"body": ["a"]}, TypeError, "body takes str, bytes, or an async iterable of them; you gave list"),
        ({"headers": {"Transfer-Encoding": "chunked"}}, ValueError, "Transfer-Encoding is the server's own"),
        ({"headers": {"connection": "close"}}, ValueError, "the header Connection is the server's own"),
        ({"headers": {"Date": "today"}}, ValueError, "the header Date is the server's own"),
        ({"headers": {"Upgrade": "h2c"}}, ValueError, "the header Upgrade is the server's own"),
        ({"headers": {"Content-Length": "5"}}, ValueError, "Content-Length is counted by the server"),
        ({"content_type": "a\nb"}, ValueError, "printable characters of Latin-1"),
    ],
)
def test_what_cannot_be_sent_gets_a_lesson(
    arguments: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    """Where the response is made, not where it is sent."""
    with pytest.raises(error) as refused:
        Response(**arguments)
    assert sentence in str(refused.value)


def test_a_refusal_becomes_its_response() -> None:
    """The sentence on a line as plain text, or the body instead."""
    response = answer_to(Refused(401, "Who are you?", {"WWW-Authenticate": "Bearer"}))
    assert (response.status, response.body) == (401, b"Who are you?\n")
    assert dict(response.headers) == {
        "WWW-Authenticate": "Bearer",
        "Content-Type": "text/plain; charset=utf-8",
    }
    assert answer_to(Refused(403, "No.", body=b"{}")).body == b"{}"


def test_a_refusal_may_say_what_to_upgrade_to() -> None:
    """A 426 has to (RFC 9110 §15.5.22), and no other response may."""
    refused = Refused(426, "Come back as version 13.", {"Upgrade": "websocket", "X-A": "1"})
    headers = dict(answer_to(refused).headers)
    assert headers["Upgrade"] == "websocket"
    assert headers["X-A"] == "1"


async def test_a_body_counts_until_its_request_is_answered() -> None:
    """And where the server's memory is used up, no more of it is taken: 503."""
    budget, pieces = Budget(10_000), [b"x" * 1000] * 20

    async def receive() -> bytes:
        await trio.lowlevel.checkpoint()
        return pieces.pop() if pieces else b""

    request = Request("POST", "/", "/", receive=receive, budget=budget)
    with pytest.raises(Refused) as refused:
        await request.body()
    assert (refused.value.status, refused.value.headers) == (503, (("Retry-After", "5"),))
    assert 0 < budget.held <= 10_000
    request.forget_body()
    assert budget.held == 0
