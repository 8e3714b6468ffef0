"""How log lines look on standard error: as text for people, or one JSON object a line for machines.

The library logs to the logger ``trioecho`` and configures nothing; only the command line and `trioecho.run` do, with
`configure_logging`. A line of the log is always one line, whatever a client put into its path or Origin: what cannot
be printed is shown escaped, so that nobody can forge a line (CWE-117) or send the reader's terminal a command. Only a
traceback takes more lines, indented, and only as text.
"""

from __future__ import annotations

import json
import logging
import time
from datetime import UTC, datetime

from trioecho._process.log_output import log_output
from trioecho._protocol.record import ConnectionRecord
from trioecho._server.exchange import Exchange

LOG_LEVELS = ("debug", "info", "warning", "error", "critical")
LOG_FORMATS = ("text", "json")

LONGEST_MESSAGE = 1000
"""Characters of one message of the server's own that are shown: it may quote a client."""

_UNPRINTABLE = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {
    # Separators of lines, and what turns the direction of writing, with which one text can look like another.
    code: f"\\u{code:04x}"
    for code in (0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))
}
_UNPRINTABLE_IN_TRACEBACK = {code: shown for code, shown in _UNPRINTABLE.items() if chr(code) not in "\n\t"}


class TextFormatter(logging.Formatter):
    """``2026-10-01T12:00:00.123Z INFO message``, in UTC; the traceback, if any, on the lines below."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        record.message = _bounded(record.name, record.message).translate(_UNPRINTABLE)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        # The message has no line break any more: those that are left are the traceback's.
        return super().format(record).translate(_UNPRINTABLE_IN_TRACEBACK).replace("\n", "\n  ")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``ts`` (RFC 3339, UTC), ``level``, ``logger``, ``message``.

    ``connection`` is the id of the connection, or of the plain HTTP exchange, where the line is about one, ``record``
    holds the fields of its record where it has ended, ``exchange`` those of a plain HTTP exchange, and ``exception``
    the traceback as one string where there is one.
    """

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, object] = {
            "ts": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _bounded(record.name, record.getMessage()),
        }
        connection = getattr(record, "connection", None)
        if isinstance(connection, str):
            line["connection"] = connection
        ended = getattr(record, "record", None)
        if isinstance(ended, ConnectionRecord):
            line["record"] = ended.as_dict()
        exchange = getattr(record, "exchange", None)
        if isinstance(exchange, Exchange):
            line["exchange"] = exchange.as_dict()
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _bounded(logger: str, message: str) -> str:
    """What the application logs is its own affair."""
    if logger.partition(".")[0] != "trioecho" or len(message) <= LONGEST_MESSAGE:
        return message
    return f"{message[:LONGEST_MESSAGE]}… ({len(message):,} characters)"


def configure_logging(level: str, layout: str, *, access: bool = True) -> None:
    """Sends the log to standard error, without waiting for its reader. Replaces what was configured before.

    `level` is one of `LOG_LEVELS` and counts for trioecho's own lines; what libraries below it say is shown
    from WARNING on. `layout` is one of `LOG_FORMATS`. Without `access` there is no line for an exchange, nor for a
    connection that has ended, unless something was wrong with it.
    """
    handler = log_output()
    if not access:
        handler.addFilter(_is_no_access)
    handler.setFormatter(JsonFormatter() if layout == "json" else TextFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("trioecho").setLevel(level.upper())
    # Not made, which costs less than not shown.
    logging.getLogger("trioecho.access").setLevel(logging.NOTSET if access else logging.WARNING)


def _is_no_access(record: logging.LogRecord) -> bool:
    return record.levelno > logging.INFO or not (hasattr(record, "record") or hasattr(record, "exchange"))


def configured_elsewhere() -> bool:
    """Whether the program shows the log in a way of its own: with a handler that `configure_logging` has not made."""
    handlers = (*logging.getLogger().handlers, *logging.getLogger("trioecho").handlers)
    return any(
        not isinstance(handler, logging.NullHandler)
        and not isinstance(handler.formatter, (TextFormatter, JsonFormatter))
        for handler in handlers
    )
