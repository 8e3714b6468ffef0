"""HubOptions: what one hub allows its clients, in SignalR's terms and with its defaults where it has them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Literal, get_args

from trioecho.hubs.handshake import PROTOCOLS

SlowClient = Literal["wait", "skip", "close"]
"""What happens to a client that does not take what it is sent."""

_SECONDS = frozenset({"keep_alive", "client_timeout", "handshake_timeout", "send_timeout", "leave_timeout"})
_MAY_BE_OFF = frozenset({"keep_alive", "client_timeout"})
_UNITS = {
    "max_receive_size": "bytes",
    "stream_buffer": "items",
    "parallel_invocations": "invocations",
    "waiting_invocations": "invocations",
    "max_held": "bytes",
    "max_streams": "streams",
    "max_client_results": "results",
    "max_groups": "groups",
    "max_backlog": "bytes",
    "stateful_buffer": "bytes",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class HubOptions:
    """How a `HubServer` treats its clients. Immutable; use `dataclasses.replace` for a changed copy.

    Times are in seconds, sizes in bytes. A value of the wrong kind raises TypeError, one that makes no sense
    ValueError, each with one sentence that says what would be right.

    - `keep_alive` (default 15 seconds, SignalR's; `math.inf`: off):
        After so long without a message to a client it is sent a ping. Clients give a server up after 30 seconds
        without a word, so two may be lost.
    - `client_timeout` (default 30 seconds, SignalR's; `math.inf`: off):
        A client from which nothing has come for so long is disconnected, and may reconnect. Clients send a ping
        every 15 seconds. While the server itself does not read, the clock stands still.
    - `handshake_timeout` (default 15 seconds, SignalR's):
        How long a client may take to say which protocol it speaks.
    - `send_timeout` (default 10 seconds, SignalR's):
        How long a message to several clients waits for those that do not read, with ``slow_client="wait"``.
    - `leave_timeout` (default 5 seconds, arbitrary):
        How long `Hub.life` may take to its end after the client has gone; then it is cancelled.
    - `max_receive_size` (default 32 KiB, SignalR's):
        Bytes of one hub message from a client. Larger things are better sent as a stream.
    - `stream_buffer` (default 10 items, SignalR's):
        How many items of a client's stream wait for the method that takes them; others are held. Where nothing is
        taken for `client_timeout`, the stream fails.
    - `parallel_invocations` (default 1, SignalR's):
        How many calls of one client run at once. With 1 they run in the order in which they were sent. Calls that
        stream, in either direction, begin in their turn and then run beside the others.
    - `waiting_invocations` (default 100, arbitrary):
        How many calls of one client wait for their turn; others are held. Where no call has its turn for
        `client_timeout`, the client is disconnected.
    - `max_held` (default 256 KiB, arbitrary):
        How many bytes of calls and items may be held until there is room for them, each message counted as 100 more.
        Then the client is read no further. Until then acknowledgements, cancellations and results are still taken.
    - `max_streams` (default 100, arbitrary):
        How many calls of one client that stream, and how many streams that it uploads, there may be at once. One
        more is answered by an error.
    - `max_client_results` (default 100, arbitrary):
        How many results of a client's methods may be awaited at once; `invoke` then raises `HubException`.
    - `max_groups` (default 1,000, arbitrary):
        How many groups a client may be in; `groups.add` then raises `HubException`.
    - `stateful_buffer` (default 100,000 bytes, SignalR's):
        How much of what was sent to a client with stateful reconnect is kept until it acknowledges it; then
        senders wait. Clients acknowledge once a second.
    - `detailed_errors` (default False, as in SignalR):
        Whether clients are told the type and the text of every exception, not only of a `HubException`. They may
        hold what is nobody's business.
    - `protocols` (default ``("json", "messagepack")``, all):
        The encodings that clients may choose.
    - `slow_client` (default "wait"):
        What happens to a client that has not read what it was sent before when a message goes to several clients:
        "wait" sends to the others at once, waits for it up to `send_timeout`, and then disconnects it, allowing
        it to reconnect; "close" disconnects it at once; "skip" leaves it out. The default disconnects nobody who
        reads, and slows down who floods. Who sends from another process is not slowed down: see `max_backlog`.
    - `max_backlog` (default 1 MiB, 1_048_576 bytes, arbitrary):
        How much of what other processes send waits for a client that does not read, with ``slow_client="wait"``, each
        message counted as 100 bytes more. For more than that, and for more than `send_timeout`, it does not wait: the
        client is disconnected, and may reconnect. The other clients have it at once.

    Example:

        from trioecho.hubs import Hub, HubOptions, HubServer, Target

        class Prices(Hub[Target]):
            async def watch(self, name: str) -> None:
                await self.groups.add(name)

        # Prices age: who does not read them misses some.
        options = HubOptions(slow_client="skip", max_groups=20)
        routes = {"/prices": HubServer(Prices, options=options)}
    """

    keep_alive: float = 15.0
    client_timeout: float = 30.0
    handshake_timeout: float = 15.0
    send_timeout: float = 10.0
    leave_timeout: float = 5.0
    max_receive_size: int = 32_768
    stream_buffer: int = 10
    parallel_invocations: int = 1
    waiting_invocations: int = 100
    max_held: int = 262_144
    max_streams: int = 100
    max_client_results: int = 100
    max_groups: int = 1_000
    stateful_buffer: int = 100_000
    detailed_errors: bool = False
    protocols: tuple[str, ...] = tuple(PROTOCOLS)
    slow_client: SlowClient = "wait"
    max_backlog: int = 1_048_576

    def __post_init__(self) -> None:
        for field in fields(self):
            name, value = field.name, getattr(self, field.name)
            if name in _SECONDS:
                object.__setattr__(self, name, _seconds(name, value))
            elif name in _UNITS:
                _check_count(name, value)
        if not isinstance(self.detailed_errors, bool):
            raise TypeError(f"detailed_errors takes True or False; you gave {self.detailed_errors!r}")
        if self.slow_client not in get_args(SlowClient):
            raise ValueError(f'slow_client is "wait", "skip" or "close"; you gave {self.slow_client!r}')
        if isinstance(self.protocols, str) or not isinstance(self.protocols, Iterable):
            raise TypeError(f'protocols takes a list such as ["json"]; you gave {self.protocols!r}')
        protocols = tuple(self.protocols)
        if not protocols:
            raise ValueError('protocols is empty; give at least one, such as ["json"]')
        for each in protocols:
            if each not in PROTOCOLS:
                raise ValueError(f'protocols are "json" and "messagepack"; you gave {each!r}')
        object.__setattr__(self, "protocols", protocols)


def _seconds(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} takes seconds as a number; you gave {value!r}")
    if not value > 0:
        raise ValueError(f"{name} must be more than 0 seconds; you gave {value!r}")
    if value == math.inf and name not in _MAY_BE_OFF:
        raise ValueError(f"{name} must be finite, so that no client can hold the server; you gave {value!r}")
    return float(value)


def _check_count(name: str, value: object) -> None:
    unit = _UNITS[name]
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} takes a whole number of {unit}; you gave {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1 ({unit}); you gave {value!r}")
