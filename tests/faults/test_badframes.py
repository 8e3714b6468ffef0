"""Frames that no server may send: their bytes, and that clients take offence."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import pytest
from fault_clients import Visit, at, fault_server, seen, seen_by, serving_faults, visit_all
from plain_http import plain_http
from serving import someone_else_is_served

import trioecho
from trioecho.faults.badframes import BOMB_BYTES, KINDS, BadFrame, bomb

pytestmark = pytest.mark.keeps_open

OFFER = "Sec-WebSocket-Extensions: permessage-deflate\r\n"

NO_OFFENCE = 1000
OTHERWISE: dict[str, dict[str, int | None]] = {
    "websockets": {
        "length": NO_OFFENCE,
        "length-64": NO_OFFENCE,
        "length-sign": 1009,
        "deflate-garbage": 1002,
    },
    "aiohttp": {
        "masked": NO_OFFENCE,
        "length": NO_OFFENCE,
        "length-64": NO_OFFENCE,
        "length-sign": 1009,
        "deflate-garbage": 1000,
    },
    "ws": {"length": None, "length-64": None, "length-sign": 1009},
}
"""What a client says instead of the table's code: websockets 17, aiohttp 3.14, ws 8. A length in more bytes than it
needs is taken by all three; `ws` is ended without a Close when the test's patience is."""


@pytest.fixture(scope="module")
def live() -> Iterator[trioecho.LiveServer]:
    with fault_server() as server:
        yield server


@pytest.mark.parametrize("bad", KINDS, ids=lambda bad: bad.kind)
async def test_the_bytes_are_those_of_the_table(bad: BadFrame) -> None:
    """Behind an echo, and nothing else; then what the client says is awaited."""
    data = bad.make()
    async with serving_faults() as server:
        async with at(server, f"/badframe/{bad.kind}?after=1", headers=OFFER * bad.compressed) as client:
            if not bad.compressed:
                await client.send("first")
                assert await client.receive() == "first"
            else:
                await client.stream.send_all(client.frame(1, b"first"))
                assert await client.receive_frame()
            received = bytearray()
            while len(received) < len(data):
                received += await client.stream.receive_some()
            assert bytes(received) == data
            if bad.cut_off:
                assert await client.stream.receive_some() == b""
            else:
                await client.close(bad.code if bad.code != 1006 else 1002)
            await client.receive_rest()
            await client.stream.aclose()
        told = await seen_by(server)
        await someone_else_is_served(server)
    assert told["code_received"] == (None if bad.cut_off else bad.code)
    assert bad.kind in [frame["kind"] for frame in told["frames"]]


async def test_a_client_that_takes_no_offence_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """In /seen, after a while."""
    monkeypatch.setattr("trioecho.faults.session.CLOSE_TIMEOUT", 0.1)
    async with serving_faults() as server:
        async with at(server, "/badframe/rsv2") as client:
            await client.stream.receive_some()
            assert await client.receive_rest() == []
        assert (await seen_by(server))["error"] == "the client did not fail the connection"


def test_the_bomb_is_a_bomb() -> None:
    """Some 256 KiB that become 256 MiB."""
    payload = bomb()[10:]
    assert len(payload) < 400_000
    inflater = zlib.decompressobj(-15)
    size, data = 0, payload + b"\0\0\xff\xff"
    while data:
        size += len(inflater.decompress(data, 2**20))
        data = inflater.unconsumed_tail
    assert size == BOMB_BYTES


async def test_what_is_compressed_needs_an_offer() -> None:
    """Otherwise it would be another fault."""
    async with serving_faults() as server, plain_http(server) as client:
        handshake = (
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        )
        answer = await client.ask("/badframe/deflate-bomb", headers=handshake)
    assert (answer.status, "needs a client that offers" in answer.text) == (400, True)


@pytest.mark.parametrize("client", ["websockets", "aiohttp", "ws"])
def test_clients_take_offence(client: str, live: trioecho.LiveServer) -> None:
    """Each of them at each kind, with the code of the table; where one does otherwise, that stands here."""
    visits = [
        Visit(f"/badframe/{bad.kind}?id={client}-{bad.kind}", compress=bad.compressed, patience=4)
        for bad in KINDS
    ]
    outcomes = visit_all(client, live, visits)
    answered = {bad.kind: seen(live, f"{client}-{bad.kind}")["code_received"] for bad in KINDS}
    expected = {bad.kind: None if bad.cut_off else bad.code for bad in KINDS}
    assert all(told.opened for told in outcomes)
    assert answered == expected | OTHERWISE[client]
