"""What each side has said, as one table: what may still be sent, what is delivered, and what is awaited.

A connection has two sides, ours and the peer's, and each goes its own way down a list of states. What may happen
follows from the pair of them alone. `connection.py` moves the two and obeys the table; the tests walk through it; and
the README's table is printed from it by `as_markdown`. How a connection ends, with which code, is another question and
another table: `endings.py`.

The closing handshake is RFC 6455 §7.1.2; that the server closes TCP first, §7.1.1.
"""

from __future__ import annotations

import enum
from typing import NamedTuple


class Ours(enum.Enum):
    """What this side has said."""

    OPEN = "open"
    CLOSED = "Close said"
    LOST = "cannot send"
    """TCP was reset, or a frame was cut off at a deadline."""


class Theirs(enum.Enum):
    """What the peer has said."""

    OPEN = "open"
    CLOSED = "Close came"
    FAILED = "broke the protocol"
    """Its bytes are out of step: none that follows is understood."""
    ENDED = "TCP ended"


class Sends(enum.Enum):
    """What may be sent."""

    ALL = "messages, Pings, Pongs"
    ANSWERS = "answers that are owed, then Close"
    """Messages, for `answer_timeout` (`WebSocketOptions`); Close is the last thing said."""
    NOTHING = "nothing"


class Delivers(enum.Enum):
    """What becomes of what comes in."""

    MESSAGES = "delivered"
    COUNTED = "counted, not delivered"
    """Only the peer's Close still matters."""
    NOTHING = "thrown away"
    """Read, so that the end of TCP is noticed, and that closing it sends no reset."""


class Awaits(enum.Enum):
    """What the closing handshake waits for, once our side has said all."""

    CLOSE = "the peer's Close"
    TCP = "the end of TCP"
    NOTHING = "nothing"


class Rule(NamedTuple):
    """One row of the table."""

    sends: Sends
    delivers: Delivers
    awaits: Awaits


CLOSING: dict[tuple[Ours, Theirs], Rule] = {
    (Ours.OPEN, Theirs.OPEN): Rule(Sends.ALL, Delivers.MESSAGES, Awaits.CLOSE),
    (Ours.OPEN, Theirs.CLOSED): Rule(Sends.ANSWERS, Delivers.NOTHING, Awaits.NOTHING),
    (Ours.OPEN, Theirs.FAILED): Rule(Sends.ANSWERS, Delivers.NOTHING, Awaits.TCP),
    (Ours.OPEN, Theirs.ENDED): Rule(Sends.ANSWERS, Delivers.NOTHING, Awaits.NOTHING),
    (Ours.CLOSED, Theirs.OPEN): Rule(Sends.NOTHING, Delivers.COUNTED, Awaits.CLOSE),
    (Ours.CLOSED, Theirs.CLOSED): Rule(Sends.NOTHING, Delivers.NOTHING, Awaits.NOTHING),
    (Ours.CLOSED, Theirs.FAILED): Rule(Sends.NOTHING, Delivers.NOTHING, Awaits.TCP),
    (Ours.CLOSED, Theirs.ENDED): Rule(Sends.NOTHING, Delivers.NOTHING, Awaits.NOTHING),
    (Ours.LOST, Theirs.OPEN): Rule(Sends.NOTHING, Delivers.MESSAGES, Awaits.NOTHING),
    (Ours.LOST, Theirs.CLOSED): Rule(Sends.NOTHING, Delivers.NOTHING, Awaits.NOTHING),
    (Ours.LOST, Theirs.FAILED): Rule(Sends.NOTHING, Delivers.NOTHING, Awaits.NOTHING),
    (Ours.LOST, Theirs.ENDED): Rule(Sends.NOTHING, Delivers.NOTHING, Awaits.NOTHING),
}


def as_markdown() -> str:
    """The table as the README shows it."""
    lines = [
        "| this side | the peer | may be sent | what comes in | then awaited |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {ours.value} | {theirs.value} | {rule.sends.value} | {rule.delivers.value} | {rule.awaits.value} |"
        for (ours, theirs), rule in CLOSING.items()
    ]
    return "\n".join(lines) + "\n"
