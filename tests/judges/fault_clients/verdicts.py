"""What is made of what a client told, and of what the server saw of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["right", "otherwise", "wrong", "untried"]

FLOOD = 32 * 2**20
"""Bytes that are sent to who does not read them: more than the kernel takes."""


@dataclass(frozen=True)
class Verdict:
    """`right`: as it should be. `otherwise`: RFC 6455 leaves it to the client, or asks it of servers alone. `wrong`: the
    RFC says that a client must not. `untried`: this client cannot be brought to it."""

    kind: Kind
    says: str = ""


@dataclass(frozen=True)
class Visit:
    """One visit: what the client told (`jobs.Told`), and /seen, which is empty where nothing arrived."""

    told: dict[str, Any]
    seen: dict[str, Any]

    @property
    def opened(self) -> bool:
        return bool(self.told["opened"])

    @property
    def ended(self) -> bool:
        return bool(self.told["ended"])

    @property
    def heard(self) -> list[str]:
        return list(self.told["heard"])

    @property
    def code(self) -> int | None:
        code: int | None = self.told["code"]
        return code

    @property
    def after(self) -> str:
        return f"after {round(self.told['seconds'])} s"

    @property
    def failed(self) -> str:
        """How the handshake failed, as far as the client shows it."""
        if self.told["status"] is not None:
            return str(self.told["status"])
        return "no close event" if self.told["error"].endswith("No close event.") else ""

    def frames(self, by: str, kind: str) -> int:
        return sum((each["by"], each["kind"]) == (by, kind) for each in self.seen.get("frames", ()))


Judge = Callable[[Sequence[Visit]], Verdict]
RIGHT = Verdict("right")


def _one(judge: Callable[[Visit], Verdict]) -> Judge:
    """A judge of one visit, or of the last of several."""
    return lambda visits: judge(visits[-1])


def heard(*expected: str) -> Judge:
    """Exactly these messages."""

    def judge(visit: Visit) -> Verdict:
        if not visit.opened:
            return Verdict("otherwise", f"fails {visit.failed}".strip())
        return RIGHT if visit.heard == list(expected) else Verdict("wrong", f"hears {visit.heard}")

    return _one(judge)


def shows(code: int, reason: str = "", *hear: str) -> Judge:
    """This code and reason, behind these messages."""

    def judge(visit: Visit) -> Verdict:
        if visit.heard != list(hear):
            return Verdict("otherwise", f"hears {visit.heard}")
        if visit.code != code:
            return Verdict("otherwise", _instead(visit))
        return RIGHT if visit.told["reason"] == reason else Verdict("otherwise", f"shows {visit.told['reason']!r}")

    return _one(judge)


def _instead(visit: Visit) -> str:
    if visit.code is not None:
        return f"shows {visit.code}"
    return "an error, no code" if visit.ended else "waits on"


def gone(*hear: str) -> Judge:
    """TCP has gone: 1006, or whatever error."""

    def judge(visit: Visit) -> Verdict:
        if visit.heard != list(hear):
            return Verdict("otherwise", f"hears {visit.heard}")
        if visit.code == 1006:
            return RIGHT
        return Verdict("right" if visit.ended and visit.code is None else "otherwise", _instead(visit))

    return _one(judge)


def unsendable(code: int) -> Judge:
    """A Close with a code that may not be sent (§7.4.1): the connection fails, and the code is not sent back."""

    def judge(visit: Visit) -> Verdict:
        if visit.seen.get("code_received") == code:
            return Verdict("wrong", f"answers {code}")
        if visit.code == code and code != 1006:
            return Verdict("otherwise", f"shows {code}")
        if visit.code in (1002, 1006, 1007):
            return RIGHT
        return Verdict("right" if visit.ended and visit.code is None else "otherwise", _instead(visit))

    return _one(judge)


@_one
def notices_silence(visit: Visit) -> Verdict:
    """It gives up by itself."""
    if visit.ended:
        return Verdict("right", f"{_instead(visit)} {visit.after}")
    return Verdict("otherwise", "waits on")


@_one
def survives_late_pongs(visit: Visit) -> Verdict:
    """It goes on."""
    if not visit.frames("client", "ping"):
        return Verdict("untried", "sends no Pings")
    return Verdict("otherwise", f"gives up: {_instead(visit)}") if visit.ended else RIGHT


def needs_pongs(instead: str) -> Judge:
    """It gives up by itself; else it is content with what comes `instead`."""

    def judge(visit: Visit) -> Verdict:
        if not visit.frames("client", "ping"):
            return Verdict("untried", "sends no Pings")
        if visit.ended:
            return Verdict("right", f"{_instead(visit)} {visit.after}")
        return Verdict("otherwise", f"content with {instead}")

    return _one(judge)


@_one
def reports_of_pings(visit: Visit) -> Verdict:
    """Each was answered (§5.5.2)."""
    answered = sum(json.loads(each)["pong"] is not None for each in visit.heard)
    return RIGHT if answered == visit.told["count"] == 3 else Verdict("wrong", f"answers {answered} of 3")


@_one
def gives_up_closing(visit: Visit) -> Verdict:
    """It does not wait for ever for an answer to its Close."""
    if not visit.ended:
        return Verdict("otherwise", f"waits on, {visit.after}")
    if visit.code == 1006 or visit.code is None:
        return Verdict("right", visit.after)
    return Verdict("otherwise", f"shows {visit.code} {visit.after}")


@_one
def closes_late(visit: Visit) -> Verdict:
    """Clean, or given up."""
    if visit.ended and visit.code in (1000, 1006):
        return Verdict("right", f"{visit.code} {visit.after}")
    return Verdict("otherwise", _instead(visit))


def only_the_close(*, then: str) -> Judge:
    """1000, and nothing of what comes behind."""

    def judge(visit: Visit) -> Verdict:
        if visit.heard:
            return Verdict("otherwise", "hears it")
        if then == "ping" and visit.frames("client", "pong"):
            return Verdict("otherwise", "answers it")
        if visit.code != 1000:
            return Verdict("otherwise", _instead(visit))
        return Verdict("right", visit.after) if then == "open" else RIGHT

    return _one(judge)


@_one
def gives_up_waiting_for_101(visit: Visit) -> Verdict:
    if visit.ended and not visit.opened:
        return Verdict("right", visit.after)
    return Verdict("otherwise", f"waits on, {visit.after}")


def fails_handshake(must: str = "", *, subprotocol: bool = False) -> Judge:
    """It does not open; `must` is the section that says so, or empty where it is not said to clients."""

    def judge(visit: Visit) -> Verdict:
        if not visit.opened:
            return Verdict("right", visit.failed) if visit.ended else Verdict("otherwise", "neither opens nor fails")
        ignored = subprotocol and visit.told["subprotocol"] == ""
        return Verdict("wrong" if must else "otherwise", "opens without it" if ignored else "takes it")

    return _one(judge)


def tells_status(status: int) -> Judge:
    """A failed handshake; browsers hide the status on purpose."""

    def judge(visit: Visit) -> Verdict:
        if visit.opened:
            return Verdict("wrong", "opens")
        told = visit.told
        shown = told["status"] == status or str(status) in told["error"]
        return Verdict("right", str(status) if shown else visit.failed or "hides the status")

    return _one(judge)


@_one
def follows_or_fails(visit: Visit) -> Verdict:
    """Both are allowed (§4.1)."""
    if visit.opened:
        return Verdict("right", "follows") if visit.heard == ["hello"] else Verdict("wrong", "follows, hears nothing")
    return Verdict("right", f"fails {visit.failed}".strip())


@_one
def takes_credentials(visit: Visit) -> Verdict:
    """Of the URL. RFC 6455 knows none there."""
    return RIGHT if visit.heard == ["hello"] else Verdict("otherwise", "not from the URL")


def keeps_cookies(visits: Sequence[Visit]) -> Verdict:
    """The second visit brings what the first was given."""
    last = visits[-1]
    if not last.opened or not last.heard:
        return Verdict("wrong", "does not open")
    return RIGHT if json.loads(last.heard[0]).get("seen") == "1" else Verdict("otherwise", "keeps none")


def fails_then_echoes(visits: Sequence[Visit]) -> Verdict:
    """The first attempt, the second."""
    if visits[0].opened or visits[1].heard != ["hello"]:
        return Verdict("wrong", f"hears {visits[1].heard}")
    return RIGHT


def picked(name: str) -> Judge:
    """This subprotocol. Where some were offered and none is picked, a client may go on, and a browser may not."""

    def judge(visit: Visit) -> Verdict:
        if not visit.opened:
            return Verdict("wrong" if name else "right", "fails")
        told = visit.told["subprotocol"]
        return RIGHT if told in (name, None) else Verdict("wrong", f"has {told!r}")

    return _one(judge)


def compressed(*expected: str) -> Judge:
    """The echo, if it offers compression."""

    def judge(visit: Visit) -> Verdict:
        if visit.seen.get("status") == 400:
            return Verdict("untried", "offers none")
        return RIGHT if visit.heard == list(expected) else Verdict("wrong", f"{_instead(visit)}, hears {visit.heard}")

    return _one(judge)


@_one
def feels_backpressure(visit: Visit) -> Verdict:
    """Its sends wait, or its buffer grows."""
    mebibytes = f"{visit.told['accepted'] / 2**20:.0f} MiB"
    if visit.told["accepted"] >= FLOOD:
        return Verdict("right", f"buffers all {mebibytes}")
    return Verdict("right", f"waits behind {mebibytes}" + (f", {_instead(visit)} {visit.after}" if visit.ended else ""))


def whole_with_pongs(text: str) -> Judge:
    """A fragmented message, put together; the Pings between are answered."""

    def judge(visit: Visit) -> Verdict:
        if visit.heard != [text]:
            return Verdict("wrong", f"hears {visit.heard}")
        wanted, pongs = len(text.encode()) - 1, visit.frames("client", "pong")
        # Behind several Pings, the last one's Pong is enough (§5.5.3).
        return RIGHT if pongs == wanted else Verdict("right" if pongs else "wrong", f"{pongs} Pongs for {wanted} Pings")

    return _one(judge)


def takes_or_refuses(message: str) -> Judge:
    """A message, or 1009."""

    def judge(visit: Visit) -> Verdict:
        if visit.heard == [message]:
            return RIGHT
        said = visit.seen.get("code_received")
        return Verdict("right", "1009") if 1009 in (said, visit.code) else Verdict("otherwise", _instead(visit))

    return _one(judge)


def counts_to(number: int, last: str, code: int | None = None) -> Judge:
    """So many messages, the last of which is this."""

    def judge(visit: Visit) -> Verdict:
        told = visit.told
        if (told["count"], told["last"]) != (number, last):
            return Verdict("wrong", f"hears {told['count']}")
        return RIGHT if code is None or visit.code == code else Verdict("otherwise", _instead(visit))

    return _one(judge)


def takes_offence(code: int, must: str, *, compressed: bool) -> Judge:
    """It fails the connection, by a Close with this code or without one; `must` is the section that wants it so, or
    empty where the RFC asks it of servers alone."""

    def judge(visit: Visit) -> Verdict:
        if compressed and visit.seen.get("status") == 400:
            return Verdict("untried", "offers none")
        if not visit.opened:
            return Verdict("otherwise", "does not open")
        said = visit.seen.get("code_received")
        if visit.heard or not visit.ended or visit.code in (1000, 1005):
            what = f"takes it, hears {visit.heard[0]!r}" if visit.heard else "takes it"
            return Verdict("wrong" if must else "otherwise", what)
        if said is None or said == code:
            return RIGHT
        return Verdict("right" if code == 1006 else "otherwise", f"says {said}")

    return _one(judge)
