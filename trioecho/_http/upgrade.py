"""The judges of WebSocket handshakes: a request in, `Refused` or what was agreed on out; and the 101. No stream.

In which order they are asked is in `trioecho._server.admission`. Of the handshake itself (RFC 6455 §4.2.1) the first
fault found is told: method 405, HTTP version, Upgrade and Connection 400, version 426, body, key and subprotocols 400.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from trioecho._http.fields import Headers
from trioecho._http.hosts import host_allowed
from trioecho._http.messages import Request
from trioecho._http.origins import OWN_ORIGIN, normalised, origin_allowed
from trioecho._http.refusals import Refused, listed, quoted
from trioecho._protocol.deflate import Agreement, Deflate, agree
from trioecho._protocol.extensions import parse_offers
from trioecho._protocol.tokens import TOKEN

if TYPE_CHECKING:
    from trioecho.options import WebSocketOptions

# RFC 6455 §4.2.1: "a base64-encoded (…) value that, when decoded, is 16 bytes in length". The four bits that
# the encoding leaves over may be anything, as in .NET's decoder.
_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")
MOST_PARAMETERS = 100
"""In Sec-WebSocket-Extensions. Clients in earnest send five at most."""

# RFC 6455 §1.3.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def wants_websocket(request: Request) -> bool:
    """Whether the client meant to open a WebSocket, rightly or not.

    It did if it asks to upgrade to `websocket`. It also did if it sends a Sec-WebSocket-Key without that:
    typically a proxy on the way has dropped Upgrade, a hop-by-hop header, and then "no Upgrade arrived" is
    what the client's author must hear.
    """
    headers = request.headers
    return "sec-websocket-key" in headers or _has_token(headers.get_all("upgrade"), "websocket")


def check_host(request: Request, options: WebSocketOptions) -> None:
    """Refuses (Refused, 421) any request, not only for a WebSocket, to a host that `options` do not allow."""
    if not options.host_patterns:
        return
    named = request.host
    if not host_allowed(options.host_patterns, named, secure=request.scheme == "https"):
        allowed = listed([str(pattern) for pattern in options.host_patterns])
        received = "a request without a Host" if named is None else f"the host {quoted(named)}"
        raise Refused(421, f"This server does not answer for {received}; allowed: {allowed}.")


def check_origin(request: Request, options: WebSocketOptions) -> None:
    """Refuses a page that may not connect (Refused, 403), and more than one Origin (400)."""
    received = request.headers.get_all("origin")
    if not received:
        return
    if len(received) > 1:
        # RFC 6454 §7.3: "The user agent MUST NOT include more than one Origin header field".
        raise Refused(400, f"A request has at most one Origin header; received {listed(received)}.")
    if not options.origin_patterns:
        return
    origin, own = received[0], None
    if OWN_ORIGIN in options.origin_patterns:
        named = request.host
        own = None if named is None else f"{request.scheme}://{named}"
    if not origin_allowed(options.origin_patterns, origin, own):
        allowed = listed([str(pattern) for pattern in options.origin_patterns])
        if own is not None:
            allowed += f", where 'self' is {quoted(normalised(own.removesuffix(':')) or own)}"
        raise Refused(403, f"The origin {quoted(origin)} may not connect; allowed: {allowed}.")


def check_handshake(request: Request) -> tuple[str, tuple[str, ...]]:
    """Return the key of a right opening handshake, and the subprotocols that it offers, in order.

    Raises Refused for what RFC 6455 §4.2.1 does not allow; in which order is at the top of this file.
    """
    headers = request.headers
    _check_upgrade(request, headers)
    return _key(headers), _offered(headers)


def choose_subprotocol(offered: Sequence[str], supported: Sequence[str]) -> str | None:
    """Return the first of `supported` that was offered; None if none was."""
    return next((each for each in supported if each in offered), None) if offered else None


def agree_on_compression(request: Request, options: WebSocketOptions) -> Agreement | None:
    """Return what is agreed on of the extensions that the client offers (RFC 6455 §9.1, RFC 7692 §5), or None.

    Raises Refused (400) for what is no list of extensions, and (431) for one that is too long to look through. Where
    `options` have no compression, nobody looks.
    """
    if not isinstance(options.compression, Deflate):
        return None
    lines = request.headers.get_all("sec-websocket-extensions")
    if sum(line.count(";") for line in lines) > MOST_PARAMETERS:
        raise Refused(431, f"Sec-WebSocket-Extensions may have {MOST_PARAMETERS} parameters; received more.")
    try:
        offers = parse_offers(lines)
    except ValueError as error:
        raise Refused(
            400,
            "Sec-WebSocket-Extensions is a list of extensions such as 'permessage-deflate; client_max_window_bits'; "
            f"received {quoted(error.args[0])}.",
        ) from None
    return agree(offers, options.compression)


def accepting_response(
    key: str,
    subprotocol: str | None,
    headers: tuple[tuple[str, str], ...] = (),
    extensions: str | None = None,
) -> bytes:
    """The 101 that accepts a handshake (RFC 6455 §4.2.2), with more `headers`, which have been checked."""
    # SHA-1 is what the RFC wants; nothing is kept secret by it.
    digest = hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    accept = binascii.b2a_base64(digest, newline=False).decode()
    more = "".join([f"{name}: {value}\r\n" for name, value in headers])
    if subprotocol is not None:
        more = f"Sec-WebSocket-Protocol: {subprotocol}\r\n{more}"
    if extensions is not None:
        more = f"Sec-WebSocket-Extensions: {extensions}\r\n{more}"
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n{more}\r\n"
    ).encode("latin-1")


def _check_upgrade(request: Request, headers: Headers) -> None:
    if request.method != "GET":
        raise Refused(
            405,
            f"A WebSocket handshake is a GET request; received {quoted(request.method)}.",
            (("Allow", "GET"),),
        )
    if request.http_version < "1.1":
        raise Refused(
            400,
            f"A WebSocket handshake needs HTTP/1.1; received HTTP/{request.http_version}, perhaps from a proxy.",
        )
    for name, token in (("upgrade", "websocket"), ("connection", "upgrade")):
        if not _has_token(headers.get_all(name), token):
            header = name.capitalize()
            raise Refused(
                400,
                f"A WebSocket handshake has {token!r} in its {header} header, which a proxy "
                f"may have removed; received {_received(headers, name)}.",
            )
    if headers.get_all("sec-websocket-version") != ("13",):
        raise Refused(
            426,
            f"Sec-WebSocket-Version must be 13; received {_received(headers, 'sec-websocket-version')}.",
            # Upgrade is what a 426 must have (RFC 9110 §15.5.22).
            (("Sec-WebSocket-Version", "13"), ("Upgrade", "websocket")),
        )
    if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
        # What follows the head of a handshake is taken for frames, so a body must not stand there.
        name = "transfer-encoding" if "transfer-encoding" in headers else "content-length"
        raise Refused(
            400,
            f"A WebSocket handshake has no body; received the {name.title()} {_received(headers, name)}.",
        )


def _key(headers: Headers) -> str:
    keys = headers.get_all("sec-websocket-key")
    if len(keys) != 1 or _KEY.fullmatch(keys[0]) is None:
        raise Refused(
            400,
            "Sec-WebSocket-Key must be one header with 16 bytes in base64; "
            f"received {_received(headers, 'sec-websocket-key')}.",
        )
    return keys[0]


def _offered(headers: Headers) -> tuple[str, ...]:
    received = headers.get_all("sec-websocket-protocol")
    if not received:
        return ()
    offered: list[str] = []
    # Equal ones, such as empty ones, are looked at once.
    for offer in dict.fromkeys(",".join(received).split(",")):
        token = offer.strip(" \t")
        # RFC 9110 §5.6.1.2: "A recipient MUST parse and ignore a reasonable number of empty list elements".
        if not token:
            continue
        if TOKEN.fullmatch(token) is None:
            # One sign of it and no more: it may be a token of another kind, and refusals are logged.
            matched = TOKEN.match(token)
            sign = quoted(token[0 if matched is None else matched.end()])
            raise Refused(
                400,
                f"Sec-WebSocket-Protocol is a list of tokens such as 'chat.v1'; received one with {sign} in it.",
            )
        offered.append(token)
    return tuple(dict.fromkeys(offered))


def _has_token(values: Sequence[str], token: str) -> bool:
    """Whether a comma-separated header, on one line or several, contains the token, in any case."""
    for value in values:
        lowered = value.lower()
        if lowered == token or ("," in lowered and token in map(_stripped, set(lowered.split(",")))):
            return True
    return False


def _stripped(element: str) -> str:
    return element.strip(" \t")


def _received(headers: Headers, name: str) -> str:
    return listed(headers.get_all(name)) or "none"
