"""WebSocketOptions: what one server allows its connections, in ASP.NET's names where ASP.NET has one.

Every limit is checked once, here, when the options are made: a server that starts has options that make
sense, and no other file has to ask again. A mistake is answered with one sentence that says what would be
right.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar
from urllib.parse import unquote

from trioecho._http.address_limits import AddressLimits
from trioecho._http.hosts import HostPattern, parse_host_pattern
from trioecho._http.networks import Networks
from trioecho._http.origins import OriginPattern, parse_origin_pattern
from trioecho._http.root_path import checked_root_path
from trioecho._protocol.deflate import Deflate
from trioecho._protocol.tokens import TOKEN

_Pattern = TypeVar("_Pattern", OriginPattern, HostPattern)

LEAST_MEMORY = 2**20
"""Bytes of `max_memory` with which a server can do anything."""

_ZERO_IS_OFF = frozenset({"keep_alive_interval", "idle_timeout"})
_FINITE = {"close_timeout": 5.0, "send_timeout": 30.0, "answer_timeout": 1.0}


@dataclass(frozen=True, kw_only=True, slots=True)
class WebSocketOptions:
    """How one server treats its connections. Immutable; use `dataclasses.replace` for a changed copy.

    Times are in seconds, sizes in bytes. A time that is switched off is `math.inf`. A value of the wrong kind
    raises TypeError, one that makes no sense ValueError, each with one sentence that says what would be
    right.

    - `path` (default "/ws", ASP.NET's sample):
        Where a single handler is served. Compared with the decoded path of the request, without its query. A
        WebSocket request to another path is refused with 404. Not used when the handlers are given as a
        mapping.
    - `root_path` (default "": none):
        The path below which a proxy shows this server, such as `/echo` for https://client.com/echo/ws. Routes are
        written without it. Whether the proxy takes it away or hands it on does not matter: where a request's path
        begins with it, it is taken away (ASP.NET's UsePathBase). `Request.root_path` tells it, `Request.url`, the
        sample page's links and its WebSocket have it.
    - `allowed_origins` (default empty: every origin, as in ASP.NET):
        The web pages that may connect, as browsers name them: `https://client.com`; `https://*.client.com`
        for every host below client.com, but not client.com itself; `null` for sandboxed pages and files; `self`
        for the origin that the request itself came to, which is that of the server's own page; `*` for all.
        Compared without case and without default ports. Any other page gets 403. A request without an Origin
        passes: browsers always send one. Some other programs send one too: websocket-client and ws4py name the
        server itself, and need `self`. Its scheme is `https` if the server does TLS itself: behind a proxy that
        does it, list the origin instead. `self` believes the Host of the request, and with DNS rebinding a page
        can make that any name: list the server's names in `allowed_hosts` beside it. Empty is the default so
        that the echo server works from every page; a server that knows its users by cookies must list its pages.
    - `allowed_hosts` (default empty: every host, as in ASP.NET):
        The names and addresses under which the server answers, as clients write them in Host: `client.com`;
        `*.client.com` for every host below client.com, but not client.com itself; `127.0.0.1`, `[::1]`; `*` for
        all. Compared without case; a port counts only where one is listed, `client.com:8443`. Any other request
        gets 421, also one for the page or /healthz, and so does a request without a Host. On loopback or in an
        intranet this is the protection against DNS rebinding, by which a web page reaches a server that its
        author cannot reach. Empty is the default, because a server cannot know its names behind proxies.
    - `keep_alive_interval` (default 120 seconds, ASP.NET's; 0 or `math.inf`: off):
        After so long without a byte from the client, it is sent a Ping, which also keeps proxies from closing
        an idle connection. Behind a proxy with a shorter limit (nginx: 60 s) choose less than that limit.
    - `keep_alive_timeout` (default 20 seconds; `math.inf`: wait for ever):
        How long the answer to that Ping, or any other byte, may take. Then the client counts as gone: 1011
        "keep-alive timeout", and the connection is aborted. ASP.NET's default is to wait for ever, so that it
        never notices a lost network; 20 s outlasts a slow mobile network and is `websockets`' default too.
    - `idle_timeout` (default `math.inf`: off; 0 is off too):
        ASP.NET's "2 × X" rule: where clients promise to send a message (or a Ping of their own) every X
        seconds, set 2 × X. A client silent for longer is sent 1001 "idle timeout"; while its messages still
        wait for a slow handler, it is not silent but waiting. Off by default, because a client that only
        listens is silent and well.
    - `handshake_timeout` (default 10 seconds; `math.inf`: wait for ever):
        From the accepted TCP connection to the end of the request head, TLS included. Then 408, and the
        connection is closed. A client needs one round trip for it, two more for TLS: 10 s leaves room for a
        bad network and none for someone who holds connections open by sending a byte now and then.
    - `close_timeout` (default 5 seconds; must be finite):
        How long the exchange of Close frames may take, from the moment when the peer has taken what was sent
        before. Then TCP is closed. During a stop of the server it bounds all of the closing handshake. Finite, so
        that no peer can hold the server.
    - `send_timeout` (default 30 seconds; must be finite):
        Longest time without progress while bytes wait for the client, counted from the last byte that it took
        (on Linux: that its kernel acknowledged). Then 1011 "send timeout", and the connection is aborted. A
        client that reads slowly but steadily is never ended by it. 30 s outlasts a phone's way from one
        network to the next; finite, so that a client that does not read cannot be held for ever.
    - `answer_timeout` (default 1 second; must be finite):
        After the client's Close, or the end of its TCP connection, how long the handler and its tasks have for
        answers that are still owed; it starts again with every message that the handler takes. When it is over,
        sends raise; after as long again the handler is cancelled. Longer where answers take longer; a client
        waits so long for the answer to its Close when a handler does not listen.
    - `max_message_size` (default 1 MiB, 1_048_576 bytes):
        The longest message accepted, in bytes of its payload (for text: of its UTF-8). A longer one ends the
        connection with 1009 as soon as it is known to be longer. A connection may hold about so much memory;
        1 MiB is also the default of `websockets`.
    - `max_fragments` (default 131_072):
        The most fragments that one message may come in. One more ends the connection with 1009. It bounds
        what a message of empty fragments costs, which its size does not. It is the next power of two above
        what Autobahn's case 9.3.1 sends: 4 MiB in 65,536 fragments of 64 bytes, and an empty one behind them.
    - `flood_limit` (default 1_000; None: no limit):
        How many frames that say nothing a client may send a second: Pings, Pongs that nobody asked for, and fragments
        of fewer than 32 bytes with their headers. They are cheap to send and each costs as much as a message. It is
        counted over minutes: 150 times as many may come at once. More end the connection with 1008 and a sentence. No
        client that means well comes near it: one Ping a second is many, and a message in fragments of one byte each,
        such as a text that is sent as it is typed or generated, has a thousand a second to use. None where clients
        measure the server with Pings as fast as they can. Messages are not counted, however short.
    - `stream_messages` (default False):
        Messages are handed on while they arrive, so that a handler can take one piece by piece with
        `WebSocket.receive_stream`, larger than memory should hold; `receive` puts the pieces of one together, up
        to `max_message_size`. What is taken piece by piece has no limit but the `max_size` that `receive_stream`
        is given, and `max_fragments` counts for neither, because fragments take no memory here. Off by default,
        because a message that is put together while it arrives costs less, and is refused as soon as a frame says
        that it will be too long.
    - `max_connections` (default None: no limit):
        How many connections may be open at once. One more is refused with 503 and Retry-After, after
        everything else about it was found right. None by default, because the right number depends on the
        handler's memory.
    - `max_sockets` (default None: what the limit on open files leaves):
        How many sockets may be open at once, of WebSockets, of plain HTTP, and of those who have connected and said
        nothing. When there is one more, the one is closed of which no request has come for the longest time, so that
        a client that asks for something gets in; of an address that has very many of those, one of its own. WebSockets
        leave a sixteenth of all (at most 64) free; the next is refused with 503. By default it is the process's limit
        on open files (``ulimit -n``) less those that are open when the server starts, and less a tenth, or 16, for
        files and logs; with `max_connections` no more than twice that, or 256 beside it. Several servers in one
        process share that limit: give each a number.
    - `limits_per_address` (default None: no limit):
        What one address may have: True is `trioecho.AddressLimits()`, or give one with other numbers. More
        is refused with 429. None by default, because all clients of a proxy that is not in `trusted_proxies` have
        one address.
    - `trusted_proxies` (default empty: none):
        The networks whose word about their clients is believed: `10.0.0.0/8`, `::1`, and `unix` for who comes by Unix
        socket. From there X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host, or Forwarded (RFC 7239), make
        `Request.client`, `scheme` and `host`, and so the record, the logs, `limits_per_address`, the origin
        `self` and `allowed_hosts`. The proxy must replace these headers or add to them, and remove the kind that it
        does not write. Of several proxies the rightmost address counts that is not listed here. From anybody
        else the headers are ignored: whoever believes them believes every client. Empty by default for that reason.
    - `proxy_protocol` (default False):
        Whether each connection from `trusted_proxies` begins with a header of the PROXY protocol, version 1 or 2,
        before TLS, as from a proxy that carries TCP. One without it is closed. `Request.client` is the address in it;
        the headers above are then believed only if that address is listed, too.
    - `max_memory` (default 0.5: half of what the process may use):
        What the server may hold in memory for all its peers together, in bytes, such as 512 * 2**20, or as a share of
        what the machine has, or of what this process is allowed (cgroups, such as of Docker and systemd, and `ulimit
        -v`): a float above 0, up to 1. It counts messages that are not there whole, messages that no handler has
        taken, bytes that clients do not read, the heads and bodies of requests, and 12 KiB for each connection, 60
        KiB with TLS, and what zlib takes where compression was agreed on. Above five eighths of it, those who hold most
        are not read from while their handlers are busy; above six eighths, new connections and requests get 503 and
        Retry-After; above seven eighths, the largest half messages are ended with 1013, those who leave the most bytes
        unread are cut off, and where that gives no room, new connections are closed without an answer. The last eighth
        is for what passes through. `Server.memory` has the figures. What handlers keep does not count: half leaves them
        the other half. None: no limit.
    - `subprotocols` (default empty: none):
        The subprotocols that the handlers speak, the preferred one first. The first of them that the client
        offers is agreed on; if none fits, the connection goes on without one and the client decides (RFC 6455
        §4.2.2).
    - `compression` (default False):
        permessage-deflate (RFC 7692), with clients that offer it: True is `trioecho.Deflate()`, or give one with
        other parameters. JSON of 2 KiB shrinks to a fifth, for some 35 µs of CPU a message and 50 KiB a connection.
        Off is right wherever a message holds a secret next to text that somebody else can choose (CRIME, BREACH):
        `trioecho.Deflate` tells more, and ``ws.send(secret, compress=False)`` is for what must not be compressed.
        `max_message_size` is then the size when it is inflated. Off by default, as in ASP.NET.

    `origin_patterns`, `host_patterns` and `proxy_networks` are derived: `allowed_origins`, `allowed_hosts` and
    `trusted_proxies`, parsed once.
    """

    path: str = "/ws"
    root_path: str = ""
    allowed_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    keep_alive_interval: float = 120.0
    keep_alive_timeout: float = 20.0
    idle_timeout: float = math.inf
    handshake_timeout: float = 10.0
    close_timeout: float = 5.0
    send_timeout: float = 30.0
    answer_timeout: float = 1.0
    max_message_size: int = 2**20
    max_fragments: int = 2**17
    flood_limit: int | None = 1000
    stream_messages: bool = False
    max_connections: int | None = None
    max_sockets: int | None = None
    limits_per_address: AddressLimits | bool | None = None
    trusted_proxies: tuple[str, ...] = ()
    proxy_protocol: bool = False
    max_memory: int | float | None = 0.5
    subprotocols: tuple[str, ...] = ()
    compression: bool | Deflate = False
    origin_patterns: tuple[OriginPattern, ...] = field(init=False, repr=False, compare=False)
    host_patterns: tuple[HostPattern, ...] = field(init=False, repr=False, compare=False)
    proxy_networks: Networks = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        checked: dict[str, object] = {
            "path": checked_path(self.path),
            "root_path": checked_root_path(self.root_path),
        }
        for name in (
            "keep_alive_interval",
            "keep_alive_timeout",
            "idle_timeout",
            "handshake_timeout",
            *_FINITE,
        ):
            checked[name] = _seconds(name, getattr(self, name))
        for name, default in _FINITE.items():
            if checked[name] == math.inf:
                raise ValueError(
                    f"{name} must be finite, so that no peer can hold the server; the default is {default}"
                )
        checked["max_message_size"] = _count("max_message_size", self.max_message_size, "bytes")
        checked["max_fragments"] = _count("max_fragments", self.max_fragments, "fragments")
        if self.flood_limit is not None:
            _count("flood_limit", self.flood_limit, "frames a second, or None for no limit")
        if self.max_connections is not None:
            _count("max_connections", self.max_connections, "connections, or None for no limit")
        checked |= self._who()
        _check_memory(self.max_memory)
        checked["subprotocols"] = _subprotocols(self.subprotocols)
        checked["allowed_origins"] = origins = _strings("allowed_origins", "origins", self.allowed_origins)
        checked["origin_patterns"] = tuple(
            _pattern("allowed_origins", parse_origin_pattern, each) for each in origins
        )
        checked["allowed_hosts"] = hosts = _strings("allowed_hosts", "hosts", self.allowed_hosts)
        checked["host_patterns"] = tuple(
            _pattern("allowed_hosts", parse_host_pattern, each) for each in hosts
        )
        if not isinstance(self.stream_messages, bool):
            raise TypeError(f"stream_messages takes True or False; you gave {self.stream_messages!r}")
        if not isinstance(self.compression, (bool, Deflate)):
            raise TypeError(
                f"compression takes True, False or trioecho.Deflate(...); you gave {self.compression!r}"
            )
        checked["compression"] = Deflate() if self.compression is True else self.compression
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def _who(self) -> dict[str, object]:
        """Check what is said of sockets, addresses and proxies."""
        found: dict[str, object] = {}
        if self.max_sockets is not None and _count("max_sockets", self.max_sockets, "sockets, or None") < 2:
            raise ValueError("max_sockets must be at least 2, one of them for who comes next; you gave 1")
        if not isinstance(self.limits_per_address, (bool, AddressLimits, type(None))):
            raise TypeError(
                "limits_per_address takes True, trioecho.AddressLimits(...) or None; "
                f"you gave {self.limits_per_address!r}"
            )
        given = self.limits_per_address
        if isinstance(given, bool):
            given = AddressLimits() if given else None
        found["limits_per_address"] = given
        found["trusted_proxies"] = proxies = _strings("trusted_proxies", "networks", self.trusted_proxies)
        try:
            found["proxy_networks"] = Networks.of(proxies)
        except ValueError as error:
            raise ValueError(f"trusted_proxies: {error}") from None
        if not isinstance(self.proxy_protocol, bool):
            raise TypeError(f"proxy_protocol takes True or False; you gave {self.proxy_protocol!r}")
        if self.proxy_protocol and not proxies:
            raise ValueError(
                "proxy_protocol needs trusted_proxies, the networks from which such a header is believed"
            )
        return found


def checked_path(path: object) -> str:
    """A path at which WebSockets can be served; TypeError or ValueError with one sentence if it is none."""
    if not isinstance(path, str):
        raise TypeError(f"path takes a string such as '/ws'; you gave {path!r}")
    if not path.startswith("/"):
        suggestion = "/" + path.partition("://")[2].partition("/")[2] if "://" in path else f"/{path.strip()}"
        raise ValueError(f"path must begin with a slash; you gave {path!r}: write {suggestion!r}")
    if re.search(r"[?#\s\x00-\x1f\x7f]", path):
        suggestion = re.split(r"[?#\s\x00-\x1f\x7f]", path, maxsplit=1)[0]
        raise ValueError(
            "path must have no query, fragment, white space or control character; "
            f"you gave {path!r}: write {suggestion!r}"
        )
    if re.search(r"%[0-9A-Fa-f]{2}", path):
        # Requests are compared decoded, so an encoded path would match nothing a client can ask for.
        raise ValueError(
            f"path is compared with the decoded path of a request; you gave {path!r}: write {unquote(path)!r}"
        )
    return path


def _seconds(name: str, value: object) -> float:
    if isinstance(value, timedelta):
        raise TypeError(
            f"{name} takes seconds as a number; you gave a timedelta: write {value.total_seconds()!r}"
        )
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} takes seconds as a number; you gave {value!r}")
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.nan
    if name in _ZERO_IS_OFF:
        if seconds == 0:
            return math.inf
        if not seconds > 0:
            raise ValueError(
                f"{name} must be a number of seconds, or 0 or math.inf to switch it off; you gave {value!r}"
            )
    elif not seconds > 0:
        raise ValueError(f"{name} must be more than 0 seconds; you gave {value!r}")
    return seconds


def _count(name: str, value: object, unit: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} takes a whole number of {unit}; you gave {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1 ({unit}); you gave {value!r}")
    return value


def _check_memory(value: object) -> None:
    rule = (
        "max_memory takes a whole number of bytes, a share such as 0.5 of what there is, or None for no limit"
    )
    if isinstance(value, bool) or not isinstance(value, (int, float, type(None))):
        raise TypeError(f"{rule}; you gave {value!r}")
    if isinstance(value, int) and value < LEAST_MEMORY:
        raise ValueError(f"max_memory must be at least {LEAST_MEMORY:,} bytes; you gave {value!r}")
    if isinstance(value, float) and not 0 < value <= 1:
        raise ValueError(f"{rule}: a share is above 0, and 1 at most; you gave {value!r}")


def _strings(name: str, what: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        raise TypeError(f"{name} takes a list of {what}; you gave the string {value!r}: write [{value!r}]")
    if not isinstance(value, Iterable):
        raise TypeError(f"{name} takes a list of {what}; you gave {value!r}")
    strings: list[str] = []
    for each in value:
        if not isinstance(each, str):
            raise TypeError(f"{name} takes a list of {what}, each a string; it contains {each!r}")
        strings.append(each)
    return tuple(strings)


def _pattern(name: str, parse: Callable[[str], _Pattern], text: str) -> _Pattern:
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _subprotocols(value: object) -> tuple[str, ...]:
    if isinstance(value, (set, frozenset)):
        raise TypeError(
            f"subprotocols takes a list, the preferred one first; a set has no order: you gave {value!r}"
        )
    subprotocols = _strings("subprotocols", "subprotocols", value)
    for index, each in enumerate(subprotocols):
        if TOKEN.fullmatch(each) is None:
            raise ValueError(
                f"subprotocols: {each!r} is no token (letters, digits and !#$%&'*+-.^_`|~) such as 'chat.v1'"
            )
        if each in subprotocols[:index]:
            raise ValueError(f"subprotocols: {each!r} is listed twice")
    return subprotocols
