"""Faults of negotiation: every way in which a server can answer the subprotocols and compression that are offered."""

from __future__ import annotations

from typing import Final

from trioecho._http.refusals import Refused
from trioecho._http.upgrade import MOST_PARAMETERS, check_handshake
from trioecho._protocol.deflate import Agreement, Deflate, agree
from trioecho._protocol.extensions import parse_offers
from trioecho.faults.session import Session

PICKS: Final = {
    "first": "the first of those offered",
    "last": "the last of those offered",
    "none": "none, though some may be offered",
    "unoffered": "one that nobody has offered, not.offered",
    "case": "the first of those offered with its case swapped, which is another token",
    "two": "the first of those offered, in two header fields",
    "list": "all of those offered, in one header field",
}
"""What `/subprotocol?pick=` may answer. A client fails the connection for the last four (RFC 6455 §4.1)."""

AGREEMENTS: Final = {
    "deflate": Deflate(),
    "no-context": Deflate(server_context_takeover=False, client_context_takeover=False),
    "small-window": Deflate(server_max_window_bits=9, client_max_window_bits=9),
}
"""What `/compression?answer=` may agree on, if the client offers it."""

WRONG_ANSWERS: Final = {
    "unknown-parameter": "permessage-deflate; unknown_parameter",
    "twice": "permessage-deflate, permessage-deflate",
    "parameter-twice": "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
    "bad-window": "permessage-deflate; server_max_window_bits=7",
    "no-window": "permessage-deflate; server_max_window_bits",
    "unknown-extension": "x-unknown",
}
"""What it may answer that no client accepts (RFC 7692 §7.1, RFC 6455 §9.1)."""

ANSWERS: Final = ("off", *AGREEMENTS, *WRONG_ANSWERS)


async def subprotocol(session: Session, *, pick: str) -> None:
    """Answers the offered subprotocols as it is told, then echoes."""
    _, offered = check_handshake(session.request)
    needs_offer = pick in ("first", "last", "case", "two", "list")
    if needs_offer and not offered:
        raise Refused(400, f"pick={pick} needs a client that offers subprotocols; received none.")
    chosen: str | None = None
    headers: list[tuple[str, str]] = []
    if pick == "unoffered":
        chosen = "not.offered"
    elif pick == "list":
        chosen = ", ".join(offered)
    elif pick == "case":
        chosen = offered[0].swapcase()
    elif needs_offer:
        chosen = offered[-1 if pick == "last" else 0]
    if pick == "two":
        headers = [("Sec-WebSocket-Protocol", offered[0])]
    await session.accept(subprotocol=chosen, headers=headers)
    await session.echo()


async def compression(session: Session, *, answer: str) -> None:
    """Answers the offered compression as it is told, then echoes, compressed where that was agreed on."""
    check_handshake(session.request)
    if answer in AGREEMENTS:
        agreement = agreed(session, AGREEMENTS[answer])
        if agreement is None:
            raise Refused(
                400, f"answer={answer} needs a client that offers permessage-deflate; received none."
            )
        await session.accept(agreement=agreement)
    else:
        await session.accept(extension=WRONG_ANSWERS.get(answer))
    await session.echo()


def agreed(session: Session, deflate: Deflate) -> Agreement | None:
    """Return what can be agreed on of what the client offers; None for nothing. Raises `Refused` (400) for what is no
    list of extensions."""
    lines = session.request.headers.get_all("sec-websocket-extensions")
    if sum(line.count(";") for line in lines) > MOST_PARAMETERS:
        raise Refused(431, f"Sec-WebSocket-Extensions may have {MOST_PARAMETERS} parameters; received more.")
    try:
        return agree(parse_offers(lines), deflate)
    except ValueError:
        raise Refused(
            400, "Sec-WebSocket-Extensions is a list of extensions; received something else."
        ) from None
