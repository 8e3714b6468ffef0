"""The record of one connection: what is left of it when it has ended, and the one log line made from it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from trioecho._protocol.counted import counted
from trioecho._protocol.untrusted import for_json, in_quotes, shown


@dataclass(slots=True)
class ConnectionRecord:
    """What happened on one WebSocket connection.

    While the connection lives the counters are brought up to date whenever `WebSocket.record` is read; once it has
    ended, nothing in the record changes any more. Bytes are payload bytes of data messages, without frame headers.

    Example:

        from trioecho.testing import open_client

        async def main() -> None:
            async with open_client(trioecho.echo) as client:
                await client.send("hello")
                await client.close(1000)
            record: trioecho.ConnectionRecord = client.record
            assert (record.cause, record.code_received) == ("peer closed", 1000)
            assert (record.messages_received, record.bytes_received) == (1, 5)
    """

    peer: str
    """The client's address and port, ``"127.0.0.1:41234"``, or what the stream says of itself."""
    path: str
    """The path asked for, without the query."""
    origin: str | None = None
    """The Origin header as it was sent; ``None`` where there was none (not a browser)."""
    subprotocol: str | None = None
    """The subprotocol agreed on, if any."""
    extensions: str | None = None
    """The extensions agreed on, as the 101 says them, if any: ``"permessage-deflate; server_max_window_bits=12"``."""
    id: str = ""
    """`WebSocket.id`: eight letters and digits, with which each log line of this connection begins."""
    cause: str | None = None
    """The ``cause`` of its row in `trioecho._protocol.endings`; ``None`` while the connection lives."""
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
    wire_bytes_received: int = 0
    """What `bytes_received` were in their frames: less, where they were compressed."""
    wire_bytes_sent: int = 0
    messages_discarded: int = 0
    """Messages that were received and that the handler never took."""
    messages_skipped: int = 0
    """Messages of `trioecho.broadcast` that the client was not sent, because it was too slow."""
    duration: float = 0.0
    """Seconds from the accepted handshake to the end."""
    handler_cancelled: bool = False
    """The peer was gone and the handler neither took a message nor ended within twice ``answer_timeout``."""
    error: str | None = None
    """The type and text of what went wrong, if something did."""

    @property
    def opened(self) -> str:
        """How the connection began, as one line: the id, who, where, and the subprotocol and origin where there are
        any. It is logged at DEBUG, and as safe as the line of the end."""
        parts = [f"{self._who} opened"]
        if self.subprotocol is not None:
            parts.append(f"subprotocol {shown(self.subprotocol)}")
        if self.origin is not None:
            parts.append(f"origin {shown(self.origin)}")
        return "; ".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """All fields, as plain values that JSON can hold.

        They are as they came, not escaped; a text of more than `LONGEST_IN_JSON` characters is cut there and says
        how many it had.
        """
        return {
            name: for_json(value) if isinstance(value, str) else value for name, value in asdict(self).items()
        }

    def __str__(self) -> str:
        """The record as one line, the id and then most telling first; what is as usual is left out.

        Text that a client may have sent stands in quotes, escaped, where it has anything but letters, digits and
        what belongs to a URL, and is cut after `LONGEST_IN_LINE` characters: it cannot look like another field,
        another line or a command to the terminal.
        """
        first = f", {self.closed_first} first" if self.closed_first else ""
        parts = [f"{self._who} {self.cause or 'open'}{first}"]
        if self.cause is not None:
            parts.append(self._closes())
            if not self.clean:
                parts.append("not clean")
        parts.append(
            f"in {self.messages_received} ({self._size(self.bytes_received, self.wire_bytes_received)}), "
            f"out {self.messages_sent} ({self._size(self.bytes_sent, self.wire_bytes_sent)})"
        )
        parts.append(f"{self.duration:.3f} s")
        if self.messages_discarded:
            parts.append(f"{counted(self.messages_discarded, 'message')} discarded")
        if self.messages_skipped:
            parts.append(f"{counted(self.messages_skipped, 'message')} skipped")
        if self.handler_cancelled:
            parts.append("handler cancelled")
        if self.origin is not None:
            parts.append(f"origin {shown(self.origin)}")
        if self.error is not None:
            parts.append(f"error {shown(self.error)}")
        return "; ".join(parts)

    def _size(self, size: int, wire_size: int) -> str:
        return f"{size} B" if self.extensions is None else f"{size} B, {wire_size} B on the wire"

    @property
    def _who(self) -> str:
        name = f"{self.id} " if self.id else ""
        return f"{name}{shown(self.peer)} {shown(self.path)}"

    def _closes(self) -> str:
        sent = _close(self.code_sent, self.reason_sent)
        received = _close(self.code_received, self.reason_received)
        if sent == received:
            return f"Close {sent}" if sent else "no Close"
        if not received:
            return f"Close sent {sent}, none received"
        if not sent:
            return f"Close received {received}, none sent"
        return f"Close sent {sent}, received {received}"


def _close(code: int | None, reason: str | None) -> str:
    if code is None:
        return ""
    # In quotes always, because it is prose.
    return f"{code} {in_quotes(reason)}" if reason else str(code)


def summary(error: BaseException) -> str:
    """Type and text of the first plain exception in `error`, which may be a nest of groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
