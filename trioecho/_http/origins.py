"""Origins: which web pages may connect.

A browser sends the `Origin` of the page that opened the WebSocket, and a page cannot change it (RFC 6454, RFC
6455 §10.2). The same-origin policy does not cover WebSockets, so without this check any page on the web may
use a visitor's cookies here. Anything but a browser can send any `Origin` or none: this is no authentication.

The rules are ASP.NET Core's: an empty list allows everyone, `*` allows everyone, and a request without an
`Origin` passes, because no browser has sent it. Beyond ASP.NET, both sides are compared without case
and without the default port, `https://*.client.com` stands for one or more labels before `.client.com`, and `self`
for the origin that the request itself came to: that of the server's own page, and what websocket-client and ws4py,
which are no browsers, send unasked.

Both sides are brought into one spelling, `scheme://host[:port]`, as a browser would serialise it. After that
a comparison of strings is a comparison of origins.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

# Underscores are no part of a host name by RFC 1123, but browsers resolve and send them.
_LABEL = r"[a-z0-9_-]+"
_ORIGIN = re.compile(
    rf"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>\[[0-9a-f:.]+\]|{_LABEL}(?:\.{_LABEL})*\.?)(?::(?P<port>[0-9]{{1,5}}))?"
)
_DEFAULT_PORTS = {"http": 80, "https": 443}
# What to write for a page that opens such a WebSocket.
_PAGE_SCHEMES = {"ws": "http", "wss": "https"}
_DAMAGED_SCHEME = re.compile(r"(https?|wss?)(?::/?|//)", re.IGNORECASE)
_LOCAL = re.compile(r"localhost\b|127\.|\[::1\]|::1$")
_SHAPE = "an origin is scheme://host or scheme://host:port, for example 'https://client.com'"


@dataclass(frozen=True, slots=True)
class OriginPattern:
    """One configured origin, parsed: `https://client.com`, `https://*.client.com`, `null`, `self` or `*`.

    `start` is the whole origin, or what stands before the asterisk; `end` is what stands behind it, None
    without one.
    """

    start: str
    end: str | None = None

    def __str__(self) -> str:
        return self.start if self.end is None else f"{self.start}*{self.end}"

    def matches(self, origin: str) -> bool:
        """Whether the pattern covers `origin`, which must be in the one spelling (see `normalised`)."""
        if self.end is None:
            return origin == self.start
        # The asterisk stands for at least one character: `https://*.client.com` is not `https://.client.com`.
        longer = len(origin) > len(self.start) + len(self.end)
        return longer and origin.startswith(self.start) and origin.endswith(self.end)


EVERY_ORIGIN = OriginPattern("", "")
# It equals no origin: that of the request is compared instead, see `origin_allowed`.
OWN_ORIGIN = OriginPattern("self")


def parse_origin_pattern(text: str) -> OriginPattern:
    """Parses one configured origin.

    Raises ValueError, with the corrected spelling where one can be guessed, for a path, a trailing slash, a
    missing scheme, a user name, a query, `ws://` instead of `http://`, a name that is not ASCII, or anything
    else that no browser would ever send and that would therefore silently match nothing.
    """
    pattern = _parsed(text)
    if pattern is None:
        raise ValueError(_lesson(text))
    return pattern


def origin_allowed(patterns: Sequence[OriginPattern], origin: str | None, own: str | None = None) -> bool:
    """Whether a request with this `Origin` (None: it has none) may connect; no patterns allow everyone.

    `own` is the origin that the request came to, `scheme://host[:port]` in any spelling, for the pattern `self`.
    """
    if not patterns or origin is None or EVERY_ORIGIN in patterns:
        return True
    spelling = normalised(origin)
    if spelling is None:
        return False
    if own is not None and OWN_ORIGIN in patterns and spelling == normalised(own.removesuffix(":")):
        return True
    return any(pattern.matches(spelling) for pattern in patterns)


def normalised(origin: str) -> str | None:
    """The origin in lower case, IPv6 compressed, without the default port; None if it is no origin at all."""
    origin = origin.lower()
    if origin == "null":
        return origin
    parts = _ORIGIN.fullmatch(origin)
    if parts is None:
        return None
    scheme, host, port = parts.group("scheme", "host", "port")
    if host.startswith("["):
        try:
            host = f"[{ipaddress.IPv6Address(host[1:-1])}]"
        except ValueError:
            return None
    if port is None or int(port) == _DEFAULT_PORTS.get(scheme):
        return f"{scheme}://{host}"
    return f"{scheme}://{host}:{int(port)}" if 1 <= int(port) <= 65535 else None


def _parsed(text: str) -> OriginPattern | None:
    if text == "*":
        return EVERY_ORIGIN
    if text == "self":
        return OWN_ORIGIN
    before, wildcard, behind = text.partition("://*.")
    origin = normalised(f"{before}://{behind}" if wildcard else text)
    if origin is None:
        return None
    scheme, _, host = origin.partition("://")
    if scheme in _PAGE_SCHEMES or (wildcard and host.startswith("[")):
        return None
    return OriginPattern(f"{scheme}://", f".{host}") if wildcard else OriginPattern(origin)


def _lesson(text: str) -> str:
    """One sentence that says what is wrong with a configured origin and how to write it."""
    if not text.strip():
        return f"{text!r} is not an origin: {_SHAPE}; leave the list empty to allow every origin"
    if "," in text:
        each = ", ".join(repr(part.strip()) for part in text.split(",") if part.strip())
        return f"{text!r} is not an origin but a list in one string: write {each}"
    if text.strip(" '\"").lower() == "self":
        return f"{text!r} is not an origin: the server's own is written 'self'"
    if text.lower().startswith("file:"):
        return f"{text!r} is not what browsers send: a page opened from a file sends 'null', so write 'null'"
    faults, corrected = _corrected(text)
    if faults and _parsed(corrected) is not None:
        return f"{text!r} is not an origin because it {' and '.join(faults)}: write {corrected!r}"
    if "*" in text:
        return (
            f"{text!r} is not an origin: an asterisk stands only for the first labels of a host name, as in "
            "'https://*.client.com', or alone for every origin, '*'"
        )
    return f"{text!r} is not an origin: {_SHAPE}"


def _corrected(text: str) -> tuple[list[str], str]:
    """What keeps `text` from being an origin, and `text` without those faults."""
    faults: list[str] = []
    if text != text.strip():
        faults.append("has white space around it")
    scheme, separator, rest = text.strip().partition("://")
    if not separator:
        damaged = _DAMAGED_SCHEME.match(scheme)
        faults.append("has no :// behind its scheme" if damaged else "has no scheme")
        rest = scheme[damaged.end() :] if damaged else scheme.lstrip("/")
        scheme = damaged.group(1) if damaged else ""
    authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    tail = rest[len(authority) :]
    _, at, host = authority.lower().rpartition("@")
    scheme = scheme.lower() or ("http" if _LOCAL.match(host) or host.endswith(":80") else "https")
    if scheme in _PAGE_SCHEMES:
        faults.append(f"has the WebSocket's scheme {scheme}, not that of the page that opens it")
    if at:
        faults.append("has a user name")
    if tail:
        faults.append("ends with a slash" if tail == "/" else "has more than a host and a port")
    if host.endswith(":"):
        faults.append("ends with a colon")
        host = host[:-1]
    name, _, port = host.partition(":")
    if not host.isascii():
        faults.append("is not in the ASCII spelling (punycode) that browsers send")
        host = host.replace(name, punycode(name), 1)
    elif host.count(":") > 1 and not host.startswith("["):
        faults.append("has an IPv6 address without brackets")
        host = f"[{host}]"
    elif port.isdigit() and not 1 <= int(port) <= 65535:
        faults.append("has a port outside 1 to 65535")
        host = name
    return faults, f"{_PAGE_SCHEMES.get(scheme, scheme)}://{host}"


def punycode(name: str) -> str:
    """A name as it is asked for in DNS, and sent in Host and Origin."""
    try:
        return name.encode("idna").decode("ascii")
    except UnicodeError:
        return name  # too long, or no name in any alphabet: there is no spelling to suggest
