"""Notices a dead peer, never a slow one; and the idle deadline.

The rule of keep-alive, and what others do:

- Any byte received is a sign of life, not only the Pong. A peer in the middle of a long message, over a slow line,
  cannot answer a Ping before that message is through. Likewise a peer that makes room for bytes that waited for it:
  it downloads slowly, and our Ping stands behind the download. (What lies in the kernels' buffers is beyond our
  sight: who takes longer than `keep_alive_timeout` over those is still taken for dead.)
- While the server itself does not read (the handler is slow, the inbox is full), the clock stands still: the Pong may
  have arrived long ago and lie unread in the kernel. websockets' Trio server closes a client that answers every Ping
  with 1011 after 40 s when 40 messages wait for a slow handler; trio-websocket's ``ping()`` times out likewise, so it
  is not used: the Ping is written, and its Pong noticed, here.
- A Ping is sent only after `keep_alive_interval` of silence. Today's ASP.NET does the same once `KeepAliveTimeout` is
  set; before, it sent an unsolicited Pong and never noticed a dead peer.

The idle timeout is another thing: ASP.NET's article has the *client* send a message every X seconds and the server end
the connection when none came for 2 × X. So only what the client sent of its own accord counts: a data message or a
Ping. The Pong that answers our Ping does not.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sized
from typing import TYPE_CHECKING

import trio

from trioecho._protocol.endings import IDLE_TIMEOUT, KEEP_ALIVE_TIMEOUT, Ending
from trioecho._protocol.frames import PING, encode_frame

if TYPE_CHECKING:
    from trioecho._websocket.outbox import Outbox
    from trioecho.options import WebSocketOptions


class Ping:
    """A Ping of ours: what it carries, when it was sent, and whether its Pong has come."""

    __slots__ = ("answered", "payload", "sent_at")

    def __init__(self, payload: bytes, sent_at: float) -> None:
        self.payload = payload
        self.sent_at = sent_at
        self.answered = trio.Event()


class Activity:
    """When the peer was last heard, on Trio's clock, in seconds, and which Pong it owes us.

    Pauses in our reading are not held against it.
    """

    __slots__ = ("_awaited", "_over", "_pause_began", "heard_at", "latency", "message_at")

    def __init__(self, now: float) -> None:
        self.heard_at = now
        """When the last byte came."""
        self.message_at = now
        """When the client last said something of its own accord: a data message or a Ping."""
        self._pause_began: float | None = None
        self._over = False
        self.latency: float | None = None
        """Seconds from the last answered Ping to its Pong."""
        self._awaited: Ping | None = None

    def heard(self) -> None:
        """The peer gave a sign of life just now."""
        self.heard_at = trio.current_time()

    def caught_up(self) -> None:
        """The handler has taken what the client had said: idleness counts from here."""
        self.message_at = trio.current_time()

    def ask(self, ping: Ping) -> None:
        """`ping` is the one whose Pong is awaited from now on."""
        self._awaited = ping

    def ponged(self, payload: bytes) -> None:
        """A Pong came. It may answer our Ping, or an earlier one, or none (RFC 6455 §5.5.3)."""
        ping = self._awaited
        if ping is not None and ping.payload == payload:
            self._awaited = None
            self.latency = trio.current_time() - ping.sent_at
            ping.answered.set()

    def pause(self, now: float) -> None:
        """We stop reading: the clock stands still."""
        if self._pause_began is None:
            self._pause_began = now

    def resume(self, now: float) -> None:
        """We read again: the clock goes on from where it stood."""
        if self._pause_began is not None:
            standing = now - self._pause_began
            self.heard_at += standing
            self.message_at += standing
            self._pause_began = None

    def expect_nothing(self) -> None:
        """The peer has closed, vanished or erred: its silence means nothing from here on."""
        self._over = True

    def silent_since(self, now: float) -> float:
        """When the last byte came, moved forward by the time that we did not read."""
        return now if self._over else self.heard_at + self._pause(now)

    def idle_since(self, now: float) -> float:
        """When the last message or Ping came, moved forward likewise."""
        return now if self._over else self.message_at + self._pause(now)

    def _pause(self, now: float) -> float:
        return now - self._pause_began if self._pause_began is not None else 0.0


async def keep_alive(
    activity: Activity,
    outbox: Outbox,
    waiting: Sized,
    options: WebSocketOptions,
    end: Callable[[Ending], object],
) -> None:
    """Watch one connection; call `end` with `IDLE_TIMEOUT` or `KEEP_ALIVE_TIMEOUT` when it has to end, and return.

    `waiting` are the messages that the handler has yet to take: a client whose messages wait is not idle, but waits
    for its answers. Cancelled at any time without consequences.
    """
    while True:
        now = trio.current_time()
        idle_at = activity.idle_since(now) + options.idle_timeout
        if now >= idle_at:
            if not waiting:
                end(IDLE_TIMEOUT)
                return
            activity.message_at = now
            continue
        probe_at = activity.silent_since(now) + options.keep_alive_interval
        if now < probe_at:
            # What `trio.sleep_until` does, with a coroutine less to keep: most connections are here most of the time.
            with trio.CancelScope(deadline=min(idle_at, probe_at)):
                await trio.sleep_forever()
        elif not await _answers(activity, outbox, now, options.keep_alive_timeout, idle_at):
            end(KEEP_ALIVE_TIMEOUT)
            return


async def _answers(activity: Activity, outbox: Outbox, begun: float, patience: float, idle_at: float) -> bool:
    """Ping the peer. False only if we listened for `patience` seconds without a break and not one byte came."""
    silent_since = activity.silent_since(begun)
    with trio.CancelScope(deadline=min(begun + patience, idle_at)):
        await outbox.room()
        ping = Ping(os.urandom(4), trio.current_time())
        activity.ask(ping)
        outbox.put(encode_frame(PING, ping.payload))
        await ping.answered.wait()
        return True
    now = trio.current_time()
    # Bytes heard, or a time in which we did not read, move this forward.
    return activity.silent_since(now) != silent_since or now < begun + patience
