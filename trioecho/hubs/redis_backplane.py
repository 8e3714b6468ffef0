"""RedisBackplane: several processes, on any number of machines, serve one hub, by the pub/sub of one Redis."""

from __future__ import annotations

import contextlib
import logging
import ssl
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import trio

from trioecho._protocol.counted import counted
from trioecho.hubs.backplane import Address, BackplaneError, Local, NoConnection, Result
from trioecho.hubs.exceptions import HubException
from trioecho.hubs.redis_messages import (
    Answered,
    AnyMessage,
    Call,
    Cancel,
    Channels,
    Done,
    Join,
    Leave,
    Sent,
    Still,
    decode,
    encode,
    new_name,
    sender_of,
)
from trioecho.hubs.redis_url import parse_redis_url

if TYPE_CHECKING:
    from trioecho.hubs.redis_link import RedisLink

logger = logging.getLogger("trioecho.hubs")

ACKNOWLEDGED_WITHIN = 5.0
"""Seconds in which the process of a connection puts it into a group."""

STILL_INTERVAL = 5.0
"""Seconds between two questions whether an answer is still to come."""

RETRY_INTERVAL = 0.1
"""Seconds until an answer is given once more that Redis did not take."""

MOST_CALLS = 10_000
"""Calls for other processes that wait for clients here, and changes of groups that wait for their turn."""


@dataclass(slots=True, eq=False)
class Asked:
    """What another process owes an answer to."""

    event: trio.Event = field(default_factory=trio.Event)
    answer: Done | Answered | None = None


class RedisBackplane:
    """Lets all processes that give it the same Redis and `prefix` serve one hub: a `Backplane`.

    `url` is ``redis://[[user]:password@]host[:port][/db]``, ``rediss://`` for TLS or ``unix:///path``. Channels are
    called ``prefix:name of the hub's class:…``, so hubs of different classes do not mix; what `db` is does not matter
    to them. `ssl_context` is for ``rediss://``; by default the certificate has to be valid for the host.

    Sending to other processes hands a message to Redis and does not wait for it. Redis forgets what it has passed on.
    So what others send while a process has lost its connection does not reach the clients there; groups are kept, and
    listened to again when Redis is back, which is tried twice a second. Meanwhile calls go on, clients of the same
    process are reached, and what should reach others raises `BackplaneError`. Redis is trusted: who can publish there
    can say anything to any client.

    One object serves one hub. Needs coredis: ``pip install 'trioecho[redis]'``.

    Raises TypeError or ValueError with one sentence for what will not do, and ImportError where coredis is missing.
    """

    def __init__(
        self, url: str, prefix: str = "trioecho", *, ssl_context: ssl.SSLContext | None = None
    ) -> None:
        self._url = parse_redis_url(url)
        if not isinstance(prefix, str):
            raise TypeError(f"prefix takes a string such as 'chat'; you gave {prefix!r}")
        if not prefix:
            raise ValueError("prefix is empty; give what the channels' names begin with, such as 'chat'")
        if ssl_context is not None and not isinstance(ssl_context, ssl.SSLContext):
            raise TypeError(f"ssl_context takes an ssl.SSLContext or None; you gave {ssl_context!r}")
        if ssl_context is not None and not self._url.tls:
            raise ValueError("ssl_context is for a URL that begins with rediss://")
        if self._url.tls and ssl_context is None:
            ssl_context = ssl.create_default_context()
        try:
            from trioecho.hubs import redis_link
        except ImportError as error:
            raise ImportError("RedisBackplane needs coredis: pip install 'trioecho[redis]'") from error
        self._make_link = redis_link.RedisLink
        self._prefix = prefix
        self._ssl_context = ssl_context
        self._name = new_name()
        self._link: RedisLink | None = None
        self._asked: dict[int, Asked] = {}
        self._number = 0
        self._calls: dict[tuple[bytes, int], trio.CancelScope] = {}
        self._addresses: dict[bytes, Address] = {}
        self._told_of_garbage = False

    def __repr__(self) -> str:
        return f"RedisBackplane({str(self._url)!r}, {self._prefix!r})"

    @property
    def healthy(self) -> bool:
        """Whether Redis answers in time."""
        return self._link is not None and self._link.healthy

    async def run(
        self, local: Local, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Carry messages until it is cancelled; started when Redis has been found, or found to be away.

        Raises RuntimeError where it runs already.
        """
        if self._link is not None:
            raise RuntimeError(f"{self!r} serves a hub already; make another for each")
        self._channels = Channels(self._prefix, local.name)
        self._local = local
        self._link = self._make_link(self._url, self._ssl_context, self._channels.pulse(self._name))
        self._changes, changes = trio.open_memory_channel[tuple[bytes, Join | Leave]](MOST_CALLS)
        try:
            with self._changes, changes:
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    nursery.start_soon(self._change_groups, changes)
                    await self._link.subscribe(self._channels.process(self._name))
                    await nursery.start(self._link.run, self._take)
                    task_status.started()
        finally:
            self._link = None
            self._addresses.clear()

    # What the hub tells the other processes.

    async def publish(
        self, address: Address, message: Mapping[str, bytes], exclude: Collection[str] = ()
    ) -> None:
        """Hand a message to Redis. Waits only where 1 MiB is on its way already; then who floods is slowed down."""
        link = self._used
        await link.publish(self._channels.of(address), encode(self._name, Sent(dict(message), list(exclude))))

    async def subscribe(self, address: Address) -> None:
        """Listen to an address; see `Backplane`. Waits for Redis, and until it is found to be away at most."""
        link = self._link
        if link is None:
            return
        channel = self._channels.of(address)
        self._addresses[channel] = address
        await link.subscribe(channel)

    def unsubscribe(self, address: Address) -> None:
        """Listen to it as often less."""
        if self._link is not None:
            channel = self._channels.of(address)
            if not self._link.unsubscribe(channel):
                del self._addresses[channel]

    async def join(self, connection_id: str, group: str) -> bool:
        """Put a connection of another process into a group, and wait until that has been done.

        Raises what `Local.join` raises there, and `BackplaneError` where nobody says so within 5 seconds.
        """
        return await self._change(Join(self._next(), connection_id, group))

    async def leave(self, connection_id: str, group: str) -> bool:
        """Take a connection of another process out of a group, as `join` puts it in."""
        return await self._change(Leave(self._next(), connection_id, group))

    async def _change(self, change: Join | Leave) -> bool:
        with self._asking(change.number) as asked:
            if not await self._ask(change.connection_id, change):
                return False
            with trio.move_on_after(ACKNOWLEDGED_WITHIN):
                await asked.event.wait()
        done = asked.answer
        if not isinstance(done, Done):
            raise BackplaneError(
                f"the process of the connection {change.connection_id!r} has not answered within "
                f"{counted(ACKNOWLEDGED_WITHIN, 'second')}"
            )
        if done.error is not None:
            raise HubException(done.error)
        return done.there

    async def invoke(self, connection_id: str, target: str, arguments: Mapping[str, bytes]) -> Result:
        """Call a method of another process's client and wait for its answer, as long as it is there."""
        call = Call(self._next(), connection_id, target, dict(arguments))
        with self._asking(call.number) as asked:
            reached = await self._ask(connection_id, call)
            try:
                while reached and not asked.event.is_set():
                    with trio.move_on_after(STILL_INTERVAL):
                        await asked.event.wait()
                        break
                    reached = await self._ask(connection_id, Still(call.number))
            except trio.Cancelled:
                with contextlib.suppress(BackplaneError):
                    self._say(self._channels.of(Address("connection", connection_id)), Cancel(call.number))
                raise
        answered = asked.answer
        if not isinstance(answered, Answered) or answered.gone:
            raise NoConnection(
                f"there is no connection {connection_id!r}, or it has ended before it answered"
            )
        if answered.lost:
            raise BackplaneError(f"what the connection {connection_id!r} has answered was lost on its way")
        return Result(answered.protocol, answered.value, answered.error)

    @property
    def _used(self) -> RedisLink:
        if self._link is None:
            raise BackplaneError("the hub is not served, so its backplane does not run")
        return self._link

    def _next(self) -> int:
        self._number += 1
        return self._number

    @contextlib.contextmanager
    def _asking(self, number: int) -> Iterator[Asked]:
        asked = self._asked[number] = Asked()
        try:
            yield asked
        finally:
            del self._asked[number]

    async def _ask(self, connection_id: str, message: AnyMessage) -> bool:
        """Send to the process of a connection. Returns whether anybody has it."""
        link = self._used
        channel = self._channels.of(Address("connection", connection_id))
        return await link.ask(channel, encode(self._name, message)) > 0

    def _say(self, channel: bytes, message: AnyMessage) -> None:
        self._used.publish_now(channel, encode(self._name, message))

    # What the other processes tell.

    def _take(self, channel: bytes, payload: bytes) -> None:
        """Take what has come over a channel. It never raises: it would end the hub."""
        sender = sender_of(payload)
        if sender == self._name:
            return
        try:
            message = decode(payload)
        except msgspec.DecodeError as error:
            if not self._told_of_garbage:
                self._told_of_garbage = True
                logger.warning("Redis passed on what is no message of trioecho's, once or more: %s", error)
            return
        if isinstance(message, Sent):
            address = self._addresses.get(channel)
            if address is not None:
                self._local.deliver(address, message.messages, message.exclude)
        elif isinstance(message, Done | Answered):
            asked = self._asked.get(message.number)
            if asked is not None:
                asked.answer = message
                asked.event.set()
        elif isinstance(message, Join | Leave):
            with contextlib.suppress(trio.WouldBlock):
                # Whoever has sent it will have waited too long.
                self._changes.send_nowait((sender, message))
        elif isinstance(message, Call):
            if (sender, message.number) in self._calls:
                # It has come twice, and is answered once.
                return
            if len(self._calls) < MOST_CALLS:
                scope = self._calls[sender, message.number] = trio.CancelScope()
                self._nursery.start_soon(self._call, sender, message, scope)
            else:
                refusal = f"{MOST_CALLS} clients' results are awaited here already"
                self._answer(sender, Answered(message.number, error=refusal))
        elif isinstance(message, Cancel):
            if (sender, message.number) in self._calls:
                self._calls[sender, message.number].cancel()
        elif (sender, message.number) not in self._calls:
            self._answer(sender, Answered(message.number, lost=True))

    def _answer(self, process: bytes, message: Done | Answered) -> None:
        with contextlib.suppress(BackplaneError):
            self._say(self._channels.process(process), message)

    async def _change_groups(self, changes: trio.MemoryReceiveChannel[tuple[bytes, Join | Leave]]) -> None:
        """Put connections of this process into groups, and out of them, in the order in which that was asked for."""
        async for sender, change in changes:
            there, error = False, None
            try:
                if isinstance(change, Join):
                    there = await self._local.join(change.connection_id, change.group)
                else:
                    there = await self._local.leave(change.connection_id, change.group)
            except HubException as refused:
                error = str(refused)
            self._answer(sender, Done(change.number, there, error))

    async def _call(self, sender: bytes, call: Call, scope: trio.CancelScope) -> None:
        """Call a method of a client here, and tell what it answers, as soon as Redis can be told."""
        try:
            with scope:
                answer = await self._answer_to(call)
                while True:
                    try:
                        self._say(self._channels.process(sender), answer)
                        return
                    except BackplaneError:
                        await trio.sleep(RETRY_INTERVAL)
                        await self._used.usable()
        finally:
            del self._calls[sender, call.number]

    async def _answer_to(self, call: Call) -> Answered:
        try:
            result = await self._local.invoke(call.connection_id, call.target, call.arguments)
        except NoConnection:
            return Answered(call.number, gone=True)
        except HubException as error:
            return Answered(call.number, error=str(error))
        return Answered(call.number, result.protocol, result.value, result.error)
