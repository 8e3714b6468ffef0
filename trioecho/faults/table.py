"""Every fault, as one table: its path, what it may be told, what it does, and what a client should make of it.

The routes are made from it, and so are `/faults`, `--help` and the guide's table. To add a fault, add a row.
"""

from __future__ import annotations

import textwrap
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from trioecho.faults import badframes, endings, handshakes, keeping_alive, negotiation, traffic
from trioecho.faults.parameters import Choice, Count, Flag, Pairs, Parameter, Seconds, Text
from trioecho.faults.trials import TRIALS

MEBIBYTE = 2**20

AFTER = Count("after", "messages that are echoed first", 0, 0, 1_000_000)
DELAY = Seconds("delay", "seconds that it waits then, still echoing", 0.0, 120)
REASON_BYTES = 123


@dataclass(frozen=True, slots=True)
class Fault:
    """One row. `run` is called with the session and all parameters by name."""

    path: str
    does: str
    """What the server does, as the end of the sentence that begins with it."""
    expect: str
    """What a client should show."""
    example: str
    """A path with parameters to try."""
    run: Callable[..., Awaitable[None]]
    in_path: tuple[Parameter, ...] = ()
    in_query: tuple[Parameter, ...] = ()
    over_tls: str = "the same"
    """What becomes of it over TLS."""
    proxied: str = "the same"
    """What becomes of it behind a proxy that ends TCP, such as nginx."""

    @property
    def usage(self) -> str:
        """The path with its parameters: ``/drop?after=&delay=``."""
        names = "&".join(f"{each.name}=" for each in self.in_query)
        return f"{self.path}?{names}" if names else self.path

    @property
    def changes(self) -> bool:
        """Whether something becomes of it over TLS or behind a proxy."""
        return (self.over_tls, self.proxied) != ("the same", "the same")


_TIMEOUT = "a FIN after its own timeout (nginx: `proxy_read_timeout`, 60 s); its buffers fill first"
_REFUSAL = "the same refusal, on a connection that stays open for the next request"
_BUFFERS = "backpressure later, when its buffers are full"

FAULTS: tuple[Fault, ...] = (
    Fault("/echo", "echoes, and does nothing wrong", "all is well", "/echo", endings.echo),
    Fault(
        "/close",
        "sends an empty Close",
        "1005, clean",
        "/close?after=1",
        endings.close_empty,
        in_query=(AFTER, DELAY),
    ),
    Fault(
        "/close/{code}",
        "sends a Close with that code, also one that may not be sent (0 to 65535)",
        "that code and reason; 1002 or 1006 for a code that may not be sent",
        "/close/4001?reason=bye&after=1",
        endings.close,
        (Count("code", "the close code", None, 0, 65_535),),
        (Text("reason", "the reason", "", REASON_BYTES), AFTER, DELAY),
    ),
    Fault(
        "/drop",
        "ends TCP (FIN) without a Close",
        "1006, not clean",
        "/drop?after=1",
        endings.drop,
        in_query=(AFTER, DELAY),
        over_tls="close_notify before the FIN, as RFC 8446 §6.1 wants it",
    ),
    Fault(
        "/reset",
        "resets TCP (RST)",
        "1006, not clean; in some clients an error besides",
        "/reset?after=1",
        endings.reset,
        in_query=(AFTER, DELAY),
        over_tls="the same, without a close_notify, which Python's ssl calls an EOF",
        proxied="a FIN: the proxy logs the reset, and ends its own connection",
    ),
    Fault(
        "/silent",
        "accepts, then neither reads nor writes: a half-open peer",
        "a keep-alive timeout of the client's own",
        "/silent",
        endings.silent,
        proxied=_TIMEOUT,
    ),
    Fault(
        "/noclose",
        "echoes, and never answers a Close",
        "1006 after a timeout of its own, not a wait for ever",
        "/noclose",
        endings.no_close,
        proxied=_TIMEOUT,
    ),
    Fault(
        "/lateclose",
        "echoes, and answers a Close late",
        "clean if it waits as long, else 1006",
        "/lateclose?delay=2",
        endings.late_close,
        in_query=(Seconds("delay", "seconds until the answer", 2.0, 120),),
    ),
    Fault(
        "/close-then/{what}",
        "sends a Close with 1000, and behind it what is not allowed there",
        "1000, and nothing of what comes behind",
        "/close-then/data",
        endings.close_then,
        (Choice("what", "what comes behind", choices=tuple(endings.CLOSE_THEN)),),
        (AFTER,),
    ),
    Fault(
        "/pong",
        "echoes, and answers Pings late, not, or with another payload",
        "late: a long round trip; else its keep-alive timeout",
        "/pong?delay=2",
        keeping_alive.pong,
        in_query=(
            Seconds("delay", "seconds until each Pong", 0.0, 120),
            Flag("drop", "no Pong at all"),
            Flag("wrong", "another payload than the Ping's"),
        ),
    ),
    Fault(
        "/ping",
        "echoes, sends Pings, and reports in JSON how long each Pong took",
        "nothing but the reports",
        "/ping?every=1&size=125",
        keeping_alive.ping,
        in_query=(
            Seconds("every", "seconds between two Pings", 1.0, 60, 0.01),
            Count("size", "bytes of payload", 4, 0, 125, "bytes"),
            Count("count", "how many", 10, 1, 10_000),
        ),
    ),
    Fault(
        "/handshake",
        "accepts late, never, or with what was not asked for; then echoes",
        "a failed handshake; glue: the message, first of all",
        "/handshake?glue=hello",
        handshakes.handshake,
        in_query=(
            Seconds("delay", "seconds until the 101", 0.0, 120),
            Flag("hang", "no answer at all"),
            Choice("key", "the accept key", "right", ("right", "wrong", "missing")),
            Text("subprotocol", "one that the 101 names, offered or not", "", 100, token=True),
            Text("extension", "what the 101 says in Sec-WebSocket-Extensions", "", 200, header=True),
            Text("glue", "a text message in the same packet as the 101", "", 125),
        ),
        proxied="504 where the answer takes longer than its timeout; all else the same",
    ),
    Fault(
        "/status/{code}",
        "answers the handshake with that status (200 to 599)",
        "a failed handshake with that status, where it can be seen",
        "/status/503?retry_after=5&body=later",
        handshakes.status,
        (Count("code", "the status", None, 200, 599),),
        (
            Text("body", "the body, in plain text", "", 10_000),
            Count("retry_after", "Retry-After", None, 0, 1_000_000, "seconds"),
            Pairs("header", "further header fields"),
        ),
        proxied=_REFUSAL,
    ),
    Fault(
        "/redirect/{n}",
        "redirects n times, then echoes",
        "the echo where it follows redirects, else a failed handshake",
        "/redirect/2?code=307",
        handshakes.redirect,
        (Count("n", "how many times", None, 0, 50),),
        (Count("code", "the status", 302, 300, 399),),
        proxied=_REFUSAL,
    ),
    Fault(
        "/auth/basic/{user}/{password}",
        "echoes for who gives these credentials (HTTP Basic), else 401",
        "the echo, or 401",
        "/auth/basic/ada/engine",
        handshakes.auth_basic,
        (Text("user", "the user name", most=100), Text("password", "the password", most=100)),
        proxied=_REFUSAL,
    ),
    Fault(
        "/auth/bearer/{token}",
        "echoes for who gives this token, in Authorization, ?access_token= or a subprotocol, else 401",
        "the echo, or 401",
        "/auth/bearer/c2VzYW1l",
        handshakes.auth_bearer,
        (Text("token", "the token", most=500),),
        (Text("access_token", "the token, for browsers", None, 500),),
        proxied=_REFUSAL,
    ),
    Fault(
        "/cookies",
        "sends the cookies that came as JSON, sets others, then echoes",
        "the cookies that were set before",
        "/cookies?set=seen:1",
        handshakes.cookies,
        in_query=(Pairs("set", "a cookie to set"),),
    ),
    Fault(
        "/flaky",
        "refuses the first attempts for a key, then echoes",
        "the echo, if it tries again",
        "/flaky?fail=2&key=mine",
        handshakes.flaky,
        in_query=(
            Count("fail", "attempts that are refused", 1, 0, 1000),
            Text("key", "whose attempts are counted", "", 100),
            Count("status", "the refusal's status", 503, 400, 599),
        ),
        proxied=_REFUSAL,
    ),
    Fault(
        "/subprotocol",
        "answers the offered subprotocols as it is told, then echoes",
        "the one picked; a failed handshake for unoffered, case, two, list",
        "/subprotocol?pick=last",
        negotiation.subprotocol,
        in_query=(Choice("pick", "which one", "first", tuple(negotiation.PICKS)),),
    ),
    Fault(
        "/compression",
        "answers the offered compression as it is told, then echoes",
        "the echo for off, deflate, no-context, small-window; else a failed handshake",
        "/compression?answer=no-context",
        negotiation.compression,
        in_query=(Choice("answer", "which answer", "deflate", negotiation.ANSWERS),),
    ),
    Fault(
        "/slow",
        "reads at that rate and forgets what it reads",
        "backpressure: its sends wait, or its buffer grows",
        "/slow?rate=10000",
        traffic.slow,
        in_query=(Count("rate", "bytes per second", 10_000, 1, 100 * MEBIBYTE, "bytes per second"),),
        proxied=_BUFFERS,
    ),
    Fault(
        "/stall",
        "echoes, then reads nothing more",
        "backpressure without end; a timeout of its own",
        "/stall?after=1",
        traffic.stall,
        in_query=(AFTER,),
        proxied=_BUFFERS,
    ),
    Fault(
        "/fragment",
        "echoes in fragments, with Pings between them if asked for",
        "whole messages, and Pongs",
        "/fragment?size=1&ping=1",
        traffic.fragment,
        in_query=(
            Count("size", "bytes of each fragment", 4, 1, MEBIBYTE, "bytes"),
            Flag("ping", "a Ping between two fragments"),
        ),
    ),
    Fault(
        "/big",
        "sends one binary message of zeros, then echoes",
        "the message, or 1009 where it is over the client's limit",
        "/big?size=10000000",
        traffic.big,
        in_query=(Count("size", "its bytes", 2 * MEBIBYTE, 0, 1024 * MEBIBYTE, "bytes"),),
    ),
    Fault(
        "/burst",
        "sends that many numbered text messages at once, and echoes",
        "all of them, in order",
        "/burst?count=1000&size=100",
        traffic.burst,
        in_query=(
            Count("count", "how many", 1000, 1, 100_000),
            Count("size", "the least bytes of each", 1, 1, 65_536, "bytes"),
        ),
    ),
    Fault(
        "/tick",
        "sends a number now and then, and closes with 1000 behind the last",
        "the numbers from 1, then 1000",
        "/tick?every=0.5&count=3",
        traffic.tick,
        in_query=(
            Seconds("every", "seconds between two", 1.0, 60, 0.001),
            Count("count", "how many", 10, 1, 100_000),
        ),
    ),
    Fault(
        "/badframe/{kind}",
        "sends a frame that no server may send",
        "1002, 1007, 1009 or 1006: it fails the connection",
        "/badframe/utf8",
        badframes.bad_frame,
        (Choice("kind", "which", choices=tuple(badframes.BY_KIND)),),
        (AFTER,),
    ),
)

WORDS: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("/badframe/{kind}", "kind", {each.kind: f"{each.wrong}; {each.code}" for each in badframes.KINDS}),
    ("/close-then/{what}", "what", endings.CLOSE_THEN),
    ("/subprotocol", "pick", negotiation.PICKS),
    (
        "/compression",
        "answer",
        {
            "off": "no compression",
            "deflate": "permessage-deflate, a window of 12 bits",
            "no-context": "permessage-deflate, each message by itself",
            "small-window": "permessage-deflate, a window of 9 bits",
            **negotiation.WRONG_ANSWERS,
        },
    ),
)
"""What the words of a choice mean: the path, the parameter, and each word with its meaning."""

SEEN_PATHS: tuple[tuple[str, str], ...] = (
    ("/faults", "this table, as JSON for who accepts it"),
    ("/seen", "the recent connections, as JSON"),
    ("/seen/{id}?wait=", "one connection: headers, frames with times, who closed, what TCP did"),
)
"""The paths that only tell, with what they tell."""


def as_markdown() -> str:
    """The table as the guide shows it; below it, where it matters, what becomes of a fault on its way."""
    lines = ["| path | the server | a client should show |", "|---|---|---|"]
    lines += [f"| `{each.usage}` | {each.does} | {each.expect} |" for each in FAULTS]
    lines += [f"| `{path}` | tells {told} | |" for path, told in SEEN_PATHS]
    lines += ["", "| path | over TLS | behind a proxy |", "|---|---|---|"]
    lines += [f"| `{each.path}` | {each.over_tls} | {each.proxied} |" for each in FAULTS if each.changes]
    return "\n".join(lines) + "\n"


def as_text() -> str:
    """The table as ``--help`` shows it: a path in one line, what it does below."""
    rows = [(each.usage, each.does) for each in FAULTS] + [(path, told) for path, told in SEEN_PATHS]
    lines: list[str] = []
    for path, told in rows:
        lines += [f"  {path}", *textwrap.wrap(told, 76, initial_indent=" " * 6, subsequent_indent=" " * 6)]
    return "\n".join(lines) + "\n"


def as_json() -> list[dict[str, Any]]:
    """The table as plain values that JSON can hold."""
    words = {(path, name): meanings for path, name, meanings in WORDS}
    return [
        {
            "path": fault.path,
            "does": fault.does,
            "expect": fault.expect,
            "example": fault.example,
            "over_tls": fault.over_tls,
            "proxied": fault.proxied,
            "parameters": [
                {
                    "name": each.name,
                    "in": place,
                    "means": each.meaning,
                    "takes": each.accepted,
                    "default": each.default,
                    "words": words.get((fault.path, each.name)),
                }
                for place, parameters in (("path", fault.in_path), ("query", fault.in_query))
                for each in parameters
            ],
            "trials": [each.as_dict() for each in TRIALS[fault.path]],
        }
        for fault in FAULTS
    ]
