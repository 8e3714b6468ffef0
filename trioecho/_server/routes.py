"""Routes: what stands at a path, for WebSockets, plain HTTP, or everything at once; and the table of them.

Everything is checked when the table is made, before anything listens: a mistake is one sentence for the author, not
one error for every client.
"""

from __future__ import annotations

import abc
import dataclasses
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import trio

from trioecho._http.cors import Cors
from trioecho._http.files import Files
from trioecho._http.messages import MAX_BODY_SIZE, Accept, Request, Response
from trioecho._http.paths import PathPattern, PathTable
from trioecho._http.sample_page import SamplePage, healthz, readyz
from trioecho._protocol.tokens import TOKEN
from trioecho._server.handlers import Handler, checked_function, checked_handler, echo
from trioecho.options import WebSocketOptions, checked_path

Admit: TypeAlias = Callable[[Request], Awaitable[Accept | None] | Accept | None]
"""Decides on a request before anything else answers it: raises `Refused`, or returns None or `Accept`."""

Respond: TypeAlias = Callable[[Request], Awaitable[Response] | Response]
"""An async function from a request to its response. It may raise `Refused`."""

Choose: TypeAlias = Callable[[Request, tuple[str, ...]], str | None]
"""Chooses among the subprotocols that a client offers, in its order; None for none of them."""

SERVERS_OWN = (
    "path",
    "root_path",
    "handshake_timeout",
    "allowed_hosts",
    "max_memory",
    "max_sockets",
    "limits_per_address",
    "trusted_proxies",
    "proxy_protocol",
)
"""Options that have done their work before it is known which route a request is for, or are about all of them."""


class WebSocketRoute:
    """A handler of WebSockets with what belongs to its path.

    `options` are its own: a mapping of those that differ from the server's, ``{"max_message_size": 4096}``, or a
    whole `WebSocketOptions`. Its `max_connections` counts the connections of this route; the server's counts all.
    `path`, `root_path`, `handshake_timeout`, `allowed_hosts`, `max_memory`, `max_sockets`, `limits_per_address`,
    `trusted_proxies` and `proxy_protocol` are the server's alone. `admit` is an async function of the `Request`, run
    before the 101 under `handshake_timeout`: it raises `Refused`, or returns None or `Accept`. `subprotocols` are
    those that the handler speaks, the preferred one first, or a function, not async, of the request and the tuple of
    those offered that returns one of them or None.

    Raises TypeError or ValueError with one sentence for what will not do.
    """

    __slots__ = ("_overrides", "admit", "handler", "subprotocols")

    def __init__(
        self,
        handler: Handler,
        *,
        options: WebSocketOptions | Mapping[str, Any] | None = None,
        admit: Admit | None = None,
        subprotocols: Sequence[str] | Choose | None = None,
    ) -> None:
        self.handler = checked_handler(handler)
        self._overrides = _checked_overrides(options)
        if admit is not None:
            checked_function(admit, "admit is an async function", "request")
        self.admit = admit
        if callable(subprotocols):
            checked_function(
                subprotocols, "subprotocols is a list, or a function", "request, offered", plain=True
            )
        elif subprotocols is not None:
            subprotocols = WebSocketOptions(subprotocols=subprotocols).subprotocols  # type: ignore[arg-type]
        self.subprotocols = subprotocols

    def __repr__(self) -> str:
        return f"WebSocketRoute({self.handler!r})"

    def options_of(self, server: WebSocketOptions) -> WebSocketOptions:
        """Return the options of its connections on a server that has the options `server`."""
        given = self._overrides
        options = given if isinstance(given, WebSocketOptions) else dataclasses.replace(server, **given)
        if isinstance(self.subprotocols, tuple):
            options = dataclasses.replace(options, subprotocols=self.subprotocols)
        return options


class HttpRoute:
    """A function that answers plain HTTP requests.

    `function` is an async function ``(request) -> Response``, or an object such as `Files`. `methods` are those that it
    takes; HEAD comes with GET, and OPTIONS is answered by the server unless it is listed. `admit` is an async function
    of the request that is asked first: it raises `Refused` or returns None. `cors` says which pages of other origins
    may read the answers. `max_body_size` bounds `Request.body`, in bytes. With `while_client_stays` the function is
    cancelled as soon as the client has gone, even before it has returned a response; a response that streams without a
    Content-Length ends so in any case. With `quiet`, exchanges that go well, with a status below 400, are logged at
    DEBUG, not at INFO: for what is asked for all the time, such as a health check.

    Raises TypeError or ValueError with one sentence for what will not do.
    """

    __slots__ = ("admit", "cors", "function", "max_body_size", "methods", "quiet", "while_client_stays")

    def __init__(
        self,
        function: Respond,
        methods: Iterable[str] = ("GET",),
        *,
        admit: Admit | None = None,
        cors: Cors | None = None,
        max_body_size: int = MAX_BODY_SIZE,
        while_client_stays: bool = False,
        quiet: bool = False,
    ) -> None:
        checked_function(function, "HttpRoute takes an async function", "request", returns="Response(...)")
        if isinstance(methods, str) or not isinstance(methods, Iterable):
            raise TypeError(f"methods takes a list such as ['GET', 'POST']; you gave {methods!r}")
        methods = tuple(methods)
        for method in methods:
            if not isinstance(method, str) or TOKEN.fullmatch(method) is None or method != method.upper():
                raise ValueError(f"a method is a token in capitals such as 'POST'; you gave {method!r}")
        if not methods:
            raise ValueError("methods is empty; give at least one, such as ['GET']")
        if admit is not None:
            checked_function(admit, "admit is an async function", "request")
        if cors is not None and not isinstance(cors, Cors):
            raise TypeError(f"cors takes a Cors such as Cors(['https://client.com']); you gave {cors!r}")
        if isinstance(max_body_size, bool) or not isinstance(max_body_size, int) or max_body_size < 0:
            raise ValueError(f"max_body_size takes a number of bytes, 0 or more; you gave {max_body_size!r}")
        self.function = function
        self.methods = methods
        self.admit = admit
        self.cors = cors
        self.max_body_size = max_body_size
        self.while_client_stays = bool(while_client_stays)
        self.quiet = bool(quiet)

    def __repr__(self) -> str:
        return f"HttpRoute({self.function!r}, {self.methods!r})"


class RawRoute:
    """A function that gets the request and its connection before anything is answered.

    `function` is an async function ``(request, stream)``. `stream` is a `trio.abc.Stream` that begins with the
    first byte behind the request's head; everything that is sent is the function's. When it returns, or raises, the
    connection is closed. ``stream.stopping``, a `trio.Event`, is set when the server begins to stop; what goes on
    until the end of its `shutdown_timeout` is cancelled then. For other upgrades, and for endpoints that misbehave
    on purpose. Requests of every method, and for a WebSocket, come here; the server's `allowed_hosts` and, for a
    WebSocket, its `allowed_origins` have been judged.

    Example:

        async def teapot(request: trioecho.Request, stream: trio.abc.Stream) -> None:
            await stream.send_all(b"HTTP/1.1 418 I'm a teapot\\r\\nContent-Length: 0\\r\\n\\r\\n")

        routes = {"/tea": trioecho.RawRoute(teapot)}

    Raises TypeError with one sentence for what is no such function.
    """

    __slots__ = ("function",)

    def __init__(self, function: Callable[[Request, trio.abc.Stream], Awaitable[Any]]) -> None:
        checked_function(function, "RawRoute takes an async function", "request, stream")
        self.function = function

    def __repr__(self) -> str:
        return f"RawRoute({self.function!r})"


class RouteGroup(abc.ABC):
    """Routes that belong together: at a path and below it, with a task that runs as long as the server serves.

    It stands at a path like any other route, and alone there. A subclass says what stands where (`routes`), and
    overrides `run` if it has work of its own: what has to outlive single requests lives in a nursery that `run` opens.

    Example:

        class Counter(trioecho.RouteGroup):
            ticks = 0

            def routes(self) -> dict[str, list[trioecho.Route]]:
                return {"": [trioecho.HttpRoute(self.show)]}

            async def show(self, request: trioecho.Request) -> trioecho.Response:
                return trioecho.Response(f"{self.ticks} seconds")

            async def run(self, stopping: trio.Event, *, task_status=trio.TASK_STATUS_IGNORED) -> None:
                task_status.started()
                while not stopping.is_set():
                    self.ticks += 1
                    with trio.move_on_after(1):
                        await stopping.wait()

        routes = {"/uptime": Counter()}
    """

    ignore_case: bool = False
    """Whether the group's paths match in any case of their letters."""

    @property
    def healthy(self) -> bool:
        """Whether it can do what it is for, which `healthz` asks; override it if that can be False."""
        return True

    @abc.abstractmethod
    def routes(self) -> Mapping[str, Sequence[Route]]:
        """Return what stands where: by what follows the group's own path, "" for itself, such as "/negotiate"."""

    async def run(
        self, stopping: trio.Event, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Run in a nursery of the server's: from before it accepts anybody until the last connection has ended.

        Calls ``task_status.started()`` when requests may come. `stopping` is set when the server begins to stop: return
        as soon as what was begun has ended; at the deadline of the stop it is cancelled. What it raises ends the
        server. It is also cancelled with the server. Called once for each server that has the group.
        """
        task_status.started()
        await stopping.wait()


Route: TypeAlias = Handler | WebSocketRoute | HttpRoute | RawRoute | RouteGroup | Files | SamplePage
"""What may stand at a path: a bare async function is a handler of WebSockets."""

Routes: TypeAlias = Mapping[str, Route | Sequence[Route]]
"""Paths with what stands there. Several routes at one path are given in a list: a WebSocket beside HTTP, or functions
for several methods."""


@dataclass(slots=True, eq=False)
class OpenRoute:
    """A `WebSocketRoute` on one server, and how many of its connections are open."""

    handler: Handler
    options: WebSocketOptions
    admit: Admit | None = None
    choose: Choose | None = None
    most: int | None = None
    """How many connections it may have at once; None: as many as the server."""
    connected: int = 0

    @property
    def room(self) -> bool:
        """Whether it may have one connection more."""
        return self.most is None or self.connected < self.most


@dataclass(slots=True, eq=False)
class Endpoint:
    """What stands at one path."""

    path: str
    websocket: OpenRoute | None = None
    http: dict[str, HttpRoute] = field(default_factory=dict)
    """By method; HEAD is there where GET is."""
    raw: RawRoute | None = None

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that it takes, OPTIONS included."""
        named = dict.fromkeys((*(("GET",) if self.websocket is not None else ()), *self.http, "OPTIONS"))
        return tuple(named)

    def add(self, route: Route, server: WebSocketOptions) -> None:
        """Put one more route here. Raises TypeError, or ValueError for one whose place is taken."""
        if isinstance(route, RouteGroup):
            raise TypeError(f"a group stands at a path, not in another group; {route!r} does")
        if isinstance(route, SamplePage):
            # One visit is one line of the log, not one for each script and picture.
            route = HttpRoute(route, quiet=self.path != "/")
        elif isinstance(route, Files):
            route = HttpRoute(route)
        if self.raw is not None or (isinstance(route, RawRoute) and (self.websocket or self.http)):
            raise ValueError(f"a RawRoute at {self.path!r} gets every request, so no other route fits there")
        if isinstance(route, RawRoute):
            self.raw = route
        elif isinstance(route, HttpRoute):
            for method in route.methods:
                if method in self.http:
                    raise ValueError(f"two routes at {self.path!r} take {method}")
                self.http[method] = route
        else:
            if not isinstance(route, WebSocketRoute):
                route = WebSocketRoute(route)
            if self.websocket is not None:
                raise ValueError(f"two WebSocket routes are given for {self.path!r}")
            options = route.options_of(server)
            self.websocket = OpenRoute(
                route.handler,
                options,
                route.admit,
                route.subprotocols if callable(route.subprotocols) else None,
                options.max_connections if options.max_connections != server.max_connections else None,
            )


class RouteTable:
    """All that one server serves, by path.

    `given` is what `serve` takes: None for the sample, a handler or one route for ``options.path``, or a mapping.
    Raises TypeError or ValueError with one sentence for what will not do.
    """

    def __init__(self, given: Route | Routes | None, options: WebSocketOptions) -> None:
        check_options(options)
        self.sample = given is None
        """Whether it is the sample: its 404s tell what there is."""
        endpoints: list[Endpoint] = []
        patterns: list[PathPattern] = []
        groups: dict[RouteGroup, None] = {}
        for path, standing, group in _ungrouped(_routes_of(given, options)):
            endpoint = Endpoint(checked_path(path))
            for route in standing:
                endpoint.add(route, options)
            if "GET" in endpoint.http:
                endpoint.http.setdefault("HEAD", endpoint.http["GET"])
            endpoints.append(endpoint)
            patterns.append(PathPattern(path, ignore_case=group is not None and group.ignore_case))
            if group is not None:
                groups[group] = None
        self.groups = tuple(groups)
        """The route groups, each once."""
        self._table = PathTable(zip(patterns, endpoints, strict=True))
        self.websocket_paths = tuple(each.path for each in endpoints if each.websocket is not None)
        """Where WebSockets are served, as the routes have it, in their order."""
        self.answers_http = any(each.http for each in endpoints)
        """Whether there is any `HttpRoute`."""
        for endpoint in endpoints:
            for route in endpoint.http.values():
                if self.websocket_paths and isinstance(route.function, SamplePage):
                    route.function.use_endpoint(self.websocket_paths[0])

    def find(self, request: Request) -> Endpoint | None:
        """Return what stands at a request's path, and tell the request what the path's parameters stand for."""
        found = self._table.find(request.path, request.target)
        if found is None:
            return None
        endpoint, params = found
        if params:
            request.path_params = params
        return endpoint


def check_options(options: object) -> None:
    """Raise TypeError with one sentence for what is no `WebSocketOptions`."""
    if isinstance(options, WebSocketOptions):
        return
    rule = "options takes a WebSocketOptions; you gave"
    if options is WebSocketOptions:
        raise TypeError(f"{rule} the class: write WebSocketOptions()")
    if isinstance(options, Mapping) and all(str(name).isidentifier() for name in options):
        written = ", ".join(f"{name}={value!r}" for name, value in options.items())
        raise TypeError(f"{rule} a {type(options).__name__}: write WebSocketOptions({written})")
    raise TypeError(f"{rule} {options!r}")


def _routes_of(
    given: Route | Routes | None, options: WebSocketOptions
) -> Iterable[tuple[str, Sequence[Route]]]:
    if given is None:
        return sample_routes(options).items()
    if not isinstance(given, Mapping):
        return [(options.path, _standing(given))]
    if not given:
        raise ValueError("the mapping of handlers is empty; give at least one, such as {'/ws': echo}")
    return [(path, _standing(each)) for path, each in given.items()]


def _ungrouped(
    entries: Iterable[tuple[str, Sequence[Route]]],
) -> Iterable[tuple[str, Sequence[Route], RouteGroup | None]]:
    """Put what a group has in its place."""
    for path, standing in entries:
        groups = [route for route in standing if isinstance(route, RouteGroup)]
        if not groups:
            yield path, standing, None
        elif len(standing) > 1:
            raise ValueError(
                f"{groups[0]!r} at {path!r} answers everything there, so no other route fits there"
            )
        else:
            for below, routes in groups[0].routes().items():
                yield f"{checked_path(path).rstrip('/')}{below}" if below else path, routes, groups[0]


def _standing(given: Route | Sequence[Route]) -> Sequence[Route]:
    if not isinstance(given, (list, tuple)):
        return (given,)  # type: ignore[return-value]
    if not given:
        raise ValueError("the list of routes at a path is empty; give at least one, such as [echo]")
    return given


def sample_routes(
    options: WebSocketOptions, links: Mapping[str, str] | None = None, *, faults: str | None = None
) -> dict[str, list[Route]]:
    """The echo, its page, with a picker of the faults whose table is at `faults`, and health checks, as
    ``python -m trioecho`` serves them.

    `links` are names of other pages that stand beside the page, by their URLs relative to it.
    """
    page = SamplePage(options.path, faults, links)
    routes: dict[str, list[Route]] = {options.path: [echo]}
    for path in page.paths:
        routes.setdefault(path, []).append(page)
    for path, answer in (("/healthz", healthz), ("/livez", healthz), ("/readyz", readyz)):
        routes.setdefault(path, []).append(HttpRoute(answer, quiet=True))
    return routes


def _checked_overrides(options: object) -> WebSocketOptions | Mapping[str, Any]:
    if options is None:
        return {}
    if isinstance(options, WebSocketOptions):
        return options
    if not isinstance(options, Mapping):
        rule = "a route's options are a mapping such as {'max_message_size': 4096}, or WebSocketOptions; you gave"
        if inspect.isclass(options):
            raise TypeError(f"{rule} the class {options.__name__}")
        raise TypeError(f"{rule} {options!r}")
    for name in options:
        if name in SERVERS_OWN:
            raise ValueError(
                f"{name} is the server's own option: give it to serve, in options=WebSocketOptions({name}=...)"
            )
    # Unknown names and wrong values are told now, not when a server is made.
    WebSocketOptions(**options)
    return dict(options)
