"""Faults of negotiation: subprotocols and compression."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fault_clients import at, clients, fault_server, seen_by, serving_faults, visit
from plain_http import plain_http

import trioecho
from trioecho._protocol.deflate import Deflater, Inflater
from trioecho.faults.negotiation import AGREEMENTS, ANSWERS, PICKS, WRONG_ANSWERS
from trioecho.testing import SAMPLE_KEY

pytestmark = pytest.mark.keeps_open


@pytest.fixture(scope="module")
def live() -> Iterator[trioecho.LiveServer]:
    with fault_server() as server:
        yield server


async def head(
    server: trioecho.Server, path: str, *headers: tuple[str, str]
) -> tuple[int, list[tuple[str, str]]]:
    handshake = (
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", SAMPLE_KEY),
    )
    async with plain_http(server) as client:
        answer = await client.ask(path, headers=handshake + headers)
    return answer.status, answer.headers


@pytest.mark.parametrize(
    ("pick", "answered"),
    [
        ("first", ["chat.v2"]),
        ("last", ["chat.v1"]),
        ("none", []),
        ("unoffered", ["not.offered"]),
        ("case", ["CHAT.V2"]),
        ("two", ["chat.v2", "chat.v2"]),
        ("list", ["chat.v2, chat.v1"]),
    ],
)
async def test_subprotocols_are_answered_in_every_way(pick: str, answered: list[str]) -> None:
    """As the fields of the 101 have them."""
    async with serving_faults() as server:
        offered = ("Sec-WebSocket-Protocol", "chat.v2, chat.v1")
        status, headers = await head(server, f"/subprotocol?pick={pick}", offered)
        assert status == 101
        assert [value for name, value in headers if name == "sec-websocket-protocol"] == answered
        without, _ = await head(server, f"/subprotocol?pick={pick}")
        assert without == (101 if pick in ("none", "unoffered") else 400)
    assert pick in PICKS


@pytest.mark.parametrize("answer", ANSWERS)
async def test_compression_is_answered_in_every_way(answer: str) -> None:
    """What can be agreed on needs an offer; what is wrong is said to everybody."""
    async with serving_faults() as server:
        offer = ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")
        _, headers = await head(server, f"/compression?answer={answer}", offer)
        answered = dict(headers).get("sec-websocket-extensions")
        without, _ = await head(server, f"/compression?answer={answer}")
    if answer in AGREEMENTS:
        assert answered is not None
        assert answered.startswith("permessage-deflate; ")
        assert without == 400
    else:
        assert answered == WRONG_ANSWERS.get(answer)
        assert without == 101


async def test_what_was_agreed_on_is_done() -> None:
    """A compressed message is echoed compressed, and both contexts are kept."""
    offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
    async with serving_faults() as server:
        async with at(server, "/compression", headers=offer) as client:
            deflater, inflater = Deflater((12, 6, 5), takeover=True), Inflater(12, takeover=True)
            for text in (b"hello hello hello", b"hello hello hello"):
                await client.stream.send_all(client.frame(0x41, deflater.deflate(text)))
                frame = await client.receive_frame()
                assert frame is not None
                assert inflater.inflate(frame.payload, 100, last=True) == text
            await client.stream.send_all(client.frame(0x41, b"\xff\xff\xff"))
            assert (await client.receive_close())[0] == 1007
            await client.stream.aclose()
        told = await seen_by(server)
    assert "cannot be inflated" in told["error"]
    assert [frame.get("rsv") for frame in told["frames"]] == [[1]] * 5 + [None]


@clients
@pytest.mark.parametrize("answer", AGREEMENTS)
def test_clients_compress(client: str, answer: str, live: trioecho.LiveServer) -> None:
    """Each agreement works with each of them."""
    say = ("hello " * 500, "hello " * 500, "")
    told = visit(client, live, f"/compression?answer={answer}", *say, compress=True, close_after=3)
    assert told.heard == list(say)


@pytest.mark.parametrize("client", ["websockets", "ws"])
@pytest.mark.parametrize("answer", WRONG_ANSWERS)
def test_clients_fail_a_wrong_answer(client: str, answer: str, live: trioecho.LiveServer) -> None:
    """They do not open, but for `ws` where the extension stands there twice."""
    told = visit(client, live, f"/compression?answer={answer}", compress=True, patience=2)
    assert told.opened == ((client, answer) == ("ws", "twice"))


@pytest.mark.parametrize("client", ["websockets", "ws"])
@pytest.mark.parametrize("pick", ["unoffered", "case", "list"])
def test_clients_fail_a_subprotocol_that_they_did_not_offer(
    client: str, pick: str, live: trioecho.LiveServer
) -> None:
    """RFC 6455 §4.1; aiohttp warns and goes on without one."""
    path = f"/subprotocol?pick={pick}"
    assert not visit(client, live, path, subprotocols=("chat.v2", "chat.v1"), patience=2).opened
