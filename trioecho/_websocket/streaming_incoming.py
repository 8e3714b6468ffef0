"""What has come and waits for a handler that takes messages while they arrive: `Incoming`, with pieces in its queue.

A message that does not arrive whole stands in the queue in pieces, small ones joined, so that one that dribbles in does
not take an object per byte. A handler takes them one by one (`MessageStream`), or waits until the last of them is there
and takes the message (`receive`). The bound is the same as for whole messages: `WAITING_BYTES` since the handler last
caught up; a handler that collects a message catches up with each piece of it, up to `max_message_size`.
"""

from __future__ import annotations

from collections import deque
from sys import getsizeof
from typing import cast

from trioecho._protocol.budget import Budget
from trioecho._protocol.piecewise import Piece, PiecewiseDecoder, wire_size
from trioecho._websocket.incoming import PLACE, WAITING_BYTES, Incoming

SMALL = 1024
"""Bytes below which a piece that waits is joined with the next one."""


class StreamingIncoming(Incoming):
    """One connection's received bytes, on their way to a handler that may take messages piece by piece."""

    __slots__ = (
        "_cost",
        "_pieces",
        "_skip_counts",
        "_skipping",
        "_touched",
        "held",
        "max_message_size",
        "reading",
        "whole",
    )

    def __init__(
        self,
        now: float,
        *,
        max_message_size: int,
        max_fragments: int,
        counts_idleness: bool,
        budget: Budget | None = None,
    ) -> None:
        super().__init__(
            now,
            max_message_size=max_message_size,
            max_fragments=max_fragments,
            counts_idleness=counts_idleness,
            budget=budget,
        )
        self._decoder = PiecewiseDecoder()
        self.max_message_size = max_message_size
        # The same queue, by its type here.
        self._pieces = cast("deque[str | bytes | Piece]", self.messages)
        # The memory that the queue takes.
        self._cost = 0
        self.whole = 0
        """Messages in the queue whose last piece is there, too."""
        self.held = 0
        """Bytes in the queue of the message behind them, whose last piece has yet to come."""
        self.reading = False
        """A `MessageStream` is open: the message at the head of the queue is its own."""
        # Whether a piece of the message at the head has been taken.
        self._touched = False
        # Whether the rest of the message that is arriving is thrown away, and whether that message counts as discarded.
        self._skipping = self._skip_counts = False

    @property
    def head(self) -> str | bytes | None:
        """What is next in the queue."""
        if not self._pieces:
            return None
        head = self._pieces[0]
        return head.payload if isinstance(head, Piece) else head

    @property
    def progress(self) -> tuple[int, int]:
        """Differs when something has come or gone."""
        return self.whole, self.held

    def feed(self, data: bytes, now: float) -> bool:
        """As `Incoming.feed`; what comes of an unfinished message wakes the task that waits, and is no silence."""
        pieces: list[str | bytes | Piece] = []
        other = self._decode_pieces(data, pieces)
        if pieces:
            self.message_at = now
            for piece in pieces:
                self._put(piece)
            if self._pieces:
                self.size += len(data)
                if self.size >= WAITING_BYTES:
                    self.full = True
                self._count_half()
                self.wake()
        return other

    def discard(self, data: bytes) -> bool:
        """As `Incoming.discard`; a message of which the handler has taken a piece does not count."""
        pieces: list[str | bytes | Piece] = []
        other = self._decode_pieces(data, pieces)
        for piece in pieces:
            if not isinstance(piece, Piece):
                self.discarded += 1
            elif piece.last:
                taken = self._touched and not self.whole
                self.discarded += self._skip_counts if self._skipping else not taken
                self._skipping = False
        return other

    def _decode_pieces(self, data: bytes, pieces: list[str | bytes | Piece]) -> bool:
        return self._decode(data, cast("list[str | bytes]", pieces))

    def _put(self, piece: str | bytes | Piece) -> None:
        queue = self._pieces
        if not isinstance(piece, Piece):
            self.whole += 1
        elif self._skipping:
            if piece.last:
                self.discarded += self._skip_counts
                self._skipping = False
            return
        else:
            before = queue[-1] if queue else None
            if isinstance(before, Piece) and not before.last and (before.size < SMALL or not piece.size):
                queue.pop()
                self._cost -= _cost(before)
                # Both are text, or both are bytes.
                joined = before.payload + piece.payload  # type: ignore[operator]
                piece = Piece(joined, before.size + piece.size, piece.last)
                self.held -= before.size
            if piece.last:
                self.whole += 1
                self.held = 0
            else:
                self.held += piece.size
        queue.append(piece)
        self._cost += _cost(piece)

    def _count_half(self) -> None:
        # A message that is not there whole can be given up; what waits before it, with it, cannot, but is small then.
        half = self._cost if self.held and not self.whole else 0
        kept = self._cost - half + self._undecoded()
        self.budget.add(half + kept - self.half - self.kept)
        self.half, self.kept = half, kept

    def _undecoded(self) -> int:
        """Bytes that were read, and that the decoder has yet to make pieces of."""
        return 0

    def give_up(self) -> None:
        """As `Incoming.give_up`; of a message whose beginning has been taken, the rest will not come."""
        while self.held:
            piece = self._pieces.pop()
            assert isinstance(piece, Piece)
            self._cost -= _cost(piece)
            self.held -= piece.size
        super().give_up()

    def caught_up(self, now: float) -> bool:
        super().caught_up(now)
        self._count_half()
        return False

    def _let_go(self) -> None:
        self._count_half()

    def take(self) -> tuple[str | bytes, int, bool]:
        """Take the piece that is next: it, its bytes on the wire, and whether it is the last of its message."""
        piece = self._pieces.popleft()
        self._cost -= _cost(piece)
        if self.kept or self.half:
            self._count_half()
        if not isinstance(piece, Piece):
            self.whole -= 1
            return piece, wire_size(piece), True
        if piece.last:
            self.whole -= 1
        elif not self.whole:
            self.held -= piece.size
        self._touched = not piece.last
        return piece

    def take_message(self) -> tuple[str | bytes, int]:
        """Take the message that is next, which must be `whole`: it, and its bytes on the wire."""
        payload, size, last = self.take()
        if last:
            return payload, size
        parts = [payload]
        while not last:
            payload, more, last = self.take()
            parts.append(payload)
            size += more
        return payload[:0].join(parts), size  # type: ignore[arg-type]

    def skip_message(self) -> None:
        """Throw away the message that is next: what waits of it, and what will come. It is counted, unless a piece of
        it has been taken."""
        if self._skipping:
            return
        counts = not self._touched
        self._touched = False
        while self._pieces:
            if self.take()[2]:
                self.discarded += counts
                return
        self._touched = False
        self._skipping, self._skip_counts = True, counts

    def throw_away(self) -> None:
        """As `Incoming.throw_away`, and what will come of a message that is not there whole."""
        while self.whole:
            self.skip_message()
        if self._pieces or self._touched:
            self.skip_message()


def _cost(piece: str | bytes | Piece) -> int:
    return PLACE + getsizeof(piece) + (getsizeof(piece.payload) if isinstance(piece, Piece) else 0)
