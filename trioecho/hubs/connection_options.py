"""`ConnectionOptions`: how a `ConnectionRoute` treats its connections, each limit with its unit and reason."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from trioecho import Cors, WebSocketOptions

WEBSOCKETS: Final = "websockets"
EVENTS: Final = "server-sent-events"
POLLING: Final = "long-polling"
TRANSPORTS: Final = (WEBSOCKETS, EVENTS, POLLING)

CLIENTS_HEADERS: Final = ("Authorization", "Content-Type", "X-Requested-With", "X-SignalR-User-Agent")
"""What SignalR's JavaScript client sends, beyond what pages always may."""

LEAST_SECRET: Final = 16
"""Bytes. Shorter ones can be guessed."""

Overrides: TypeAlias = WebSocketOptions | Mapping[str, Any] | None

_SECONDS = ("negotiation_timeout", "disconnect_timeout", "poll_timeout", "send_timeout", "close_timeout")
_UNITS = {"max_message_size": "bytes", "max_buffered": "bytes"}


@dataclass(frozen=True, kw_only=True, slots=True)
class ConnectionOptions:
    """How one `ConnectionRoute` treats its connections. Immutable; use `dataclasses.replace` for a changed copy.

    Times are in seconds and finite, so that no client can hold the server; sizes are in bytes. A value of the wrong
    kind raises TypeError, one that makes no sense ValueError, each with one sentence that says what would be right.

    - `transports` (default ``("websockets", "server-sent-events", "long-polling")``, all):
        Those that clients may use. They are offered in this order, and a client takes the first that it can.
    - `negotiation_timeout` (default 15, SignalR's):
        How long after its negotiation a client may come with a transport. Nothing is kept for it meanwhile: what it
        was given is signed.
    - `disconnect_timeout` (default 15, SignalR's):
        How long a client may be away, between two polls, or with `stateful` after its WebSocket was lost. Then it
        counts as gone.
    - `poll_timeout` (default 90, SignalR's):
        After so long without anything to say a poll is answered, with nothing, and the client asks again. SignalR's
        JavaScript client waits 100 s; behind a proxy with a shorter limit (nginx: 60 s) choose less than that.
    - `send_timeout` (default 10, SignalR's):
        How long a client may take nothing of what waits for it. Then it counts as gone.
    - `close_timeout` (default 5, as for WebSockets):
        How long a goodbye may take, and how long the handler may go on when its client has gone or the connection is
        closed. Then it is cancelled.
    - `max_connections` (default None: no limit but the server's):
        How many clients there may be at once. One more is refused with 503 and Retry-After.
    - `max_message_size` (default 1 MiB, 1_048_576 bytes):
        The largest frame or POST accepted: larger ones end a WebSocket with 1009, and are answered 413. Whoever puts
        messages together from several of them has to count by itself; hubs do.
    - `max_buffered` (default 65_536 bytes, SignalR's):
        How much waits each way, for a client of Server-Sent Events or long polling: then POSTs are answered later, and
        `send` waits. One transfer may be larger, alone. What waits for a WebSocket is bounded in the same way.
    - `allowed_origins` (default empty):
        The web pages of other origins that may connect, as in `WebSocketOptions`, over every transport and with their
        cookies: "https://client.com", "https://*.client.com". "*" is not possible: every page would act for its
        visitor. Empty: over HTTP only pages of the server's own origin; over WebSockets what the server's
        `WebSocketOptions.allowed_origins` say.
    - `allowed_headers` (default empty):
        Names of header fields that such pages may send over HTTP, beyond those that SignalR's client does.
    - `websocket` (default None: the server's options):
        What differs from them for the WebSockets of this route, as for a `WebSocketRoute`: a mapping or a whole
        `WebSocketOptions`. A mapping goes before the options above, which set `max_message_size`, `send_timeout`,
        `close_timeout` and, where they are given, `allowed_origins`; a whole one is taken as it is.
    - `stateful` (default False, as in SignalR):
        Whether another WebSocket may take the place of a lost one, for a client that asks for it when it negotiates.
        What got lost has to be sent again by whoever handles the connection; hubs do.
    - `secret` (default None: random bytes, so that each server trusts its own only):
        Signs what clients are given when they negotiate. With the same one, of at least 16 random bytes, on several
        machines (whose clocks agree), a client may negotiate with one and come with its WebSocket to another. Server-
        Sent Events and long polling have to stay with one machine in any case (sticky sessions).
    """

    transports: tuple[str, ...] = TRANSPORTS
    negotiation_timeout: float = 15.0
    disconnect_timeout: float = 15.0
    poll_timeout: float = 90.0
    send_timeout: float = 10.0
    close_timeout: float = 5.0
    max_connections: int | None = None
    max_message_size: int = 2**20
    max_buffered: int = 65_536
    allowed_origins: tuple[str, ...] = ()
    allowed_headers: tuple[str, ...] = ()
    websocket: Overrides = None
    stateful: bool = False
    secret: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "transports", _transports(self.transports))
        for name in _SECONDS:
            object.__setattr__(self, name, _seconds(name, getattr(self, name)))
        for name, unit in _UNITS.items():
            _check_count(name, getattr(self, name), unit)
        if self.max_connections is not None:
            _check_count("max_connections", self.max_connections, "connections, or None for no limit")
        # Its sentences tell what is wrong with an origin, and so do those of Cors.
        origins = WebSocketOptions(allowed_origins=self.allowed_origins).allowed_origins
        object.__setattr__(self, "allowed_origins", origins)
        if isinstance(self.allowed_headers, str):
            raise TypeError(
                f"allowed_headers takes a list; you gave a string: write [{self.allowed_headers!r}]"
            )
        object.__setattr__(self, "allowed_headers", tuple(self.allowed_headers))
        self.cors()
        if self.websocket is not None and not isinstance(self.websocket, (WebSocketOptions, Mapping)):
            raise TypeError(
                "websocket takes a mapping such as {'keep_alive_interval': 30}, or WebSocketOptions; "
                f"you gave {self.websocket!r}"
            )
        if not isinstance(self.stateful, bool):
            raise TypeError(f"stateful takes True or False; you gave {self.stateful!r}")
        if self.secret is not None and not isinstance(self.secret, bytes):
            raise TypeError(f"secret takes bytes, or None; you gave {type(self.secret).__name__}")
        if self.secret is not None and len(self.secret) < LEAST_SECRET:
            raise ValueError(
                f"secret takes at least {LEAST_SECRET} random bytes; you gave {len(self.secret)}"
            )

    def cors(self) -> Cors | None:
        """Return what pages of other origins may do over HTTP; None where they may do nothing."""
        if not self.allowed_origins:
            return None
        headers = (*CLIENTS_HEADERS, *self.allowed_headers)
        return Cors(self.allowed_origins, credentials=True, headers=headers)

    def websocket_overrides(self) -> WebSocketOptions | Mapping[str, Any]:
        """Return the options of the route's WebSockets, as a `WebSocketRoute` takes them."""
        if isinstance(self.websocket, WebSocketOptions):
            return self.websocket
        overrides: dict[str, Any] = {
            "max_message_size": self.max_message_size,
            "send_timeout": self.send_timeout,
            "close_timeout": self.close_timeout,
        }
        if self.allowed_origins:
            overrides["allowed_origins"] = self.allowed_origins
        return overrides | dict(self.websocket or {})


def _transports(value: object) -> tuple[str, ...]:
    if isinstance(value, (str, set, frozenset)) or not isinstance(value, Iterable):
        raise TypeError(f'transports takes a list such as ["websockets"]; you gave {value!r}')
    transports = tuple(value)
    if not transports:
        raise ValueError('transports is empty; give at least one, such as ["websockets"]')
    for index, each in enumerate(transports):
        if each not in TRANSPORTS:
            known = ", ".join(f'"{name}"' for name in TRANSPORTS)
            raise ValueError(f"transports are {known}; you gave {each!r}")
        if each in transports[:index]:
            raise ValueError(f"transports: {each!r} is listed twice")
    return transports


def _seconds(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} takes seconds as a number; you gave {value!r}")
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be a finite number of seconds, more than 0; you gave {value!r}")
    return float(value)


def _check_count(name: str, value: object, unit: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} takes a whole number of {unit}; you gave {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1 ({unit}); you gave {value!r}")
