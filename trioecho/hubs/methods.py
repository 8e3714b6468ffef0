"""Which methods of a hub clients may call, and with which arguments: read once from a class and its annotations."""

from __future__ import annotations

import collections.abc
import functools
import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec.structs import astuple

_STREAMS = (
    collections.abc.AsyncIterator,
    collections.abc.AsyncIterable,
    collections.abc.AsyncGenerator,
)


MOST_SPELLINGS = 1_000
"""Ways to write a name that are remembered."""


@dataclass(frozen=True, slots=True)
class Method:
    """One method that clients may call."""

    name: str
    """As the class has it."""
    function: Callable[..., Any]
    arguments: Any
    """A type that is decoded from an array: the arguments, with their types and defaults."""
    uploads: tuple[tuple[int, Any], ...]
    """Where among the parameters streams of the client stand, and the types of their items."""
    streams: bool
    """Whether it returns a stream."""
    generator: bool
    """Whether calling it gives the stream; else it has to be awaited first."""
    void: bool
    """Whether it returns nothing, which is something else than None."""

    beside: bool
    """Whether it runs beside the calls that follow: it streams, in either direction."""

    def call(self, hub: object, arguments: msgspec.Struct, uploads: list[Any]) -> Any:
        """Call it. Returns what the function does: a coroutine or an async generator."""
        if not uploads:
            return self.function(hub, *astuple(arguments))
        values = list(astuple(arguments))
        for (place, _), upload in zip(self.uploads, uploads, strict=True):
            values.insert(place, upload)
        return self.function(hub, *values)


class Methods:
    """The methods of one class of hubs, by the names that clients may give them.

    Exposed are the public ``async def`` methods that `base`, the class of all hubs, does not have. Clients may write
    ``GetUser``, ``getUser`` or ``get_user``. Raises `TypeError` with one sentence for a class that will not do.
    """

    def __init__(self, hub: type, base: type) -> None:
        self._methods: dict[str, Method] = {}
        self._spelled: dict[str, Method] = {}
        own = set(dir(base))
        for name in dir(hub):
            if name.startswith("_") or name in own:
                _check_not_hidden(hub, base, name)
                continue
            function = inspect.getattr_static(hub, name)
            if not inspect.iscoroutinefunction(function) and not inspect.isasyncgenfunction(function):
                continue
            key = _folded(name)
            if key in self._methods:
                raise TypeError(
                    f"{hub.__name__} has {self._methods[key].name} and {name}, which clients cannot tell apart"
                )
            self._methods[key] = _method(hub, name, function)

    def find(self, target: str) -> Method | None:
        """Return the method that a client means; None where there is none, or where it may not be called."""
        method = self._spelled.get(target)
        if method is None and not target.startswith("_"):
            method = self._methods.get(_folded(target))
            if method is not None and len(self._spelled) < MOST_SPELLINGS:
                self._spelled[target] = method
        return method

    def __iter__(self) -> collections.abc.Iterator[Method]:
        return iter(self._methods.values())


def _folded(name: str) -> str:
    return name.replace("_", "").lower()


def _check_not_hidden(hub: type, base: type, name: str) -> None:
    """A method that is called as one of the base's would make hubs fail in ways that nobody understands."""
    if name.startswith("_") or name == "life" or name not in vars(base):
        return
    if inspect.getattr_static(hub, name) is not inspect.getattr_static(base, name):
        raise TypeError(f"{hub.__name__}.{name} hides what Hub itself has by this name; choose another")


def _method(hub: type, name: str, function: Callable[..., Any]) -> Method:
    where = f"{hub.__name__}.{name}"
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError) as error:
        raise TypeError(f"the annotations of {where} cannot be resolved: {error}") from None
    parameters = list(inspect.signature(function).parameters.values())[1:]
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    uploads: list[tuple[int, Any]] = []
    for place, parameter in enumerate(parameters):
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(f"clients give arguments by position, so {where} cannot take {parameter}")
        kind = hints.get(parameter.name, Any)
        if _is_stream(kind):
            uploads.append((place, _item_of(kind)))
        elif parameter.default is parameter.empty:
            fields.append((f"argument_{place}", kind))
        else:
            # Any default will do, as in Python; msgspec would refuse some that can be changed.
            default = functools.partial(_same, parameter.default)
            fields.append((f"argument_{place}", kind, msgspec.field(default_factory=default)))
    returns = hints.get("return", Any)
    generator = inspect.isasyncgenfunction(function)
    try:
        arguments = msgspec.defstruct(name, fields, array_like=True, forbid_unknown_fields=True)
        # Types that cannot be decoded are told now.
        msgspec.json.Decoder(arguments)
        for _, kind in uploads:
            msgspec.json.Decoder(kind)
    except TypeError as error:
        raise TypeError(f"{where} takes what cannot be received: {error}") from None
    return Method(
        name,
        function,
        arguments,
        tuple(uploads),
        generator or _is_stream(returns),
        generator,
        returns is type(None) or returns in (typing.NoReturn, typing.Never),
        generator or _is_stream(returns) or bool(uploads),
    )


def _same(value: Any) -> Any:
    return value


def _is_stream(kind: Any) -> bool:
    return kind in _STREAMS or typing.get_origin(kind) in _STREAMS


def _item_of(kind: Any) -> Any:
    items = typing.get_args(kind)
    return items[0] if items else Any
