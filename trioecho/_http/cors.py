"""Cross-origin resource sharing (Fetch §3.3): which pages of other origins may read what plain HTTP answers.

Browsers enforce it, not the server: a page that may not read an answer has still sent its request, unless a preflight
came first. It has nothing to do with WebSockets, which `WebSocketOptions.allowed_origins` is for.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from trioecho._http.messages import Response
from trioecho._http.origins import EVERY_ORIGIN, OWN_ORIGIN, origin_allowed, parse_origin_pattern
from trioecho._http.refusals import quoted
from trioecho._protocol.tokens import TOKEN

if TYPE_CHECKING:
    from trioecho._http.messages import Request

# Caches must not give one origin what another one was allowed (Fetch §3.3.5, "CORS protocol and HTTP caches").
_VARY = ("Vary", "Origin")
_NO_NAME = parse_origin_pattern("null")


class Cors:
    """Which pages of other origins may use an `HttpRoute`.

    `origins` are patterns as in `WebSocketOptions.allowed_origins`: ``"https://client.com"``,
    ``"https://*.client.com"``, ``"null"``, ``"self"``; or ``["*"]`` for every page, without credentials only. Each page
    is told its own origin, never the others.

    - `credentials`: whether requests may carry cookies and HTTP authentication. Every listed page then acts for its
        visitor.
    - `headers`: names of headers that pages may send, beyond those that they always may, such as ``["Authorization",
        "Content-Type"]`` (which is needed for JSON). ``["*"]``, without credentials only, is any but Authorization.
    - `expose`: names of headers of the response that pages may read, beyond Content-Type and a few more.
    - `max_age`: seconds for which a browser need not ask again; browsers themselves have limits of hours. 0: each time.

    Example:

        cors = trioecho.Cors(["https://client.com"], headers=["Content-Type"], max_age=3600)

        async def save(request: trioecho.Request) -> trioecho.Response:
            return trioecho.Response.json({"saved": len(await request.body())})

        routes = {"/notes": trioecho.HttpRoute(save, ["GET", "POST"], cors=cors)}

    Raises TypeError or ValueError with one sentence for what will not do.
    """

    __slots__ = ("_credentials", "_expose", "_headers", "_max_age", "_patterns")

    def __init__(
        self,
        origins: Iterable[str],
        *,
        credentials: bool = False,
        headers: Iterable[str] = (),
        expose: Iterable[str] = (),
        max_age: int = 600,
    ) -> None:
        if not isinstance(credentials, bool):
            raise TypeError(f"credentials takes True or False; you gave {credentials!r}")
        if isinstance(max_age, bool) or not isinstance(max_age, int):
            raise TypeError(f"max_age takes a whole number of seconds; you gave {max_age!r}")
        if max_age < 0:
            raise ValueError(f"max_age takes 0 or more seconds; you gave {max_age}")
        listed = _strings("origins", "'https://client.com'", origins)
        if not listed:
            raise ValueError("origins is empty: list the pages' origins, or '*' for every page")
        try:
            self._patterns = tuple([parse_origin_pattern(each) for each in listed])
        except ValueError as error:
            raise ValueError(f"origins: {error}") from None
        self._credentials = credentials
        self._headers = _names("headers", headers)
        self._expose = _names("expose", expose)
        self._max_age = max_age
        if credentials:
            self._check_credentials()

    def _check_credentials(self) -> None:
        if EVERY_ORIGIN in self._patterns:
            raise ValueError("credentials are for listed origins only: list them in place of '*'")
        if _NO_NAME in self._patterns:
            raise ValueError(
                "credentials are for origins that have a name: any page can make itself 'null', in a sandboxed frame"
            )
        for name, values in (("headers", self._headers), ("expose", self._expose)):
            if "*" in values:
                raise ValueError(
                    f"with credentials, browsers take '*' in {name} for a name: list the headers"
                )

    def __repr__(self) -> str:
        return f"Cors({[str(pattern) for pattern in self._patterns]!r}, credentials={self._credentials})"

    def preflight(self, request: Request, methods: Iterable[str]) -> Response | None:
        """Return the answer to a browser's question whether a page may send a request, or None if this asks nothing
        of the kind (Fetch §3.3.2).

        It comes as OPTIONS with Origin and Access-Control-Request-Method, without credentials, so before admission.
        `methods` are those of the route. A page that may not is answered 403, and the browser sends nothing more.
        """
        headers = request.headers
        if request.method != "OPTIONS" or "access-control-request-method" not in headers:
            return None
        if request.origin is None:
            return None
        fields = self._for_origin(request)
        if not self._allows(request):
            return Response(
                f"Pages of {quoted(request.origin)} may not use this.\n", status=403, headers=fields
            )
        fields.append(("Access-Control-Allow-Methods", ", ".join(methods)))
        if self._headers:
            fields.append(("Access-Control-Allow-Headers", ", ".join(self._headers)))
        fields.append(("Access-Control-Max-Age", str(self._max_age)))
        return Response(status=204, headers=fields)

    def headers_for(self, request: Request) -> tuple[tuple[str, str], ...]:
        """Return what is added to every other answer to `request`, refusals included, which a page can then read."""
        fields = self._for_origin(request)
        if self._expose and self._allows(request):
            fields.append(("Access-Control-Expose-Headers", ", ".join(self._expose)))
        return tuple(fields)

    def _for_origin(self, request: Request) -> list[tuple[str, str]]:
        if EVERY_ORIGIN in self._patterns:
            return [("Access-Control-Allow-Origin", "*")]
        if not self._allows(request) or request.origin is None:
            return [_VARY]
        fields = [("Access-Control-Allow-Origin", request.origin), _VARY]
        if self._credentials:
            fields.append(("Access-Control-Allow-Credentials", "true"))
        return fields

    def _allows(self, request: Request) -> bool:
        if EVERY_ORIGIN in self._patterns:
            return True
        received = request.headers.get_all("origin")
        if len(received) != 1:
            return False
        own = None
        if OWN_ORIGIN in self._patterns and request.host:
            own = f"{request.scheme}://{request.host}"
        return origin_allowed(self._patterns, received[0], own)


def _strings(name: str, example: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        raise TypeError(f"{name} takes a list, such as [{example}]; you gave a string: write [{value!r}]")
    if not isinstance(value, Iterable):
        raise TypeError(f"{name} takes a list, such as [{example}]; you gave {value!r}")
    strings: list[str] = []
    for each in value:
        if not isinstance(each, str):
            raise TypeError(f"{name} takes a list of strings, such as [{example}]; it contains {each!r}")
        strings.append(each)
    return tuple(strings)


def _names(name: str, value: object) -> tuple[str, ...]:
    names = _strings(name, "'Content-Type'", value)
    for each in names:
        if TOKEN.fullmatch(each) is None:
            raise ValueError(f"{name} takes names of headers, such as 'Content-Type'; it contains {each!r}")
    return names
