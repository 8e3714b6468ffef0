"""What is remembered of a connection: true, bounded, and without secrets."""

from __future__ import annotations

import json

import pytest

from trioecho._http.messages import Request
from trioecho.faults.seen import (
    CONNECTIONS_KEPT,
    FRAMES_KEPT,
    KEYS_KEPT,
    PAYLOAD_KEPT,
    Seen,
    SeenConnection,
    masked_target,
    masked_value,
)


def begin(seen: Seen, name: str | None = None, peer: str = "127.0.0.1:1") -> SeenConnection:
    return seen.begin("/echo", Request("GET", "/echo", "/echo"), peer, name)


def test_recent_connections_are_remembered_and_no_more() -> None:
    """By id and by address; of one id or address, the last."""
    seen = Seen()
    for number in range(CONNECTIONS_KEPT + 5):
        begin(seen, f"n{number}", f"127.0.0.1:{number % 50}")
    assert len(seen.connections) == CONNECTIONS_KEPT
    assert seen.find("n4") is None
    assert seen.find("n5") is seen.connections[0]
    assert seen.find("127.0.0.1:3") is seen.find("n203")
    again = begin(seen, "n100")
    assert seen.find("n100") is again is seen.connections[-1]
    assert seen.counts["/echo"] == CONNECTIONS_KEPT + 6


def test_frames_are_remembered_the_first_and_the_last() -> None:
    """Each with as much of its payload as is worth it; how many were left out is told."""
    connection = begin(Seen())
    for number in range(1000):
        connection.frame("client", 0x81, str(number).encode(), len(str(number)), masked=True)
    connection.frame("server", 0x82, bytes(100_000), 100_000, masked=False)
    told = connection.as_dict()
    assert len(told["frames"]) == 2 * FRAMES_KEPT
    assert told["frames_left_out"] == 1001 - 2 * FRAMES_KEPT
    assert [told["frames"][at]["text"] for at in (0, FRAMES_KEPT - 1, -2)] == ["0", "99", "999"]
    assert told["frames"][-1]["length"] == 100_000
    assert len(told["frames"][-1]["hex"]) == 2 * PAYLOAD_KEPT
    assert json.loads(json.dumps(told)) == told


@pytest.mark.parametrize(
    ("payload", "code", "reason"),
    [(b"", 1005, ""), (b"\x03", 1005, ""), (b"\x03\xedx", 1005, "x"), (b"\x0f\xa1bye", 4001, "bye")],
)
def test_closes_are_told_as_they_are(payload: bytes, code: int, reason: str) -> None:
    """Also those that may not be sent; the first one tells who was first."""
    connection = begin(Seen())
    connection.frame("client", 0x88, payload, len(payload), masked=True)
    connection.frame("server", 0x88, b"\x03\xe8", 2, masked=False)
    connection.frame("server", 0x88, b"\x03\xe9", 2, masked=False)
    assert (connection.code_received, connection.reason_received) == (code, reason)
    assert (connection.closed_first, connection.code_sent) == ("client", 1000)
    assert connection.frames[0]["code"] == code


def test_tcp_is_told_once_each() -> None:
    """A FIN without a Close is who was first, too."""
    connection = begin(Seen())
    connection.tcp_did("client", "FIN")
    connection.tcp_did("client", "FIN")
    connection.tcp_did("server", "RST")
    assert [(each["by"], each["what"]) for each in connection.tcp] == [("client", "FIN"), ("server", "RST")]
    assert connection.closed_first == "client"


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("Authorization", "Basic YWRhOmVuZ2luZQ==", "Basic ****"),
        ("authorization", "secret", "****"),
        ("Proxy-Authorization", "Bearer abc", "Bearer ****"),
        ("Cookie", "session=abc; theme=dark", "session=****; theme=****"),
        ("Sec-WebSocket-Protocol", "chat.v1, bearer.abc", "chat.v1, bearer.****"),
        ("User-Agent", "x", "x"),
    ],
)
def test_secrets_in_headers_are_masked(name: str, value: str, shown: str) -> None:
    """What kind of a secret it was can be seen."""
    assert masked_value(name, value) == shown


def test_secrets_in_the_target_are_masked() -> None:
    """Tokens in the query, and whatever stands in a path that has credentials."""
    assert masked_target("/echo?a=1&access_token=abc&b") == "/echo?a=1&access_token=****&b"
    seen = Seen()
    path = "/auth/basic/ada/engine"
    connection = seen.begin("/auth/basic/{user}/{password}", Request("GET", path, path), "x", None)
    assert "engine" not in json.dumps(connection.as_dict())


def test_attempts_are_counted_by_key_and_bounded() -> None:
    """The least recently used key is forgotten."""
    seen = Seen()
    assert [seen.attempt("mine"), seen.attempt("mine"), seen.attempt("other")] == [1, 2, 1]
    for number in range(KEYS_KEPT):
        seen.attempt(str(number))
    assert seen.attempt("mine") == 1


def test_the_line_in_the_log_has_nothing_that_a_client_chose() -> None:
    """The path stands there as the table has it."""
    connection = begin(Seen())
    connection.status = 101
    connection.frame("server", 0x88, b"\x0f\xa1bye", 5, masked=False)
    connection.tcp_did("client", "RST")
    connection.end()
    assert str(connection).startswith(
        "fault /echo; Close sent 4001, received none; RST by the client; 1 frames; "
    )
