"""The negotiation: versions, what is asked for, and what is told."""

from __future__ import annotations

import pytest

from trioecho import Refused
from trioecho._http.messages import Request
from trioecho.hubs.connection_options import TRANSPORTS
from trioecho.hubs.negotiate import answer, asks_for_stateful, version_of
from trioecho.hubs.tokens import Claim


def asked(query: str) -> Request:
    return Request("POST", "/c/negotiate", f"/c/negotiate?{query}")


@pytest.mark.parametrize(
    ("query", "version"),
    [
        ("", 0),
        ("negotiateVersion=0", 0),
        ("negotiateVersion=1", 1),
        ("negotiateVersion=2", 1),
        ("negotiateVersion=999", 1),
    ],
)
def test_a_missing_version_is_0_and_a_greater_one_1(query: str, version: int) -> None:
    assert version_of(asked(query)) == version


@pytest.mark.parametrize("text", ["", "-1", "one", "1.0", "%C2%B2", "9" * 5000])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(Refused) as refused:
        version_of(asked(f"negotiateVersion={text}"))
    assert refused.value.status == 400


def test_version_1_tells_a_token_beside_the_id() -> None:
    told = answer(Claim("public", "secret"), 1, TRANSPORTS)
    assert told == {
        "connectionId": "public",
        "connectionToken": "secret",
        "negotiateVersion": 1,
        "availableTransports": [
            {"transport": "WebSockets", "transferFormats": ["Text", "Binary"]},
            {"transport": "ServerSentEvents", "transferFormats": ["Text"]},
            {"transport": "LongPolling", "transferFormats": ["Text", "Binary"]},
        ],
    }


def test_version_0_tells_no_token() -> None:
    assert "connectionToken" not in answer(Claim("both", "both"), 0, TRANSPORTS)


def test_stateful_reconnect_is_told_only_to_who_asked() -> None:
    assert asks_for_stateful(asked("useStatefulReconnect=true"))
    assert not asks_for_stateful(asked("useStatefulReconnect=false"))
    assert not asks_for_stateful(asked(""))
    assert answer(Claim("a", "b", stateful=True), 1, ["websockets"])["useStatefulReconnect"] is True
    assert "useStatefulReconnect" not in answer(Claim("a", "b"), 1, ["websockets"])
