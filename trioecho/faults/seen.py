"""What the server saw of each recent connection: its handshake, its frames with their times, how it ended.

Bounded in every direction: so many connections, so many frames of each, so many bytes of each frame. Secrets are masked
before they are kept.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import trio

from trioecho._http.messages import Request
from trioecho._protocol.connection_id import new_id
from trioecho._protocol.frames import CLOSE, FrameError, parse_close

CONNECTIONS_KEPT = 200
"""Connections that are remembered, the most recent ones."""

FRAMES_KEPT = 100
"""Frames that are kept of a connection's beginning, and as many of its end."""

PAYLOAD_KEPT = 256
"""Bytes of a frame's payload that are kept."""

KEYS_KEPT = 1000
"""Keys of `/flaky` whose attempts are remembered."""

NAMES = {0: "continuation", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}
MASK = "****"

Side = Literal["client", "server"]

_SECRET_PARAMETERS = ("access_token", "token", "password", "api_key", "ticket")


@dataclass(slots=True)
class SeenConnection:
    """One connection, as far as it has come. Times are in seconds since the request was read."""

    id: str
    fault: str
    """The path as the table of faults has it."""
    target: str
    """What was asked for, secrets masked."""
    peer: str
    method: str
    headers: list[tuple[str, str]]
    """The header fields of the request in order, secrets masked."""
    began: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))
    status: int | None = None
    """Of the response: 101 for an accepted WebSocket; None where none was sent."""
    frames: list[dict[str, Any]] = field(default_factory=list)
    last_frames: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=FRAMES_KEPT))
    frames_seen: int = 0
    closed_first: Side | None = None
    """Who sent the first Close, or ended TCP without one."""
    code_received: int | None = None
    """Of the client's Close; 1005 if it was empty."""
    reason_received: str | None = None
    code_sent: int | None = None
    reason_sent: str | None = None
    tcp: list[dict[str, Any]] = field(default_factory=list)
    """What TCP did, in order: ``{"at": 0.5, "by": "client", "what": "FIN"}``."""
    error: str | None = None
    """What the client did that RFC 6455 does not allow, or what stopped the fault."""
    ended: trio.Event = field(default_factory=trio.Event)
    seconds: float | None = None
    """From the request to the end; None while the connection lives."""
    _began: float = field(default_factory=time.monotonic)

    @property
    def age(self) -> float:
        """Seconds since the request was read."""
        return round(time.monotonic() - self._began, 4)

    def frame(
        self, by: Side, first: int, payload: bytes, length: int, *, masked: bool, note: str | None = None
    ) -> None:
        """Remember a frame: its first byte, as much of the payload as was kept, its announced length."""
        opcode = first & 0x0F
        seen: dict[str, Any] = {
            "at": self.age,
            "by": by,
            "kind": NAMES.get(opcode, f"opcode {opcode:#x}"),
            "fin": bool(first & 0x80),
            "masked": masked,
            "length": length,
        }
        if first & 0x70:
            seen["rsv"] = [bit for bit, value in ((1, 0x40), (2, 0x20), (3, 0x10)) if first & value]
        kept = payload[:PAYLOAD_KEPT]
        if opcode == 1 and not first & 0x70:
            seen["text"] = kept.decode(errors="replace")
        elif opcode != CLOSE and kept:
            seen["hex"] = kept.hex()
        if note is not None:
            seen["note"] = note
        if opcode == CLOSE:
            self._close(by, seen, payload)
        self._keep(seen)

    def odd(self, kind: str, data: bytes) -> None:
        """Remember bytes of ours that are no right frame, by what the table calls them."""
        self._keep(
            {
                "at": self.age,
                "by": "server",
                "kind": kind,
                "length": len(data),
                "hex": data[:PAYLOAD_KEPT].hex(),
            }
        )

    def _keep(self, seen: dict[str, Any]) -> None:
        self.frames_seen += 1
        if len(self.frames) < FRAMES_KEPT:
            self.frames.append(seen)
        else:
            self.last_frames.append(seen)

    def _close(self, by: Side, seen: dict[str, Any], payload: bytes) -> None:
        try:
            code, reason = parse_close(payload)
        except FrameError:
            code = int.from_bytes(payload[:2]) if len(payload) > 1 else 1005
            reason = payload[2:].decode(errors="replace")
        seen["code"], seen["reason"] = code, reason
        self.closed_first = self.closed_first or by
        if by == "client" and self.code_received is None:
            self.code_received, self.reason_received = code, reason
        elif by == "server" and self.code_sent is None:
            self.code_sent, self.reason_sent = code, reason

    def tcp_did(self, by: Side, what: Literal["FIN", "RST"]) -> None:
        """Remember that one side ended its half of TCP, or reset all of it."""
        if any(each["by"] == by and each["what"] == what for each in self.tcp):
            return
        self.tcp.append({"at": self.age, "by": by, "what": what})
        self.closed_first = self.closed_first or by

    def end(self) -> None:
        """The connection is over."""
        self.seconds = self.age
        self.ended.set()

    def as_dict(self) -> dict[str, Any]:
        """All that was seen, as plain values that JSON can hold."""
        frames = [*self.frames, *self.last_frames]
        return {
            "id": self.id,
            "fault": self.fault,
            "target": self.target,
            "peer": self.peer,
            "began": self.began,
            "ended": self.ended.is_set(),
            "seconds": self.seconds,
            "method": self.method,
            "headers": [list(pair) for pair in self.headers],
            "status": self.status,
            "frames": frames,
            "frames_left_out": self.frames_seen - len(frames),
            "closed_first": self.closed_first,
            "code_received": self.code_received,
            "reason_received": self.reason_received,
            "code_sent": self.code_sent,
            "reason_sent": self.reason_sent,
            "tcp": list(self.tcp),
            "error": self.error,
        }

    def __str__(self) -> str:
        """What is logged at the end, as one line; what the client chose of it is numbers only."""
        parts = [f"fault {self.fault}"]
        if self.status != 101:
            parts.append(f"answered {self.status or 'nothing'}")
        if self.code_sent is not None or self.code_received is not None:
            sent, received = (
                "none" if code is None else code for code in (self.code_sent, self.code_received)
            )
            parts.append(f"Close sent {sent}, received {received}")
        parts += [f"{each['what']} by the {each['by']}" for each in self.tcp]
        parts.append(f"{self.frames_seen} frames")
        parts.append(f"{self.seconds or self.age:.3f} s")
        return "; ".join(parts)


class Seen:
    """The most recent connections of one set of fault routes, and how often each fault was asked for.

    Belongs to the Trio run of its server.

    Example:

        import functools

        import trioecho.faults
        from trioecho.testing import connect_raw

        async def main() -> None:
            seen = trioecho.faults.Seen()
            serve = functools.partial(trioecho.serve, trioecho.faults.routes(seen), port=0)
            async with trio.open_nursery() as nursery:
                server = await nursery.start(serve)
                client = await connect_raw(server.port, path="/close/4001?id=mine")
                assert await client.receive_close() == (4001, "")
                found: trioecho.faults.SeenConnection | None = seen.find("mine")
                assert found is not None and found.code_sent == 4001
                await client.stream.aclose()
                server.stop()
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        """How many requests came for each path of the table."""
        self.open = 0
        """How many connections are open."""
        self._connections: OrderedDict[str, SeenConnection] = OrderedDict()
        self._attempts: OrderedDict[str, int] = OrderedDict()

    @property
    def connections(self) -> tuple[SeenConnection, ...]:
        """Those that are remembered, the oldest first."""
        return tuple(self._connections.values())

    def begin(self, fault: str, request: Request, peer: str, given_id: str | None) -> SeenConnection:
        """Remember a connection whose request has come; of one id the last one."""
        self.counts[fault] += 1
        secret = "{password}" in fault or "{token}" in fault
        connection = SeenConnection(
            id=given_id or new_id(),
            fault=fault,
            target=fault if secret else masked_target(request.target),
            peer=peer,
            method=request.method[:20],
            headers=[(name, masked_value(name, value)) for name, value in request.header_pairs()],
        )
        self._connections.pop(connection.id, None)
        self._connections[connection.id] = connection
        if len(self._connections) > CONNECTIONS_KEPT:
            self._connections.popitem(last=False)
        return connection

    def find(self, wanted: str) -> SeenConnection | None:
        """Return the connection of this id, or the last one of a client at this address and port, "127.0.0.1:41234"."""
        found = self._connections.get(wanted)
        if found is not None:
            return found
        return next((each for each in reversed(self._connections.values()) if each.peer == wanted), None)

    def attempt(self, key: str) -> int:
        """Count one attempt for `key`, and return which it is: 1 for the first."""
        number = self._attempts.pop(key, 0) + 1
        self._attempts[key] = number
        if len(self._attempts) > KEYS_KEPT:
            self._attempts.popitem(last=False)
        return number


def masked_value(name: str, value: str) -> str:
    """Return a header's value as it may be kept: credentials, cookies and tokens without what is secret."""
    name = name.lower()
    if name in ("authorization", "proxy-authorization"):
        return f"{value.partition(' ')[0]} {MASK}" if " " in value else MASK
    if name == "cookie":
        names = [pair.partition("=")[0].strip() for pair in value.split(";")]
        return "; ".join(f"{each}={MASK}" for each in names)
    if name == "sec-websocket-protocol":
        offers = [offer.strip() for offer in value.split(",")]
        return ", ".join(f"bearer.{MASK}" if each.startswith("bearer.") else each for each in offers)
    return value


def masked_target(target: str) -> str:
    """Return a request's target as it may be kept: without the values of parameters that carry secrets."""
    path, question_mark, query = target.partition("?")
    pairs = [pair.partition("=") for pair in query.split("&")]
    shown = [
        f"{name}{equals}{MASK}" if name in _SECRET_PARAMETERS else name + equals + value
        for name, equals, value in pairs
    ]
    return f"{path}{question_mark}{'&'.join(shown)}"[:2000]
