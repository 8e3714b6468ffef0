"""The record of a connection, and the one line made from it."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
import trio
from serving import connected, reset, serving, until
from serving import way_of_reading as way_of_reading

import trioecho
from trioecho._protocol.record import ConnectionRecord, summary
from trioecho.testing import BINARY, TEXT


def record(**facts: Any) -> ConnectionRecord:
    """An echo's record after an ordinary close, but for the facts given."""
    usual: dict[str, Any] = {
        "peer": "192.0.2.1:4000",
        "path": "/ws",
        "cause": "peer closed",
        "closed_first": "client",
        "code_sent": 1000,
        "reason_sent": "",
        "code_received": 1000,
        "reason_received": "",
        "clean": True,
        "messages_received": 3,
        "bytes_received": 30,
        "messages_sent": 2,
        "bytes_sent": 20,
        "duration": 1.5,
    }
    return ConnectionRecord(**usual | facts)


def test_the_line_of_an_ordinary_close_is_short() -> None:
    """Who, where, why, who first, the code, how much, how long: what is as usual is left to the record."""
    assert str(record()) == (
        "192.0.2.1:4000 /ws peer closed, client first; Close 1000; in 3 (30 B), out 2 (20 B); 1.500 s"
    )


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        (
            {"code_sent": 4000, "code_received": 4000, "reason_sent": "bye", "reason_received": "bye"},
            "Close 4000 'bye';",
        ),
        (
            {"code_sent": 1001, "reason_sent": "server is stopping"},
            "Close sent 1001 'server is stopping', received 1000;",
        ),
        ({"code_sent": 1000, "code_received": 1005}, "Close sent 1000, received 1005;"),
        ({"code_received": None, "clean": False}, "Close sent 1000, none received; not clean;"),
        ({"code_sent": None, "clean": False}, "Close received 1000, none sent; not clean;"),
        (
            {
                "code_sent": None,
                "code_received": None,
                "clean": False,
                "cause": "peer vanished",
            },
            "peer vanished, client first; no Close; not clean;",
        ),
        ({"origin": "https://client.com"}, "; origin https://client.com"),
        ({"messages_discarded": 1}, "; 1 message discarded"),
        ({"messages_discarded": 7}, "; 7 messages discarded"),
        ({"messages_skipped": 1}, "; 1 message skipped"),
        ({"messages_skipped": 7}, "; 7 messages skipped"),
        ({"handler_cancelled": True}, "; handler cancelled"),
        (
            {
                "extensions": "permessage-deflate",
                "messages_sent": 3,
                "bytes_sent": 600,
                "wire_bytes_sent": 210,
            },
            "(600 B, 210 B on the wire);",
        ),
        ({"cause": "handler raised", "error": "E: x"}, "; error 'E: x'"),
    ],
)
def test_the_line_tells_what_is_not_as_usual(facts: dict[str, Any], told: str) -> None:
    """Codes that differ, a Close that is missing, an origin, and what went wrong."""
    assert told in str(record(**facts)) + ";"


def test_the_line_of_a_live_connection_says_so() -> None:
    """No cause yet: open, and nothing about an end."""
    assert str(ConnectionRecord(peer="somebody", path="/ws")) == (
        "somebody /ws open; in 0 (0 B), out 0 (0 B); 0.000 s"
    )


FROM_THE_CLIENT = ("path", "origin", "reason_received", "reason_sent", "error", "peer")
"""The fields in which a client can put text of its own, or an exception's that quotes it."""


@pytest.mark.parametrize("field", FROM_THE_CLIENT)
def test_nothing_that_a_client_sends_can_look_like_a_field(field: str) -> None:
    """A semicolon, a quote or a space in it stands between quotes, and quotes in it cannot end them."""
    line = str(record(**{field: "https://a; ValueError: forged"}))
    assert "'https://a; ValueError: forged'" in line
    for forged in ("x'; error 'forged", 'x"; error "forged', "x'\"; error 'forged"):
        line = str(record(**{field: forged}))
        assert repr(forged) in line, line


@pytest.mark.parametrize("field", FROM_THE_CLIENT)
def test_nothing_that_a_client_sends_can_move_the_cursor(field: str) -> None:
    """Escape sequences, line breaks and characters that turn the direction of writing are shown escaped."""
    line = str(record(**{field: "\x1b[2J\r\n\x9b\u2028\u202e\ud800é"}))
    assert line.isprintable()
    assert r"\x1b[2J\r\n\x9b\u2028\u202e\ud800é" in line


@pytest.mark.parametrize("field", FROM_THE_CLIENT)
@pytest.mark.parametrize("filling", ["x", "; ", "\x1b"])
def test_nothing_that_a_client_sends_makes_a_long_line(field: str, filling: str) -> None:
    """15 KB become 100 characters, and how many there were."""
    line = str(record(**{field: filling * (15_000 // len(filling))}))
    assert "(15,000 characters)" in line
    assert len(line) < 700
    assert line.count("x") <= 100 + 6


def test_the_record_as_json_is_whole_but_bounded() -> None:
    """Values as they came; one of more than 500 characters is cut there and says so, that a line can be kept whole."""
    sent = "\x1b; 'forged'"
    assert record(origin=sent).as_dict()["origin"] == sent
    assert record(origin="x" * 500).as_dict()["origin"] == "x" * 500
    assert record(path="/" + "x" * 14_999).as_dict()["path"] == "/" + "x" * 499 + "… (15,000 characters)"
    assert len(json.dumps(record(**dict.fromkeys(FROM_THE_CLIENT, "x" * 15_000)).as_dict())) < 4096


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
