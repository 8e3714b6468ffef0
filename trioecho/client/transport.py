"""The stream between trio-websocket and the network: it keeps frames whole, and sees what the library does not tell.

Read in trio-websocket 0.12.2 (`_impl.py`), and why this file exists:

- `_send` writes under the caller's cancellation: a cancelled send leaves half a frame on the wire, and every frame
  behind it is garbage. Here one task writes; a frame is handed to it whole or not at all.
- A failed write makes the library forget what the server had still sent, its Close included. Here a failed write is
  remembered and not told; the library goes on reading until reading ends.
- A Ping that arrives behind our own Close is answered, which wsproto forbids by an exception that ends the library's
  reader, and so the wait for the server's Close. Here our Close does not go through the library; what the library
  writes behind it, Pongs and its own Close, is dropped.
- When TCP ends during the handshake, nobody is told and `wrap_client_stream` waits for ever. `when_ended` tells.
- Behind a broken frame the library keeps whatever arrives, without limit. `drain` throws it away.
- It hangs up TCP as soon as the Closes are exchanged, or, when the server closes first, never. RFC 6455 §7.1.1 has a
  client wait for the server to hang up; so `aclose` does nothing here, and the transport's maker closes the stream.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

_FIN_CLOSE = 0x88
_LONGEST_ANSWER = 65_536


class Transport(trio.abc.Stream):
    """`stream` for the use of trio-websocket. Does not close it. `write` must run in a task while it is in use."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._frames, self._to_write = trio.open_memory_channel[bytes](0)
        self._writing = False
        self._reading = False
        self._draining = False
        self.answer: bytes | None = b""
        """What the server sent until `opened` was called. A refusal of more than 64 KiB counts as ended there."""
        self.shut = False
        """A Close has been written, or writing has failed: what is sent now reaches nobody."""
        self.library_closed = False
        """trio-websocket has written a Close: it answers the server's, or refuses a message that is too big."""
        self.ended = trio.Event()
        """Nothing more will be read."""
        self.when_ended: Callable[[], object] = lambda: None
        """Called when reading ends."""

    def opened(self) -> bytes:
        """The handshake is done; returns the bytes of its answer, which are kept no longer."""
        answer, self.answer = self.answer or b"", None
        return answer

    async def write(self) -> None:
        """Write what is sent, until cancelled; then half a frame may have been written."""
        async with self._to_write:
            async for frame in self._to_write:
                if not self.shut:
                    await self._write(frame)

    async def _write(self, frame: bytes) -> None:
        self._writing = True
        try:
            await self._stream.send_all(frame)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.shut = True
        if frame[0] == _FIN_CLOSE:
            self.shut = True
        self._writing = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """For trio-websocket: one frame, or the request. Returns when its turn to be written has come.

        Cancelled: it will not be written. Never fails; `shut` tells.
        """
        frame = bytes(data)
        if frame[0] == _FIN_CLOSE:
            self.library_closed = True
        await self.say(frame)

    async def say(self, frame: bytes) -> None:
        """`send_all` for a frame that does not come from trio-websocket."""
        try:
            await self._frames.send(frame)
        except trio.BrokenResourceError:
            self.shut = True

    async def last_word(self, frame: bytes) -> None:
        """Write a Close when `write` has been cancelled, unless it was in the middle of a frame."""
        if not self._writing and not self.shut:
            await self._write(frame)

    async def wait_send_all_might_not_block(self) -> None:
        """Not used by trio-websocket."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """What arrives; after `drain`, nothing until the end."""
        if self._reading:
            await self.ended.wait()  # `drain` reads
            return b""
        self._reading = True
        try:
            data = bytes(await self._stream.receive_some(max_bytes))
            while data and self._draining:
                data = bytes(await self._stream.receive_some(max_bytes))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._end()
            raise
        finally:
            self._reading = False
        if self.answer is not None:
            self.answer += data
            if len(self.answer) > _LONGEST_ANSWER and self.answer[9:12] != b"101":
                self.answer, data = self.answer[:_LONGEST_ANSWER], b""
        if not data:
            self._end()
        return data

    async def drain(self) -> None:
        """Throw away what still arrives, and return when the server has hung up or TCP is lost."""
        self._draining = True
        if self._reading:
            await self.ended.wait()
        elif not self.ended.is_set():
            try:
                await self.receive_some()
            except trio.BrokenResourceError:
                pass  # lost is as good as hung up

    def _end(self) -> None:
        self.ended.set()
        self.when_ended()

    async def aclose(self) -> None:
        """For trio-websocket, which must not hang up: see above."""
        await trio.lowlevel.checkpoint()
