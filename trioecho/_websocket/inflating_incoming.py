"""What has come and waits for the handler where permessage-deflate was agreed on: `Incoming`, inflated.

What counts towards the bound are inflated bytes, so a compressed message takes no more room than a plain one. Where one
chunk stands for more than that, its rest is left in the decoder, and decoded when the handler has caught up: the socket
may stay silent, so it is the handler's asking for more that goes on with it. As that rest has been read, it stands
before everything that ends the conversation later: the handler is given it also when the server stops.

`InflatingStreamingIncoming` does the same for a handler that takes messages while they arrive. There the rest may begin
within a message, also one that the handler has left and of which nothing is kept: inflating it keeps the context in
step (RFC 7692 §7.2.2), and waits for the handler's asking like any other.
"""

from __future__ import annotations

from trioecho._protocol.budget import Budget
from trioecho._protocol.deflate import Agreement
from trioecho._protocol.frames import FrameError
from trioecho._protocol.inflating import InflatingDecoder
from trioecho._protocol.inflating_piecewise import InflatingPiecewiseDecoder
from trioecho._websocket.incoming import FRAME_OVERHEAD, WAITING_BYTES, Incoming
from trioecho._websocket.streaming_incoming import StreamingIncoming


class InflatingIncoming(Incoming):
    """One connection's received bytes, inflated on their way to its handler."""

    __slots__ = ("_inflating",)

    def __init__(
        self,
        now: float,
        *,
        max_message_size: int,
        max_fragments: int,
        counts_idleness: bool,
        agreement: Agreement,
        budget: Budget | None = None,
    ) -> None:
        super().__init__(
            now,
            max_message_size=max_message_size,
            max_fragments=max_fragments,
            counts_idleness=counts_idleness,
            budget=budget,
        )
        self._decoder = self._inflating = InflatingDecoder(
            max_message_size=max_message_size, max_fragments=max_fragments, agreement=agreement
        )

    @property
    def behind(self) -> bool:
        return self._inflating.held

    def feed(self, data: bytes, now: float) -> bool:
        """As `Incoming.feed`, with what is inflated as the size."""
        decoder = self._inflating
        before = decoder.payload_bytes
        try:
            message = decoder.decode_one(data)
        except FrameError as error:
            # A new one, as in `_decode`.
            self.error = FrameError(error.close_code, error.reason)
            return True
        if message is None:
            return self._feed_frames(data, now)
        self.message_at = now
        self.messages.append(message)
        self.size += decoder.payload_bytes - before + FRAME_OVERHEAD
        if self.size >= WAITING_BYTES:
            self.full = True
        if self.full or self.task is None:
            self._keep((message,))
        self.wake()
        return False

    def _feed_frames(self, data: bytes, now: float) -> bool:
        other = super()._feed_frames(data, now)
        if self._inflating.held:
            self.full = True
            self._count(self._inflating.pending_bytes)
        return other

    def caught_up(self, now: float) -> bool:
        super().caught_up(now)
        return self._inflating.held and self._feed_frames(b"", now)

    def discard(self, data: bytes) -> bool:
        """As `Incoming.discard`, for good: nothing is inflated any more."""
        self._inflating.count_only()
        return super().discard(data)


class InflatingStreamingIncoming(StreamingIncoming):
    """One connection's received bytes, inflated on their way to a handler that may take messages piece by piece."""

    __slots__ = ("_inflating", "_read_bytes")

    def __init__(
        self,
        now: float,
        *,
        max_message_size: int,
        max_fragments: int,
        counts_idleness: bool,
        agreement: Agreement,
        budget: Budget | None = None,
    ) -> None:
        super().__init__(
            now,
            max_message_size=max_message_size,
            max_fragments=max_fragments,
            counts_idleness=counts_idleness,
            budget=budget,
        )
        self._decoder = self._inflating = InflatingPiecewiseDecoder(agreement)
        # Of the last chunk.
        self._read_bytes = 0

    @property
    def wire_bytes(self) -> int:
        return self._inflating.wire_bytes

    @property
    def behind(self) -> bool:
        return self._inflating.held

    def feed(self, data: bytes, now: float) -> bool:
        """As `StreamingIncoming.feed`, with what is inflated as the size."""
        decoder = self._inflating
        if data:
            self._read_bytes = len(data)
        other = super().feed(data, now)
        if self.messages:
            self.size += max(0, decoder.given_bytes - len(data))
        if decoder.held or self.size >= WAITING_BYTES:
            self.full = True
        if decoder.held:
            self._count_half()
            # Nothing may have come of it, where the message is thrown away; then it is to be asked for more.
            self.wake()
        return other

    def caught_up(self, now: float) -> bool:
        super().caught_up(now)
        return self._inflating.held and self.feed(b"", now)

    def _undecoded(self) -> int:
        return self._read_bytes if self._inflating.held else 0

    def discard(self, data: bytes) -> bool:
        """As `StreamingIncoming.discard`, for good: nothing is inflated any more."""
        self._inflating.count_only()
        return super().discard(data)
