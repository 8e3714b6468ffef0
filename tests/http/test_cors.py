"""CORS: which pages may read what an HTTP route answers, and what a preflight is told."""

from __future__ import annotations

import pytest

from trioecho._http.cors import Cors
from trioecho._http.messages import Request

PAGE = "https://client.com"
VARY = ("Vary", "Origin")


def ask(origin: str | None = PAGE, method: str = "GET", **headers: str) -> Request:
    fields = {"Host": "api.test:8000", **{name.replace("_", "-"): value for name, value in headers.items()}}
    if origin is not None:
        fields["Origin"] = origin
    return Request(method, "/api", "/api", fields)


def preflight(origin: str | None = PAGE) -> Request:
    return ask(
        origin,
        "OPTIONS",
        Access_Control_Request_Method="PUT",
        Access_Control_Request_Headers="content-type,x-other",
    )


def test_a_listed_page_is_told_its_own_origin() -> None:
    """The origin that was received is sent back, as it was written, and caches know that it makes a difference."""
    cors = Cors(["https://other.com", "https://*.client.com", PAGE])
    for origin in (PAGE, "https://www.client.com", "https://CLIENT.com", "https://client.com:443"):
        assert cors.headers_for(ask(origin)) == (("Access-Control-Allow-Origin", origin), VARY)


@pytest.mark.parametrize(
    "origin", ["https://evil.com", "http://client.com", "null", "", "https://client.com.evil", None]
)
def test_another_page_is_told_nothing(origin: str | None) -> None:
    """The answer to another page, or to none, differs by what is missing, so that it says Vary too."""
    cors = Cors([PAGE], credentials=True, expose=["X-Total"])
    assert cors.headers_for(ask(origin)) == (VARY,)


def test_two_origins_are_no_origin() -> None:
    """Of two Origin headers neither is believed."""
    request = Request("GET", "/", "/", [("Origin", PAGE), ("Origin", "https://evil.com")])
    assert Cors([PAGE]).headers_for(request) == (VARY,)


def test_every_page_may_read_without_credentials() -> None:
    """'*' is the same for all, so caches may keep it for all."""
    for origin in (PAGE, "null", None):
        assert Cors(["*"]).headers_for(ask(origin)) == (("Access-Control-Allow-Origin", "*"),)


def test_self_is_the_origin_that_the_request_came_to() -> None:
    """A server may list its own pages without knowing its name."""
    cors = Cors(["self"])
    assert ("Access-Control-Allow-Origin", "http://api.test:8000") in cors.headers_for(
        ask("http://api.test:8000")
    )
    assert cors.headers_for(ask("https://api.test:8000")) == (VARY,)
    assert cors.headers_for(Request("GET", "/", "/", {"Origin": PAGE})) == (VARY,)


def test_credentials_and_further_headers_are_told_where_they_are_allowed() -> None:
    """A page that may send cookies, and read more headers, hears so with each answer."""
    cors = Cors([PAGE], credentials=True, expose=["X-Total", "ETag"])
    assert cors.headers_for(ask()) == (
        ("Access-Control-Allow-Origin", PAGE),
        VARY,
        ("Access-Control-Allow-Credentials", "true"),
        ("Access-Control-Expose-Headers", "X-Total, ETag"),
    )


def test_a_preflight_is_told_what_the_route_takes() -> None:
    """The methods are the route's, the headers those that are configured, whatever was asked for."""
    cors = Cors([PAGE], credentials=True, headers=["Content-Type", "X-Token"], expose=["X-Total"], max_age=60)
    response = cors.preflight(preflight(), ("GET", "PUT"))
    assert response is not None
    assert (response.status, response.body) == (204, b"")
    assert response.headers == (
        ("Access-Control-Allow-Origin", PAGE),
        VARY,
        ("Access-Control-Allow-Credentials", "true"),
        ("Access-Control-Allow-Methods", "GET, PUT"),
        ("Access-Control-Allow-Headers", "Content-Type, X-Token"),
        ("Access-Control-Max-Age", "60"),
    )


def test_a_preflight_for_every_page_names_no_headers_where_none_are_configured() -> None:
    """Without `headers` a page may send those that need no permission."""
    response = Cors(["*"]).preflight(preflight(), ("GET",))
    assert response is not None
    assert response.headers == (
        ("Access-Control-Allow-Origin", "*"),
        ("Access-Control-Allow-Methods", "GET"),
        ("Access-Control-Max-Age", "600"),
    )


def test_the_preflight_of_another_page_is_refused() -> None:
    """It hears in words what a browser's console does not say, and no header that would let it in."""
    response = Cors([PAGE]).preflight(preflight("https://<b>evil.com"), ("GET",))
    assert response is not None
    assert response.status == 403
    assert response.body == b"Pages of 'https://\\x3cb\\x3eevil.com' may not use this.\n"
    assert [name for name, _ in response.headers if name.startswith("Access-Control")] == []
    assert VARY in response.headers


@pytest.mark.parametrize(
    "request_",
    [
        ask(method="OPTIONS"),
        ask(method="PUT", Access_Control_Request_Method="PUT"),
        preflight(None),
    ],
)
def test_another_request_is_no_preflight(request_: Request) -> None:
    """OPTIONS on its own asks for something else, and is the route's to answer."""
    assert Cors([PAGE]).preflight(request_, ("GET",)) is None


@pytest.mark.parametrize(
    ("arguments", "kind", "sentence"),
    [
        ({"origins": PAGE}, TypeError, r"origins takes a list.*write \['https://client.com'\]"),
        ({"origins": 7}, TypeError, "origins takes a list, such as .*; you gave 7"),
        ({"origins": [7]}, TypeError, "origins takes a list of strings, .*; it contains 7"),
        ({"origins": []}, ValueError, "list the pages' origins, or '\\*' for every page"),
        ({"origins": ["client.com/"]}, ValueError, "origins: .* write 'https://client.com'"),
        ({"credentials": 1}, TypeError, "credentials takes True or False; you gave 1"),
        (
            {"origins": ["*"], "credentials": True},
            ValueError,
            "for listed origins only: list them in place of",
        ),
        ({"origins": ["Null"], "credentials": True}, ValueError, "any page can make itself 'null'"),
        (
            {"headers": ["*"], "credentials": True},
            ValueError,
            "take '\\*' in headers for a name: list the headers",
        ),
        (
            {"expose": ["*"], "credentials": True},
            ValueError,
            "take '\\*' in expose for a name: list the headers",
        ),
        ({"headers": "X-Token"}, TypeError, r"headers takes a list.*write \['X-Token'\]"),
        ({"headers": ["a b"]}, ValueError, "headers takes names of headers, .*; it contains 'a b'"),
        ({"expose": ["X\r\nY"]}, ValueError, "expose takes names of headers, .*; it contains"),
        ({"max_age": 1.5}, TypeError, "a whole number of seconds; you gave 1.5"),
        ({"max_age": True}, TypeError, "a whole number of seconds; you gave True"),
        ({"max_age": -1}, ValueError, "0 or more seconds; you gave -1"),
    ],
)
def test_what_will_not_do_is_refused_with_what_would(arguments, kind, sentence) -> None:
    """A mistake is told when the value is made, in one sentence."""
    with pytest.raises(kind, match=sentence):
        Cors(**{"origins": [PAGE], **arguments})


def test_its_repr_says_who_is_let_in() -> None:
    """What is seen in a debugger is what was configured."""
    assert repr(Cors(["https://*.client.com"])) == "Cors(['https://*.client.com'], credentials=False)"
    assert repr(Cors(["*"])) == "Cors(['*'], credentials=False)"
