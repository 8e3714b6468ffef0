"""The `WebSocket` of a connection on which permessage-deflate was agreed on: what it sends is compressed."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable

import trio

from trioecho._websocket.deflating_outgoing import (
    SLICED,
    DeflatingOutgoing,
    deflate_in_slices,
    deflate_prepared,
)
from trioecho._websocket.prepared import Prepared, encoded
from trioecho._websocket.websocket import WebSocket


class DeflatingWebSocket(WebSocket):
    """A `WebSocket` whose messages go out compressed, where they are long enough for that to be worth while."""

    __slots__ = ()

    _outgoing: DeflatingOutgoing

    @trio.lowlevel.enable_ki_protection
    async def send(
        self,
        value: str
        | bytes
        | bytearray
        | memoryview
        | Prepared
        | Iterable[str | bytes]
        | AsyncIterable[str | bytes],
        *,
        text: bool | None = None,
        compress: bool = True,
    ) -> None:
        if not compress or not isinstance(value, (str, bytes, bytearray, memoryview)):
            if compress and isinstance(value, Prepared):
                await deflate_prepared(value, self._outgoing.agreement)
            await super().send(value, text=text, compress=compress)
            return
        header, payload = encoded(value, text)
        outgoing = self._outgoing
        size = len(payload)
        if SLICED < size >= outgoing.agreement.threshold:
            with outgoing.holding(value, payload):
                await self._send_in_slices(header[0] & 0x0F, payload)
            return
        await self._wait_for_room(value, payload)
        self._put(header, payload)

    async def _send_in_slices(self, opcode: int, payload: bytes) -> None:
        """Send a long message; others wait until it has been compressed and put."""
        outgoing = self._outgoing
        await outgoing.begin_turn()
        try:
            if outgoing.shut and not self._connection.owes_answers():
                self._raise_gone()
            deflated = await deflate_in_slices(outgoing.deflater, payload)
            outgoing.deflater.end()
            await outgoing.unstuck()
            if outgoing.shut and not self._connection.owes_answers():
                self._raise_gone()
        except BaseException:
            outgoing.deflater.forget()
            raise
        else:
            outgoing.put_deflated(opcode, deflated[:-4], len(payload), self._messages)
        finally:
            outgoing.end_turn()
        if outgoing.broken:
            self._raise_gone()

    @trio.lowlevel.enable_ki_protection
    def try_send(
        self,
        value: str | bytes | bytearray | memoryview | Prepared,
        *,
        text: bool | None = None,
        compress: bool = True,
    ) -> bool:
        if not compress or isinstance(value, Prepared):
            return super().try_send(value, text=text, compress=compress)
        header, payload = encoded(value, text)
        outgoing = self._outgoing
        if outgoing.blocked and (not outgoing.shut or self._connection.owes_answers()):
            return False
        self._put(header, payload)
        return True

    def _put(self, header: bytes, payload: bytes) -> None:
        """Put a message, compressed if it is neither too short nor too long for that."""
        outgoing = self._outgoing
        if outgoing.shut and not self._connection.owes_answers():
            self._raise_gone()
        size = len(payload)
        if outgoing.agreement.threshold <= size <= SLICED:
            deflated = outgoing.deflater.deflate(payload)
            outgoing.put_deflated(header[0] & 0x0F, deflated, size, self._messages)
        else:
            outgoing.put_message(header, payload, self._messages)
        if outgoing.broken:
            self._raise_gone()

    def _put_frame(self, message: Prepared, gather: object, compress: bool) -> bool:
        if not compress:
            return super()._put_frame(message, gather, compress)
        return self._outgoing.put_prepared(message, gather)
