"""How a handler is called: whatever returns something that can be awaited is one."""

from __future__ import annotations

import functools
from collections.abc import Awaitable
from typing import Any

import pytest

from trioecho._websocket.handlers import call, name_of


async def handler(ws: Any, done: list[Any]) -> None:
    """Say that it ran."""
    done.append(ws)


class Chat:
    """A handler with state."""

    def __call__(self, ws: Any) -> Awaitable[None]:
        """Plain, but what it returns can be awaited."""
        return handler(ws, self.done)

    done: list[Any]


def plain(ws: Any) -> None:
    """No handler, as turns out when it is called."""


async def test_what_is_returned_is_awaited() -> None:
    """By an async function, a lambda, an object."""
    done: list[Any] = []
    chat = Chat()
    chat.done = done
    for each in (functools.partial(handler, done=done), lambda ws: handler(ws, done), chat):
        await call(each, "ws")  # type: ignore[arg-type]
    assert done == ["ws"] * 3


async def test_what_cannot_be_awaited_gets_a_lesson() -> None:
    """It says what to write."""
    with pytest.raises(TypeError) as refusal:
        await call(plain, "ws")  # type: ignore[arg-type]
    assert str(refusal.value) == (
        "the handler plain returned None, which cannot be awaited; write 'async def plain(ws):'"
    )


def test_a_handler_is_called_what_its_author_calls_it() -> None:
    """Not partial."""
    assert name_of(functools.partial(functools.partial(handler), done=[])) == "handler"
    assert name_of(Chat()) == "Chat"
