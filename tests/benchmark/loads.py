"""The loads: each row of the benchmark's tables, what is measured under it, and what trioecho is to reach."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from deflating import OFFER, OFFER_WITHOUT_CONTEXT


class Group(StrEnum):
    """Which contenders take part in a load."""

    WEBSOCKET = "websocket"
    TCP_CEILING = "tcp ceiling"
    TCP_TRIO = "tcp trio"
    TLS = "tls"
    BROADCAST = "broadcast"
    DEFLATE = "deflate"
    HUB = "hub"
    HUB_BROADCAST = "hub broadcast"


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """One load.

    `kind` is how `generator.py` measures it, and `unit` what its value then is. `goals` are the ratios to reach, by
    contender: with `higher_is_better` at least so many times the peer's value, otherwise at most. A contender's own
    name as its goal is a bound on the value itself. `extension` is what the connections offer, and `hub` the hub
    protocol of contenders that have a hub.
    """

    name: str
    title: str
    kind: str
    unit: str
    connections: int
    depth: int = 1
    size: int = 64
    text: bool = True
    idle: int = 0
    tls: bool = False
    extension: str = ""
    hub: str = ""
    higher_is_better: bool = True
    groups: frozenset[Group] = frozenset({Group.WEBSOCKET})
    goals: Mapping[str, float] = field(default_factory=dict)

    def task(self) -> dict[str, Any]:
        """The part of `generator.Task` that the load decides."""
        fields = ("kind", "connections", "depth", "size", "text", "idle", "extension")
        return {name: getattr(self, name) for name in fields}


WITH_CEILING = frozenset({Group.WEBSOCKET, Group.TCP_CEILING, Group.TCP_TRIO})

LOADS = (
    Load(
        name="small",
        title="50 connections × 1 in flight × 64 B text",
        kind="throughput",
        unit="messages/s",
        connections=50,
        groups=WITH_CEILING,
        goals={"aiohttp-uvloop": 1.0, "ws-node": 1.0, "websockets-uvloop": 1.4, "trio-websocket": 4.5},
    ),
    Load(
        name="pipelined",
        title="50 × 16 in flight × 64 B text",
        kind="throughput",
        unit="messages/s",
        connections=50,
        depth=16,
        groups=WITH_CEILING,
        goals={"picows-uvloop": 2.5, "trio-websocket": 15.0},
    ),
    Load(
        name="many",
        title="500 × 1 × 64 B text",
        kind="throughput",
        unit="messages/s",
        connections=500,
        groups=WITH_CEILING,
        goals={"aiohttp-uvloop": 1.0},
    ),
    Load(
        name="medium",
        title="50 × 1 × 4 KiB binary",
        kind="throughput",
        unit="messages/s",
        connections=50,
        size=4096,
        text=False,
        groups=WITH_CEILING,
        goals={"aiohttp-uvloop": 0.9},
    ),
    Load(
        name="large-binary",
        title="4 × 1 × 1 MB binary",
        kind="throughput",
        unit="messages/s",
        connections=4,
        size=1_000_000,
        text=False,
        groups=WITH_CEILING,
        goals={"aiohttp-uvloop": 1.0},
    ),
    Load(
        name="large-text",
        title="4 × 1 × 1 MB text",
        kind="throughput",
        unit="messages/s",
        connections=4,
        size=1_000_000,
        goals={"aiohttp-uvloop": 1.0},
    ),
    Load(
        name="handshakes",
        title="handshakes, one after the other",
        kind="handshakes",
        unit="handshakes/s",
        connections=1,
        goals={"websockets-asyncio": 1.0},
    ),
    Load(
        name="memory",
        title="memory per idle connection, of 2,000",
        kind="memory",
        unit="KiB",
        connections=50,
        idle=2000,
        higher_is_better=False,
        goals={"websockets-asyncio": 1.0},
    ),
    Load(
        name="crowd",
        title="50 × 1 × 64 B among 10,000 idle",
        kind="crowd",
        unit="share of throughput kept",
        connections=50,
        idle=10_000,
        goals={"trioecho": 0.9},
    ),
    Load(
        name="pings",
        title="CPU for a Ping a second from each of 2,000",
        kind="pings",
        unit="ms/s",
        connections=2000,
        higher_is_better=False,
        goals={"websockets-asyncio": 1.0},
    ),
    Load(
        name="broadcast-1000",
        title="CPU for broadcasting 100 B text to 1,000",
        kind="broadcasts",
        unit="µs/client",
        connections=1,
        size=100,
        idle=1000,
        higher_is_better=False,
        groups=frozenset({Group.BROADCAST}),
        goals={"websockets-uvloop": 0.5},
    ),
    Load(
        name="broadcast-10000",
        title="CPU for broadcasting 100 B text to 10,000",
        kind="broadcasts",
        unit="µs/client",
        connections=1,
        size=100,
        idle=10_000,
        higher_is_better=False,
        groups=frozenset({Group.BROADCAST}),
        goals={"websockets-uvloop": 0.5},
    ),
    Load(
        name="deflate-200",
        title="CPU for an echo of 200 B JSON, deflated",
        kind="deflated",
        unit="µs/message",
        connections=50,
        size=200,
        extension=OFFER,
        higher_is_better=False,
        groups=frozenset({Group.DEFLATE}),
        goals={"websockets-uvloop": 1.0},
    ),
    Load(
        name="deflate-2k",
        title="CPU for an echo of 2 KiB JSON, deflated",
        kind="deflated",
        unit="µs/message",
        connections=50,
        size=2048,
        extension=OFFER,
        higher_is_better=False,
        groups=frozenset({Group.DEFLATE}),
        goals={"websockets-uvloop": 0.77},
    ),
    Load(
        name="deflate-64k",
        title="CPU for an echo of 64 KiB JSON, deflated",
        kind="deflated",
        unit="µs/message",
        connections=10,
        size=2**16,
        extension=OFFER,
        higher_is_better=False,
        groups=frozenset({Group.DEFLATE}),
        goals={"websockets-uvloop": 1.0},
    ),
    Load(
        name="deflate-memory",
        title="memory per idle connection that deflates, of 1,000",
        kind="memory",
        unit="KiB",
        connections=50,
        size=2048,
        idle=1000,
        extension=OFFER,
        higher_is_better=False,
        groups=frozenset({Group.DEFLATE}),
        goals={"websockets-asyncio": 1.0},
    ),
    Load(
        name="deflate-memory-no-context",
        title="the same, without context takeover",
        kind="memory",
        unit="KiB",
        connections=50,
        size=2048,
        idle=1000,
        extension=OFFER_WITHOUT_CONTEXT,
        higher_is_better=False,
        groups=frozenset({Group.DEFLATE}),
        goals={"websockets-asyncio": 1.0},
    ),
    Load(
        name="hub-json",
        title="hub: 50 × 1 × a call with 64 B, JSON",
        kind="throughput",
        unit="calls/s",
        connections=50,
        hub="json",
        groups=frozenset({Group.HUB}),
        goals={"trioecho-echo": 0.65, "aiosignalr-uvloop": 1.0},
    ),
    Load(
        name="hub-messagepack",
        title="hub: 50 × 1 × a call with 64 B, MessagePack",
        kind="throughput",
        unit="calls/s",
        connections=50,
        hub="messagepack",
        groups=frozenset({Group.HUB}),
        goals={"trioecho-echo": 0.65, "aiosignalr-uvloop": 1.0},
    ),
    Load(
        name="hub-broadcast-1000",
        title="hub: CPU for 100 B to all of 1,000, JSON",
        kind="broadcasts",
        unit="µs/client",
        connections=1,
        size=100,
        idle=1000,
        hub="json",
        higher_is_better=False,
        groups=frozenset({Group.HUB_BROADCAST}),
        goals={"trioecho-broadcast": 1.25, "aiosignalr-uvloop": 1.0},
    ),
    Load(
        name="hub-broadcast-10000",
        title="hub: CPU for 100 B to all of 10,000, JSON",
        kind="broadcasts",
        unit="µs/client",
        connections=1,
        size=100,
        idle=10_000,
        hub="json",
        higher_is_better=False,
        groups=frozenset({Group.HUB_BROADCAST}),
        goals={"trioecho-broadcast": 1.25, "aiosignalr-uvloop": 1.0},
    ),
    Load(
        name="hub-memory",
        title="hub: memory per idle connection, of 2,000",
        kind="memory",
        unit="KiB",
        connections=50,
        idle=2000,
        hub="json",
        higher_is_better=False,
        groups=frozenset({Group.HUB}),
        goals={"trioecho": 25.0, "aiosignalr-uvloop": 1.0},
    ),
    Load(
        name="tls",
        title="TLS, 50 × 1 × 64 B text",
        kind="throughput",
        unit="messages/s",
        connections=50,
        tls=True,
        groups=frozenset({Group.TLS}),
        goals={"trio-websocket": 1.5},
    ),
    Load(
        name="latency",
        title="1 × 1 × 64 B text: median latency",
        kind="latency",
        unit="µs",
        connections=1,
        higher_is_better=False,
        groups=WITH_CEILING,
        goals={"tcp-trio": 1.1},
    ),
)
