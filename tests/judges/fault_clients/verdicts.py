"""What is made of what a client told, and of what the server saw of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["right", "otherwise", "wrong", "untried"]

FLOOD = 32 * 2**20
"""Bytes that are sent to who does not read them: more than the kernel takes."""


NO_CLOSE_EVENT = "no close event"
"""Of a handshake that fails, HTML wants an error event and a close event."""


@dataclass(frozen=True)
class Verdict:
    """`right`: as it should be. `otherwise`: RFC 6455 leaves it to the client, or asks it of servers alone. `wrong`: a
    client must not, says the RFC. `untried`: this client cannot be brought to it."""

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
    def seconds(self) -> str:
        return f"{round(self.told['seconds'])} s"

    @property
    def after(self) -> str:
        return f"after {self.seconds}"

    @property
    def failed(self) -> str:
        """How the handshake failed, as far as the client shows it."""
        if self.told["status"] is not None:
            return str(self.told["status"])
        return NO_CLOSE_EVENT if self.told["error"].endswith("No close event.") else ""

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
        return (
            RIGHT
            if visit.told["reason"] == reason
            else Verdict("otherwise", f"shows {visit.told['reason']!r}")
        )

    return _one(judge)


def _instead(visit: Visit) -> str:
    if visit.code is not None:
        return f"shows {visit.code}" + ("" if visit.ended else ", keeps TCP open")
    return "an error, no code" if visit.ended else "waits on"


def gone(*hear: str, reset: bool) -> Judge:
    """TCP has gone: 1006, or whatever error. A reset may take with it what came before. Of several visits the worst one
    counts."""

    def judge(visits: Sequence[Visit]) -> Verdict:
        if any(visit.heard != list(hear) and not (reset and not visit.heard) for visit in visits):
            return Verdict("otherwise", "does not always hear what came before")
        waiting = [visit for visit in visits if not visit.ended]
        if waiting:
            return Verdict("otherwise", f"waits on, {len(waiting)} times of {len(visits)}")
        codes = {visit.code for visit in visits}
        if codes <= {1006}:
            return RIGHT
        return Verdict("right" if codes == {None} else "otherwise", _instead(visits[-1]))

    return judge


def unsendable(code: int) -> Judge:
    """A Close with a code that no server sends: the connection fails. Some must not be sent back (§7.4.1)."""

    def judge(visit: Visit) -> Verdict:
        if visit.seen.get("code_received") == code:
            return Verdict("wrong" if code in (1005, 1006, 1015) else "otherwise", f"answers {code}")
        if visit.code == code and code != 1006:
            return Verdict("otherwise", f"shows {code}")
        if visit.code in (1002, 1006, 1007) and visit.ended:
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
    if answered == visit.told["count"] == 3:
        return RIGHT
    late = visit.frames("client", "pong") - answered
    return (
        Verdict("otherwise", f"{late} of 3 late")
        if answered + late == 3
        else Verdict("wrong", f"{answered} of 3")
    )


@_one
def gives_up_closing(visit: Visit) -> Verdict:
    """It does not wait for ever for an answer to its Close."""
    if not visit.ended:
        return Verdict("otherwise", f"waits on, {visit.seconds}")
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
    """1000, or 1006 for what comes behind, and nothing of that."""

    def judge(visit: Visit) -> Verdict:
        if visit.heard:
            return Verdict("otherwise", "hears it")
        if then == "ping" and visit.frames("client", "pong"):
            return Verdict("otherwise", "answers it")
        if visit.code == 1006:
            return Verdict("right", "1006")
        if visit.code != 1000:
            return Verdict("otherwise", _instead(visit))
        return Verdict("right", visit.after) if then == "open" else RIGHT

    return _one(judge)


@_one
def gives_up_waiting_for_101(visit: Visit) -> Verdict:
    if visit.ended and not visit.opened:
        return Verdict("right", visit.after)
    return Verdict("otherwise", f"waits on, {visit.seconds}")


def fails_handshake(must: str = "", *, subprotocol: bool = False) -> Judge:
    """It does not open; `must` is the section that says so, or empty where it is not said to clients."""

    def judge(visit: Visit) -> Verdict:
        if not visit.opened:
            return _failed(visit)
        ignored = subprotocol and visit.told["subprotocol"] == ""
        return Verdict("wrong" if must else "otherwise", "opens without it" if ignored else "takes it")

    return _one(judge)


def _failed(visit: Visit) -> Verdict:
    if not visit.ended:
        return Verdict("otherwise", "neither opens nor fails")
    return Verdict("otherwise" if visit.failed == NO_CLOSE_EVENT else "right", visit.failed)


def tells_status(status: int) -> Judge:
    """A failed handshake, with that status where it is shown; browsers hide it on purpose."""

    def judge(visit: Visit) -> Verdict:
        if visit.opened:
            return Verdict("wrong", "opens")
        told = visit.told
        shown = told["status"] == status or str(status) in told["error"]
        return Verdict("right", str(status)) if shown else _failed(visit)

    return _one(judge)


@_one
def follows_or_fails(visit: Visit) -> Verdict:
    """Both are allowed (§4.1)."""
    if visit.opened:
        return (
            Verdict("right", "follows")
            if visit.heard == ["hello"]
            else Verdict("wrong", "follows, hears nothing")
        )
    failed = _failed(visit)
    return Verdict(failed.kind, f"fails {failed.says}".strip())


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
            return Verdict("wrong" if name else _failed(visit).kind, f"fails {visit.failed}".strip())
        told = visit.told["subprotocol"]
        return RIGHT if told in (name, None) else Verdict("wrong", f"has {told!r}")

    return _one(judge)


def compressed(*expected: str) -> Judge:
    """The echo, if it offers compression."""

    def judge(visit: Visit) -> Verdict:
        if visit.seen.get("status") == 400:
            return Verdict("untried", "offers none")
        return (
            RIGHT
            if visit.heard == list(expected)
            else Verdict("wrong", f"{_instead(visit)}, hears {visit.heard}")
        )

    return _one(judge)


@_one
def feels_backpressure(visit: Visit) -> Verdict:
    """Its sends wait, or its buffer grows."""
    accepted = visit.told["accepted"]
    mebibytes = f"{accepted / 2**20:.0f} MiB" if accepted >= 2**20 else f"{accepted // 1024} KiB"
    if accepted >= FLOOD:
        return Verdict("right", f"buffers all {mebibytes}")
    return Verdict(
        "right", f"waits behind {mebibytes}" + (f", {_instead(visit)} {visit.after}" if visit.ended else "")
    )


def whole_with_pongs(text: str) -> Judge:
    """A fragmented message, put together; the Pings between are answered."""

    def judge(visit: Visit) -> Verdict:
        if visit.heard != [text]:
            return Verdict("wrong", f"hears {visit.heard}")
        wanted, pongs = len(text.encode()) - 1, visit.frames("client", "pong")
        # Behind several Pings, the last one's Pong is enough (§5.5.3).
        return (
            RIGHT
            if pongs == wanted
            else Verdict("right" if pongs else "wrong", f"{pongs} Pongs for {wanted} Pings")
        )

    return _one(judge)


def takes_or_refuses(message: str) -> Judge:
    """A message, or 1009."""

    def judge(visit: Visit) -> Verdict:
        if visit.heard == [message]:
            return RIGHT
        said = visit.seen.get("code_received")
        return (
            Verdict("right", "1009") if 1009 in (said, visit.code) else Verdict("otherwise", _instead(visit))
        )

    return _one(judge)


def counts_to(number: int, last: str, code: int | None = None) -> Judge:
    """So many messages, the last of which is this."""

    def judge(visit: Visit) -> Verdict:
        told = visit.told
        if (told["count"], told["last"]) != (number, last):
            return Verdict("wrong", f"hears {told['count']}")
        return RIGHT if code is None or visit.code == code else Verdict("otherwise", _instead(visit))

    return _one(judge)


def takes_offence(kind: str, code: int, must: str, *, compressed: bool) -> Judge:
    """Behind "first" it fails the connection, by a Close with this code or without one.

    `must` is the section that wants it so, or empty where the RFC asks it of servers alone.
    """

    def judge(visit: Visit) -> Verdict:
        if compressed and visit.seen.get("status") == 400:
            return Verdict("untried", "offers none")
        if not any(each["kind"] == kind for each in visit.seen.get("frames", ())):
            return Verdict("otherwise", "does not come to it")
        said = visit.seen.get("code_received")
        taken = "wrong" if must else "otherwise"
        if further := [each for each in visit.heard if each != "first"]:
            return Verdict(taken, f"takes it, hears {further[0]}")
        if visit.ended and visit.code in (1000, 1005):
            return Verdict(taken, f"takes it, shows {visit.code}")
        if not visit.ended and visit.code is not None and said is None:
            return Verdict(taken, f"shows {visit.code}, keeps TCP open")
        if not visit.ended:
            return (
                Verdict(taken, "waits on") if said is None else Verdict("otherwise", f"says {said}, waits on")
            )
        if said is None or said == code:
            return RIGHT
        return Verdict("right" if code == 1006 else "otherwise", f"says {said}")

    return _one(judge)
