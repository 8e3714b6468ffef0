"""The record of one connection: what is left of it when it has ended, and the one log line made from it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(slots=True)
class ConnectionRecord:
    """What happened on one WebSocket connection.

    While the connection lives the counters are brought up to date whenever `WebSocket.record` is read; once it has
    ended, nothing in the record changes any more. Bytes are payload bytes of data messages, without frame headers.
    """

    peer: str
    """The client's address and port, ``"127.0.0.1:41234"``, or what the stream says of itself."""
    path: str
    """The path asked for, without the query."""
    origin: str | None = None
    """The Origin header as it was sent; ``None`` where there was none (not a browser)."""
    subprotocol: str | None = None
    """The subprotocol agreed on, if any."""
    cause: str | None = None
    """The ``cause`` of its row in `trioecho.endings`; ``None`` while the connection lives."""
    closed_first: Literal["client", "server"] | None = None
    """Who ended it: by the first Close frame, or by ending TCP."""
    code_sent: int | None = None
    """The code of our Close frame; ``None`` if none was handed to the kernel."""
    reason_sent: str | None = None
    code_received: int | None = None
    """The code of the peer's Close frame; 1005 if it was empty; ``None`` if none came."""
    reason_received: str | None = None
    clean: bool = False
    """Both Close frames went their way (RFC 6455 §7.1.4)."""
    messages_received: int = 0
    bytes_received: int = 0
    messages_sent: int = 0
    bytes_sent: int = 0
    messages_discarded: int = 0
    """Messages that were received and that the handler never took."""
    duration: float = 0.0
    """Seconds from the accepted handshake to the end."""
    handler_cancelled: bool = False
    """The peer was gone and the handler neither took a message nor ended within ``close_timeout``."""
    error: str | None = None
    """The type and text of what went wrong, if something did."""

    def as_dict(self) -> dict[str, Any]:
        """All fields, as plain values that JSON can hold."""
        return asdict(self)

    def __str__(self) -> str:
        """The record as one line, most telling first: who, where, how it ended, how much went each way."""
        first = f", {self.closed_first} first" if self.closed_first else ""
        parts = [
            f"{self.peer} {self.path} {self.cause or 'open'}{first}",
            "clean" if self.clean else "not clean",
            f"sent {self._close(self.code_sent, self.reason_sent)}",
            f"received {self._close(self.code_received, self.reason_received)}",
            f"in {self.messages_received} messages {self.bytes_received} bytes",
            f"out {self.messages_sent} messages {self.bytes_sent} bytes",
            f"{self.duration:.3f} s",
        ]
        if self.messages_discarded:
            parts.append(f"{self.messages_discarded} messages discarded")
        if self.handler_cancelled:
            parts.append("handler cancelled")
        if self.origin is not None:
            parts.append(f"origin {self.origin}")
        if self.error is not None:
            parts.append(self.error)
        return "; ".join(parts)

    @staticmethod
    def _close(code: int | None, reason: str | None) -> str:
        if code is None:
            return "no Close"
        return f"Close {code} {reason!r}" if reason else f"Close {code}"


def summary(error: BaseException) -> str:
    """Type and text of the first plain exception in `error`, which may be a nest of groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
