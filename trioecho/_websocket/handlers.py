"""How a handler is called, and what its exceptions are: whatever returns something that can be awaited, once it has a
WebSocket, is one."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from trioecho._websocket.websocket import WebSocket


@trio.lowlevel.disable_ki_protection
async def call(handler: Callable[[WebSocket], Awaitable[Any]], websocket: WebSocket) -> None:
    """Call `handler` and await what it returns; TypeError, with one sentence, where that cannot be awaited.

    Ctrl-C may strike in the handler, which is not ours.
    """
    running = handler(websocket)
    if not inspect.isawaitable(running):
        # Made elsewhere: what this function needs room for, each connection keeps as long as it lives.
        raise TypeError(_lesson(handler, running))
    await running


def divided(error: BaseException, websocket: WebSocket) -> tuple[BaseException | None, BaseException | None]:
    """What of `error` has to pass, KeyboardInterrupt and Cancelled, and what of the rest is the handler's failure: all
    but that `websocket` has ended."""
    passing: BaseException | None
    failed: BaseException | None
    if isinstance(error, BaseExceptionGroup):
        passing, failed = error.split((KeyboardInterrupt, trio.Cancelled))
    else:
        passes = isinstance(error, (KeyboardInterrupt, trio.Cancelled))
        passing, failed = (error, None) if passes else (None, error)
    if isinstance(failed, BaseExceptionGroup):
        failed = failed.split(lambda each: getattr(each, "websocket", None) is websocket)[1]
    elif getattr(failed, "websocket", None) is websocket:
        failed = None
    return passing, failed


def name_of(handler: object) -> str:
    """A handler as its author calls it."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    return getattr(handler, "__name__", type(handler).__name__)


def _lesson(handler: object, returned: object) -> str:
    kind = "None" if returned is None else f"an object of {type(returned).__name__}"
    return f"the handler {name_of(handler)} returned {kind}, which cannot be awaited; write '{_definition(handler)}'"


def _definition(handler: object) -> str:
    """The line with which its author should have begun it."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    if not inspect.isroutine(handler):
        return "async def __call__(self, ws):"
    name = handler.__name__ if handler.__name__.isidentifier() else "handler"
    return f"async def {name}({'self, ' if inspect.ismethod(handler) else ''}ws):"
