"""How log lines look on standard error: as text for people, or one JSON object a line for machines.

The library logs to the logger ``trioecho`` and configures nothing; only the command line does, with
`configure_logging`. A line of the log is always one line, whatever a client put into its path or Origin:
control characters are shown escaped, so that nobody can forge a line (CWE-117). Only a traceback takes more
lines, and only as text.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from datetime import UTC, datetime

LOG_LEVELS = ("debug", "info", "warning", "error", "critical")
LOG_FORMATS = ("text", "json")

_ESCAPED = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}


class TextFormatter(logging.Formatter):
    """``2026-10-01T12:00:00.123Z INFO message``, in UTC; the traceback, if any, on the lines below."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        record.message = record.message.translate(_ESCAPED)
        return super().formatMessage(record)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``ts`` (RFC 3339, UTC), ``level``, ``logger``, ``message``.

    ``record`` holds the fields of the connection's record where the line is about one that ended, and
    ``exception`` the traceback as one string where there is one.
    """

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, object] = {
            "ts": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        connection = getattr(record, "record", None)
        if connection is not None:
            line["record"] = connection.as_dict()
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure_logging(level: str, layout: str) -> None:
    """Sends the log to standard error. Replaces what was configured before.

    `level` is one of `LOG_LEVELS` and counts for trioecho's own lines; what libraries below it say is shown
    from WARNING on. `layout` is one of `LOG_FORMATS`.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if layout == "json" else TextFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("trioecho").setLevel(level.upper())
