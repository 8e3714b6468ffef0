"""Hosts: under which names a server answers.

A browser tells a server under which name it has found it, in Host, and a page cannot change that. A server that is
reached by an address only, on loopback or in an intranet, is protected by that alone against DNS rebinding: there a
page at evil.com waits until its visitor's resolver has forgotten evil.com's address, answers with 127.0.0.1 next time,
and then talks to the server there as to its own. `Origin` is no help if the server believes whatever name it is called
by, for evil.com is what both say; nor does the same-origin policy help. A server that knows its own names is not
fooled.

The rules are those of ASP.NET Core's AllowedHosts: exact names and addresses, `*.client.com` for one or more labels
before `.client.com` (not for client.com itself), `*` or an empty list for all; compared without case; ports are
ignored. Beyond ASP.NET, a listed port counts.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

from trioecho._http.origins import punycode

# RFC 3986 §3.2: host [ ":" port ]. Digits that can be no port are refused with it.
_AUTHORITY = re.compile(
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9\-._~!$&'()*+,;=]++|%[0-9A-Fa-f]{2})*+)(?::(?P<port>[0-9]{0,5}))?"
)
# Underscores are no part of a host name by RFC 1123, but browsers resolve and send them.
_NAME = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?")
_SCHEME = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
_DEFAULT_PORTS = {False: 80, True: 443}
_SHAPE = "a host is a name or an address, with a port where only that one is meant, for example 'client.com'"


@dataclass(frozen=True, slots=True)
class HostPattern:
    """One configured host, parsed: `client.com`, `*.client.com`, `[::1]`, each with a port or without; or `*`.

    With `below`, `name` is what stands behind the asterisk.
    """

    name: str
    port: int | None = None
    below: bool = False

    def __str__(self) -> str:
        return ("*" if self.below else "") + self.name + ("" if self.port is None else f":{self.port}")

    def matches(self, name: str, port: int) -> bool:
        """Whether the pattern covers a host in its one spelling (see `_split`) and a port."""
        if self.port is not None and port != self.port:
            return False
        if self.below:
            # The asterisk stands for at least one character: `*.client.com` is not `.client.com`.
            return len(name) > len(self.name) and name.endswith(self.name)
        return name == self.name


EVERY_HOST = HostPattern("", below=True)


def parse_host_pattern(text: str) -> HostPattern:
    """Parses one configured host.

    Raises ValueError, with the corrected spelling where one can be guessed, for a scheme, a path, a user name, IPv6
    without brackets, a name that is not ASCII, or anything else that no client sends as the host of its request.
    """
    pattern = _parsed(text)
    if pattern is None:
        raise ValueError(_lesson(text))
    return pattern


def host_allowed(patterns: Sequence[HostPattern], named: str | None, *, secure: bool) -> bool:
    """Whether a request that names this host (None: it names none) is answered; no patterns allow every host.

    `secure` is whether it came over TLS, where a host without a port means 443, not 80.
    """
    if not patterns or EVERY_HOST in patterns:
        return True
    host = None if named is None else _split(named)
    if host is None:
        return False
    name, port = host
    number = _DEFAULT_PORTS[secure] if port is None else port
    return any(pattern.matches(name, number) for pattern in patterns)


def is_authority(text: str) -> bool:
    """Whether this is a host, or a host and a port, as they stand in Host (RFC 9110 §7.2). It may be empty."""
    parts = _AUTHORITY.fullmatch(text)
    return parts is not None and (not text.startswith("[") or _address(parts["host"]) is not None)


def _split(text: str) -> tuple[str, int | None] | None:
    """The host in lower case, IPv6 compressed, and the port; None if there is no port or no host."""
    parts = _AUTHORITY.fullmatch(text)
    if parts is None:
        return None
    name: str | None = parts["host"].lower()
    if text.startswith("["):
        name = _address(parts["host"])
    return (name, int(parts["port"]) if parts["port"] else None) if name else None


def _address(bracketed: str) -> str | None:
    try:
        return f"[{ipaddress.IPv6Address(bracketed[1:-1])}]"
    except ValueError:
        return None


def _parsed(text: str) -> HostPattern | None:
    if text == "*":
        return EVERY_HOST
    below = text.startswith("*.")
    host = None if text.endswith(":") else _split(text[2:] if below else text)
    if host is None:
        return None
    name, port = host
    if not (_NAME.fullmatch(name) or (name.startswith("[") and not below)):
        return None
    if port is not None and not 1 <= port <= 65535:
        return None
    return HostPattern(f".{name}" if below else name, port, below)


def _lesson(text: str) -> str:
    """One sentence that says what is wrong with a configured host and how to write it."""
    if not text.strip():
        return f"{text!r} is not a host: {_SHAPE}; leave the list empty to allow every host"
    if "," in text:
        each = ", ".join(repr(part.strip()) for part in text.split(",") if part.strip())
        return f"{text!r} is not a host but a list in one string: write {each}"
    faults, corrected = _corrected(text)
    if faults and _parsed(corrected) is not None:
        return f"{text!r} is not a host because it {' and '.join(faults)}: write {corrected!r}"
    if "*" in text:
        return (
            f"{text!r} is not a host: an asterisk stands only for the first labels, as in '*.client.com', "
            "or alone for every host, '*'"
        )
    return f"{text!r} is not a host: {_SHAPE}"


def _corrected(text: str) -> tuple[list[str], str]:
    """What keeps `text` from being a host, and `text` without those faults."""
    faults: list[str] = []
    rest = text.strip()
    if text != rest:
        faults.append("has white space around it")
    scheme = _SCHEME.match(rest)
    if scheme is not None:
        faults.append("has a scheme")
        rest = rest[scheme.end() :]
    host = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    tail = rest[len(host) :]
    _, at, host = host.rpartition("@")
    if at:
        faults.append("has a user name")
    if tail:
        faults.append("ends with a slash" if tail == "/" else "has more than a host and a port")
    if host.count(":") > 1 and not host.startswith("["):
        faults.append("has an IPv6 address without brackets")
        host = f"[{host}]"
    name, colon, port = host.rpartition(":")
    if host.endswith(":"):
        faults.append("ends with a colon")
        host = host[:-1]
    elif not host.isascii():
        faults.append("is not in the ASCII spelling (punycode) that clients send")
        host = f"{punycode(name)}:{port}" if colon else punycode(host)
    elif colon and port.isdigit() and not 1 <= int(port[:6]) <= 65535:
        faults.append("has a port outside 1 to 65535")
        host = name
    return faults, host
