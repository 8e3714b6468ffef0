"""What `serve` is given to serve: the beginner's mistakes are answered at once, with what would be right."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any
from unittest.mock import AsyncMock

import pytest

import trioecho
from trioecho._server.handlers import checked_handler


async def takes_one(ws: Any) -> None: ...
async def takes_none() -> None: ...
async def takes_two(ws: Any, database: Any) -> None: ...
async def takes_a_keyword(ws: Any, *, database: Any) -> None: ...
async def has_defaults(ws: Any, database: Any = None, *, cache: Any = None) -> None: ...
async def takes_all(*args: Any, **settings: Any) -> None: ...


class Chat:
    """A handler with state, as an object or as its method."""

    async def __call__(self, ws: Any) -> None: ...
    async def join(self, ws: Any) -> None: ...
    async def leave(self) -> None: ...


def logged(handler: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that calls its function with one argument more than it takes itself."""

    @functools.wraps(handler)
    async def wrapper(ws: Any) -> None:
        await handler(ws, "database")

    return wrapper


@pytest.mark.parametrize(
    "handler",
    [
        takes_one,
        has_defaults,
        takes_all,
        functools.partial(takes_two, database=1),
        functools.partial(takes_a_keyword, database=1),
        Chat(),
        Chat().join,
        functools.partial(Chat.join, Chat()),
        logged(takes_two),
        AsyncMock(),
    ],
)
def test_what_can_be_called_with_a_websocket_is_a_handler(handler: Any) -> None:
    """Defaults, *args, partials, methods, objects and wrapped functions are taken as they are."""
    assert checked_handler(handler) is handler


@pytest.mark.parametrize(
    ("handler", "lesson"),
    [
        (
            takes_none,
            "a handler is called with one argument, the WebSocket; takes_none() does not take it: "
            "write 'async def takes_none(ws):'",
        ),
        (
            takes_two,
            "a handler is called with one argument, the WebSocket; takes_two(ws, database) needs more: "
            "give it the rest with functools.partial(takes_two, database=...)",
        ),
        (
            takes_a_keyword,
            "a handler is called with one argument, the WebSocket; takes_a_keyword(ws, *, database) needs more: "
            "give it the rest with functools.partial(takes_a_keyword, database=...)",
        ),
        (
            Chat().leave,
            "a handler is called with one argument, the WebSocket; leave() does not take it: "
            "write 'async def leave(self, ws):'",
        ),
        (functools.partial(takes_two, 1, 2), "does not take it"),
        (Chat, "a handler is an async function of one WebSocket; you gave the class Chat"),
    ],
)
def test_a_handler_that_cannot_be_called_so_is_refused_at_once(handler: Any, lesson: str) -> None:
    """Too few or too many parameters: a TypeError before anybody connects, not 1011 for everybody."""
    with pytest.raises(TypeError) as refusal:
        checked_handler(handler)
    assert lesson in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("options", "lesson"),
    [
        (
            {"path": "/chat"},
            "options takes a WebSocketOptions; you gave a dict: write WebSocketOptions(path='/chat')",
        ),
        ({"a b": 1}, "options takes a WebSocketOptions; you gave {'a b': 1}"),
        ("path=/chat", "options takes a WebSocketOptions; you gave 'path=/chat'"),
        (
            trioecho.WebSocketOptions,
            "options takes a WebSocketOptions; you gave the class: write WebSocketOptions()",
        ),
    ],
)
async def test_options_of_another_kind_are_refused_with_a_lesson(options: Any, lesson: str) -> None:
    """A dict of options is the common one: it is shown as what it should have been."""
    with pytest.raises(TypeError) as refusal:
        await trioecho.serve(takes_one, port=0, options=options)
    assert str(refusal.value) == lesson
