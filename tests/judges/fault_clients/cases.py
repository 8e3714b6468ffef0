"""What each client is put through: for every row of the table of faults, and every word of its choices, a case."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from judges.fault_clients import verdicts
from judges.fault_clients.verdicts import FLOOD, Judge

from trioecho.faults.badframes import KINDS
from trioecho.faults.endings import CLOSE_THEN
from trioecho.faults.negotiation import AGREEMENTS, PICKS, WRONG_ANSWERS

OFFERED: Final = ("chat.v2", "chat.v1")
HELLO: Final = ("hello",)
REPETITIVE: Final = ("hello " * 20, "hello " * 20)
UMLAUTS: Final = "grüße"

LONG: Final = 70.0
"""Seconds of patience where clients have timeouts of up to a minute."""


@dataclass(frozen=True)
class Case:
    """Connect to a path, say something, close behind so many messages; else await the end, with so much patience. The
    judge is given all `times` visits."""

    path: str
    judge: Judge
    say: tuple[str, ...] = ()
    close_after: int = 0
    subprotocols: tuple[str, ...] = ()
    compress: bool = False
    patience: float = 4.0
    flood: int = 0
    times: int = 1
    user: str = ""
    """What stands before the host, with a colon."""


def _echo(path: str, judge: Judge | None = None, **more: object) -> Case:
    """One that says hello and closes behind the first message."""
    return Case(path, judge or verdicts.heard("hello"), say=HELLO, close_after=1, **more)  # type: ignore[arg-type]


MUST: Final = {
    "rsv1": "§5.2",
    "rsv2": "§5.2",
    "rsv3": "§5.2",
    "opcode": "§5.2",
    "control-opcode": "§5.2",
    "masked": "§5.1",
    "utf8": "§8.1",
    "utf8-split": "§8.1",
    "deflate-garbage": "RFC 7692 §7.2.2",
}
"""The kinds of bad frames for which the RFC says that who receives them must fail the connection; of the others it says
only that they must not be sent."""

MUST_FAIL_SUBPROTOCOL: Final = {"unoffered": "§4.1", "case": "", "two": "", "list": "§4.1"}
"""Whether case makes another token the RFC does not say; two lines of the field it forbids to servers."""

_SHAKEN = (
    _echo("/handshake?delay=1"),
    Case("/handshake?hang=1", verdicts.gives_up_waiting_for_101, patience=10),
    _echo("/handshake?key=wrong", verdicts.fails_handshake("§4.1")),
    _echo("/handshake?key=missing", verdicts.fails_handshake("§4.1")),
    _echo("/handshake?subprotocol=unasked", verdicts.fails_handshake("§4.1", subprotocol=True)),
    _echo("/handshake?extension=x-unknown", verdicts.fails_handshake("§4.1")),
    Case("/handshake?glue=hello", verdicts.heard("hello"), close_after=1),
    Case("/status/503?retry_after=5&body=later", verdicts.tells_status(503)),
    _echo("/redirect/2?code=307", verdicts.follows_or_fails),
    _echo("/auth/basic/ada/engine", verdicts.takes_credentials, user="ada:engine"),
    Case("/auth/bearer/c2VzYW1l", verdicts.tells_status(401)),
    _echo("/auth/bearer/c2VzYW1l?access_token=c2VzYW1l"),
    Case("/cookies?set=seen:1", verdicts.keeps_cookies, close_after=1, times=2),
    _echo("/flaky?fail=1&key=mine", verdicts.fails_then_echoes, times=2),
)

_ENDED = (
    Case("/close", verdicts.shows(1005)),
    Case("/close/4001?reason=bye&after=1", verdicts.shows(4001, "bye", "hello"), say=HELLO),
    *[Case(f"/close/{code}", verdicts.unsendable(code)) for code in (0, 999, 1005, 1006, 1015, 65_535)],
    Case("/drop?after=1", verdicts.gone("hello", reset=False), say=HELLO, times=5),
    Case("/reset?after=1", verdicts.gone("hello", reset=True), say=HELLO, times=5),
    Case("/silent", verdicts.notices_silence, patience=10),
    _echo("/noclose", verdicts.gives_up_closing, patience=LONG),
    _echo("/lateclose?delay=2", verdicts.closes_late, patience=6),
    *[
        Case(
            f"/close-then/{what}",
            verdicts.only_the_close(then=what),
            patience=LONG if what == "open" else 4,
        )
        for what in CLOSE_THEN
    ],
    Case("/pong?delay=0.3", verdicts.survives_late_pongs),
    Case("/pong?drop=1", verdicts.needs_pongs("none"), patience=10),
    Case("/pong?wrong=1", verdicts.needs_pongs("any Pong"), patience=10),
    Case("/ping?every=0.3&count=3&size=125", verdicts.reports_of_pings, close_after=3),
)

_SENT = (
    Case("/slow?rate=10000", verdicts.feels_backpressure, flood=FLOOD),
    Case("/stall", verdicts.feels_backpressure, flood=FLOOD),
    Case("/fragment?size=1&ping=1", verdicts.whole_with_pongs(UMLAUTS), say=(UMLAUTS,), close_after=1),
    Case("/big?size=10000000", verdicts.takes_or_refuses("10000000 bytes"), close_after=1, patience=10),
    Case("/burst?count=1000", verdicts.counts_to(1000, "999"), close_after=1000, patience=10),
    Case("/tick?every=0.1&count=3", verdicts.counts_to(3, "3", 1000)),
)


def _subprotocol(pick: str) -> Case:
    expected = {"first": OFFERED[0], "last": OFFERED[-1], "none": ""}
    judge = (
        verdicts.picked(expected[pick])
        if pick in expected
        else verdicts.fails_handshake(MUST_FAIL_SUBPROTOCOL[pick], subprotocol=True)
    )
    return _echo(f"/subprotocol?pick={pick}", judge, subprotocols=OFFERED)


def _compression(answer: str) -> Case:
    path = f"/compression?answer={answer}"
    if answer in WRONG_ANSWERS:
        # That an extension is named twice is forbidden, but not said to clients.
        judge = verdicts.fails_handshake("" if answer == "twice" else "RFC 7692 §7.1")
        return Case(path, judge, say=HELLO, close_after=1, compress=True)
    judge = verdicts.heard(*REPETITIVE) if answer == "off" else verdicts.compressed(*REPETITIVE)
    return Case(path, judge, say=REPETITIVE, close_after=2, compress=True)


CASES: Final = (
    _echo("/echo"),
    *_ENDED,
    *_SHAKEN,
    *map(_subprotocol, PICKS),
    *map(_compression, ("off", *AGREEMENTS, *WRONG_ANSWERS)),
    *_SENT,
    *[
        Case(
            f"/badframe/{bad.kind}?after=1",
            verdicts.takes_offence(bad.kind, bad.code, MUST.get(bad.kind, ""), compressed=bad.compressed),
            say=("first",),
            compress=bad.compressed,
            patience=40 if bad.kind == "deflate-bomb" else 4,
        )
        for bad in KINDS
    ],
)
