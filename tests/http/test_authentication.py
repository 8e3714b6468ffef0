"""Who may come in: user names with passwords, and tokens from three places. No secret is told to anyone."""

from __future__ import annotations

import base64
import hmac

import pytest
import trio

from trioecho._http.authentication import basic_auth, bearer
from trioecho._http.messages import Request, answer_to
from trioecho._http.refusals import Refused

BASIC = 'Basic realm="trioecho", charset="UTF-8"'
BEARER = 'Bearer realm="trioecho"'
INVALID_TOKEN = f'{BEARER}, error="invalid_token"'
INVALID_REQUEST = f'{BEARER}, error="invalid_request"'


def ask(authorization: str | None = None, *, query: str = "", subprotocols: str | None = None) -> Request:
    headers = {}
    if authorization is not None:
        headers["Authorization"] = authorization
    if subprotocols is not None:
        headers["Sec-WebSocket-Protocol"] = subprotocols
    return Request("GET", "/ws", f"/ws{query}", headers)


def encoded(text: str, encoding: str = "utf-8") -> str:
    return "Basic " + base64.b64encode(text.encode(encoding)).decode()


async def refusal(admit, request: Request) -> Refused:
    with pytest.raises(Refused) as caught:
        await admit(request)
    assert "user" not in request.state
    return caught.value


def challenge(refused: Refused) -> str:
    return dict(answer_to(refused).headers)["WWW-Authenticate"]


# Basic


async def test_a_right_password_is_admitted_and_the_user_is_known() -> None:
    """What `check` returns is what the handler finds; for True it is the user's name."""

    def knows(user: str, password: str) -> object:
        return {("zoë", "pass:wörd"): True, ("bob", ""): {"id": 7}}.get((user, password))

    admit = basic_auth(knows)
    request = ask(encoded("zoë:pass:wörd"))
    assert await admit(request) is None
    assert request.state == {"user": "zoë"}
    request = ask(encoded("bob:").replace("Basic", "bAsIc"))
    await admit(request)
    assert request.state == {"user": {"id": 7}}
    assert (await refusal(admit, ask(encoded("zoë:other")))).status == 401


async def test_an_async_check_is_awaited() -> None:
    """A check may ask a database, for either kind."""

    async def knows(*received: str) -> object:
        await trio.lowlevel.checkpoint()
        return received[-1] == "secret" and "someone"

    for admit, right, wrong in (
        (basic_auth(knows), encoded("a:secret"), encoded("a:other")),
        (bearer(knows), "Bearer secret", "Bearer other"),
    ):
        request = ask(right)
        await admit(request)
        assert request.state == {"user": "someone"}
        assert (await refusal(admit, ask(wrong))).status == 401


async def test_a_check_may_refuse_in_its_own_words() -> None:
    """A Refused that `check` raises is the answer."""

    def forbidden(*_: str) -> object:
        raise Refused(403, "Not today.")

    assert (await refusal(basic_auth(forbidden), ask(encoded("a:b")))).sentence == "Not today."
    assert (await refusal(bearer(forbidden), ask("Bearer x"))).sentence == "Not today."


@pytest.mark.parametrize("check", [{"zoë": "söcret", "bob": "other"}, "zoë:söcret"])
async def test_known_passwords_need_no_function(check, monkeypatch) -> None:
    """Of a mapping, or one user, passwords are compared in constant time, also for a user that nobody knows."""
    compared = []
    genuine = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append((a, b)) or genuine(a, b))
    admit = basic_auth(check)
    request = ask(encoded("zoë:söcret"))
    await admit(request)
    assert request.state == {"user": "zoë"}
    for wrong in ("zoë:", "zoë:söcre", "nobody:söcret", ":söcret", "bob:söcret"):
        assert (
            await refusal(admit, ask(encoded(wrong)))
        ).sentence == "The user name or the password is wrong."
    assert len(compared) == 6
    assert {len(each) for pair in compared for each in pair} == {32}


@pytest.mark.parametrize("authorization", [None, "Bearer abc", "c2VjcmV0", ""])
async def test_a_request_without_a_password_is_asked_for_one(authorization) -> None:
    """401 with the challenge upon which a browser asks its user."""
    refused = await refusal(basic_auth("a:b", realm='the "back" door'), ask(authorization))
    assert refused.status == 401
    assert challenge(refused) == 'Basic realm="the \\"back\\" door", charset="UTF-8"'
    assert (
        refused.sentence
        == "This needs a user name and a password (HTTP Basic authentication); received none."
    )


@pytest.mark.parametrize(
    "authorization",
    [
        "Basic",
        "Basic %%%",
        "Basic \xe9",
        "Basic c2VjcmV0",  # no colon
        "Basic YTpi YTpi",
        "Basic YTpiY",
        encoded("zoë:b", "latin-1"),
        encoded("a:b\r\nc"),
        encoded("a\0:b"),
    ],
)
async def test_a_malformed_password_is_refused_in_one_sentence(authorization) -> None:
    """What cannot be decoded never reaches the check."""
    refused = await refusal(basic_auth(lambda *_: pytest.fail("checked")), ask(authorization))
    assert (refused.status, challenge(refused)) == (401, BASIC)
    assert refused.sentence == (
        "HTTP Basic authentication takes 'user:password' in UTF-8 and base64; received something else."
    )


@pytest.mark.parametrize("make", [basic_auth, bearer])
async def test_two_authorizations_are_refused(make) -> None:
    """Of two headers nobody knows which another server on the way has looked at."""
    request = Request("GET", "/", "/", [("Authorization", "Basic YTpi"), ("Authorization", "Bearer x")])
    assert (await refusal(make(lambda *_: True), request)).status == 400


# Bearer


@pytest.mark.parametrize(
    "request_",
    [
        ask("Bearer aB-._~+/9=="),
        ask("BEARER   aB-._~+/9=="),
        ask(query="?room=7&access_token=aB-._~%2B/9%3D%3D"),
        ask("Basic YTpi", query="?access_token=aB-._~%2B%2F9=="),
        ask("Bearer aB-._~+/9==", query="?access_token=aB-._~%2B/9%3D%3D"),
    ],
)
async def test_a_token_comes_in_the_header_or_in_the_query(request_) -> None:
    """One token, wherever it stands and how often, is checked."""
    await bearer({"bob": "other", "zoë": "aB-._~+/9=="})(request_)
    assert request_.state == {"user": "zoë"}


async def test_a_token_comes_as_a_subprotocol() -> None:
    """A browser offers it beside the subprotocol that it means."""
    admit = bearer("abc.def-9")
    request = ask(subprotocols="chat.v1, bearer.abc.def-9")
    # Nothing is agreed on here: that is left to the route, whose subprotocols have no token.
    assert await admit(request) is None
    assert request.state == {"user": True}
    request = Request(
        "GET",
        "/",
        "/",
        [("Sec-WebSocket-Protocol", "chat.v1"), ("Sec-WebSocket-Protocol", "bearer.abc.def-9")],
    )
    await admit(request)
    assert request.state == {"user": True}
    request = ask(subprotocols="x,token-abc.def-9")
    await bearer("abc.def-9", subprotocol_prefix="token-")(request)
    assert request.state == {"user": True}


@pytest.mark.parametrize(
    "request_",
    [
        ask("Bearer good", query="?access_token=evil"),
        ask(query="?access_token=good&access_token=evil"),
        ask("Bearer good", subprotocols="bearer.evil"),
        ask(subprotocols="bearer.good, bearer.evil"),
    ],
)
async def test_several_tokens_that_differ_are_refused(request_) -> None:
    """Nobody is admitted by the one and taken for the owner of the other."""
    refused = await refusal(bearer({"zoë": "good", "bob": "evil"}), request_)
    assert (refused.status, challenge(refused)) == (400, INVALID_REQUEST)


async def test_a_place_can_be_switched_off() -> None:
    """None for the query or the subprotocol: a token there is none, and the sentence does not name the place."""
    refused = await refusal(bearer("good", query=None), ask(query="?access_token=good"))
    assert refused.sentence == (
        "This needs a token, in 'Authorization: Bearer', or a subprotocol that begins with 'bearer.'; received none."
    )
    refused = await refusal(bearer("good", subprotocol_prefix=None), ask(subprotocols="bearer.good"))
    assert refused.sentence == (
        "This needs a token, in 'Authorization: Bearer', the parameter 'access_token'; received none."
    )


@pytest.mark.parametrize(
    ("request_", "status", "expected"),
    [
        (ask(), 401, BEARER),
        (ask("Basic YTpi"), 401, BEARER),
        (ask(query="?token=good"), 401, BEARER),
        (ask("Bearer evil"), 401, INVALID_TOKEN),
        (ask("Bearer good="), 401, INVALID_TOKEN),
        (ask("Bearer"), 400, INVALID_REQUEST),
        (ask("Bearer go od"), 400, INVALID_REQUEST),
        (ask(query="?access_token="), 400, INVALID_REQUEST),
        (ask(query="?access_token=g+od"), 400, INVALID_REQUEST),
        (ask(query="?access_token=g%FFd"), 400, INVALID_REQUEST),
        (ask(subprotocols="bearer."), 400, INVALID_REQUEST),
    ],
)
async def test_the_challenge_says_what_is_wrong(request_, status, expected) -> None:
    """The error codes are those of RFC 6750 §3.1."""
    refused = await refusal(bearer("good"), request_)
    assert (refused.status, challenge(refused)) == (status, expected)


@pytest.mark.parametrize("secret", ["s3cr3t", "s3cr3t%00", "s3cr3t,other"])
async def test_no_refusal_tells_what_was_received(secret) -> None:
    """Sentences are logged and sent: no password, no token and no user name stands in them."""
    bare = secret.partition("%")[0].partition(",")[0]
    for request in (
        ask(encoded(f"{secret}:{secret}")),
        ask(f"Basic {secret}"),
        ask(secret),
        ask(f"Bearer {secret}"),
        ask(query=f"?access_token={secret}"),
        ask(query=f"?access_token={secret}&access_token=other"),
        ask(subprotocols=f"bearer.{secret}"),
    ):
        for admit in (basic_auth("a:b"), bearer("good")):
            refused = await refusal(admit, request)
            assert bare not in f"{refused.sentence}{refused}{refused.headers}"


async def test_tokens_are_compared_in_constant_time(monkeypatch) -> None:
    """Whose token it is, and how much of it is right, cannot be told from the time: all are compared."""
    compared = []
    genuine = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append((a, b)) or genuine(a, b))
    admit = bearer({"first": "one", "second": "two", "third": "three"})
    request = ask("Bearer one")
    await admit(request)
    assert request.state == {"user": "first"}
    assert len(compared) == 3
    await refusal(admit, ask("Bearer four"))
    assert len(compared) == 6
    assert {len(each) for pair in compared for each in pair} == {32}


@pytest.mark.parametrize(
    ("make", "kind", "sentence"),
    [
        (
            lambda: basic_auth(None),
            TypeError,
            "a function of the user name and the password, .*; you gave NoneType",
        ),
        (lambda: bearer(7), TypeError, "a function of the token, a mapping or a string; you gave int"),
        (
            lambda: basic_auth("secret"),
            ValueError,
            "takes 'user:password' as a string; you gave one without a colon",
        ),
        (lambda: basic_auth({}), ValueError, "a mapping of users to passwords; you gave an empty one"),
        (lambda: basic_auth({"a": 7}), TypeError, "users to passwords, all strings; one is str to int"),
        (lambda: basic_auth({"a": ""}), ValueError, "passwords that are not empty; that of 'a' is"),
        (lambda: basic_auth({"a:b": "c"}), ValueError, "a user name has no colon .*; you gave 'a:b'"),
        (lambda: basic_auth("a:b", realm="ü"), ValueError, "realm takes printable ASCII .*; you gave 'ü'"),
        (lambda: bearer("a:b", realm="a\nb"), ValueError, "a token has letters, digits"),
        (lambda: bearer("a", realm="a\nb"), ValueError, "realm takes printable ASCII"),
        (lambda: bearer(""), ValueError, "a token has letters, digits"),
        (
            lambda: bearer({"a": "ü"}),
            ValueError,
            "a token has letters, digits .*; you gave one that is empty or",
        ),
        (lambda: bearer({"": "a"}), ValueError, "one of the users is an empty string"),
        (lambda: bearer({}), ValueError, "a mapping of users to tokens; you gave an empty one"),
        (
            lambda: bearer("a", query=""),
            ValueError,
            "the name of a parameter such as 'access_token', or None",
        ),
        (
            lambda: bearer("a", subprotocol_prefix="a b"),
            ValueError,
            "a token such as 'bearer.', or None; you gave 'a b",
        ),
    ],
)
def test_what_will_not_do_is_refused_with_what_would(make, kind, sentence) -> None:
    """A mistake is told when the function is made, in one sentence."""
    with pytest.raises(kind, match=sentence):
        make()


def test_a_check_that_was_called_is_refused() -> None:
    """The beginner's mistake with async functions: what it returns is given, and closed so that nothing warns."""

    async def knows(token: str) -> bool:
        return True

    with pytest.raises(TypeError, match="the function itself, without calling it"):
        bearer(knows("x"))
