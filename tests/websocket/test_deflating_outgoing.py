"""What goes out compressed: one context in the order of the wire, and what goes to many compressed once."""

from __future__ import annotations

import pytest
import trio
from deflating import DeflatingClient, agreed, connected_deflating, json_of
from serving import connected, one_way, serving, until
from serving import way_of_reading as way_of_reading

import trioecho
from trioecho._protocol.deflate import Deflater
from trioecho._websocket import deflating_outgoing
from trioecho._websocket.deflating_outgoing import SLICE, SLICED, deflate_in_slices, deflated_header

NO_CONTEXT = "permessage-deflate; server_no_context_takeover"


async def wait_for_end(ws: trioecho.WebSocket) -> None:
    async for _ in ws:
        pass


@pytest.fixture
def deflated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the messages that were compressed by themselves, in order."""
    sizes: list[int] = []

    class Counting(Deflater):
        def deflate(self, payload: bytes) -> bytes:
            sizes.append(len(payload))
            return super().deflate(payload)

        def flush(self) -> bytes:
            sizes.append(-1)
            return super().flush()

    monkeypatch.setattr(deflating_outgoing, "Deflater", Counting)
    return sizes


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65_535, 65_536])
def test_the_header_has_rsv1_and_the_length_of_what_is_compressed(length: int) -> None:
    """In the fewest bytes."""
    header = deflated_header(1, length)
    assert header[0] == 0xC1
    assert len(header) == (2 if length < 126 else 4 if length < 65_536 else 10)


async def test_slices_are_one_message_and_others_run_between_them() -> None:
    """A checkpoint for each 16 KiB."""
    text = json_of(10 * SLICE).encode()
    agreement = agreed()
    deflater, whole = (Deflater(agreement.encoding, takeover=True) for _ in range(2))
    rounds, over = 0, False

    async def count() -> None:
        nonlocal rounds
        while not over:
            rounds += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        payload = await deflate_in_slices(deflater, text)
        over = True
    assert payload[:-4] == whole.deflate(text)
    assert rounds >= 9


@one_way
async def test_a_broadcast_is_compressed_once_for_all_that_compress_alike(deflated: list[int]) -> None:
    """Four clients without compression, with 12 bits, and with 9; each can read it, and what is sent to it behind."""
    text = json_of(2000)
    async with serving(wait_for_end, compression=True) as server:
        async with (
            connected(server) as plain,
            connected_deflating(server) as one,
            connected_deflating(server) as two,
            connected_deflating(server, "permessage-deflate; server_max_window_bits=9", 9) as small,
        ):
            await until(lambda: len(server.connections) == 4)
            for _ in range(2):
                deflated.clear()
                assert await trioecho.broadcast(server.connections, text) == 4
                assert deflated == [2000, 2000]
                assert await plain.receive() == text
                for client in (one, two, small):
                    assert await client.receive_inflated() == text
                    assert client.compressed[-1]
                # A message of its own between them.
                for ws in server.connections:
                    await ws.send(text[:700])
                for client in (one, two, small):
                    assert await client.receive_inflated() == text[:700]
                assert await plain.receive() == text[:700]
            assert two.payloads == one.payloads
            deflated.clear()
            assert await trioecho.broadcast(server.connections, text, compress=False) == 4
            for client in (one, two, small):
                assert await client.receive_inflated() == text
                assert not client.compressed[-1]
            assert deflated == []


@one_way
@pytest.mark.parametrize("offer", ["permessage-deflate", NO_CONTEXT])
async def test_a_prepared_message_between_others_corrupts_nothing(offer: str, deflated: list[int]) -> None:
    """The next one begins a new context, where there is one: else it would look back into other words."""
    message = trioecho.Prepared(json_of(1000))
    texts = [json_of(900) for _ in range(3)]

    async def send(ws: trioecho.WebSocket) -> None:
        for text in (*texts, *texts):
            await ws.send(text)
            await ws.send(message)
            assert ws.try_send(text)
            assert ws.try_send(message)
        await ws.send(message, compress=False)
        await wait_for_end(ws)

    async with serving(send, compression=True) as server, connected_deflating(server, offer) as client:
        for text in (*texts, *texts):
            for expected in (text, message.payload.tobytes().decode()) * 2:
                assert await client.receive_inflated() == expected
        assert all(client.compressed)
        assert await client.receive_inflated() == message.payload.tobytes().decode()
        assert not client.compressed[-1]
    assert deflated.count(1000) == 1


@one_way
async def test_a_long_broadcast_is_compressed_in_slices_once(deflated: list[int]) -> None:
    """For all connections; with `try_send`, which cannot let others run, it goes as it is until that has been done."""
    long = trioecho.Prepared(json_of(SLICED + 1))
    async with serving(wait_for_end, compression=True) as server:
        async with connected_deflating(server) as one, connected_deflating(server) as two:
            await until(lambda: len(server.connections) == 2)
            first = server.connections[0]
            assert first.try_send(long)
            assert await trioecho.broadcast(server.connections, long) == 2
            assert await trioecho.broadcast(server.connections, long) == 2
            assert first.try_send(long)
            await first.send(long)
            assert deflated == [-1]
            clients: dict[DeflatingClient, list[bool]] = {one: [False] + [True] * 4, two: [True] * 2}
            if first.remote_address != address_of(one):
                clients = {two: [False] + [True] * 4, one: [True] * 2}
            for client, compressed in clients.items():
                for _ in compressed:
                    assert await client.receive_inflated() == long.payload.tobytes().decode()
                assert client.compressed == compressed


def address_of(client: DeflatingClient) -> str:
    assert isinstance(client.stream, trio.SocketStream)
    host, port = client.stream.socket.getsockname()
    return f"{host}:{port}"


@one_way
async def test_a_broadcast_that_waits_is_compressed_too() -> None:
    """For who reads late: behind what was sent before, and counted by its content."""
    text = json_of(2000)

    async def fall_behind(ws: trioecho.WebSocket) -> None:
        while ws.try_send(bytes(100_000), compress=False):
            pass
        ready.set()
        await wait_for_end(ws)

    ready = trio.Event()
    async with serving(fall_behind, compression=True) as server, connected_deflating(server) as client:
        await ready.wait()
        (ws,) = server.connections
        async with trio.open_nursery() as nursery:
            given = 0

            async def give() -> None:
                nonlocal given
                given = await trioecho.broadcast([ws], text, slow="wait")

            nursery.start_soon(give)
            await trio.testing.wait_all_tasks_blocked()
            while (message := await client.receive_inflated()) == bytes(100_000):
                pass
            assert message == text
            assert client.compressed[-1]
        assert given == 1
        record = ws.record
        assert record.bytes_sent == (record.messages_sent - 1) * 100_000 + 2000
        assert record.wire_bytes_sent == (record.messages_sent - 1) * 100_000 + len(client.payloads[-1])


@one_way
async def test_short_prepared_messages_go_as_they_are(deflated: list[int]) -> None:
    """Below the threshold nothing is gained."""

    async def send(ws: trioecho.WebSocket) -> None:
        await ws.send(trioecho.Prepared("x" * 127))
        await ws.send(trioecho.Prepared(b"x" * 128))
        await wait_for_end(ws)

    async with serving(send, compression=True) as server, connected_deflating(server) as client:
        assert await client.receive_inflated() == "x" * 127
        assert await client.receive_inflated() == b"x" * 128
        assert client.compressed == [False, True]
    assert deflated == [128]


@one_way
async def test_what_never_left_is_counted_neither_way() -> None:
    """The record of a client that does not read tells what its kernel has taken, inflated and on the wire."""
    text = json_of(40_000)

    async def push(ws: trioecho.WebSocket) -> None:
        while True:
            await ws.send(text)

    options = {"close_timeout": 0.1, "compression": True}
    async with serving(push, **options) as server:
        async with connected_deflating(server):
            await until(lambda: server.connections)
            (ws,) = server.connections
            before = -1
            while ws.record.messages_sent != before:
                before = ws.record.messages_sent
                await trio.sleep(0.05)
        await until(lambda: server.records)
    record = server.records[0]
    assert record.bytes_sent == record.messages_sent * 40_000
    assert record.wire_bytes_sent < record.bytes_sent
