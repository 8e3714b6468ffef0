"""The negotiation by which SignalR's clients begin: what a client asks, and what it is told.

Source: `TransportProtocols.md` of dotnet/aspnetcore, "POST [endpoint-base]/negotiate request".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from trioecho import Refused, Request
from trioecho.hubs.connection_options import EVENTS, POLLING, WEBSOCKETS
from trioecho.hubs.tokens import Claim

NEWEST: Final = 1
"""The version that a client is answered in that asks for a newer one."""

NAMES: Final = {WEBSOCKETS: "WebSockets", EVENTS: "ServerSentEvents", POLLING: "LongPolling"}

_FORMATS: Final = {WEBSOCKETS: ["Text", "Binary"], EVENTS: ["Text"], POLLING: ["Text", "Binary"]}


def version_of(request: Request) -> int:
    """Return the version of the negotiation: 0 where none is asked for, at most 1. Raises Refused (400) for what is
    none."""
    asked = request.query.get("negotiateVersion", "0")
    if not (asked.isascii() and asked.isdecimal() and len(asked) < 10):
        raise Refused(400, "negotiateVersion takes a number such as 1.")
    return min(int(asked), NEWEST)


def asks_for_stateful(request: Request) -> bool:
    """Whether the client wants to go on with another WebSocket when it loses one."""
    return request.query.get("useStatefulReconnect", "").lower() == "true"


def answer(claim: Claim, version: int, transports: Iterable[str]) -> dict[str, Any]:
    """Return what a client is told, for JSON."""
    told: dict[str, Any] = {"connectionId": claim.id, "negotiateVersion": version}
    if version > 0:
        told["connectionToken"] = claim.token
    if claim.stateful:
        # Told without being asked for, the JavaScript client refuses to connect.
        told["useStatefulReconnect"] = True
    told["availableTransports"] = [
        {"transport": NAMES[each], "transferFormats": _FORMATS[each]} for each in transports
    ]
    return told
