"""Accounts: what each address has of a server, where `AddressLimits` bound it.

What is held is counted by address, so there are as many of these as there is held. A token bucket is forgotten as soon
as it is full again, and of those that are not, the `MOST_BUCKETS` used last are kept: whoever has more addresses than
that is not to be bounded by address.
"""

from __future__ import annotations

import math
from collections import OrderedDict

from trioecho._http.address_limits import AddressLimits
from trioecho._http.networks import subscriber
from trioecho._http.refusals import RETRY_AFTER_SECONDS, Refused
from trioecho._protocol.counted import counted

MOST_BUCKETS = 10_000
"""Some 2 MB."""

LONGEST_WAIT = 3600
"""Seconds that a client is asked to stay away at most, however slow its bucket fills."""


class OverLimit(Refused):
    """One address asks for more than its share (429, RFC 6585 §4). `kind` is the limit's name."""

    _counted_as = "address"

    def __init__(self, kind: str, sentence: str, seconds: int) -> None:
        wait = counted(seconds, "second")
        super().__init__(429, f"{sentence}; try again in {wait}.", (("Retry-After", str(seconds)),))
        self.kind = kind


class Accounts:
    """The accounts of one server. An address of None is nobody's: it has all it wants, and nothing is counted."""

    __slots__ = ("_buckets", "_held", "limits")

    def __init__(self, limits: AddressLimits | None) -> None:
        self.limits = limits
        self._held: dict[str, int] = {}
        # By address: how many handshakes it had left at what time. What was used last stands last.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        """How many addresses are remembered."""
        return len(self._held.keys() | self._buckets.keys())

    def hold(self, address: str | None) -> str | None:
        """Take one of an address's connections; returns what `release` has to be given. Raises `OverLimit`."""
        if self.limits is None or address is None:
            return None
        key = subscriber(address)
        held, most = self._held.get(key, 0), self.limits.connections
        if most is not None and held >= most:
            taken = (
                "The one connection of an address is"
                if most == 1
                else f"All {most} connections of an address are"
            )
            raise OverLimit("connections", f"{taken} taken by yours", RETRY_AFTER_SECONDS)
        self._held[key] = held + 1
        return key

    def release(self, key: str | None) -> None:
        """Give back what was held."""
        if key is not None:
            self._held[key] -= 1
            if not self._held[key]:
                del self._held[key]

    def handshake(self, address: str | None, now: float) -> None:
        """Count a handshake at `now`, on any clock in seconds. Raises `OverLimit`."""
        limits = self.limits
        if limits is None or address is None or limits.handshakes_per_second is None:
            return
        rate, burst = limits.handshakes_per_second, limits.burst
        buckets, key = self._buckets, subscriber(address)
        tokens, since = buckets.pop(key, (float(burst), now))
        tokens = min(float(burst), tokens + (now - since) * rate)
        # The one used first is the one most likely to be full: two for one that comes keep their number down.
        for _ in range(2):
            if buckets:
                oldest, (left, before) = next(iter(buckets.items()))
                if len(buckets) < MOST_BUCKETS and left + (now - before) * rate < burst:
                    break
                del buckets[oldest]
        allowed = tokens >= 1
        buckets[key] = (tokens - 1 if allowed else tokens), now
        if not allowed:
            wait = min(LONGEST_WAIT, max(1, math.ceil((1 - tokens) / rate)))
            often = (
                f"An address may ask for {rate:g} WebSockets per second in the long run; yours asks for more"
            )
            raise OverLimit("handshakes_per_second", often, wait)
