"""The open sockets of one server: how many there may be, and who makes room when there are as many.

A connection either is being served, a WebSocket or a request that is answered, or it waits: it has said nothing yet, or
half of a request, or nothing since its last answer. Who waits is owed nothing. So when all sockets are open, the one
that has waited longest is closed for each that comes, and a client that asks for something right away gets in however
many others ask for nothing. An address that has much of what waits makes room among its own, so that whoever opens
thousands ends his own connections and no others.

Of all sockets the last few (`_kept`) are for those who wait: WebSockets are refused with 503 before they take them, or
nobody could be told so.
"""

from __future__ import annotations

import logging
import os
from collections import OrderedDict

import trio

from trioecho._http.address_limits import AddressLimits
from trioecho._http.networks import Networks, subscriber
from trioecho._protocol.counted import counted
from trioecho._server.peers import peer_of
from trioecho._server.turned_away import TurnedAway
from trioecho.options import WebSocketOptions

logger = logging.getLogger("trioecho")

LEAST = 2
"""Sockets that a server needs: one that is served, and one for who comes next."""

BESIDE_WEBSOCKETS = 256
"""Sockets, at least, that there may be beside `max_connections` WebSockets: for requests, and for who waits."""

STALE = 1.0
"""Seconds after which a waiting connection may be closed for the sake of descriptors: one that has just come is most
likely about to ask for something."""

FEW = 16
"""So many waiting connections an address may have in any case before it makes room among its own: two browsers."""


def most_sockets(options: WebSocketOptions) -> int | None:
    """Return how many sockets a server with these options may have open; None for any number.

    Where the options do not say: what the limit on open files (RLIMIT_NOFILE) leaves beside those that are open now,
    less a tenth, or 16, for files and logs; and no more than twice `max_connections`, or `BESIDE_WEBSOCKETS` beside
    it.
    """
    if options.max_sockets is not None:
        return options.max_sockets
    bounds: list[int] = []
    try:
        import resource
    except ImportError:  # Windows, where the kernel sets no such limit
        pass
    else:
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if soft != resource.RLIM_INFINITY:
            bounds.append(soft - _open_files() - max(16, soft // 10))
    wanted = options.max_connections
    if wanted is not None:
        bounds.append(wanted + max(BESIDE_WEBSOCKETS, wanted))
    if not bounds:
        return None
    most = max(LEAST, min(bounds))
    if wanted is not None and wanted > most - _kept(most):
        logger.warning(
            "max_connections is %d, but the limit on open files leaves room for %d: raise it (ulimit -n)",
            wanted,
            most - _kept(most),
        )
    return most


def _open_files() -> int:
    """How many descriptors this process has open; 0 where the system does not tell."""
    try:
        return len(os.listdir("/dev/fd"))
    except OSError:
        return 0


def _kept(most: int) -> int:
    """How many of `most` sockets are kept for those who wait."""
    return max(1, min(64, most // 16))


class Visit:
    """One connection to the server, from when it is accepted until it is closed."""

    __slots__ = ("account", "client", "counted", "group", "peer", "scope", "since", "transport", "trusted")

    def __init__(self, transport: trio.abc.Stream) -> None:
        self.transport = transport
        self.peer, self.client = peer_of(transport)
        """What the other end of TCP is called, and its address and port; or who a PROXY header says it is."""
        self.trusted = False
        """The other end is a proxy whose word about its clients counts."""
        self.scope: trio.CancelScope | None = trio.CancelScope()
        """What happens while it waits, and is cancelled when it has to make room. None once it is a WebSocket."""
        self.since = 0.0
        """When it began to wait, on Trio's clock."""
        self.group: str | None = None
        """Under which address it waits; None for a trusted proxy, and for what has no address."""
        self.account: str | None = None
        """What `Accounts.hold` gave for what is being served."""
        self.counted = False
        """It is among `Sockets.open`: it has entered, and neither made room nor been closed since."""


class Sockets:
    """All visits to one server. `limit` is how many there may be at once; None: any number."""

    __slots__ = ("_by_group", "_limits", "_proxies", "_turned_away", "_waiting", "limit", "open")

    def __init__(self, proxies: Networks, limits: AddressLimits | None, turned_away: TurnedAway) -> None:
        self._proxies = proxies
        self._limits = limits
        self._turned_away = turned_away
        self.limit: int | None = None
        self.open = 0
        # Those who wait, longest first: all, and those of each address. OrderedDict, as a dict is slow at its front.
        self._waiting: OrderedDict[Visit, None] = OrderedDict()
        self._by_group: dict[str, OrderedDict[Visit, None]] = {}

    @property
    def served(self) -> int:
        """How many do not wait."""
        return self.open - len(self._waiting)

    @property
    def room(self) -> bool:
        """Whether who is served now may stay for long."""
        return self.limit is None or self.served <= self.limit - _kept(self.limit)

    def waits_since(self, time: float) -> bool:
        """Whether anybody has begun to wait at `time`, on Trio's clock, or later."""
        last = next(reversed(self._waiting), None)
        return last is not None and last.since >= time

    def enter(self, visit: Visit) -> None:
        """Count one that was accepted, which begins to wait, and close another for it where that is needed.

        Whoever calls this runs what the visit does while it waits in its `scope`, and calls `leave`, also if this
        raises: a filter of the application's may, when it is logged.
        """
        self.open += 1
        visit.counted = True
        self._know(visit)
        if self.limit is not None and self.open > self.limit:
            self._close(self._who_makes_room(visit) or visit, "no room", f"all {self.limit} sockets are open")
        self.wait(visit)

    def identify(self, visit: Visit, client: tuple[str, int], name: str) -> None:
        """A PROXY header has told who a waiting visit is from."""
        waits = visit in self._waiting
        self.serve(visit)
        visit.client, visit.peer = client, name
        self._know(visit)
        if waits:
            self.wait(visit)

    def wait(self, visit: Visit) -> None:
        """Whoever this is begins to wait."""
        if not visit.counted:
            return
        if visit not in self._waiting:
            self._waiting[visit] = None
            visit.since = trio.current_time()
        if visit.group is None:
            return
        own = self._by_group.setdefault(visit.group, OrderedDict())
        own[visit] = None
        limits = self._limits
        if limits is not None and limits.in_progress is not None and len(own) > limits.in_progress:
            why = f"an address may have {counted(limits.in_progress, 'such connection')}"
            self._close(next(iter(own)), "in_progress", why)

    def serve(self, visit: Visit) -> None:
        """Whoever this is waits no more."""
        self._waiting.pop(visit, None)
        own = None if visit.group is None else self._by_group.get(visit.group)
        if own is not None and own.pop(visit, visit) is None and not own:
            assert visit.group is not None
            del self._by_group[visit.group]

    def leave(self, visit: Visit) -> None:
        """It has been closed, or is about to be. Does nothing where it has left, or never entered."""
        self.serve(visit)
        if visit.counted:
            visit.counted = False
            self.open -= 1

    def relieve(self) -> None:
        """Descriptors are short, whoever has them: close a sixteenth of those who wait, but none that has just come."""
        now = trio.current_time()
        for _ in range(len(self._waiting) // 16 + 1):
            longest = next(iter(self._waiting), None)
            if longest is None or now - longest.since < STALE:
                return
            self._close(longest, "no room", "this process can open no more files")

    def _who_makes_room(self, newcomer: Visit) -> Visit | None:
        own = None if newcomer.group is None else self._by_group.get(newcomer.group)
        if own is not None and len(own) > max(FEW, len(self._waiting) // 4):
            return next(iter(own))
        return next(iter(self._waiting), None)

    def _know(self, visit: Visit) -> None:
        proxies, client = self._proxies, visit.client
        if client is not None:
            visit.trusted = bool(proxies) and client[0] in proxies
            visit.group = None if visit.trusted else subscriber(client[0])
        else:
            # No address, and no other kind of stream is called so.
            visit.trusted = proxies.unix and visit.peer.startswith("unix:")
            visit.group = None

    def _close(self, visit: Visit, reason: str, why: str) -> None:
        self.leave(visit)
        if visit.scope is not None:
            visit.scope.cancel()
        sentence = f"{visit.peer} was closed, of which no request had come for the longest time: {why}"
        self._turned_away.count(reason, sentence)
