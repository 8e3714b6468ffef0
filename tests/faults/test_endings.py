"""Faults of a connection's end, as raw bytes, the kernel and other people's clients see them."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import trio
from fault_clients import at, clients, fault_server, seen, seen_by, serving_faults, visit
from serving import someone_else_is_served

import trioecho
from trioecho.testing import CLOSE, PING, TEXT, Frame, RawClient


@pytest.fixture(scope="module")
def live() -> Iterator[trioecho.LiveServer]:
    with fault_server() as server:
        yield server


pytestmark = pytest.mark.keeps_open


def tcp_state(client: RawClient) -> int:
    assert isinstance(client.stream, trio.SocketStream)
    return int(client.stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0])


@pytest.mark.parametrize("code", [0, 999, 1000, 1004, 1005, 1006, 1015, 2999, 4999, 65_535])
async def test_any_code_is_sent(code: int) -> None:
    """Those that may not go on the wire too; then the server waits for the answer, and ends TCP first."""
    async with serving_faults() as server:
        async with at(server, f"/close/{code}?reason=bye") as client:
            assert await client.receive_frame() == Frame(True, CLOSE, code.to_bytes(2) + b"bye")
            await client.close(1000)
            assert await client.receive_rest() == []
        told = await seen_by(server)
    assert (told["code_sent"], told["reason_sent"], told["code_received"]) == (code, "bye", 1000)
    assert [(each["by"], each["what"]) for each in told["tcp"]] == [("server", "FIN"), ("client", "FIN")]


async def test_an_empty_close_is_empty() -> None:
    """1005 to whom it comes."""
    async with serving_faults() as server, at(server, "/close?after=1") as client:
        await client.send("one")
        assert await client.receive() == "one"
        assert await client.receive_frame() == Frame(True, CLOSE, b"")
        await client.close(None)
        assert await client.receive_rest() == []


async def test_messages_are_echoed_first_and_while_it_waits() -> None:
    """`after` counts them, `delay` begins behind the last of them."""
    async with serving_faults() as server, at(server, "/close/4000?after=2&delay=0.3") as client:
        for text in ("one", "two", "three"):
            await client.send(text)
            assert await client.receive() == text
        assert await client.receive_close() == (4000, "")
        assert client.record is None
        await client.close(4000)
        told = await seen_by(server)
    sent = [frame for frame in told["frames"] if frame["by"] == "server"]
    assert sent[-1]["at"] - sent[1]["at"] >= 0.3


async def test_a_drop_is_a_fin_and_nothing_else() -> None:
    """No Close, no reset; under TLS too."""
    async with serving_faults() as server:
        async with at(server, "/drop?after=1") as client:
            await client.send("one")
            assert await client.receive() == "one"
            assert await client.receive_rest() == []
            await client.stream.aclose()
        told = await seen_by(server)
        assert [(each["by"], each["what"]) for each in told["tcp"]] == [("server", "FIN"), ("client", "FIN")]
        assert (told["closed_first"], told["code_sent"]) == ("server", None)
        await someone_else_is_served(server)


async def test_a_reset_is_a_reset() -> None:
    """ECONNRESET from the kernel; under TLS too."""
    async with serving_faults() as server:
        async with at(server, "/reset?after=1") as client:
            await client.send("one")
            assert await client.receive() == "one"
            with pytest.raises(trio.BrokenResourceError) as broken:
                await client.receive_frame()
            assert isinstance(broken.value.__cause__, OSError)
            assert broken.value.__cause__.errno == errno.ECONNRESET
        told = await seen_by(server)
        assert [(each["by"], each["what"]) for each in told["tcp"]] == [("server", "RST")]
        await someone_else_is_served(server)


async def test_silence_reads_nothing_and_says_nothing() -> None:
    """The kernel acknowledges, the server does not: TCP stays established, and the client's bytes pile up."""
    async with serving_faults() as server:
        async with at(server, "/silent") as client:
            await client.send("anybody there?")
            await client.send_frame(PING, b"hello?")
            with trio.move_on_after(0.5):
                raise AssertionError(await client.receive_frame())
            assert tcp_state(client) == 1
            with trio.move_on_after(1) as scope:
                await client.stream.send_all(bytes(20_000_000))
            assert scope.cancelled_caught
            await someone_else_is_served(server)
            # What ends it is the kernel's word that the client has gone.
            assert isinstance(client.stream, trio.SocketStream)
            client.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        told = await seen_by(server)
    assert told["frames"] == []
    assert [(each["by"], each["what"]) for each in told["tcp"]] == [("client", "RST")]


async def test_a_close_is_never_answered() -> None:
    """TCP stays open besides."""
    async with serving_faults() as server, at(server, "/noclose") as client:
        await client.send("one")
        assert await client.receive() == "one"
        await client.close(1000)
        with trio.move_on_after(0.5):
            raise AssertionError(await client.receive_frame())
        assert tcp_state(client) == 1


async def test_a_close_is_answered_late() -> None:
    """With what it said, `delay` seconds later."""
    async with serving_faults() as server:
        async with at(server, "/lateclose?delay=0.3") as client:
            await client.close(4000, "bye")
            assert await client.receive_close() == (4000, "bye")
        told = await seen_by(server)
    assert told["frames"][1]["at"] - told["frames"][0]["at"] >= 0.3


@pytest.mark.parametrize(
    ("what", "behind"),
    [
        ("data", Frame(True, TEXT, b"behind the Close")),
        ("ping", Frame(True, PING, b"behind the Close")),
        ("second", Frame(True, CLOSE, (1001).to_bytes(2))),
    ],
)
async def test_something_comes_behind_the_close(what: str, behind: Frame) -> None:
    """Which no server may send."""
    async with serving_faults() as server, at(server, f"/close-then/{what}") as client:
        assert await client.receive_close() == (1000, "")
        assert await client.receive_frame() == behind
        await client.close(1000)
        assert await client.receive_rest() == []


async def test_tcp_is_kept_open_behind_the_close() -> None:
    """Both Closes are said, and the server does not hang up, though it should be first."""
    async with serving_faults() as server, at(server, "/close-then/open") as client:
        assert await client.receive_close() == (1000, "")
        await client.close(1000)
        with trio.move_on_after(0.5):
            raise AssertionError(await client.receive_frame())
        assert tcp_state(client) == 1


async def test_a_well_behaved_echo_is_well_behaved() -> None:
    """Ping, Close, what breaks the protocol: answered as by the server proper."""
    async with serving_faults() as server:
        async with at(server, "/echo") as client:
            await client.send_frame(PING, b"x")
            assert (await client.receive_frame()) == Frame(True, 10, b"x")
            await client.send(b"\0" * 70_000)
            assert await client.receive() == b"\0" * 70_000
            await client.close(4000, "bye")
            assert await client.receive_close() == (4000, "bye")
            assert await client.receive_rest() == []
        async with at(server, "/echo") as client:
            client.key = None
            await client.send("not masked")
            assert (await client.receive_close())[0] == 1002
            await client.stream.aclose()
        told = await seen_by(server)
    assert told["error"].startswith("the client broke RFC 6455: frame is not masked")


@clients
def test_clients_show_the_code(client: str, live: trioecho.LiveServer) -> None:
    """Code and reason as they were sent, behind what was echoed. They answer with the same code, aiohttp with 1000."""
    told = visit(client, live, f"/close/4001?reason=bye&after=2&id={client}4001", "one", "two")
    assert (told.heard, told.code) == (["one", "two"], 4001)
    if client != "aiohttp":
        assert told.reason == "bye"
    assert seen(live, f"{client}4001")["code_received"] == (1000 if client == "aiohttp" else 4001)


@clients
def test_clients_show_1005_for_an_empty_close(client: str, live: trioecho.LiveServer) -> None:
    """aiohttp says 0."""
    assert visit(client, live, "/close").code == (0 if client == "aiohttp" else 1005)


@clients
@pytest.mark.parametrize("path", ["/drop?after=1", "/reset?after=1"])
def test_clients_show_1006_without_a_close(client: str, path: str, live: trioecho.LiveServer) -> None:
    """FIN and RST are the same to them; what was echoed before is heard."""
    told = visit(client, live, path, "one")
    assert (told.heard, told.code) == (["one"], 1006)


@pytest.mark.parametrize("client", ["websockets", "ws"])
def test_clients_refuse_a_code_that_may_not_be_sent(client: str, live: trioecho.LiveServer) -> None:
    """They fail the connection: the server hears 1002."""
    visit(client, live, f"/close/1006?id={client}1006")
    found: dict[str, Any] = seen(live, f"{client}1006")
    assert (found["code_sent"], found["code_received"]) == (1006, 1002)


@pytest.mark.parametrize("client", ["websockets", "ws"])
def test_clients_give_up_waiting_for_an_answer_to_their_close(client: str, live: trioecho.LiveServer) -> None:
    """After a timeout of their own."""
    told = visit(client, live, "/noclose", "one", close_after=1, patience=1)
    assert told.heard == ["one"]
    assert told.code in (1006, None)
