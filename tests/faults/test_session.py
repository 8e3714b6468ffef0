"""One connection in the hands of a fault, on each way of reading: what it does right unless told otherwise."""

from __future__ import annotations

import errno

import pytest
import trio
from fault_clients import at, seen_by, serving_faults
from serving import one_way, someone_else_is_served, way_of_reading

from trioecho.faults import session
from trioecho.testing import CONTINUATION, PING, PONG, TEXT, Frame

__all__ = ["way_of_reading"]


async def test_an_echo_ends_in_good_order() -> None:
    """Messages whole and in fragments, Pings, the Close mirrored, TCP ended by the server first."""
    async with serving_faults() as server:
        async with at(server, "/echo") as client:
            await client.send_frame(TEXT, b"hel", fin=False)
            await client.send_frame(PING, b"x")
            await client.send_frame(CONTINUATION, b"lo")
            assert await client.receive_frame() == Frame(True, PONG, b"x")
            assert await client.receive() == "hello"
            await client.close(4000, "bye")
            assert await client.receive_close() == (4000, "bye")
            assert await client.receive_rest() == []
            await client.stream.aclose()
        told = await seen_by(server)
        await someone_else_is_served(server)
    assert [each["by"] for each in told["tcp"]] == ["server", "client"]
    assert (told["closed_first"], told["code_sent"], told["error"]) == ("client", 4000, None)


async def test_fin_and_rst_are_told_apart() -> None:
    """By the client with bytes, and with ECONNRESET; under TLS too."""
    async with serving_faults() as server:
        async with at(server, "/drop") as client:
            assert await client.receive_rest() == []
        async with at(server, "/reset") as client:
            with pytest.raises(trio.BrokenResourceError) as broken:
                await client.receive_frame()
        assert isinstance(broken.value.__cause__, OSError)
        assert broken.value.__cause__.errno == errno.ECONNRESET
        await someone_else_is_served(server)


async def test_a_client_that_goes_is_no_failure() -> None:
    """Without a word."""
    async with serving_faults() as server:
        async with at(server, "/echo") as client:
            await client.send("hello")
            assert await client.receive() == "hello"
        told = await seen_by(server)
        await someone_else_is_served(server)
    assert told["tcp"][0]["by"] == "client"
    assert told["closed_first"] == "client"


@one_way
@pytest.mark.parametrize(
    ("data", "code"),
    [(b"\x88\x81\0\0\0\0\x03", 1002), (b"\x88\x82\0\0\0\0\x03\xed", 1002), (b"\x81\x81\0\0\0\0\xff", 1007)],
)
async def test_what_breaks_the_protocol_is_closed_with_its_code(data: bytes, code: int) -> None:
    """Also a Close that is none."""
    async with serving_faults() as server, at(server, "/echo") as client:
        await client.stream.send_all(data)
        assert (await client.receive_close())[0] == code


@one_way
async def test_a_client_that_does_not_answer_the_close_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bounded time: first the Close, then the end of TCP."""
    monkeypatch.setattr(session, "CLOSE_TIMEOUT", 0.1)
    async with serving_faults() as server:
        async with at(server, "/close/1000") as client:
            assert await client.receive_close() == (1000, "")
            assert await client.receive_rest() == []
            told = await seen_by(server)
    assert (told["code_received"], told["tcp"][0]["by"]) == (None, "server")
