"""Every way a connection ends, as one table.

A connection ends for exactly one cause, and the cause alone decides what is said to the peer, how long we wait for an
answer, and how loudly the record is logged. `connection.py` obeys this table, the tests walk through it, and the
README's table is printed from it by `as_markdown`. To add a way of ending, add a row.

Close codes: RFC 6455 §7.4.1. The peer's code and reason are mirrored, as in ASP.NET Core's echo sample. That answers an
empty Close with 1000; here, as in every other server, it is mirrored too: an empty one.
"""

from __future__ import annotations

import enum
import logging
from dataclasses import dataclass


class Farewell(enum.Enum):
    """How the last frames are handled once the last Close has been said."""

    HANDSHAKE = "Close, then the peer's Close is awaited"
    """The closing handshake of RFC 6455 §7.1.2, under `close_timeout`."""

    LINGER = "Close, then TCP is shut down for writing and drained"
    """The byte stream is out of step, so no further frame can be understood; reading on until the peer hangs up keeps
    the kernel from answering its bytes with a reset, which would destroy the Close on its way."""

    ABORT = "Close if there is room for it, then TCP is closed at once"
    """Nobody is expected to answer."""

    SILENT = "nothing: there is nobody to say it to"
    """The peer ended its half of the TCP connection without a Close, or reset it."""


@dataclass(frozen=True, slots=True)
class Ending:
    """One row of the table.

    `code` and `reason` are what the Close frame says; ``None`` stands for "as given": the peer's own, mirrored, or
    the application's. `clean` tells whether this ending can be clean in the sense of RFC 6455 §7.1.4; the record says
    whether it was.
    """

    cause: str
    when: str
    code: int | None
    reason: str | None
    farewell: Farewell
    clean: bool
    log_level: int

    @property
    def by_us(self) -> bool:
        """Whether this side ended the connection of its own accord, so that it is closed and not broken."""
        return self not in _BY_PEERS


HANDLER_RETURNED = Ending(
    "handler returned", "the handler returned", 1000, "", Farewell.HANDSHAKE, True, logging.INFO
)
APPLICATION_CLOSED = Ending(
    "application closed",
    "`aclose(code, reason)` was called",
    None,
    None,
    Farewell.HANDSHAKE,
    True,
    logging.INFO,
)
PEER_CLOSED = Ending(
    "peer closed",
    "the peer sent Close",
    None,
    None,
    Farewell.HANDSHAKE,
    True,
    logging.INFO,
)
PEER_VANISHED = Ending(
    "peer vanished",
    "TCP ended or was reset without a Close",
    None,
    None,
    Farewell.SILENT,
    False,
    logging.INFO,
)
HANDLER_RAISED = Ending(
    "handler raised",
    "an exception left the handler",
    1011,
    "internal error",
    Farewell.HANDSHAKE,
    True,
    logging.ERROR,
)
MESSAGE_CUT_OFF = Ending(
    "message cut off",
    "the handler cut off a message that it was sending in pieces",
    1011,
    "message cut off",
    Farewell.HANDSHAKE,
    True,
    logging.WARNING,
)
PROTOCOL_ERROR = Ending(
    "protocol error",
    "the peer broke RFC 6455",
    1002,
    None,
    Farewell.LINGER,
    False,
    logging.WARNING,
)
INVALID_TEXT = Ending(
    "invalid text",
    "a text message, or the reason of a Close, is not UTF-8",
    1007,
    None,
    Farewell.LINGER,
    False,
    logging.WARNING,
)
MESSAGE_TOO_BIG = Ending(
    "message too big",
    "a message exceeds `max_message_size` or `max_fragments`",
    1009,
    None,
    Farewell.LINGER,
    False,
    logging.WARNING,
)
FLOODING = Ending(
    "flooding",
    "more Pings, Pongs and short fragments came than `flood_limit` allows",
    1008,
    None,
    Farewell.LINGER,
    False,
    logging.WARNING,
)
IDLE_TIMEOUT = Ending(
    "idle timeout",
    "no message and no Ping came for `idle_timeout`",
    1001,
    "idle timeout",
    Farewell.HANDSHAKE,
    True,
    logging.INFO,
)
KEEP_ALIVE_TIMEOUT = Ending(
    "keep-alive timeout",
    "nothing came for `keep_alive_timeout` after a Ping",
    1011,
    "keep-alive timeout",
    Farewell.ABORT,
    False,
    logging.WARNING,
)
SEND_TIMEOUT = Ending(
    "send timeout",
    "bytes waited for the peer, and it took none for `send_timeout`",
    1011,
    "send timeout",
    Farewell.ABORT,
    False,
    logging.WARNING,
)
TOO_SLOW = Ending(
    "too slow",
    "the peer did not read, and a broadcast closes who is slow",
    1008,
    "too slow",
    Farewell.HANDSHAKE,
    True,
    logging.WARNING,
)
MESSAGE_GIVEN_UP = Ending(
    "message given up",
    "`max_memory` was used up, and its message that had not come whole was among the largest",
    1013,
    "try again later",
    Farewell.LINGER,
    False,
    logging.WARNING,
)
SENDING_GIVEN_UP = Ending(
    "sending given up",
    "`max_memory` was used up, and what the peer did not read was among the most",
    1013,
    "try again later",
    Farewell.ABORT,
    False,
    logging.WARNING,
)
SERVER_STOPPING = Ending(
    "server stopping",
    "the server stops, or its nursery was cancelled",
    1001,
    "server is stopping",
    Farewell.HANDSHAKE,
    True,
    logging.INFO,
)
RESTART = (1012, "server is restarting")
"""What the Close says instead where the server stops because another is about to take its place."""

SERVER_ABORTED = Ending(
    "server aborted",
    "the server was told to stop at once",
    1001,
    "server is stopping",
    Farewell.ABORT,
    False,
    logging.INFO,
)
SERVER_FAILED = Ending(
    "server failed",
    "something of the server's own failed, such as a system call",
    1011,
    "internal error",
    Farewell.ABORT,
    False,
    logging.ERROR,
)

ENDINGS: tuple[Ending, ...] = (
    HANDLER_RETURNED,
    APPLICATION_CLOSED,
    PEER_CLOSED,
    PEER_VANISHED,
    HANDLER_RAISED,
    MESSAGE_CUT_OFF,
    PROTOCOL_ERROR,
    INVALID_TEXT,
    MESSAGE_TOO_BIG,
    FLOODING,
    IDLE_TIMEOUT,
    KEEP_ALIVE_TIMEOUT,
    SEND_TIMEOUT,
    TOO_SLOW,
    MESSAGE_GIVEN_UP,
    SENDING_GIVEN_UP,
    SERVER_STOPPING,
    SERVER_ABORTED,
    SERVER_FAILED,
)

LOG_LEVELS = {ending.cause: ending.log_level for ending in ENDINGS}
"""How loudly a record is logged, by its cause."""

_BY_PEERS = (PEER_CLOSED, PEER_VANISHED, PROTOCOL_ERROR, INVALID_TEXT, MESSAGE_TOO_BIG, FLOODING)

BY_FRAME_ERROR = {1002: PROTOCOL_ERROR, 1007: INVALID_TEXT, 1009: MESSAGE_TOO_BIG}
"""Which ending a `frames.FrameError` is, by its close code."""


def decide(decided: Ending | None, pending: Ending | None, *, cancelled: bool, broken: bool) -> Ending:
    """Which row an ending is, where several things came together.

    First what was `decided`, by a timeout, a failure, the application or the server's abort; then what was `pending`
    behind the messages that wait; then a cancellation from outside; and, the handler having returned by itself, whether
    the connection was `broken` by then.
    """
    if decided is not None:
        return decided
    if pending is not None:
        return pending
    if cancelled:
        return SERVER_STOPPING
    return PEER_VANISHED if broken else HANDLER_RETURNED


def as_markdown() -> str:
    """The table as the README shows it: one line per ending, in the order of `ENDINGS`."""
    lines = ["| cause | when | close code | reason | then | log |", "|---|---|---|---|---|---|"]
    for ending in ENDINGS:
        if ending.farewell is Farewell.SILENT:
            code = reason = "none"
        else:
            code = "as given" if ending.code is None else str(ending.code)
            reason = "as given" if ending.reason is None else ending.reason or "(empty)"
            if ending.code is not None and ending.reason is None:
                reason = "what was wrong"
        level = logging.getLevelName(ending.log_level)
        lines.append(
            f"| {ending.cause} | {ending.when} | {code} | {reason} | {ending.farewell.value} | {level} |"
        )
    return "\n".join(lines) + "\n"
