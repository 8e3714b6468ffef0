"""A request and a response, as handlers, admission and routes see them.

Values, but for a request's body, which is read when it is asked for.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from trioecho._http.fields import Headers, Query, checked_fields, parse_cookies
from trioecho._http.refusals import HeadersLike, Refused, try_later
from trioecho._protocol.counted import counted
from trioecho._protocol.tokens import TOKEN

if TYPE_CHECKING:
    import trio

    from trioecho._protocol.budget import Budget
    from trioecho._server.server import Server

MAX_BODY_SIZE = 1_048_576
"""Bytes of a request's body that `Request.body` collects unless its route says otherwise: as much as a message's."""

PLAIN_TEXT = "text/plain; charset=utf-8"

_NO_PARAMS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Tls:
    """What TLS has agreed on: the version ("TLSv1.3"), the protocol (ALPN; None for none), and the client's
    certificate as `ssl.SSLSocket.getpeercert` describes it, or None.

    Example:

        async def how(request: trioecho.Request) -> trioecho.Response:
            tls: trioecho.Tls | None = request.tls
            return trioecho.Response("in plain text" if tls is None else tls.version)

        routes = {"/how": trioecho.HttpRoute(how)}
    """

    version: str
    alpn: str | None = None
    client_certificate: Mapping[str, Any] | None = None


class Request:
    """One HTTP request: a WebSocket's handshake, or what an `HttpRoute` answers.

    Nothing of it but the TCP address is more than what the client says, or, where the peer is one of the server's
    `trusted_proxies`, what that proxy says.

    - `method`: "GET", as sent.
    - `path`: decoded, without the query: "/rooms/über". A percent-encoded slash stays encoded.
    - `path_params`: what the route's ``{name}`` parameters stand for, decoded; empty where it has none.
    - `target`: the path with the query, as sent, in origin form: "/rooms/%C3%BCber?since=3".
    - `root_path`: the server's `root_path`, "" for none; neither `path` nor `target` begins with it.
    - `client`: the client's address and port; None for what has none, such as a Unix socket. Behind a trusted proxy it
        is what that says, with port 0 where it does not tell the port.
    - `scheme`: "https" if the server itself does TLS, or a trusted proxy says so, else "http".
    - `tls`: what TLS has agreed on with the peer, or None.
    - `http_version`: "1.1".
    - `ready`: whether the server takes more clients; false when it had begun to stop before this came.
    - `server`: the server that was asked; None where there is none, as in a test.
    - `nursery`: for an `HttpRoute`, what is started in it is cancelled when the response has been sent, or the exchange
        has failed. None for a handshake: a WebSocket has a nursery of its own.
    """

    __slots__ = (
        "__weakref__",
        "_budget",
        "_counted",
        "_fields",
        "_headers",
        "_host",
        "_receive",
        "_state",
        "client",
        "http_version",
        "max_body_size",
        "method",
        "nursery",
        "path",
        "path_params",
        "ready",
        "root_path",
        "scheme",
        "server",
        "target",
        "tls",
        "token_prefix",
    )

    def __init__(
        self,
        method: str,
        path: str,
        target: str,
        headers: str | HeadersLike = (),
        *,
        http_version: str = "1.1",
        scheme: str = "http",
        client: tuple[str, int] | None = None,
        tls: Tls | None = None,
        receive: Callable[[], Awaitable[bytes]] | None = None,
        budget: Budget | None = None,
    ) -> None:
        self._budget = budget
        self._counted = 0
        self.method = method
        self.path = path
        self.target = target
        # In one string: a browser's header fields as objects take several KiB of every WebSocket, and few handlers
        # look at them.
        self._fields = (
            headers
            if isinstance(headers, str)
            else "\n".join([f"{name.lower()}:{value}" for name, value in checked_fields(headers)])
        )
        self._headers: Headers | None = None
        self._host: str | None = None
        self._state: dict[str, Any] | None = None
        self.http_version = http_version
        self.scheme = scheme
        self.client = client
        self.tls = tls
        self.path_params = _NO_PARAMS
        self.root_path = ""
        self.max_body_size = MAX_BODY_SIZE
        self.server: Server | None = None
        self.nursery: trio.Nursery | None = None
        # Subprotocols that begin so carry a token: `bearer` sets it, and none of them is agreed on.
        self.token_prefix: str | None = None
        self.ready = True
        self._receive = receive

    def __repr__(self) -> str:
        return f"<trioecho.Request {self.method} {self.path}>"

    @property
    def headers(self) -> Headers:
        """The header fields in order, doubles included; made when first asked for, then kept."""
        if self._headers is None:
            self._headers = Headers(self.header_pairs())
        return self._headers

    def forget_headers(self) -> None:
        """Let go of `headers`, which are made anew when they are asked for again."""
        self._headers = None

    def header_pairs(self) -> tuple[tuple[str, str], ...]:
        """Return the header fields as pairs, names in lower case; made anew each time."""
        if not self._fields:
            return ()
        fields = [line.partition(":") for line in self._fields.split("\n")]
        return tuple([(name, value) for name, _, value in fields])

    @property
    def query(self) -> Query:
        """The parameters of the query, decoded; made anew each time."""
        return Query.parse(self.target.partition("?")[2])

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies by name, as they were sent; made anew each time."""
        return parse_cookies(self.headers)

    @property
    def origin(self) -> str | None:
        """The Origin header; None where there was none. Anything but a browser can forge it."""
        return self.headers.get("origin")

    @property
    def host(self) -> str | None:
        """The host, and perhaps port, that the request names: what the client believes the server to be called.

        Behind a trusted proxy it is what that says; the header Host in `headers` stays as it was sent.
        """
        return self._host if self._host is not None else self.headers.get("host")

    @host.setter
    def host(self, host: str) -> None:
        self._host = host

    @property
    def url(self) -> str:
        """The URL that was asked for, as far as it is known: ``"https://client.com/ws?room=1"``."""
        return f"{self.scheme}://{self.host or ''}{self.root_path}{self.target}"

    @property
    def state(self) -> dict[str, Any]:
        """A dictionary for what admission finds out and the handler wants to know, such as the user."""
        if self._state is None:
            self._state = {}
        return self._state

    def stream(self) -> AsyncIterator[bytes]:
        """Iterate over the body as it arrives, in pieces of at most 64 KiB, without a limit of their sum.

        Each piece is a checkpoint. Raises `Refused` (400, 408, 413) where the body breaks off, is not HTTP, or comes
        too slowly, and `trio.BrokenResourceError` when the client is gone; both may pass. Cancelled, or left early:
        the rest can still be read.
        """
        return _Pieces(self._receive)

    async def body(self) -> bytes:
        """Read the whole body; b"" where there is none.

        Raises as `stream`, and `Refused` (413) for one of more than `max_body_size` bytes, the route's. May be called
        once; not a checkpoint if there is no body.
        """
        announced = self.headers.get("content-length", "") if self._receive is not None else ""
        if announced.isdecimal() and int(announced) > self.max_body_size:
            # Before the client is told to send it.
            raise Refused(
                413, f"A body may have {counted(self.max_body_size, 'byte')}; {announced} were announced."
            )
        # Not a list of pieces: a client may send any number of very small ones.
        whole = bytearray()
        async for piece in self.stream():
            if len(whole) + len(piece) > self.max_body_size:
                raise Refused(413, f"A body may have {counted(self.max_body_size, 'byte')}; received more.")
            whole += piece
            self._count(len(piece))
        return bytes(whole)

    def _count(self, size: int) -> None:
        """Count what has come of a body until the request is answered: who asked for it has it as long."""
        if self._budget is not None:
            if self._budget.over:
                raise try_later("This server has no memory left for more of a body")
            self._budget.add(size)
            self._counted += size

    def forget_body(self) -> None:
        """The request is answered: its body does not count any more, nor what somebody still reads of it."""
        if self._budget is not None:
            self._budget.add(-self._counted)
            self._budget = None


class _Pieces:
    """A request's body as it arrives. No generator: Trio warns of one that is left before its end."""

    __slots__ = ("_receive",)

    def __init__(self, receive: Callable[[], Awaitable[bytes]] | None) -> None:
        self._receive = receive

    def __aiter__(self) -> _Pieces:
        return self

    async def __anext__(self) -> bytes:
        if self._receive is None or not (piece := await self._receive()):
            raise StopAsyncIteration
        return piece


class Accept:
    """What `admit` may return: how to accept a WebSocket.

    `subprotocol` is the one to agree on; it has to be among those that the client offered. None leaves the choice to
    the route. `headers` are added to the 101, such as ``[("Set-Cookie", "session=...; HttpOnly")]``; those that make
    the handshake (Upgrade, Connection, Sec-WebSocket-...) are the server's own.

    Example:

        async def admit(request: trioecho.Request) -> trioecho.Accept:
            return trioecho.Accept(headers={"Set-Cookie": "seen=1; HttpOnly; SameSite=Strict"})

        routes = {"/ws": trioecho.WebSocketRoute(trioecho.echo, admit=admit)}

    Raises TypeError or ValueError with one sentence for what cannot be sent.
    """

    __slots__ = ("headers", "subprotocol")

    def __init__(self, *, subprotocol: str | None = None, headers: HeadersLike = ()) -> None:
        if subprotocol is not None and (
            not isinstance(subprotocol, str) or TOKEN.fullmatch(subprotocol) is None
        ):
            raise ValueError(
                f"subprotocol takes a token such as 'chat.v1', or None; you gave {subprotocol!r}"
            )
        self.subprotocol = subprotocol
        self.headers = checked_fields(headers)
        for name, _ in self.headers:
            if name.lower() in ("connection", "upgrade", "content-length", "transfer-encoding") or (
                name.lower().startswith("sec-websocket-")
            ):
                raise ValueError(f"the header {name} is the server's own: leave it out of Accept")

    def __repr__(self) -> str:
        return f"Accept(subprotocol={self.subprotocol!r}, headers={list(self.headers)!r})"


class Response:
    """What answers a request.

    `body` is ``str``, sent as UTF-8, ``bytes``, or an async iterable of either, which is sent piece by piece as the
    client takes it; each piece is handed to the kernel before the next is asked for. When the client goes meanwhile,
    the iteration is cancelled, and its ``finally`` blocks run; with a Content-Length, which a client that has ended its
    side of TCP may wait for, that is noticed at the next piece only. A body that is an async context manager too is
    entered while it is sent.

    `status` is 200 to 599. `content_type` is by default text/plain in UTF-8 for ``str`` and application/octet-stream
    for what else there is. `headers` are sent as given, doubles included; Content-Length is counted where the body is
    whole. Connection, Transfer-Encoding, Date and (but for a stream) Content-Length are the server's.

    Raises TypeError or ValueError with one sentence for what cannot be sent.
    """

    __slots__ = ("body", "headers", "status")

    def __init__(
        self,
        body: str | bytes | AsyncIterable[str | bytes] = b"",
        *,
        status: int = 200,
        headers: HeadersLike = (),
        content_type: str | None = None,
    ) -> None:
        if isinstance(status, bool) or not isinstance(status, int):
            raise TypeError(f"status takes a number such as 200; you gave {status!r}")
        if not 200 <= status <= 599:
            raise ValueError(f"status takes a number from 200 to 599; you gave {status}")
        fields = checked_fields(headers)
        names = {name.lower() for name, _ in fields}
        for name in ("connection", "transfer-encoding", "date", "upgrade"):
            if name in names:
                raise ValueError(f"the header {name.title()} is the server's own: leave it out of a response")
        if isinstance(body, str):
            encoded: bytes | AsyncIterable[str | bytes] = body.encode()
            kind = PLAIN_TEXT
        elif isinstance(body, (bytes, bytearray, memoryview)):
            encoded = bytes(body)
            kind = "application/octet-stream"
        elif isinstance(body, AsyncIterable):
            encoded = body
            kind = "application/octet-stream"
        else:
            raise TypeError(
                f"body takes str, bytes, or an async iterable of them; you gave {type(body).__name__}"
            )
        if isinstance(encoded, bytes) and "content-length" in names:
            raise ValueError("Content-Length is counted by the server: leave it out of a response")
        if content_type is not None:
            fields += checked_fields({"Content-Type": content_type})
        elif "content-type" not in names and encoded != b"":
            fields += (("Content-Type", kind),)
        self.status = int(status)
        self.headers = fields
        self.body = encoded

    @classmethod
    def json(cls, value: object, *, status: int = 200, headers: HeadersLike = ()) -> Response:
        """Return a response that carries `value` as JSON (RFC 8259), as `json.dumps` writes it."""
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        return cls(text.encode(), status=status, headers=headers, content_type="application/json")

    def __repr__(self) -> str:
        return f"<trioecho.Response {self.status}>"


def answer_to(refused: Refused) -> Response:
    """Return the response that a refusal asks for: its status, its headers, its sentence or its body."""
    body: str | bytes = f"{refused.sentence}\n" if refused.body is None else refused.body
    upgrade = [field for field in refused.headers if field[0].lower() == "upgrade"]
    response = Response(
        body, status=refused.status, headers=[field for field in refused.headers if field not in upgrade]
    )
    # A 426 must have it (RFC 9110 §15.5.22), and only the server's own refusals do.
    response.headers += tuple(upgrade)
    return response
