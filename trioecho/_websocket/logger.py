"""The logger that a handler gets: its lines name their connection."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any


class ConnectionLogger(logging.LoggerAdapter[logging.Logger]):
    """Logs to ``trioecho.connection``; each message begins with the connection's id, and each `logging.LogRecord` has
    it as its attribute ``connection``, beside what ``extra`` gives."""

    def __init__(self, connection: str) -> None:
        super().__init__(logging.getLogger("trioecho.connection"), {"connection": connection})
        self._connection = connection

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Put the id into a line, as `logging.LoggerAdapter` asks."""
        kwargs["extra"] = {**(kwargs.get("extra") or {}), "connection": self._connection}
        return f"{self._connection} {msg}", kwargs
