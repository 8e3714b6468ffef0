"""The record of a connection, and the one line made from it."""

from __future__ import annotations

import json
import logging

import pytest
import trio
from serving import connected, reset, serving, until
from serving import way_of_reading as way_of_reading

import trioecho
from trioecho._protocol.record import ConnectionRecord, summary
from trioecho.testing import BINARY, TEXT


def test_the_line_tells_who_where_how_and_how_much() -> None:
    """Most telling first; what did not happen is left out."""
    record = ConnectionRecord(
        peer="192.0.2.1:4000",
        path="/ws",
        origin="https://client.com",
        cause="peer closed",
        closed_first="client",
        code_sent=4000,
        reason_sent="bye",
        code_received=4000,
        reason_received="bye",
        clean=True,
        messages_received=3,
        bytes_received=30,
        messages_sent=2,
        bytes_sent=20,
        duration=1.5,
    )
    assert str(record) == (
        "192.0.2.1:4000 /ws peer closed, client first; clean; sent Close 4000 'bye'; received Close 4000 'bye'; "
        "in 3 messages 30 bytes; out 2 messages 20 bytes; 1.500 s; origin https://client.com"
    )


def test_the_line_tells_what_went_wrong() -> None:
    """Discarded messages, a cancelled handler and the error stand at the end."""
    record = ConnectionRecord(
        peer="somebody",
        path="/",
        cause="handler raised",
        messages_discarded=7,
        handler_cancelled=True,
        error="E: x",
    )
    assert str(record).endswith("; 7 messages discarded; handler cancelled; E: x")
    assert "; not clean; sent no Close; received no Close; " in str(record)


def test_the_line_of_a_live_connection_says_so() -> None:
    """No cause yet: open."""
    assert str(ConnectionRecord(peer="somebody", path="/ws")).startswith("somebody /ws open; ")


def test_the_record_can_be_written_as_json() -> None:
    """as_dict has every field, as plain values."""
    record = ConnectionRecord(peer="somebody", path="/ws", cause="peer vanished")
    fields = json.loads(json.dumps(record.as_dict()))
    assert ConnectionRecord(**fields) == record


def test_the_summary_of_a_nest_of_groups_is_its_first_error() -> None:
    """Nurseries wrap; the record unwraps."""
    error = ExceptionGroup("outer", [ExceptionGroup("inner", [KeyError("x"), OSError("y")])])
    assert summary(error) == "KeyError: 'x'"


async def test_while_it_lives_the_record_counts_and_afterwards_it_stands() -> None:
    """ws.record is up to date whenever it is read; once ended, nothing in it changes."""
    kept: list[trioecho.WebSocket] = []

    async def handler(ws: trioecho.WebSocket) -> None:
        kept.append(ws)
        await trioecho.echo(ws)

    async with serving(handler) as server, connected(server) as client:
        for number in range(1, 4):
            await client.send("é" * number)
            await client.receive()
            await until(lambda number=number: kept[0].record.messages_sent == number)
            record = kept[0].record
            assert record.messages_received == number
            assert record.bytes_received == record.bytes_sent == number * (number + 1)
            assert (record.cause, record.clean) == (None, False)
        await client.close(1001, "bye")
        await client.receive_close()
        await until(lambda: server.records)
        (last,) = server.records
        assert last is kept[0].record
        before = last.as_dict()
        assert kept[0].record.as_dict() == before
    assert (last.cause, last.closed_first, last.clean) == ("peer closed", "client", True)


async def test_fragments_count_as_one_message_and_bytes_as_payload() -> None:
    """Headers and control frames are not counted."""
    async with serving() as server, connected(server) as client:
        await client.send_frame(TEXT, b"ab", fin=False)
        await client.send_frame(9, b"ping")
        await client.send_frame(0, b"cd")
        while (frame := await client.receive_frame()) is not None and frame.opcode != TEXT:
            pass
        await client.close()
        await client.receive_close()
        await until(lambda: server.records)
    (record,) = server.records
    assert (record.messages_received, record.bytes_received) == (1, 4)
    assert (record.messages_sent, record.bytes_sent) == (1, 4)


@pytest.mark.parametrize("take", [0, 3])
async def test_what_the_handler_never_took_is_counted(take: int) -> None:
    """Ten messages come, some are taken: the others are on the record, whether they came before or after the end."""
    arrived = trio.Event()

    async def handler(ws: trioecho.WebSocket) -> None:
        await arrived.wait()
        for _ in range(take):
            await ws.receive()

    async with serving(handler) as server, connected(server) as client:
        await client.stream.send_all(client.frame(BINARY, b"x") * 7)
        (ws,) = server.connections
        await until(lambda: ws.record.messages_received == 7)
        arrived.set()
        await client.receive_close()
        await client.stream.send_all(client.frame(BINARY, b"x") * 3)
        await client.close()
        await client.receive_rest()
        await until(lambda: server.records)
    (record,) = server.records
    assert (record.messages_received, record.messages_discarded) == (10, 10 - take)
    assert record.clean


async def test_there_is_one_line_for_each_connection(caplog: pytest.LogCaptureFixture) -> None:
    """However it ended; and the log record carries the connection's."""
    caplog.set_level(logging.INFO, "trioecho")
    async with serving() as server:
        for leave in ("close", "reset"):
            async with connected(server) as client:
                await until(lambda: server.connections)
                if leave == "reset":
                    reset(client)
                else:
                    await client.close()
                    await client.receive_close()
            await until(lambda: not server.connections)
    assert [entry.getMessage() for entry in caplog.records] == [str(record) for record in server.records]
    assert [entry.record for entry in caplog.records] == list(server.records)  # type: ignore[attr-defined]
    assert [record.cause for record in server.records] == ["peer closed", "peer vanished"]
