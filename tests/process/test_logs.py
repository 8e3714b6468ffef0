"""How log lines look: one line each, in which nobody can forge another, as text or as JSON."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest

from trioecho._process.logs import JsonFormatter, TextFormatter
from trioecho._protocol.record import ConnectionRecord

HOSTILE = "\x1b[2J\r\n2026-10-01T12:00:00.000Z INFO forged\x9b\u2028\u202e"


def entry(
    message: str, *, error: str | None = None, name: str = "trioecho", **extra: Any
) -> logging.LogRecord:
    exc_info: Any = None
    if error is not None:
        try:
            raise ValueError(error)
        except ValueError:
            exc_info = sys.exc_info()
    return logging.getLogger(name).makeRecord(
        name, logging.INFO, __file__, 1, "%s", (message,), exc_info, extra=extra
    )


def test_a_message_is_one_line_of_printable_text() -> None:
    """Control characters, line separators and changes of direction are shown escaped."""
    line = TextFormatter().format(entry(HOSTILE))
    assert line.isprintable()
    assert line.endswith(r"INFO \x1b[2J\x0d\x0a2026-10-01T12:00:00.000Z INFO forged\x9b\u2028\u202e")


def test_a_traceback_cannot_move_the_cursor_or_forge_a_line() -> None:
    """In it, too, what a client sent is escaped; its lines are indented, as no line of the log is."""
    first, *below = TextFormatter().format(entry("failed", error=HOSTILE)).split("\n")
    assert first.endswith(" INFO failed")
    assert len(below) > 3
    assert all(line.startswith("  ") for line in below)
    assert all(line.replace("\t", "").isprintable() for line in below)
    assert r"\x1b[2J" in below[-2]
    assert below[-1].endswith(r"INFO forged\x9b\u2028\u202e")


@pytest.mark.parametrize(("name", "cut"), [("trioecho", True), ("application", False)])
def test_a_message_of_the_servers_is_bounded(name: str, cut: bool) -> None:
    """A refusal that quotes 15 KB of a client's Origin is cut; what the application logs is its own affair."""
    line = TextFormatter().format(entry("x" * 15_000, name=name))
    assert line.endswith("x… (15,000 characters)") is cut
    assert (len(line) < 1100) is cut


def test_json_is_one_line_with_the_record_in_it() -> None:
    """The message as it was, the record's fields, and the traceback as one string."""
    record = ConnectionRecord(peer="somebody", path="/ws", origin=HOSTILE)
    line = JsonFormatter().format(entry("failed", error=HOSTILE, record=record))
    assert line.isprintable()
    fields = json.loads(line)
    assert fields["record"] == record.as_dict()
    assert fields["record"]["origin"] == HOSTILE
    assert "ValueError" in fields["exception"]
    assert (fields["level"], fields["logger"], fields["message"]) == ("info", "trioecho", "failed")


def test_a_long_message_is_bounded_in_json_too() -> None:
    """Collectors of logs cut long lines, and half a JSON object is none."""
    assert len(JsonFormatter().format(entry("x" * 15_000))) < 1300
