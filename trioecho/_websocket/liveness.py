"""Notices a dead peer, never a slow one; and the idle deadline.

The rule of keep-alive, and what others do:

- Any byte received is a sign of life, not only the Pong. A peer in the middle of a long message, over a slow line,
  cannot answer a Ping before that message is through. Likewise a peer that makes room for bytes that waited for it:
  it downloads slowly, and our Ping stands behind the download. (What lies in the kernels' buffers is beyond our
  sight: who takes longer than `keep_alive_timeout` over those is still taken for dead. So is who is alive behind a
  network that loses so much that TCP gets nothing through for so long: nobody on this side can tell the two apart.)
- While the server itself does not read (the handler is slow, the inbox is full), the clock stands still: the Pong may
  have arrived long ago and lie unread in the kernel. websockets' Trio server closes a client that answers every Ping
  with 1011 after 40 s when 40 messages wait for a slow handler; trio-websocket's ``ping()`` times out likewise.
  Meanwhile TCP's own keep-alive looks after the peer, with the same times (`Wire.keep_alive`).
- Nobody is judged by a loop that stood still: what lies unread in the kernel is read first.
- A Ping is sent only after `keep_alive_interval` of silence. Today's ASP.NET does the same once `KeepAliveTimeout` is
  set; before, it sent an unsolicited Pong and never noticed a dead peer.

The idle timeout is another thing: ASP.NET's article has the *client* send a message every X seconds and the server end
the connection when none came for 2 × X. So only what the client sent of its own accord counts: a data message or a
Ping. The Pong that answers our Ping does not.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio

from trioecho._protocol.endings import IDLE_TIMEOUT, KEEP_ALIVE_TIMEOUT, Ending
from trioecho._websocket.expiring import expired
from trioecho._websocket.incoming import Incoming
from trioecho._websocket.outgoing import Outgoing
from trioecho._websocket.pings import Pings, SentPing
from trioecho._wire.wire import Wire

if TYPE_CHECKING:
    from trioecho.options import WebSocketOptions

ROUNDS = 10
"""Rounds of Trio's loop in which what a client has sent must turn up, before it counts as silent: through the poller it
takes one, through `trio.SSLStream` more than four."""


class Liveness:
    """When one connection's peer was last heard, on Trio's clock, and the task that watches it."""

    __slots__ = (
        "_closed",
        "_over",
        "_paused_at",
        "_probe",
        "_scope",
        "heard_at",
        "latency",
        "pings",
    )

    def __init__(self, now: float) -> None:
        self.heard_at = now
        """When the last byte came."""
        self.latency: float | None = None
        """Seconds from the last answered Ping to its Pong."""
        self._paused_at: float | None = None
        self._over = self._closed = False
        self._scope: trio.CancelScope | None = None
        self.pings = Pings()
        """The Pings whose Pongs are awaited: those of keep-alive, and the handler's."""
        # Keep-alive's own.
        self._probe: SentPing | None = None

    def ponged(self, payloads: list[bytes], now: float) -> int:
        """Pongs came. They may answer our Pings, or none; returns how many answered none."""
        unasked = self.pings.ponged(payloads, now)
        if self._probe is not None and self._probe.seconds is not None:
            self.latency = self._probe.seconds
            self._probe = None
        return unasked

    def nothing_answers(self) -> None:
        """No Pong will come any more: tell whoever in the handler awaits one. Keep-alive goes on judging by itself."""
        self.pings.give_up(but=self._probe)

    def pause(self, now: float) -> None:
        """We stop reading: the clock stands still."""
        if self._paused_at is None:
            self._paused_at = now

    def resume(self, now: float, incoming: Incoming) -> None:
        """We read again: the clock goes on from where it stood."""
        if self._paused_at is not None:
            # What was heard during the pause, a slow reader's progress, stood still only from there.
            self.heard_at += now - max(self._paused_at, self.heard_at)
            incoming.message_at += now - max(self._paused_at, incoming.message_at)
            self._paused_at = None

    def expect_nothing(self) -> None:
        """The peer has closed, vanished or erred: its silence means nothing from here on."""
        self._over = True

    def close(self) -> None:
        """End `watch`."""
        self._closed = True
        if self._scope is not None:
            self._scope.cancel()

    @trio.lowlevel.enable_ki_protection
    async def watch(
        self, incoming: Incoming, outgoing: Outgoing, wire: Wire, options: WebSocketOptions
    ) -> Ending | OSError | None:
        """Watch until the connection has to end: `IDLE_TIMEOUT`, `KEEP_ALIVE_TIMEOUT`, or what the kernel found out
        while we did not read; None after `close`.

        A client whose messages wait for the handler is not idle, but waits for its answers. Shielded from
        cancellation: the connection ends it by `close`.
        """
        while not self._closed:
            now = trio.current_time()
            if self._paused_at is not None and (error := wire.error()) is not None:
                return error
            idle_at = self._idle_since(now, incoming) + options.idle_timeout
            if now >= idle_at:
                if incoming.messages:
                    incoming.message_at = now
                elif not await self._reads_first(wire, None):
                    return IDLE_TIMEOUT
                continue
            probe_at = self._silent_since(now, outgoing) + options.keep_alive_interval
            if now < probe_at:
                # What `trio.sleep_until` does, with two coroutines less to keep: most connections are here most of the
                # time. Once each interval at least, for a pause moves `probe_at` while we sleep.
                with trio.CancelScope(deadline=min(idle_at, probe_at), shield=True) as self._scope:
                    if not self._closed:
                        await trio.lowlevel.wait_task_rescheduled(_wake)
            elif not (
                await self._answers(outgoing, options.keep_alive_timeout, idle_at)
                or await self._reads_first(wire, outgoing)
            ):
                return KEEP_ALIVE_TIMEOUT
        return None

    async def _turn(self) -> None:
        """Wait until few others are about to do the same, or `close`."""
        with trio.CancelScope(shield=True) as self._scope:
            if not self._closed:
                await expired()

    async def _answers(self, outgoing: Outgoing, patience: float, idle_at: float) -> bool:
        """Ping the peer. False only if we listened for `patience` seconds without a break and not one byte came."""
        await self._turn()
        begun = trio.current_time()
        silent_since = self._silent_since(begun, outgoing)
        with trio.CancelScope(deadline=min(begun + patience, idle_at), shield=True) as self._scope:
            if self._closed:
                return True
            await outgoing.room()
            if self._probe is not None:
                self.pings.forget(self._probe)
            self._probe = probe = self.pings.send(b"", outgoing)
            await probe.over.wait()
            return True
        now = trio.current_time()
        # Bytes heard, or a time in which we did not read, move this forward.
        return self._closed or self._silent_since(now, outgoing) != silent_since or now < begun + patience

    async def _reads_first(self, wire: Wire, outgoing: Outgoing | None) -> bool:
        """Whether the peer has said something that we have yet to read, or made room in `outgoing` of which the task
        that writes has yet to hear: then it is not silent, we are slow.

        Seen: a loop that stood still for 0.8 s dropped all of 20 living clients, whose deadlines came before what lay
        in the kernel.
        """
        heard_at = self.heard_at
        progress_at = 0.0 if outgoing is None else outgoing.progress_at
        await self._turn()
        for _ in range(ROUNDS):
            if self._paused_at is None and wire.unread():
                await trio.lowlevel.cancel_shielded_checkpoint()
                return True
            # What has left the kernel may be on its way through TLS.
            await trio.lowlevel.cancel_shielded_checkpoint()
        return self.heard_at != heard_at or (outgoing is not None and outgoing.progress_at != progress_at)

    def _silent_since(self, now: float, outgoing: Outgoing) -> float:
        """When the last sign of life was given, moved forward by the time that we did not read."""
        return now if self._over else self._moved(max(self.heard_at, outgoing.progress_at), now)

    def _idle_since(self, now: float, incoming: Incoming) -> float:
        """When the last message or Ping came, moved forward likewise."""
        return now if self._over else self._moved(incoming.message_at, now)

    def _moved(self, at: float, now: float) -> float:
        return at if self._paused_at is None else at + now - max(self._paused_at, at)


def _wake(_raise_cancel: object) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.SUCCEEDED


def watches(options: WebSocketOptions) -> bool:
    """Whether there is anything to watch for."""
    return min(options.keep_alive_interval, options.idle_timeout) < math.inf
