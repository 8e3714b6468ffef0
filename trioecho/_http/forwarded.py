"""Who the client is, where a trusted proxy tells: X-Forwarded-For, -Proto and -Host, or Forwarded (RFC 7239).

Each proxy on the way adds to the right what it has seen: the address that connected to it. So the chain is read from
the right, as long as the address that has told the next one is trusted itself; the first that is not is the client,
and what stands further left is only what that one says (ASP.NET's KnownNetworks, nginx's real_ip_recursive). Of the
scheme and the host the same number of elements counts; a proxy that replaces these headers leaves one, which then
counts for all.

- An element that names no address, such as ``unknown``, ends the reading: what was known before it stays, as in
  ASP.NET. So does a scheme or a host that is none. One line of the log at DEBUG says so.
- Forwarded that does not follow its grammar is a 400: a quotation mark that a client has left open could hide what the
  proxy has written behind it.
- So are both kinds, where they do not say the same. A proxy writes one of the two and hands on what it gets of the
  other, and nobody here can know which. It has to remove that other.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from trioecho._http.hosts import is_authority
from trioecho._http.messages import Request
from trioecho._http.networks import Networks, address_of
from trioecho._http.refusals import Refused, quoted
from trioecho._protocol.tokens import TCHAR

logger = logging.getLogger("trioecho")

# Traefik names the WebSocket's own schemes.
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
# RFC 7239 §4. A value without quotes may have a colon or brackets here, which some proxies leave unquoted.
_PAIR = re.compile(
    rf'[ \t]*+(?:(?P<name>{TCHAR}++)=(?P<value>[^\s,;="]++|"(?:[^"\\]|\\.)*+"))?[ \t]*+(?P<end>[;,]|\Z)'
)
_ESCAPED = re.compile(r"\\(.)")
_NODE = re.compile(
    r"(?P<bare>[0-9.]++|\[(?P<bracketed>[0-9A-Fa-f:.]++)\])(?::(?:(?P<port>[0-9]{1,5})|_[\w.-]++))?"
)


@dataclass(slots=True)
class _Chain:
    """What one kind of header says, each from the client's end to ours; "" where an element does not say it."""

    clients: list[str] = field(default_factory=list)
    schemes: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.clients or self.schemes or self.hosts)


@dataclass(frozen=True, slots=True)
class _Told:
    """What of a chain is believed; None is not told."""

    client: tuple[str, int] | None
    scheme: str | None
    host: str | None

    def __str__(self) -> str:
        """For a sentence: what was received, in as few words as will do."""
        client = "no client" if self.client is None else f"the client {quoted(self.client[0])}"
        return f"{client} by {self.scheme or 'no scheme'} at {quoted(self.host) if self.host else 'no host'}"


def believe(request: Request, proxies: Networks) -> None:
    """Let `client`, `scheme` and `host` of a request be what its proxy says, which the caller knows to be trusted.

    Raises Refused (400) for what may be a forgery; see at the top.
    """
    get_all = request.headers.get_all
    x_forwarded = _Chain(*(_elements(get_all(f"x-forwarded-{name}")) for name in ("for", "proto", "host")))
    forwarded = _forwarded(get_all("forwarded"))
    if not x_forwarded and not forwarded:
        return
    told = _told(x_forwarded or forwarded, proxies)
    if x_forwarded and forwarded and str(told) != str(other := _told(forwarded, proxies)):
        raise Refused(
            400,
            "Where there are both, Forwarded and X-Forwarded-... have to say the same, so a proxy removes what it does "
            f"not write; received {other}, and {told}.",
        )
    if told.client is not None:
        request.client = told.client
    if told.scheme is not None:
        request.scheme = told.scheme
    if told.host is not None:
        request.host = told.host


def _told(chain: _Chain, proxies: Networks) -> _Told:
    client, hops = _walk(chain.clients, proxies)
    scheme = next(filter(None, chain.schemes[-hops:]), None)
    if scheme is not None and scheme.lower() not in _SCHEMES:
        logger.debug(
            "a proxy says that a request came by %s, which is neither http nor https", quoted(scheme)
        )
        scheme = None
    host = next(filter(None, chain.hosts[-hops:]), None)
    if host is not None and not is_authority(host):
        logger.debug("a proxy says that a request is for %s, which is no host", quoted(host))
        host = None
    return _Told(client, None if scheme is None else _SCHEMES[scheme.lower()], host)


def _walk(clients: Sequence[str], proxies: Networks) -> tuple[tuple[str, int] | None, int]:
    """Return the rightmost address that is no trusted proxy's, or the last one before what is none; and how many
    elements were believed, at least 1."""
    found: tuple[str, int] | None = None
    hops = 0
    for told in reversed(clients):
        node = _node(told)
        if node is None:
            logger.debug("a proxy says that its client is %s, which is no address", quoted(told))
            break
        found = node
        hops += 1
        if node[0] not in proxies:
            break
    return found, max(1, hops)


def _node(text: str) -> tuple[str, int] | None:
    """An address, and its port or 0: ``192.0.2.1``, ``192.0.2.1:80``, ``2001:db8::1``, ``[2001:db8::1]:80``."""
    parts = _NODE.fullmatch(text)
    host, port = text, 0
    if parts is not None:
        host, port = parts["bracketed"] or parts["bare"], int(parts["port"] or 0)
    if port > 65535 or "%" in host:
        return None
    address = address_of(host)
    return None if address is None else (str(address), port)


def _elements(values: Sequence[str]) -> list[str]:
    """The elements of a list, on one line or several; empty ones are skipped (RFC 9110 §5.6.1.2)."""
    stripped = [part.strip(" \t") for part in ",".join(values).split(",")]
    return [part for part in stripped if part]


def _forwarded(values: Sequence[str]) -> _Chain:
    """What Forwarded says. Raises Refused (400) for what is not in its grammar."""
    chain = _Chain()
    if not values:
        return chain
    text, position = ",".join(values), 0
    element: dict[str, str] = {}
    while True:
        pair = _PAIR.match(text, position)
        name = "" if pair is None else (pair["name"] or "").lower()
        if pair is None or name in element:
            raise Refused(
                400,
                "Forwarded is a list such as 'for=192.0.2.1;proto=https, for=\"[2001:db8::1]\"'; "
                f"received one with {quoted(text[position : position + 40])} in it.",
            )
        if name:
            value = pair["value"]
            element[name] = _ESCAPED.sub(r"\1", value[1:-1]) if value.startswith('"') else value
        if pair["end"] != ";" and element:
            chain.clients.append(element.get("for", ""))
            chain.schemes.append(element.get("proto", ""))
            chain.hosts.append(element.get("host", ""))
            element = {}
        position = pair.end()
        if not pair["end"]:
            return chain
