"""What to ask for, and where: a URL, header fields and subprotocols, checked before anything is sent.

trio-websocket checks none of this: a URL with a space, or a header field with a line break, would fail in the middle of
the handshake, in words of a library below it. Here each mistake is a ValueError whose one sentence says what would be
right.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from trioecho._http.hosts import is_authority
from trioecho._protocol.tokens import TOKEN

DEFAULT_PORTS = {"ws": 80, "wss": 443}

# RFC 3986 §2: what a URI consists of; anything else has to be percent-encoded.
_URI = re.compile(r"[!#$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~]*")
# RFC 9110 §5.5: visible characters, spaces and tabs; what is beyond ASCII is opaque.
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_WRITTEN_BY_THE_HANDSHAKE = {
    "connection",
    "content-length",
    "sec-websocket-accept",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "sec-websocket-version",
    "transfer-encoding",
    "upgrade",
}


@dataclass(frozen=True, slots=True)
class Address:
    """A WebSocket URL taken apart. `host` is a name in ASCII or an address, without brackets."""

    secure: bool
    host: str
    port: int
    target: str

    @property
    def host_field(self) -> str:
        """What the Host header says: the port only where it is not the scheme's own (RFC 6455 §4.1), and no zone of an
        address, which means nothing to the server (RFC 6874 §4)."""
        host = f"[{self.host.partition('%')[0]}]" if ":" in self.host else self.host
        usual = DEFAULT_PORTS["wss" if self.secure else "ws"]
        return host if self.port == usual else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class HandshakeRequest:
    """What the client's handshake says. `fields` are the header fields as bytes, besides those that every one has."""

    host_field: str
    target: str
    subprotocols: tuple[str, ...]
    fields: tuple[tuple[bytes, bytes], ...]


def parse_url(url: str) -> Address:
    """The parts of a WebSocket URL (RFC 6455 §3); ValueError for anything else."""
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{url!r} is no URL ({error}); write one such as ws://127.0.0.1:5000/ws") from None
    if scheme not in DEFAULT_PORTS:
        raise ValueError(f"{url!r} is no WebSocket URL; it begins with ws:// or wss://")
    if not host:
        raise ValueError(f"{url!r} names no host; write one such as ws://127.0.0.1:5000/ws")
    if "@" in parts.netloc:
        raise ValueError(f"the URL has a user or password in front of {host}; send an Authorization header")
    if "#" in url:
        raise ValueError(f"{url!r} has a fragment; a WebSocket URL ends before the # (RFC 6455 section 3)")
    if port == 0:
        raise ValueError(f"{url!r} has port 0; a server listens on one from 1 to 65535")
    query = f"?{parts.query}" if parts.query else ""
    target = (parts.path or "/") + query
    # What urlsplit drops without a word (line breaks, tabs) is looked for in the whole URL.
    odd = _odd_character(target) or next((char for char in url if char <= " "), None)
    if odd is not None:
        raise ValueError(f"{url!r} contains {odd!r}; percent-encode it")
    try:
        name = host.encode("idna").decode("ascii")
    except UnicodeError:
        name = ""
    address = Address(scheme == "wss", name, DEFAULT_PORTS[scheme] if port is None else port, target)
    if not name or not is_authority(address.host_field):
        raise ValueError(f"{host!r} is no name of a host; write one such as example.com or [::1]")
    return address


def _odd_character(target: str) -> str | None:
    end = _URI.match(target)
    assert end is not None
    return target[end.end()] if end.end() < len(target) else None


def handshake_request(
    address: Address,
    *,
    headers: Mapping[str, str] | Iterable[tuple[str, str]],
    origin: str | None,
    subprotocols: Iterable[str],
) -> HandshakeRequest:
    """The handshake to send to `address`; ValueError for a field or a subprotocol that cannot be sent."""
    host_field = address.host_field
    fields = []
    for name, value in headers.items() if isinstance(headers, Mapping) else headers:
        if TOKEN.fullmatch(name) is None:
            raise ValueError(f"{name!r} is no name of a header field; write one such as 'Authorization'")
        if name.lower() in _WRITTEN_BY_THE_HANDSHAKE:
            raise ValueError(
                f"the handshake itself writes {name}; leave it out (subprotocols have their own option)"
            )
        value = value.strip(" \t")
        if _FIELD_VALUE.fullmatch(value) is None:
            raise ValueError(
                f"the value of {name} is {value!r}; it has no line breaks and only Latin-1 characters"
            )
        if name.lower() == "host":
            host_field = value
        else:
            fields.append((name.encode("ascii"), value.encode("latin-1")))
    if origin is not None:
        if _FIELD_VALUE.fullmatch(origin) is None:
            raise ValueError(f"{origin!r} is no origin; write one such as https://client.com")
        fields.append((b"Origin", origin.encode("latin-1")))
    if isinstance(subprotocols, str):
        raise ValueError(f"subprotocols is a list of names, such as [{subprotocols!r}]; not one string")
    names = tuple(subprotocols)
    for name in names:
        if TOKEN.fullmatch(name) is None:
            raise ValueError(f"{name!r} is no name of a subprotocol; write one such as 'chat.v1'")
    if len(set(names)) < len(names):
        # RFC 6455 §4.1: "The elements that comprise this value MUST (…) all be unique strings".
        raise ValueError(f"subprotocols are offered once each; received {', '.join(names)}")
    return HandshakeRequest(host_field, address.target, names, tuple(fields))
