"""Handlers of WebSockets: what one is, how it is checked before anything listens, and the echo that comes along."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import trio

from trioecho._websocket.handlers import name_of
from trioecho._websocket.websocket import WebSocket

Handler: TypeAlias = Callable[[WebSocket], Awaitable[Any]]
"""An async function of one `WebSocket`, or whatever else returns something that can be awaited when it is called with
one; what comes of that is ignored."""


async def echo(ws: WebSocket) -> None:
    """Send every message back as it came, text as text and binary as binary, until the peer closes.

    The sample of ASP.NET Core's article echoes 4 KiB pieces; this one echoes whole messages.
    """
    memory = ws._connection.memory
    async for message in ws:
        await ws.send(message)
        if memory.scarce:
            # It may be large, and the next one far.
            del message


@trio.lowlevel.disable_ki_protection
async def call(function: Callable[..., Any], *arguments: object) -> Any:
    """Call a function of the application's, plain or async, and return what it does. Ctrl-C may strike in it, which is
    not ours."""
    result = function(*arguments)
    return await result if inspect.isawaitable(result) else result


def checked_handler(handler: Callable[..., Awaitable[Any]]) -> Handler:
    """Return `handler`. Raises TypeError with one sentence for what will not do: a beginner's lesson."""
    if inspect.iscoroutine(handler):
        name = handler.__name__
        handler.close()
        raise TypeError(
            f"serve takes the async function itself: write serve({name}), without calling it, not serve({name}(...))"
        )
    if not callable(handler):
        raise TypeError(f"a handler is an async function of one WebSocket, not {type(handler).__name__}")
    if isinstance(handler, type) and not hasattr(handler, "__await__"):
        raise TypeError(
            f"a handler is an async function of one WebSocket; you gave the class {name_of(handler)}: "
            "give an object of it, or one of its methods"
        )
    # Not what a wrapper wraps: it may make a handler of what is none.
    function = handler
    while isinstance(function, functools.partial):
        function = function.func
    call = function if inspect.isroutine(function) else type(function).__call__
    if inspect.isasyncgenfunction(call) or _generates(call):
        raise TypeError(
            f"the handler {name_of(handler)} contains 'yield'; a handler sends with 'await ws.send(...)'"
        )
    _check_parameters(handler)
    return handler


def _generates(call: Any) -> bool:
    """Whether it is a generator function, and none that `types.coroutine` has made one that can be awaited."""
    flags = getattr(getattr(call, "__code__", None), "co_flags", 0)
    return inspect.isgeneratorfunction(call) and not flags & inspect.CO_ITERABLE_COROUTINE


def checked_function(
    function: Callable[..., Any],
    rule: str,
    arguments: str,
    *,
    returns: str | None = None,
    plain: bool = False,
) -> None:
    """Raise TypeError with one sentence for what is no function of `arguments`, such as ``"request"``.

    `rule` begins the sentence: "HttpRoute takes an async function". Plain functions pass: what they return counts. With
    `plain`, async ones do not.
    """
    called = f"{rule} of one {arguments}" if "," not in arguments else f"{rule} of {arguments}"
    if inspect.iscoroutine(function):
        name = function.__name__
        function.close()
        raise TypeError(f"{called}: write {name}, without calling it, not {name}(...)")
    if not callable(function):
        raise TypeError(f"{called}; you gave {function!r}")
    name = name_of(function)
    if isinstance(function, type):
        raise TypeError(f"{called}; you gave the class {name}: give an object of it, or one of its methods")
    bare = inspect.unwrap(function)
    while isinstance(bare, functools.partial):
        bare = bare.func
    if inspect.isasyncgenfunction(bare if inspect.isroutine(bare) else type(bare).__call__):
        advice = f": to stream, return {returns.replace('...', name + '()')} from one" if returns else ""
        raise TypeError(f"{called}; {name} contains 'yield'{advice}")
    define = "def" if plain else "async def"
    if plain and inspect.iscoroutinefunction(bare if inspect.isroutine(bare) else type(bare).__call__):
        raise TypeError(f"{called} that is not async: write '{define} {name}({arguments}):'")
    try:
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*arguments.split(","))
    except TypeError:
        raise TypeError(f"{called}: write '{define} {name}({arguments}):'") from None


def _check_parameters(handler: Callable[..., object]) -> None:
    """Refuses what cannot be called with a WebSocket: it would give every client 1011."""
    try:
        # A wrapper's own parameters count, not those of what it wraps: it may add some.
        signature = inspect.signature(handler, follow_wrapped=False)
    except (TypeError, ValueError):
        return  # some written in C tell nothing: they are believed
    try:
        signature.bind(object())
    except TypeError:
        pass
    else:
        return
    name = name_of(handler)
    bare = str(
        signature.replace(
            return_annotation=signature.empty,
            parameters=[one.replace(annotation=one.empty) for one in signature.parameters.values()],
        )
    )
    rule = f"a handler is called with one argument, the WebSocket; {name}{bare}"
    positional = [
        one
        for one in signature.parameters.values()
        if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
    ]
    if not positional:
        before = "self, " if inspect.ismethod(handler) else ""
        raise TypeError(f"{rule} does not take it: write 'async def {name}({before}ws):'")
    rest = [
        one.name
        for one in signature.parameters.values()
        if one is not positional[0] and one.default is one.empty
    ]
    bound = ", ".join(f"{one}=..." for one in rest)
    raise TypeError(f"{rule} needs more: give it the rest with functools.partial({name}, {bound})")
