"""Our Pings whose Pongs are awaited: which of them a Pong answers.

A Pong answers the Ping whose payload it has, and every one sent before that: a peer may answer only the latest of those
that it has received (RFC 6455 §5.5.3). One that has no payload of ours answers nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import trio

from trioecho._protocol.frames import PING, encode_frame

if TYPE_CHECKING:
    from trioecho._protocol.histogram import Histogram
    from trioecho._websocket.outgoing import Outgoing


class SentPing:
    """One of them. `over` is set when it is answered, and then `seconds` says how long that took; or when it will not
    be any more."""

    __slots__ = ("over", "payload", "seconds", "sent_at")

    def __init__(self, payload: bytes, sent_at: float) -> None:
        self.payload = payload
        self.sent_at = sent_at
        self.seconds: float | None = None
        self.over = trio.Event()


class Pings:
    """One connection's, in the order in which they were sent. No method waits."""

    __slots__ = ("_awaited", "round_trips")

    def __init__(self) -> None:
        # By payload, in order; None where there are none, since a dictionary that was once in use keeps its room.
        self._awaited: dict[bytes, SentPing] | None = None
        self.round_trips: Histogram | None = None
        """Where it is counted how long each took that was answered: the server's."""

    def send(self, payload: bytes, outgoing: Outgoing) -> SentPing:
        """Queue a Ping, where there is room for it; instead of an empty payload with one of its own. ValueError if one
        with this payload is awaited."""
        awaited = self._awaited or {}
        if payload in awaited:
            raise ValueError(
                f"the Pong to a Ping with the payload {payload!r} is still awaited; give another payload, or none"
            )
        while not payload or payload in awaited:
            payload = os.urandom(4)
        self._awaited = awaited
        ping = awaited[payload] = SentPing(payload, trio.current_time())
        outgoing.put(encode_frame(PING, payload))
        return ping

    def ponged(self, payloads: list[bytes], now: float) -> int:
        """Pongs came, in this order. Returns how many of them answered nothing."""
        unasked = 0
        for payload in payloads:
            if self._awaited is None or payload not in self._awaited:
                unasked += 1
                continue
            for ping in tuple(self._awaited.values()):
                self.forget(ping)
                ping.seconds = now - ping.sent_at
                if self.round_trips is not None:
                    self.round_trips.observe(ping.seconds)
                ping.over.set()
                if ping.payload == payload:
                    break
        return unasked

    def forget(self, ping: SentPing) -> None:
        """Its Pong is awaited no longer. Does nothing where that is so."""
        if self._awaited is not None and self._awaited.get(ping.payload) is ping:
            del self._awaited[ping.payload]
            self._awaited = self._awaited or None

    def give_up(self, *, but: SentPing | None) -> None:
        """No Pong will come any more: tell who awaits one, except for the Ping `but`."""
        for ping in tuple(self._awaited.values()) if self._awaited is not None else ():
            if ping is not but:
                self.forget(ping)
                ping.over.set()
