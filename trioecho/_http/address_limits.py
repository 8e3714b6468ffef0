"""AddressLimits: how much one address may take of a server."""

from __future__ import annotations

from dataclasses import dataclass

MOST_PER_SECOND = 1_000_000
"""Handshakes. More than any machine answers, so it would be no limit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AddressLimits:
    """What one address may have of a server at once. Immutable.

    Of IPv6 a network of 64 bits is one address. Behind `WebSocketOptions.trusted_proxies` it is the client's address
    that counts, and the proxies themselves are never limited; nor is what has no address, a Unix socket's peer. Many
    people may share an address, behind the router of a company or a mobile network (NAT): the defaults leave
    room for some dozens of them. None switches a limit off.

    - `connections` (default 100):
        WebSockets that are open, and plain HTTP requests that are being answered. One more is refused with 429 and
        Retry-After. A page opens one or two, so it is room for some fifty people.
    - `handshakes_per_second` (default 10.0), `burst` (default 100):
        WebSocket handshakes, right or wrong, that may come in the long run, and how many may come at once after a
        silence (a token bucket). One more is refused with 429 and Retry-After. All who share an address come back at
        once when a server was restarted, so the burst is as many as `connections`. Plain HTTP is not counted: a page
        may ask for a hundred files.
    - `in_progress` (default 50):
        TCP connections that have yet to send the head of a request, TLS included: new ones, and those that are kept
        alive between two requests. When there is one more, the one that has waited longest is closed, without an
        answer, for nothing was asked. A browser has six open.

    Raises TypeError or ValueError with one sentence for what makes no sense.

    Example:

        async def main() -> None:
            limits = trioecho.AddressLimits(connections=20, in_progress=10)
            options = trioecho.WebSocketOptions(limits_per_address=limits, trusted_proxies=["10.0.0.0/8"])
            assert options.limits_per_address is limits
    """

    connections: int | None = 100
    handshakes_per_second: float | None = 10.0
    burst: int = 100
    in_progress: int | None = 50

    def __post_init__(self) -> None:
        for name in ("connections", "in_progress", "burst"):
            value = getattr(self, name)
            if value is None and name != "burst":
                continue
            rule = f"{name} takes a whole number of at least 1" + ("" if name == "burst" else ", or None")
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{rule}; you gave {value!r}")
            if value < 1:
                raise ValueError(f"{rule}; you gave {value!r}")
        rate: object = self.handshakes_per_second
        if rate is not None:
            rule = f"handshakes_per_second takes a number above 0 and up to {MOST_PER_SECOND}, or None"
            if isinstance(rate, bool) or not isinstance(rate, (int, float)):
                raise TypeError(f"{rule}; you gave {rate!r}")
            if not 0 < rate <= MOST_PER_SECOND:
                raise ValueError(f"{rule}; you gave {rate!r}")
