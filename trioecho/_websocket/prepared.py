"""A message as it goes over the wire, encoded once and sent as often as one likes.

The frame is what every connection without an agreed extension is given. Where compression was agreed on, the message is
compressed once for all connections that compress alike (`deflating_outgoing.py`), and kept so, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trioecho._protocol.frames import BINARY, BINARY_HEADERS, TEXT, TEXT_HEADERS, long_header

if TYPE_CHECKING:
    from trioecho._protocol.deflate import Encoding


class Prepared:
    """One message, encoded once: for `WebSocket.send`, `WebSocket.try_send` and `trioecho.broadcast`.

    `message` is ``str`` for a text message, ``bytes``, ``bytearray`` or ``memoryview`` for a binary one. With
    ``text=True`` the bytes are sent as a text message. They have to be UTF-8 already, and that is not checked: looking
    costs what passing bytes is to save. A peer that is sent anything else has to fail the connection with 1007 (RFC
    6455 §8.1).

    Where compression was agreed on (`WebSocketOptions.compression`), it is compressed when the first connection is sent
    it, and not again for others that compress in the same way.

    It never changes, also where the `bytearray` that it was made from does. Any number of connections may be sent it,
    at the same time and in any thread's Trio run. What is sent is one frame, without a mask (§5.1).

    Raises `TypeError` for anything but text or bytes, and for ``text=False`` with a text; `ValueError` for a text that
    UTF-8 cannot carry.
    """

    __slots__ = ("_deflated", "_frame", "_size", "_text")

    _deflated: dict[Encoding, tuple[bytes, int]]
    # By how it was compressed: the whole frame, and the bytes of its payload.
    _frame: bytes
    _size: int
    _text: bool

    def __init__(self, message: str | bytes | bytearray | memoryview, *, text: bool | None = None) -> None:
        header, payload = encoded(message, text)
        # Past the guard below.
        object.__setattr__(self, "_deflated", {})
        object.__setattr__(self, "_frame", header + payload)
        object.__setattr__(self, "_size", len(payload))
        object.__setattr__(self, "_text", header[0] & 0x0F == TEXT)

    def __setattr__(self, name: str, _value: object) -> None:
        raise AttributeError(f"a Prepared message never changes; make another instead of setting {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Prepared message never changes; {name} cannot be deleted")

    def __repr__(self) -> str:
        return f"<trioecho.Prepared {'text' if self._text else 'binary'}, {self._size} bytes>"

    @property
    def size(self) -> int:
        """Bytes of payload."""
        return self._size

    @property
    def text(self) -> bool:
        """Whether it is a text message; else a binary one."""
        return self._text

    @property
    def frame(self) -> bytes:
        """Header and payload as one unmasked, unfragmented frame (RFC 6455 §5.2)."""
        return self._frame

    @property
    def payload(self) -> memoryview:
        """The payload: a part of `frame`, not a copy."""
        return memoryview(self._frame)[len(self._frame) - self._size :]


def encoded(message: str | bytes | bytearray | memoryview, text: bool | None) -> tuple[bytes, bytes]:
    """Header and payload of an unfragmented message. Raises as `Prepared`."""
    if isinstance(message, str):
        if text is False:
            raise TypeError(TEXT_IS_TEXT)
        try:
            payload = message.encode()
        except UnicodeEncodeError as error:
            raise ValueError(lesson(message, error)) from None
        opcode, headers = TEXT, TEXT_HEADERS
    elif isinstance(message, (bytes, bytearray, memoryview)):
        payload = bytes(message)
        opcode, headers = (TEXT, TEXT_HEADERS) if text else (BINARY, BINARY_HEADERS)
    else:
        raise TypeError(f"a message is str or bytes, not {type(message).__name__}")
    size = len(payload)
    return headers[size] if size < 126 else long_header(opcode, size), payload


def prepared(message: str | bytes | bytearray | memoryview | Prepared, text: bool | None) -> Prepared:
    """`message` itself if it is prepared, else prepared now. Raises as `Prepared`, and `TypeError` where `text` is
    given for what is prepared."""
    if not isinstance(message, Prepared):
        return Prepared(message, text=text)
    if text is not None:
        raise TypeError(PREPARED_KNOWS)
    return message


TEXT_IS_TEXT = "a str goes as a text message, not with text=False; for a binary message send text.encode()"

PREPARED_KNOWS = (
    "a Prepared message is text or binary already; give text= to Prepared(...), not to what sends the message"
)


def lesson(text: str, error: UnicodeEncodeError) -> str:
    """What to do with a text that UTF-8 cannot carry."""
    return (
        f"text is sent as UTF-8, which has no surrogates; received {text[error.start]!r} at index {error.start}: "
        "send bytes, or replace it, as in text.encode('utf-8', 'replace').decode()"
    )
