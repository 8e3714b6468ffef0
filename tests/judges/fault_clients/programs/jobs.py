"""What each client in Python is asked to do, a line of standard input each, and what it tells of it, a line of JSON.

A line is a query string, which every language can read. Clients are given `TIMEOUT` wherever they take a timeout, and
ping as often as `KEEP_ALIVE` says where they can ping by themselves.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from urllib.parse import parse_qs

TIMEOUT = 3.0
"""Seconds for a handshake to be answered, and for a Close to be."""

KEEP_ALIVE = 1.0
"""Seconds between two Pings, and until one without a Pong counts as lost."""

PIECE = 65_536
"""Bytes of each message of a flood."""

SHOWN = 5
"""Messages that are told; of the others, how many there were and what the last one was."""


@dataclass(frozen=True)
class Job:
    """Connect, say something, close behind so many messages; else await the end. `flood` is in bytes."""

    number: int
    url: str
    say: list[str]
    close_after: int
    subprotocols: list[str]
    compress: bool
    patience: float
    flood: int


@dataclass
class Told:
    """What became of it."""

    number: int
    opened: bool = False
    status: int | None = None
    """Of a response that is no 101, where the client shows it."""
    subprotocol: str | None = ""
    """None where the client does not show it."""
    heard: list[str] = field(default_factory=list)
    count: int = 0
    last: str = ""
    code: int | None = None
    reason: str = ""
    error: str = ""
    ended: bool = True
    """It came to an end by itself, and not because the patience did."""
    accepted: int = 0
    """Bytes of the flood that the client has taken without making its caller wait."""
    seconds: float = 0.0

    def hear(self, message: str | bytes) -> int:
        """Remember a message; return how many there were."""
        text = message if isinstance(message, str) else f"{len(message)} bytes"
        text = text if len(text) <= 200 else f"{len(text)} characters"
        self.count, self.last = self.count + 1, text
        if len(self.heard) < SHOWN:
            self.heard.append(text)
        return self.count

    def fail(self, error: BaseException) -> None:
        """Remember what a client raised, in one line."""
        self.error = f"{type(error).__name__}: {error}"[:300]


def jobs() -> Iterator[tuple[Job, Told]]:
    """Each job with what is to be told of it, which is written when the next one is asked for."""
    for line in sys.stdin:
        said = parse_qs(line.strip(), keep_blank_values=True)
        job = Job(
            number=int(said["number"][0]),
            url=said["url"][0],
            say=said.get("say", []),
            close_after=int(said["close_after"][0]),
            subprotocols=said.get("subprotocol", []),
            compress=said["compress"][0] == "1",
            patience=float(said["patience"][0]),
            flood=int(said["flood"][0]),
        )
        told = Told(job.number)
        began = time.monotonic()
        yield job, told
        told.seconds = round(time.monotonic() - began, 2)
        print(json.dumps(asdict(told)), flush=True)
