"""The judge of WebSocket handshakes: a request in, a `Handshake` or a `Refused` out; and the 101. No stream.

The first fault found is the one that is told, so the order is part of the behaviour:

1. host: 421. Who was led here under a name that is not ours learns nothing; plain requests are judged by it too.
2. origin: 403. Before routing, as in ASP.NET: a page that may not connect learns nothing else.
3. path: 404.
4. the handshake itself (RFC 6455 §4.2.1): method 405, HTTP version, Upgrade and Connection 400, version 426,
   body, key and subprotocols 400. Nobody should be told to come back later with a request that
   can never be accepted.
5. room: 503, last.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

import h11

from trioecho._http.hosts import authority, host_allowed
from trioecho._http.origins import OWN_ORIGIN, normalised, origin_allowed
from trioecho._http.refusals import Refused, listed, quoted
from trioecho._http.tokens import TOKEN

if TYPE_CHECKING:
    from trioecho.options import WebSocketOptions

# RFC 6455 §4.2.1: "a base64-encoded (…) value that, when decoded, is 16 bytes in length". The four bits that
# the encoding leaves over may be anything, as in .NET's decoder.
_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")
# RFC 6455 §1.3.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_SCHEME_AND_AUTHORITY = re.compile(r"https?://[^/?#]*", re.IGNORECASE)
# Picked arbitrarily: long enough to let connections end, short enough for a person to wait.
_RETRY_AFTER_SECONDS = 5
# Decoding them costs more than receiving them. No path that is served has as many.
_MOST_ESCAPES = 1000

_Fields = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Handshake:
    """An upgrade that was found right.

    `path` is decoded and without the query, `target` as received with it (in origin form). `headers` are all
    of the request's, in order, with lower-case names, decoded as Latin-1. `subprotocol` is the one agreed on,
    or None.
    """

    path: str
    target: str
    headers: tuple[tuple[str, str], ...]
    origin: str | None
    subprotocol: str | None
    key: str


def wants_websocket(request: h11.Request) -> bool:
    """Whether the client meant to open a WebSocket, rightly or not.

    It did if it asks to upgrade to `websocket`. It also did if it sends a Sec-WebSocket-Key without that:
    typically a proxy on the way has dropped Upgrade, a hop-by-hop header, and then "no Upgrade arrived" is
    what the client's author must hear.
    """
    # raw_items, here and below: iterating over h11's headers themselves takes three times as long.
    for name, value in request.headers.raw_items():
        lowered = name.lower()
        if lowered == b"sec-websocket-key":
            return True
        if lowered == b"upgrade" and _has_token([value.decode("latin-1")], "websocket"):
            return True
    return False


def judge(
    request: h11.Request,
    options: WebSocketOptions,
    paths: Collection[str],
    *,
    room: bool,
    stopping: bool = False,
    secure: bool = False,
) -> Handshake:
    """Judges a request that wants a WebSocket.

    `paths` are the paths at which WebSockets are served (decoded); `room` is whether one more connection may
    be opened, `stopping` whether that is because the server stops; `secure` is whether the request came over TLS.
    Raises Refused; the order of the checks is at the top of this file.
    """
    check_host(request, options, secure=secure)
    headers = tuple(
        [
            (name.decode("ascii").lower(), value.decode("latin-1"))
            for name, value in request.headers.raw_items()
        ]
    )
    fields: _Fields = {}
    for name, value in headers:
        fields.setdefault(name, []).append(value)
    origin = _origin(request, fields, options, secure=secure)
    path, target = path_and_target(request.target)
    if path not in paths:
        raise Refused(
            404, f"No WebSocket is served at {quoted(path)}; WebSockets are served at {listed(paths)}."
        )
    _check_upgrade(request, fields)
    key = _key(fields)
    subprotocol = _subprotocol(fields, options)
    if not room:
        taken = (
            "This server is stopping and takes no new connections"
            if stopping or options.max_connections is None
            else f"All {options.max_connections} connections are taken"
        )
        raise Refused(
            503,
            f"{taken}; try again in {_RETRY_AFTER_SECONDS} seconds.",
            (("Retry-After", str(_RETRY_AFTER_SECONDS)),),
        )
    return Handshake(path, target, headers, origin, subprotocol, key)


def check_host(request: h11.Request, options: WebSocketOptions, *, secure: bool = False) -> None:
    """Refuses (Refused, 421) any request, not only for a WebSocket, to a host that `options` do not allow.

    `secure` is whether it came over TLS.
    """
    if not options.host_patterns:
        return
    named = authority(request.target, request.headers.raw_items())
    if not host_allowed(options.host_patterns, named, secure=secure):
        allowed = listed([str(pattern) for pattern in options.host_patterns])
        received = "a request without a Host" if named is None else f"the host {quoted(named)}"
        raise Refused(421, f"This server does not answer for {received}; allowed: {allowed}.")


def accepting_response(handshake: Handshake) -> bytes:
    """The 101 that accepts a handshake (RFC 6455 §4.2.2)."""
    # SHA-1 is what the RFC wants; nothing is kept secret by it.
    digest = hashlib.sha1(handshake.key.encode() + _GUID, usedforsecurity=False).digest()
    accept = binascii.b2a_base64(digest, newline=False).decode()
    protocol = (
        f"Sec-WebSocket-Protocol: {handshake.subprotocol}\r\n" if handshake.subprotocol is not None else ""
    )
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n{protocol}\r\n"
    ).encode()


def path_and_target(target: bytes) -> tuple[str, str]:
    """The decoded path without the query, and the target in origin form with it.

    The absolute form, `GET http://host/ws HTTP/1.1`, must be understood too (RFC 9112 §3.2.2).
    Percent-encoded UTF-8 is decoded as in ASP.NET, all but the slash: `/%77s` is `/ws`, `/a%2Fb` is not
    `/a/b`. A path that is not UTF-8, or has more than 1,000 escapes, stays as it was sent.
    """
    text = target.decode("ascii")
    if not text.startswith("/"):
        authority = _SCHEME_AND_AUTHORITY.match(text)
        if authority is not None:
            text = text[authority.end() :]
            text = text if text.startswith("/") else f"/{text}"
    path = text.partition("?")[0]
    if 0 < path.count("%") <= _MOST_ESCAPES:
        try:
            # The slash's own percent sign is escaped, so that the slash stays so when it is decoded.
            path = unquote(path.replace("%2F", "%252F").replace("%2f", "%252f"), errors="strict")
        except UnicodeDecodeError:
            pass  # it stays as it was sent
    return path, text


def _origin(request: h11.Request, fields: _Fields, options: WebSocketOptions, *, secure: bool) -> str | None:
    received = fields.get("origin")
    if received is None:
        return None
    if len(received) > 1:
        # RFC 6454 §7.3: "The user agent MUST NOT include more than one Origin header field".
        raise Refused(400, f"A request has at most one Origin header; received {listed(received)}.")
    origin = received[0]
    if not options.origin_patterns:
        return origin
    own = None
    if OWN_ORIGIN in options.origin_patterns:
        named = authority(request.target, request.headers.raw_items())
        own = None if named is None else f"{'https' if secure else 'http'}://{named}"
    if not origin_allowed(options.origin_patterns, origin, own):
        allowed = listed([str(pattern) for pattern in options.origin_patterns])
        if own is not None:
            allowed += f", where 'self' is {quoted(normalised(own.removesuffix(':')) or own)}"
        raise Refused(403, f"The origin {quoted(origin)} may not connect; allowed: {allowed}.")
    return origin


def _check_upgrade(request: h11.Request, fields: _Fields) -> None:
    if request.method != b"GET":
        raise Refused(
            405,
            f"A WebSocket handshake is a GET request; received {quoted(request.method.decode('ascii'))}.",
            (("Allow", "GET"),),
        )
    if request.http_version < b"1.1":
        version = request.http_version.decode("ascii")
        raise Refused(
            400,
            f"A WebSocket handshake needs HTTP/1.1; received HTTP/{version}, perhaps from a proxy.",
        )
    for name, token in (("upgrade", "websocket"), ("connection", "upgrade")):
        if not _has_token(fields.get(name, ()), token):
            header = name.capitalize()
            raise Refused(
                400,
                f"A WebSocket handshake has {token!r} in its {header} header, which a proxy "
                f"may have removed; received {_received(fields, name)}.",
            )
    if fields.get("sec-websocket-version") != ["13"]:
        raise Refused(
            426,
            f"Sec-WebSocket-Version must be 13; received {_received(fields, 'sec-websocket-version')}.",
            # Upgrade is what a 426 must have (RFC 9110 §15.5.22).
            (("Sec-WebSocket-Version", "13"), ("Upgrade", "websocket")),
        )
    if "transfer-encoding" in fields or fields.get("content-length", ["0"]) != ["0"]:
        # What follows the head of a handshake is taken for frames, so a body must not stand there.
        name = "transfer-encoding" if "transfer-encoding" in fields else "content-length"
        header = name.title()
        raise Refused(
            400, f"A WebSocket handshake has no body; received the {header} {_received(fields, name)}."
        )


def _key(fields: _Fields) -> str:
    keys = fields.get("sec-websocket-key", ())
    if len(keys) != 1 or _KEY.fullmatch(keys[0]) is None:
        raise Refused(
            400,
            "Sec-WebSocket-Key must be one header with 16 bytes in base64; "
            f"received {_received(fields, 'sec-websocket-key')}.",
        )
    return keys[0]


def _subprotocol(fields: _Fields, options: WebSocketOptions) -> str | None:
    received = fields.get("sec-websocket-protocol")
    if received is None:
        return None
    offered: set[str] = set()
    # Equal ones, such as empty ones, are looked at once.
    for offer in dict.fromkeys(",".join(received).split(",")):
        token = offer.strip(" \t")
        # RFC 9110 §5.6.1.2: "A recipient MUST parse and ignore a reasonable number of empty list elements".
        if token and TOKEN.fullmatch(token) is None:
            raise Refused(
                400,
                f"Sec-WebSocket-Protocol is a list of tokens such as 'chat.v1'; received {quoted(token)}.",
            )
        offered.add(token)
    return next((each for each in options.subprotocols if each in offered), None)


def _has_token(values: Sequence[str], token: str) -> bool:
    """Whether a comma-separated header, on one line or several, contains the token, in any case."""
    for value in values:
        lowered = value.lower()
        if lowered == token or ("," in lowered and token in map(_stripped, set(lowered.split(",")))):
            return True
    return False


def _stripped(element: str) -> str:
    return element.strip(" \t")


def _received(fields: _Fields, name: str) -> str:
    values = fields.get(name)
    return "none" if values is None else listed(values)
