"""Each connection has a name, and every line of the log about it begins with that."""

from __future__ import annotations

import json
import logging

import pytest
from serving import connected, one_way, serving, until
from serving import way_of_reading as way_of_reading

import trioecho
from trioecho._process.logs import JsonFormatter, TextFormatter

pytestmark = one_way


async def test_each_connection_has_an_id_of_its_own_which_its_record_keeps() -> None:
    """The WebSocket's, and afterwards the record's; two connections of one server have two."""
    seen: list[str] = []

    async def handler(ws: trioecho.WebSocket) -> None:
        assert ws.id == ws.record.id
        assert ws.id in repr(ws)
        seen.append(ws.id)

    async with serving(handler) as server:
        for number in (1, 2):
            async with connected(server) as client:
                await client.receive_close()
                await client.close()
            await until(lambda number=number: len(server.records) == number)
        assert [record.id for record in server.records] == seen
        assert [record.as_dict()["id"] for record in server.records] == seen
    assert len(set(seen)) == 2
    assert all(len(each) == 8 for each in seen)


async def test_every_line_about_a_connection_begins_with_its_id(caplog: pytest.LogCaptureFixture) -> None:
    """What the handler logs, its failure, and the record: as text in front, as JSON also as a field."""
    caplog.set_level(logging.INFO, "trioecho")

    async def handler(ws: trioecho.WebSocket) -> None:
        assert ws.logger is ws.logger
        ws.logger.info("joined %s, 100%%", "the club", extra={"room": 7})
        raise LookupError("on purpose")

    async with serving(handler) as server, connected(server) as client:
        assert await client.receive_close() == (1011, "internal error")
        await client.close()
        await until(lambda: server.records)
    (record,) = server.records
    joined, failed, ended = caplog.records
    assert [entry.name for entry in caplog.records] == ["trioecho.connection", "trioecho", "trioecho"]
    assert joined.getMessage() == f"{record.id} joined the club, 100%"
    assert joined.room == 7  # type: ignore[attr-defined]
    assert failed.getMessage() == f"{record.id} the handler raised at /ws, for {record.peer}"
    assert ended.getMessage().startswith(f"{record.id} {record.peer} /ws handler raised, server first; ")
    for entry in caplog.records:
        assert json.loads(JsonFormatter().format(entry))["connection"] == record.id
        assert f" {record.id} " in TextFormatter().format(entry)


async def test_the_log_stays_one_line_though_a_handler_logs_what_a_client_sent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What is logged through `ws.logger` is escaped and bounded as the server's own lines are."""
    caplog.set_level(logging.INFO, "trioecho")

    async def handler(ws: trioecho.WebSocket) -> None:
        ws.logger.warning("%s", await ws.receive())

    async with serving(handler) as server, connected(server) as client:
        await client.send("\r\nforged\x1b" + "x" * 10_000)
        await client.receive_close()
    line = TextFormatter().format(caplog.records[0])
    assert line.isprintable()
    assert len(line) < 1200
