"""What a browser does at each fault when it is tried, and what it has to show then.

The sample page takes these from the table as JSON, tries them one after the other, and compares. A page sees less than
other clients do (https://websockets.spec.whatwg.org): whatever goes wrong is a close event with 1006, not clean, and
neither bytes nor Pings, the status of a refusal or what TCP did are shown. `Trial.hides` says so where it matters; what
the server saw of it, `/seen` tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from trioecho.faults.badframes import KINDS
from trioecho.faults.endings import CLOSE_THEN
from trioecho.faults.negotiation import AGREEMENTS, PICKS, WRONG_ANSWERS

SECONDS: Final = 4.0
"""How long a trial may take, unless it says otherwise."""

FLOOD: Final = 16 * 2**20
"""Bytes that are more than the buffers between a browser and a server take."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a browser shows. What is None may be anything."""

    opened: bool = True
    heard: tuple[str, ...] | None = None
    """The first messages; of a binary one its size, such as ``3 bytes``."""
    count: int | None = None
    """How many messages came."""
    like: str | None = None
    """A regular expression that the last message matches."""
    protocol: str | None = None
    extensions: str | None = None
    """What stands in the extensions that were agreed on; "" where there are none."""
    code: int | None = None
    reason: str | None = None
    clean: bool | None = None
    state: str = "closed"
    """What the socket is at the end: "connecting", "open" and "closing" where it waits longer than the trial does."""
    waiting: bool | None = None
    """Whether bytes that were sent wait in the browser."""

    def __str__(self) -> str:
        """For people."""
        parts = ["opens" if self.opened else "does not open"]
        if self.protocol is not None:
            parts.append(f"subprotocol {self.protocol}")
        if self.extensions is not None:
            parts.append(self.extensions or "no extension")
        parts += [f"“{each}”" for each in self.heard or ()]
        if self.count is not None and not self.heard:
            parts.append("one message" if self.count == 1 else f"{self.count or 'no'} messages")
        if self.waiting:
            parts.append("cannot send all")
        if self.state != "closed":
            parts.append(f"stays {self.state}")
        if self.code is not None:
            parts.append(f"{self.code} “{self.reason}”" if self.reason else str(self.code))
        if self.clean is not None:
            parts.append("clean" if self.clean else "not clean")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Known:
    """What some browser shows instead, and why."""

    why: str
    shows: Shown


@dataclass(frozen=True, slots=True)
class Trial:
    """One connection of a browser. ``{run}`` stands for a word of the run's own."""

    path: str
    expect: Shown
    offer: tuple[str, ...] = ()
    """Subprotocols."""
    login: str = ""
    """User name and password, as a URL has them."""
    say: tuple[str, ...] = ()
    """Text messages sent when it has opened."""
    flood: int = 0
    """Bytes sent behind them."""
    close_after: int | None = None
    """After so many messages the page closes, with 1000."""
    close_at: float | None = None
    """So many seconds after it has opened the page closes, with 1000."""
    before: tuple[str, ...] = ()
    """Paths that are visited first, whatever comes of it."""
    seconds: float = SECONDS
    hides: str = ""
    """What a page cannot see of it."""
    known: Known | None = None
    alone: bool = False
    """It is left out where all are run."""

    def as_dict(self) -> dict[str, Any]:
        """As plain values that JSON can hold; `shows` is what is expected in words."""
        return asdict(self) | {"shows": str(self.expect)}


_HI: Final = ("hello",)
_OFFER: Final = ("chat.v2", "chat.v1")
_FAILED: Final = Shown(code=1006, reason="", clean=False)
_REFUSED: Final = Shown(opened=False, code=1006, reason="", clean=False)
_OFFENDED: Final = replace(_FAILED, heard=(), count=0)
_ECHO: Final = Shown(heard=_HI, count=1, code=1000, clean=True)
_LOST: Final = Shown(heard=_HI, count=1, code=1006, reason="", clean=False)
_WAITS: Final = Shown(waiting=True, state="closing")

_NO_STATUS: Final = "Browsers hide the status, the fields and the body of a refusal."
_NO_REASON: Final = "Browsers hide why a handshake failed."
_NO_REDIRECTS: Final = "Browsers follow no redirect of a WebSocket, and hide it."
_NO_PINGS: Final = "Browsers answer Pings unseen, and send none."
_NO_FRAMES: Final = "Browsers hide where a message was divided, and the Pings between."
_NO_CODE: Final = "Browsers hide the bytes, and the code that they answer with."
_NO_TCP: Final = "Browsers hide whether TCP ended by FIN or RST."
_NO_TCP_END: Final = "Browsers wait for the end of TCP, two seconds in Chromium, and hide it."
_NO_KEEP_ALIVE: Final = (
    "Browsers have no keep-alive, and a page that closes waits long: a minute in Chromium."
)
_NO_DEADLINE: Final = "Browsers wait long for the answer to their Close: a minute in Chromium."


def _echoing(path: str, expect: Shown = _ECHO, **more: Any) -> Trial:
    return Trial(path, expect, say=_HI, close_after=1, **more)


TRIALS: Final[Mapping[str, tuple[Trial, ...]]] = {
    "/echo": (_echoing("/echo"),),
    "/close": (
        Trial("/close", Shown(code=1005, reason="", clean=True)),
        _echoing("/close?after=1", Shown(heard=_HI, count=1, code=1005, reason="", clean=True)),
    ),
    "/close/{code}": (
        _echoing(
            "/close/4001?reason=bye&after=1", Shown(heard=_HI, count=1, code=4001, reason="bye", clean=True)
        ),
        *(
            Trial(f"/close/{code}?reason=why", Shown(code=code, reason="why", clean=True))
            for code in (1000, 1001, 1008, 1011, 1012, 3000)
        ),
        *(Trial(f"/close/{code}", _FAILED, hides=_NO_CODE) for code in (1005, 1006, 1015)),
        *(
            Trial(
                f"/close/{code}",
                _FAILED,
                hides=_NO_CODE,
                known=Known("Chromium passes on codes without a meaning.", Shown(code=code, clean=True)),
            )
            for code in (999, 5000)
        ),
    ),
    "/drop": (Trial("/drop", _FAILED, hides=_NO_TCP), _echoing("/drop?after=1", _LOST, hides=_NO_TCP)),
    "/reset": (
        Trial("/reset", _FAILED, hides=_NO_TCP),
        Trial("/reset?after=1", _LOST, say=_HI, hides=_NO_TCP),
    ),
    "/silent": (Trial("/silent", Shown(state="closing"), close_at=0.2, seconds=1, hides=_NO_KEEP_ALIVE),),
    "/noclose": (
        _echoing("/noclose", Shown(heard=_HI, count=1, state="closing"), seconds=1, hides=_NO_DEADLINE),
    ),
    "/lateclose": (_echoing("/lateclose?delay=0.5"),),
    "/close-then/{what}": (
        *(
            Trial(
                f"/close-then/{what}",
                Shown(heard=(), count=0, code=1000, reason="", clean=True),
                known=Known(
                    "Chromium fails the connection for what comes behind a Close.",
                    Shown(heard=(), count=0, code=1006, clean=False),
                ),
            )
            for what in CLOSE_THEN
            if what != "open"
        ),
        Trial("/close-then/open", Shown(code=1000, clean=True), seconds=15, hides=_NO_TCP_END),
    ),
    "/pong": tuple(_echoing(f"/pong?{how}", hides=_NO_PINGS) for how in ("delay=0.2", "drop=1", "wrong=1")),
    "/ping": (
        Trial(
            "/ping?every=0.1&size=125&count=3",
            Shown(count=3, like=r'"pong": ?\d', code=1000, clean=True),
            close_after=3,
            hides=_NO_PINGS,
        ),
    ),
    "/handshake": (
        _echoing("/handshake?delay=0.5"),
        Trial("/handshake?hang=1", Shown(opened=False, state="connecting"), seconds=1),
        Trial("/handshake?key=wrong", _REFUSED, hides=_NO_REASON),
        Trial("/handshake?key=missing", _REFUSED, hides=_NO_REASON),
        Trial("/handshake?subprotocol=unasked", _REFUSED, hides=_NO_REASON),
        Trial("/handshake?extension=x-unasked", _REFUSED, hides=_NO_REASON),
        Trial("/handshake?glue=hello", _ECHO, close_after=1),
    ),
    "/status/{code}": tuple(
        Trial(f"/status/{code}", _REFUSED, hides=_NO_STATUS)
        for code in ("200", "400", "403", "404", "426", "429", "500", "503?retry_after=5&body=later")
    ),
    "/redirect/{n}": (
        _echoing("/redirect/0"),
        *(
            Trial(f"/redirect/1?code={code}", _REFUSED, hides=_NO_REDIRECTS)
            for code in (301, 302, 303, 307, 308)
        ),
    ),
    "/auth/basic/{user}/{password}": (
        # Without the login some browsers ask the person for it.
        _echoing("/auth/basic/ada/engine", login="ada:engine"),
    ),
    "/auth/bearer/{token}": (
        _echoing("/auth/bearer/c2VzYW1l?access_token=c2VzYW1l"),
        Trial("/auth/bearer/c2VzYW1l", _REFUSED, hides=_NO_STATUS),
    ),
    "/cookies": (
        Trial(
            "/cookies",
            Shown(count=1, like='"seen-{run}": ?"1"', code=1000, clean=True),
            close_after=1,
            before=("/cookies?set=seen-{run}:1",),
        ),
    ),
    "/flaky": (
        Trial("/flaky?fail=1&key={run}", _REFUSED, hides=_NO_STATUS),
        _echoing("/flaky?fail=1&key={run}-again", before=("/flaky?fail=1&key={run}-again",)),
    ),
    "/subprotocol": (
        _echoing("/subprotocol?pick=first", replace(_ECHO, protocol="chat.v2"), offer=_OFFER),
        _echoing("/subprotocol?pick=last", replace(_ECHO, protocol="chat.v1"), offer=_OFFER),
        *(
            Trial(f"/subprotocol?pick={pick}", _REFUSED, offer=_OFFER, hides=_NO_REASON)
            for pick in PICKS
            if pick not in ("first", "last")
        ),
    ),
    "/compression": (
        _echoing("/compression?answer=off", replace(_ECHO, extensions="")),
        *(
            _echoing(f"/compression?answer={answer}", replace(_ECHO, extensions="permessage-deflate"))
            for answer in AGREEMENTS
        ),
        *(Trial(f"/compression?answer={answer}", _REFUSED, hides=_NO_REASON) for answer in WRONG_ANSWERS),
    ),
    "/slow": (Trial("/slow?rate=10000", _WAITS, flood=FLOOD, close_at=0.3, seconds=1),),
    "/stall": (Trial("/stall", _WAITS, flood=FLOOD, close_at=0.3, seconds=1),),
    "/fragment": (_echoing("/fragment?size=1&ping=1", hides=_NO_FRAMES),),
    "/big": (Trial("/big", replace(_ECHO, heard=("2,097,152 bytes",)), close_after=1, seconds=10),),
    "/burst": (
        Trial(
            "/burst?count=1000",
            Shown(count=1000, like="^999$", code=1000, clean=True),
            close_after=1000,
            seconds=10,
        ),
    ),
    "/tick": (
        Trial(
            "/tick?every=0.1&count=3",
            Shown(heard=("1", "2", "3"), count=3, code=1000, reason="", clean=True),
        ),
    ),
    "/badframe/{kind}": tuple(
        Trial(f"/badframe/{each.kind}", _OFFENDED, hides=_NO_CODE)
        if each.kind != "deflate-bomb"
        else Trial(
            f"/badframe/{each.kind}",
            _OFFENDED,
            hides=_NO_CODE,
            known=Known(
                "Chromium has no limit, and takes all 256 MiB into memory.",
                Shown(heard=("268,435,456 bytes",), count=1),
            ),
            alone=True,
        )
        for each in KINDS
    ),
}
"""By the path of the table."""
