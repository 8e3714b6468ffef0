"""One message out of an iterator of pieces, each of which goes out as it comes, as a fragment (RFC 6455 §5.4).

No piece waits for the next one, so that text that is made slowly is seen as it is made. For that, the end is a frame of
its own, an empty one: when the last piece goes out, nobody knows yet that it is the last.
"""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

import trio

from trioecho._protocol.deflate import RSV1
from trioecho._protocol.frames import BINARY, CONTINUATION, LAST_FRAGMENT, TEXT, fragment_header
from trioecho._websocket.deflating_outgoing import DeflatingOutgoing, deflate_in_slices
from trioecho._websocket.prepared import TEXT_IS_TEXT, lesson

if TYPE_CHECKING:
    from trioecho._websocket.connection import Connection

Pieces: TypeAlias = AsyncIterator[object] | Iterator[object]

_NO_MORE: Final = object()
_NAMES: Final = {TEXT: "str", BINARY: "bytes"}


def pieces_of(value: object) -> Pieces:
    """An iterator of the pieces in `value`; TypeError with one sentence if it cannot have any."""
    if isinstance(value, AsyncIterable):
        return aiter(value)
    if isinstance(value, Iterable) and not isinstance(value, Mapping):
        return iter(value)
    raise TypeError(
        f"a message is str or bytes, not {type(value).__name__}, or else an iterable or async iterable of its pieces"
    )


async def send_in_pieces(
    connection: Connection,
    pieces: Pieces,
    gone: Callable[[], NoReturn],
    *,
    text: bool | None = None,
    compress: bool = True,
) -> None:
    """`WebSocket.send` for `pieces`; `gone` raises what it raises where nothing can be sent any more."""
    outgoing = connection.outgoing
    deflater = outgoing.deflater if compress and isinstance(outgoing, DeflatingOutgoing) else None
    opcode = size = wire_size = 0
    mine = begun = False
    try:
        while True:
            await trio.lowlevel.checkpoint()
            piece = await _next(pieces)
            if piece is _NO_MORE:
                break
            kind, payload = _encoded(piece, text)
            if not opcode:
                opcode = kind
                with outgoing.holding(piece, payload):
                    await outgoing.begin_turn()
                mine = True
            elif kind != opcode:
                raise TypeError(
                    "the pieces of a message are all str or all bytes; "
                    f"the first was {_NAMES[opcode]}, and another is {type(piece).__name__}"
                )
            size += len(payload)
            first = opcode
            if deflater is not None:
                first |= RSV1
                payload = await deflate_in_slices(deflater, payload)
            if outgoing.stuck:
                with outgoing.holding(piece, payload):
                    await outgoing.unstuck()
            if outgoing.shut and not connection.owes_answers():
                gone()
            outgoing.put_piece(fragment_header(CONTINUATION if begun else first, len(payload)), payload)
            begun = True
            wire_size += len(payload)
            if outgoing.broken:
                gone()
        if not opcode:
            raise ValueError("a message has at least one piece, which may be empty; the iterable had none")
        if outgoing.shut and not connection.owes_answers():
            gone()
        if deflater is None:
            outgoing.put_piece(LAST_FRAGMENT, b"")
        else:
            # What has been flushed ends with an empty block, whose tail is left out (RFC 7692 §7.2.1).
            last = deflater.end()
            outgoing.put_piece(bytes((LAST_FRAGMENT[0], len(last))), last)
            wire_size += len(last)
        outgoing.count_message(size, wire_size)
        if outgoing.broken:
            gone()
        begun = False
    except BaseException:
        if mine and deflater is not None:
            # What has been compressed is not sent, if a fragment has not gone out: then the connection goes on.
            deflater.forget()
        raise
    finally:
        if begun:
            connection.cut_off()
        if mine:
            outgoing.end_turn()
        await _close(pieces)


@trio.lowlevel.disable_ki_protection
async def _next(pieces: Pieces) -> object:
    """The next piece, or `_NO_MORE`. Ctrl-C may strike in the iterator, which is not ours."""
    if isinstance(pieces, AsyncIterator):
        return await anext(pieces, _NO_MORE)
    return next(pieces, _NO_MORE)


@trio.lowlevel.disable_ki_protection
async def _close(pieces: Pieces) -> None:
    """Nobody else has a generator that was made for the call, and its `finally` is to run now."""
    if isinstance(pieces, AsyncGenerator):
        await pieces.aclose()
    elif isinstance(pieces, Generator):
        pieces.close()


def _encoded(piece: object, text: bool | None) -> tuple[int, bytes]:
    """Opcode and payload of a piece."""
    if isinstance(piece, str):
        if text is False:
            raise TypeError(TEXT_IS_TEXT)
        try:
            return TEXT, piece.encode()
        except UnicodeEncodeError as error:
            raise ValueError(lesson(piece, error)) from None
    if isinstance(piece, (bytes, bytearray, memoryview)):
        return TEXT if text else BINARY, bytes(piece)
    raise TypeError(f"a piece of a message is str or bytes, not {type(piece).__name__}")
