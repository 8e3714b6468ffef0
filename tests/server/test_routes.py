"""Routes: what may stand at a path, which of them answers, and mistakes that are told before anything listens."""

from __future__ import annotations

import re
from typing import Any

import pytest

import trioecho
from trioecho import HttpRoute, RawRoute, RouteGroup, WebSocketRoute, echo
from trioecho._http.messages import Request
from trioecho._server.routes import RouteTable

OPTIONS = trioecho.WebSocketOptions()


async def answers(request: Any) -> Any: ...
async def raw(request: Any, stream: Any) -> None: ...
async def streams(request: Any) -> Any:
    """An async generator is no function that returns a response."""
    yield b""


def found(table: RouteTable, path: str) -> Any:
    """What stands at `path`, and what its parameters stand for."""
    request = Request("GET", path, path)
    return table.find(request), dict(request.path_params)


def test_each_kind_of_route_stands_where_it_was_put() -> None:
    """A function is a handler of WebSockets; the other kinds say what they are."""
    table = RouteTable({"/ws": echo, "/page": HttpRoute(answers), "/raw": RawRoute(raw)}, OPTIONS)
    assert found(table, "/ws")[0].websocket.handler is echo
    assert [*found(table, "/page")[0].http] == ["GET", "HEAD"]
    assert found(table, "/raw")[0].raw.function is raw
    assert found(table, "/else") == (None, {})
    assert table.websocket_paths == ("/ws",)


def test_one_handler_stands_at_the_path_of_the_options() -> None:
    """`serve(handler)` stays what it was."""
    options = trioecho.WebSocketOptions(path="/chat")
    for given in (echo, WebSocketRoute(echo)):
        assert RouteTable(given, options).websocket_paths == ("/chat",)


def test_a_path_has_parameters_and_the_more_specific_one_wins() -> None:
    """They arrive decoded."""
    table = RouteTable({"/rooms/{room}": echo, "/rooms/lobby": HttpRoute(answers)}, OPTIONS)
    endpoint, params = found(table, "/rooms/caf%C3%A9")
    assert (endpoint.path, params) == ("/rooms/{room}", {"room": "café"})
    assert found(table, "/rooms/lobby")[0].path == "/rooms/lobby"


def test_several_routes_share_a_path() -> None:
    """A WebSocket beside HTTP, and a function for each method."""
    table = RouteTable(
        {"/": [echo, HttpRoute(answers), HttpRoute(answers, ["POST", "PUT"])]},
        OPTIONS,
    )
    assert found(table, "/")[0].methods == ("GET", "POST", "PUT", "HEAD", "OPTIONS")


def test_a_routes_options_begin_with_the_servers() -> None:
    """A mapping says what differs; whole options stand by themselves."""
    server = trioecho.WebSocketOptions(max_message_size=5, idle_timeout=7, max_connections=9)
    table = RouteTable(
        {
            "/a": WebSocketRoute(
                echo, options={"max_message_size": 6, "max_connections": 2}, subprotocols=["x"]
            ),
            "/b": WebSocketRoute(echo, options=trioecho.WebSocketOptions(max_message_size=8)),
            "/c": echo,
        },
        server,
    )
    a, b, c = (found(table, path)[0].websocket for path in ("/a", "/b", "/c"))
    assert (a.options.max_message_size, a.options.idle_timeout, a.options.subprotocols) == (6, 7, ("x",))
    assert (a.most, b.most, c.most) == (2, None, None)
    assert (b.options.max_message_size, b.options.idle_timeout) == (8, float("inf"))
    assert c.options is server or c.options == server


@pytest.mark.parametrize(
    ("make", "error", "lesson"),
    [
        (lambda: HttpRoute(answers, "POST"), TypeError, "methods takes a list such as ['GET', 'POST']"),
        (lambda: HttpRoute(answers, ["post"]), ValueError, "a method is a token in capitals such as 'POST'"),
        (lambda: HttpRoute(answers, []), ValueError, "methods is empty"),
        (lambda: HttpRoute(streams), TypeError, "contains 'yield': to stream, return Response(streams())"),
        (lambda: HttpRoute(3), TypeError, "HttpRoute takes an async function of one request; you gave 3"),
        (lambda: HttpRoute(raw), TypeError, "write 'async def raw(request):'"),
        (lambda: HttpRoute(answers, cors="*"), TypeError, "cors takes a Cors"),
        (lambda: HttpRoute(answers, max_body_size=-1), ValueError, "max_body_size takes a number of bytes"),
        (lambda: HttpRoute(answers, admit=raw), TypeError, "admit is an async function of one request"),
        (lambda: RawRoute(answers), TypeError, "write 'async def answers(request, stream):'"),
        (lambda: WebSocketRoute(echo, options={"path": "/x"}), ValueError, "path is the server's own option"),
        (lambda: WebSocketRoute(echo, options={"max_mesage_size": 1}), TypeError, "max_mesage_size"),
        (lambda: WebSocketRoute(echo, options={"max_fragments": 0}), ValueError, "at least 1"),
        (lambda: WebSocketRoute(echo, options=7), TypeError, "a route's options are a mapping such as"),
        (lambda: WebSocketRoute(echo, subprotocols=["a b"]), ValueError, "'a b' is no token"),
        (
            lambda: WebSocketRoute(echo, subprotocols=raw),
            TypeError,
            "a function of request, offered that is not async: write 'def raw(request, offered):'",
        ),
        (
            lambda: WebSocketRoute(echo, subprotocols=lambda request: None),
            TypeError,
            "write 'def <lambda>(request, offered):'",
        ),
        (lambda: WebSocketRoute(echo, admit="x"), TypeError, "admit is an async function"),
        (lambda: RouteTable({}, OPTIONS), ValueError, "the mapping of handlers is empty"),
        (lambda: RouteTable({"/": []}, OPTIONS), ValueError, "the list of routes at a path is empty"),
        (
            lambda: RouteTable({"/": [echo, echo]}, OPTIONS),
            ValueError,
            "two WebSocket routes are given for '/'",
        ),
        (
            lambda: RouteTable({"/": [HttpRoute(answers), HttpRoute(answers)]}, OPTIONS),
            ValueError,
            "two routes at '/' take GET",
        ),
        (
            lambda: RouteTable({"/": [echo, RawRoute(raw)]}, OPTIONS),
            ValueError,
            "a RawRoute at '/' gets every",
        ),
        (lambda: RouteTable({"/{a}": echo, "/{b}": echo}, OPTIONS), ValueError, "neither is more specific"),
        (lambda: RouteTable({"ws": echo}, OPTIONS), ValueError, "path must begin with a slash"),
    ],
)
def test_a_mistake_is_one_sentence_for_the_author(make: Any, error: type[Exception], lesson: str) -> None:
    """It names what was given and what would be right, when the route or the table is made."""
    with pytest.raises(error) as refusal:
        make()
    assert lesson in str(refusal.value)
    assert "\n" not in str(refusal.value)


class Group(RouteGroup):
    """Answers at its path and below it."""

    def __init__(self, *, below: str = "/negotiate", ignore_case: bool = False) -> None:
        self.below = below
        self.ignore_case = ignore_case

    def routes(self) -> dict[str, list[Any]]:
        return {"": [echo, HttpRoute(answers, ["POST"])], self.below: [HttpRoute(answers)]}


class Nesting(RouteGroup):
    """What a group is not for."""

    def routes(self) -> dict[str, list[Any]]:
        return {"": [Group()]}


def test_a_group_stands_at_its_path_and_below_it() -> None:
    """Whatever its path is; the table knows each group once."""
    first, second = Group(), Group()
    table = RouteTable({"/chat": first, "/": second, "/slash/": first, "/rooms/{room}": first}, OPTIONS)
    for path, below in (
        ("/chat", "/chat/negotiate"),
        ("/", "/negotiate"),
        ("/slash/", "/slash/negotiate"),
        ("/rooms/blue", "/rooms/blue/negotiate"),
    ):
        endpoint, params = found(table, path)
        assert endpoint.websocket.handler is echo
        assert [*endpoint.http] == ["POST"]
        assert [*found(table, below)[0].http] == ["GET", "HEAD"]
        assert params == found(table, below)[1] == ({"room": "blue"} if "rooms" in path else {})
    assert table.groups == (first, second)
    assert table.websocket_paths == ("/chat", "/", "/slash/", "/rooms/{room}")
    assert found(table, "/Chat")[0] is None


def test_a_group_may_ignore_the_case_of_letters() -> None:
    """In its own paths, and in no others."""
    table = RouteTable({"/chat": Group(ignore_case=True), "/ws": echo}, OPTIONS)
    assert found(table, "/CHAT/Negotiate")[0].path == "/chat/negotiate"
    assert found(table, "/WS")[0] is None


def test_a_group_may_be_all_there_is() -> None:
    """At the path of the options, as a handler."""
    table = RouteTable(Group(), OPTIONS)
    assert found(table, "/ws/negotiate")[0] is not None


@pytest.mark.parametrize(
    ("routes", "error", "lesson"),
    [
        ({"/chat": [Group(), HttpRoute(answers)]}, ValueError, "no other route fits there"),
        ({"/chat": Group(), "/chat/negotiate": echo}, ValueError, "a path is given twice"),
        (
            {"/chat": Group(ignore_case=True), "/chat/Negotiate": echo},
            ValueError,
            "a path is given twice, in letters of which one route ignores the case",
        ),
        ({"/{rest:path}": Group()}, ValueError, "takes all the rest of a path"),
        ({"chat": Group()}, ValueError, "path must begin with a slash"),
        ({"/chat": Nesting()}, TypeError, "a group stands at a path, not in another group"),
    ],
)
def test_a_mistake_with_a_group_is_one_sentence(routes: Any, error: type[Exception], lesson: str) -> None:
    with pytest.raises(error, match=re.escape(lesson)):
        RouteTable(routes, OPTIONS)
