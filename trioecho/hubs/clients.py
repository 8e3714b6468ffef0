"""Calling the clients of a hub: whom to call, and by which methods of a Protocol."""

from __future__ import annotations

import builtins
import functools
import inspect
import types
import typing
from collections.abc import Collection
from typing import Any, Generic, Protocol, TypeVar, cast

from trioecho.hubs.backplane import ALL, Address

T = TypeVar("T")
R = TypeVar("R")


class Target(Protocol):
    """Clients whose methods are called by name. As `Hub[Target]`, the type of a hub that has no other for its clients;
    as a base of that Protocol, what gives it these two beside its own methods.

    Example:

        from typing import Protocol
        from trioecho.hubs import Hub, HubServer, Target

        class Page(Target, Protocol):
            async def message(self, text: str) -> None: ...

        class Chat(Hub[Page]):
            async def say(self, text: str) -> None:
                await self.clients.others.message(text)
                await self.clients.caller.send("said", len(text))

        routes = {"/chat": HubServer(Chat)}
    """

    async def send(self, name: str, *arguments: Any) -> None:
        """Call the method `name` of all these clients; nothing comes back. Names ignore case with SignalR's clients.

        Waits for clients that do not read as `HubOptions.slow_client` has it. Who has gone is left out. Raises
        `TypeError` or `ValueError` for arguments that cannot be encoded, and what the backplane raises.
        """
        ...

    @typing.overload
    async def invoke(self, name: str, *arguments: Any) -> Any: ...

    @typing.overload
    async def invoke(self, name: str, *arguments: Any, type: builtins.type[R]) -> R: ...

    async def invoke(self, name: str, *arguments: Any, type: Any = Any) -> Any:
        """Call the method `name` of one client and return what it answers, as a `type`.

        Only for ``client(id)`` and ``caller``; else `TypeError`. Waits as long as the client takes: use
        `trio.fail_after`. Raises `HubException` with the client's words where its method fails, answers another type,
        or too much is awaited of it, and `trio.BrokenResourceError` where it is not there or goes. Cancelled: what it
        answers is ignored.
        """
        ...


class Caller(Protocol):
    """What carries calls out: the `HubServer`."""

    async def send_to(
        self, addresses: tuple[Address, ...], exclude: Collection[str], name: str, arguments: tuple[Any, ...]
    ) -> None: ...

    async def invoke_on(self, address: Address, name: str, arguments: tuple[Any, ...], kind: Any) -> Any: ...


class ClientMethod:
    """A method of the clients' Protocol."""

    __slots__ = ("name", "returns", "signature", "void")

    def __init__(self, name: str, function: types.FunctionType) -> None:
        self.name = name
        self.returns = typing.get_type_hints(function).get("return", type(None))
        self.void = self.returns is type(None)
        self.signature = inspect.signature(function)

    def positional(self, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
        """Return the arguments in the order in which they are sent. Raises `TypeError` for those that do not fit."""
        bound = self.signature.bind(None, *arguments, **named)
        bound.apply_defaults()
        if bound.kwargs:
            raise TypeError(
                f"clients take arguments by position, so {self.name} cannot have keyword-only ones"
            )
        return bound.args[1:]


def client_methods(hub: type, base: type) -> dict[str, ClientMethod] | None:
    """Return the methods of the Protocol that a hub's class names, as in ``Hub[Page]``; None where it names none.

    Raises `TypeError` for a method of it that is no ``async def``.
    """
    protocol = _protocol_of(hub, base)
    if protocol in (None, Any, Target) or not isinstance(protocol, type):
        return None
    methods = {}
    for name in dir(protocol):
        function = inspect.getattr_static(protocol, name)
        if name.startswith("_") or name in ("send", "invoke") or not isinstance(function, types.FunctionType):
            continue
        if not inspect.iscoroutinefunction(function):
            raise TypeError(f"{protocol.__name__}.{name} is no async def, but calling a client has to wait")
        methods[name] = ClientMethod(name, function)
    return methods


def _protocol_of(hub: type, base: type) -> Any:
    for each in hub.__mro__:
        for generic in getattr(each, "__orig_bases__", ()):
            if typing.get_origin(generic) is base:
                found = typing.get_args(generic)[0]
                if not isinstance(found, TypeVar):
                    return found
    return None


class Recipients:
    """Some clients: each method of their Protocol, or any where there is none, and `Target`'s two."""

    __slots__ = ("_addresses", "_caller", "_exclude", "_methods")

    def __init__(
        self,
        caller: Caller,
        methods: dict[str, ClientMethod] | None,
        addresses: tuple[Address, ...],
        exclude: Collection[str] = (),
    ) -> None:
        if isinstance(exclude, str):
            raise TypeError(f"exclude takes a list of connection ids; you gave the string {exclude!r}")
        for address in addresses:
            if not isinstance(address.name, str):
                raise TypeError(f"a {address.kind} is named by a string; you gave {address.name!r}")
        self._caller = caller
        self._methods = methods
        self._addresses = addresses
        self._exclude = exclude

    def __repr__(self) -> str:
        return (
            f"<trioecho.hubs recipients {', '.join(f'{a.kind} {a.name}'.strip() for a in self._addresses)}>"
        )

    async def send(self, name: str, *arguments: Any) -> None:
        await self._caller.send_to(self._addresses, self._exclude, name, arguments)

    async def invoke(self, name: str, *arguments: Any, type: Any = Any) -> Any:
        address = self._addresses[0] if len(self._addresses) == 1 else ALL
        if address.kind != "connection":
            raise TypeError("a result is asked of one client: clients.client(id) or clients.caller")
        return await self._caller.invoke_on(address, name, arguments, type)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if self._methods is None:
            return functools.partial(self.send, name)
        if name not in self._methods:
            raise AttributeError(f"the Protocol of the clients has no method {name}")
        return functools.partial(self._call, self._methods[name])

    async def _call(self, method: ClientMethod, /, *arguments: Any, **named: Any) -> Any:
        values = method.positional(arguments, named)
        if method.void:
            await self.send(method.name, *values)
            return None
        return await self.invoke(method.name, *values, type=method.returns)


class Clients(Generic[T]):
    """The clients of a hub, on all processes that share its backplane.

    What each of these gives has the methods of the clients' Protocol; one that returns something waits for what the
    client answers (`Target.invoke`).

    Example:

        from functools import partial
        from trioecho.hubs import Clients, Hub, HubServer, Target

        class News(Hub[Target]):
            pass

        async def tell(clients: Clients[Target], text: str) -> None:
            await clients.all.send("news", text)
            await clients.group("readers", "writers").send("thanks")

        async def main() -> None:
            news = HubServer(News)
            async with trio.open_nursery() as nursery:
                server = await nursery.start(partial(trioecho.serve, {"/news": news}, port=0))
                await tell(news.clients, "it is noon")
                server.stop()
    """

    __slots__ = ("_caller", "_methods")

    def __init__(self, caller: Caller, methods: dict[str, ClientMethod] | None) -> None:
        self._caller = caller
        self._methods = methods

    @property
    def all(self) -> T:
        """Everybody."""
        return self._of((ALL,))

    def exclude(self, *connection_ids: str) -> T:
        """Everybody but these connections."""
        return self._of((ALL,), connection_ids)

    def client(self, connection_id: str) -> T:
        """One connection; where there is none with this id, nothing is sent."""
        return self._of((Address("connection", connection_id),))

    def clients(self, *connection_ids: str) -> T:
        """Several connections."""
        return self._of(tuple([Address("connection", each) for each in connection_ids]))

    def user(self, name: str) -> T:
        """All connections of a user."""
        return self._of((Address("user", name),))

    def users(self, *names: str) -> T:
        """All connections of several users."""
        return self._of(tuple([Address("user", each) for each in names]))

    def group(self, *names: str, exclude: Collection[str] = ()) -> T:
        """All connections in a group, or in any of several, but those with the ids `exclude`. One that is in several
        of them, and on another process, gets a message for each."""
        return self._of(tuple([Address("group", each) for each in names]), exclude)

    def _of(self, addresses: tuple[Address, ...], exclude: Collection[str] = ()) -> T:
        return cast(T, Recipients(self._caller, self._methods, addresses, exclude))


class HubClients(Clients[T]):
    """`Clients`, and those that one connection's hub sees besides.

    Example:

        from trioecho.hubs import Hub, HubClients, HubServer, Target

        async def announce(clients: HubClients[Target], name: str) -> None:
            await clients.caller.send("welcome", name)
            await clients.others.send("came", name)

        class Hall(Hub[Target]):
            async def enter(self, name: str) -> None:
                await announce(self.clients, name)

        routes = {"/hall": HubServer(Hall)}
    """

    __slots__ = ("_connection_id",)

    def __init__(self, caller: Caller, methods: dict[str, ClientMethod] | None, connection_id: str) -> None:
        super().__init__(caller, methods)
        self._connection_id = connection_id

    @property
    def caller(self) -> T:
        """The client of this connection."""
        return self.client(self._connection_id)

    @property
    def others(self) -> T:
        """Everybody but the client of this connection."""
        return self.exclude(self._connection_id)
