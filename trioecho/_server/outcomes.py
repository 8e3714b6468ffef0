"""What an exception out of a function of the application's comes to, alone or among others in a group."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import trio

from trioecho._http.http1 import ClientGone, Http1
from trioecho._http.refusals import Refused


@dataclass(slots=True)
class Outcome:
    """The parts of one exception, each None where there is none."""

    passing: BaseException | None = None
    """KeyboardInterrupt and Trio's Cancelled, which go on."""
    gone: ClientGone | None = None
    """The client of this request went. That another's did is a failure."""
    refused: Refused | None = None
    """The first refusal."""
    failed: BaseException | None = None
    """All the rest, SystemExit among it: it ends no server, as it ends none in a handler of WebSockets."""


def outcome_of(error: BaseException, http: Http1 | None) -> Outcome:
    """Take `error` apart. `http` is the connection of the request, if that has a body to be read."""
    outcome = Outcome()
    rest: BaseException | None = error
    if isinstance(error, BaseExceptionGroup):
        outcome.passing, rest = error.split((KeyboardInterrupt, trio.Cancelled))
    elif isinstance(error, (KeyboardInterrupt, trio.Cancelled)):
        outcome.passing, rest = error, None
    found, rest = _split(rest, lambda each: isinstance(each, ClientGone) and each.http is http)
    if isinstance(found, ClientGone):
        outcome.gone = found
    found, rest = _split(rest, lambda each: isinstance(each, Refused))
    if isinstance(found, Refused):
        outcome.refused = found
    outcome.failed = rest
    return outcome


def _split(
    error: BaseException | None, wanted: Callable[[BaseException], bool]
) -> tuple[BaseException | None, BaseException | None]:
    """Return the first of what is `wanted` in an exception or group, and what is left of it without any such."""
    if error is None or isinstance(error, BaseExceptionGroup):
        found, rest = (None, None) if error is None else error.split(wanted)
        while isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
        return found, rest
    return (error, None) if wanted(error) else (None, error)
