"""The calls of one client: in their order, so many at once, each in a cancel scope of its own.

Two tasks see to them. One reads, and runs a call whose turn it is by itself: most need not wait, and waking another
task for each would cost half as much again. Where one does wait, the other task reads from then on, and calls queue.
More tasks work them off where `parallel_invocations` has it. Calls that stream, in either direction, begin in their
turn and then have a task each, so that a long stream holds nothing up.
"""

from __future__ import annotations

import functools
import logging
import types
from collections import deque
from collections.abc import Coroutine, Generator
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from trioecho._protocol.untrusted import in_quotes
from trioecho.hubs.exceptions import HubException, cause_of, invocation_failed, stream_failed
from trioecho.hubs.messages import BadMessage, Invocation
from trioecho.hubs.methods import Method, Methods
from trioecho.hubs.streams import Upload

if TYPE_CHECKING:
    from trioecho.hubs.hub import Hub
    from trioecho.hubs.hub_connection import HubConnection
    from trioecho.hubs.hub_options import HubOptions

logger = logging.getLogger("trioecho.hubs")

CANCELLED = "The invocation was cancelled."

LONGEST_TARGET = 100
"""Characters of an unknown method's name that its caller is told again."""


class Call:
    """One call that waits or runs."""

    __slots__ = ("arguments", "failure", "invocation", "method", "scope", "uploads")

    arguments: msgspec.Struct
    """Set when its turn has come."""

    def __init__(self, invocation: Invocation, method: Method | None, failure: str | None) -> None:
        self.invocation = invocation
        self.method = method
        self.failure = failure
        """What its caller is told instead of running it."""
        self.scope: trio.CancelScope | None = None
        self.uploads: list[Upload] = []


class Worker:
    """A task that reads, or works calls off, and what it is at."""

    __slots__ = ("_idle", "answer", "call", "scope", "task")

    scope: trio.CancelScope
    task: trio.lowlevel.Task

    def __init__(self, idle: list[Worker]) -> None:
        self._idle = idle
        self.call: Call | None = None
        self.answer: bytes | None = None

    def abort(self, _: object) -> trio.lowlevel.Abort:
        """Wait no more: it is cancelled."""
        self._idle.remove(self)
        return trio.lowlevel.Abort.SUCCEEDED


class Invocations:
    """All calls of one connection. `attend` is what its tasks do."""

    __slots__ = (
        "_beside",
        "_by_id",
        "_closed",
        "_connection",
        "_hub",
        "_idle",
        "_methods",
        "_open",
        "_options",
        "_room",
        "_running",
        "_tasks",
        "_uploads",
        "_waiting",
        "reader",
    )

    def __init__(
        self, connection: HubConnection, hub: Hub[Any], methods: Methods, options: HubOptions
    ) -> None:
        self._connection = connection
        self._hub = hub
        self._methods = methods
        self._options = options
        self._waiting: deque[Call] = deque()
        self._by_id: dict[str, Call] = {}
        self._uploads: dict[str, Upload] = {}
        self._idle: list[Worker] = []
        self._running = 0
        # The connection's own, which may not be here yet, and the one that begins with reading.
        self._tasks = 2
        self._open = False
        self.reader: Worker | None = None
        """Which of the tasks reads; None while that is changing."""
        self._beside = 0
        self._room: trio.Event | None = None
        self._closed = False

    def add(self, invocation: Invocation) -> bool:
        """Let a call wait for its turn; False where too many do already.

        Raises `BadMessage` where an id is used twice.
        """
        if self._closed:
            return True
        if len(self._waiting) >= self._options.waiting_invocations:
            return False
        self._queue(self._registered(invocation))
        return True

    def _registered(self, invocation: Invocation) -> Call:
        call = self._call(invocation)
        id = invocation.id
        if id is not None:
            if id in self._by_id:
                raise BadMessage("An invocation has the id of one that has not ended.")
            self._by_id[id] = call
        return call

    def _queue(self, call: Call) -> None:
        self._waiting.append(call)
        if self._has_turn:
            if self._idle:
                trio.lowlevel.reschedule(self._idle.pop().task)
            else:
                self._hire()

    def item(self, id: str, item: msgspec.Raw) -> bool:
        """Give an item to the method that takes the upload `id`; False where as many wait as may."""
        upload = self._uploads.get(id)
        if upload is None:
            return True
        if upload.full:
            return False
        try:
            upload.put(self._connection.protocol.parse(item, upload.kind))
        except msgspec.DecodeError as error:
            upload.end(f"An item of the stream is not what it should be: {error}.")
        return True

    async def room(self, id: str | None) -> None:
        """Wait until the upload `id`, or with None one call more, would be taken. A checkpoint.

        An upload from which nothing is taken for `client_timeout` fails then, so that there is room. Raises
        `BadMessage` where for so long no call has had its turn.
        """
        upload = None if id is None else self._uploads.get(id)
        with trio.move_on_after(self._options.client_timeout):
            if upload is not None:
                await upload.room()
            elif id is None:
                await self._room_for_call()
            await trio.lowlevel.checkpoint()
            return
        if upload is None:
            raise BadMessage(
                f"More than {self._options.waiting_invocations} invocations wait for their turn."
            )
        upload.end("The stream was not taken in time.")

    def end_upload(self, id: str, error: str | None) -> bool:
        """End an upload as its client says. Returns whether there is one with this id."""
        upload = self._uploads.pop(id, None)
        if upload is None:
            return False
        upload.end(error)
        return True

    def cancel(self, id: str) -> bool:
        """Cancel a call, whether it runs or waits; False where there is none with this id."""
        call = self._by_id.get(id)
        if call is None:
            return False
        if call.scope is None:
            # It waits for its turn, or for its task to begin.
            call.scope = trio.CancelScope()
        call.scope.cancel()
        return True

    def close(self) -> None:
        """Begin no more, and cancel those that run."""
        self._closed = True
        self._waiting.clear()
        for call in tuple(self._by_id.values()):
            if call.scope is not None:
                call.scope.cancel()
        for upload in tuple(self._uploads.values()):
            upload.close()
        self._make_room()

    async def work(self) -> None:
        """Let calls begin, and be one of the tasks that see to them, until it is cancelled."""
        self._open = True
        for _ in range(min(self._options.parallel_invocations, len(self._waiting)) - 1):
            self._hire()
        await self.attend()

    async def attend(self) -> None:
        """Read what the client sends where nobody does, else work its calls off, until it is cancelled."""
        worker = Worker(self._idle)
        while True:
            # One scope for many calls, until one of them is cancelled: entering one costs as much as a call does.
            worker.scope = trio.CancelScope()
            try:
                with worker.scope:
                    await self._attend(worker)
            except Exception as error:
                worker.answer = self._failed(worker.call, error)
            call, answer = worker.call, worker.answer
            worker.call = worker.answer = None
            if call is not None and call.invocation.id is not None:
                del self._by_id[call.invocation.id]
                self._running += 1
                try:
                    await self._connection.answer(answer or self._told(call, CANCELLED))
                finally:
                    self._running -= 1

    async def _attend(self, worker: Worker) -> None:
        """As `attend`, until a call of this task's is cancelled: then `worker` has the call, and perhaps the answer."""
        while not self._closed:
            if self.reader is None:
                self.reader = worker
                if not await self._connection.read(worker):
                    return
            elif self._waiting and self._has_turn:
                if not await self._work_off(worker, self._waiting.popleft()):
                    return
            else:
                worker.task = trio.lowlevel.current_task()
                self._idle.append(worker)
                await trio.lowlevel.wait_task_rescheduled(worker.abort)
        await trio.sleep_forever()

    @property
    def _has_turn(self) -> bool:
        return self._open and self._running < self._options.parallel_invocations

    def _hire(self) -> None:
        """Start one task more, unless there are as many as can be at anything; then one of them is just free."""
        if self._tasks > self._options.parallel_invocations:
            return
        self._tasks += 1
        self._connection.nursery.start_soon(self.attend)

    async def take(self, worker: Worker, invocation: Invocation) -> bool:
        """Run a call whose turn it is, in the task that reads, `worker`; else let it wait for its turn.

        Where it has to wait for anything another task reads on: `worker` is not the `reader` any more. Raises as
        `add`. Returns False where the call was cancelled: then `worker` has the answer.
        """
        if self._waiting or not self._has_turn or self._closed:
            return self.add(invocation) or await self._connection.hold(invocation)
        call = self._registered(invocation)
        method = call.method
        if method is None or method.beside or call.failure is not None:
            self._queue(call)
            return True
        return await self._run_plain(worker, call, method)

    async def _work_off(self, worker: Worker, call: Call) -> bool:
        """Run a call that has waited. Returns as `take`."""
        if self._room is not None:
            self._make_room()
        method = call.method
        if method is not None and call.failure is None and not method.beside and call.scope is None:
            return await self._run_plain(worker, call, method)
        # Also what is refused has its answer before another has its turn: nobody can make answers pile up.
        self._running += 1
        try:
            if call.failure is not None or method is None:
                await self._refuse(call, call.failure or "")
            elif method.beside:
                await self._begin_beside(call, method)
            else:
                await self._refuse(call, CANCELLED)
        finally:
            self._running -= 1
        return True

    async def _run_plain(self, worker: Worker, call: Call, method: Method) -> bool:
        protocol, id = self._connection.protocol, call.invocation.id
        call.scope = worker.scope
        worker.call = call
        self._running += 1
        try:
            try:
                arguments = protocol.parse(call.invocation.arguments, method.arguments)
            except msgspec.DecodeError as error:
                answer = self._told(call, _bad_arguments(call, error))
            else:
                answer = await self._answer_of(worker, call, method, arguments)
            if worker.scope.cancel_called:
                # Nothing can be waited for in it any more.
                worker.answer = answer
                return False
            worker.call = None
            if id is not None:
                del self._by_id[id]
                if not self._connection.answered_at_once(answer):
                    if self.reader is worker:
                        # What has to be read may be what the answer waits for.
                        self._hand_over()
                    await self._connection.answer(answer)
        finally:
            self._running -= 1
        return True

    async def _answer_of(
        self, worker: Worker, call: Call, method: Method, arguments: msgspec.Struct
    ) -> bytes:
        protocol, id = self._connection.protocol, call.invocation.id
        try:
            running = method.call(self._hub, arguments, call.uploads)
            result = await (self._reading_on(running) if self.reader is worker else running)
            if id is None:
                return b""
            return protocol.completion(id) if method.void else protocol.result(id, result)
        except Exception as error:
            return self._failed(call, error)

    def _hand_over(self) -> None:
        """Let another task read."""
        self.reader = None
        if self._idle:
            trio.lowlevel.reschedule(self._idle.pop().task)
        else:
            self._hire()

    @types.coroutine
    def _reading_on(self, running: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """Run a call in the task that reads. Where it waits, another task reads from then on."""
        try:
            trap = running.send(None)
        except StopIteration as done:
            # Most calls come here: no other task had to be woken.
            return done.value
        self._hand_over()
        while True:
            try:
                value = yield trap
            except BaseException as error:
                step = functools.partial(running.throw, error)
            else:
                step = functools.partial(running.send, value)
            try:
                trap = step()
            except StopIteration as done:
                return done.value
            finally:
                # It may hold the exception, whose traceback holds this frame.
                del step

    async def _begin_beside(self, call: Call, method: Method) -> None:
        if call.scope is not None and not method.streams:
            await self._refuse(call, CANCELLED)
        elif self._beside >= self._options.max_streams:
            await self._refuse(call, self._too_many_streams(call.invocation.target))
        else:
            try:
                call.arguments = self._connection.protocol.parse(call.invocation.arguments, method.arguments)
            except msgspec.DecodeError as error:
                await self._refuse(call, _bad_arguments(call, error))
                return
            self._beside += 1
            self._connection.nursery.start_soon(self._run_beside, call, method)

    def _failed(self, call: Call | None, error: Exception) -> bytes:
        """Return what the caller of a call that has failed is answered; b"" for nobody."""
        assert call is not None
        assert call.method is not None
        return self._told(call, self._failure(call, call.method, error, begun=False))

    def _told(self, call: Call, failure: str) -> bytes:
        id = call.invocation.id
        return b"" if id is None else self._connection.protocol.failure(id, failure)

    async def _run(self, call: Call, method: Method) -> None:
        """Run a call that takes streams and returns one value, or nothing, and tell its caller."""
        protocol, id = self._connection.protocol, call.invocation.id
        answer = self._told(call, CANCELLED)
        try:
            call.scope = call.scope or trio.CancelScope()
            with call.scope:
                result = await method.call(self._hub, call.arguments, call.uploads)
                if id is not None:
                    answer = protocol.completion(id) if method.void else protocol.result(id, result)
        except Exception as error:
            answer = self._failed(call, error)
        if id is not None:
            del self._by_id[id]
            await self._connection.answer(answer)

    async def _run_beside(self, call: Call, method: Method) -> None:
        try:
            if method.streams:
                await self._run_stream(call, method)
            else:
                await self._run(call, method)
        finally:
            self._beside -= 1
            self._let_go(call)

    async def _run_stream(self, call: Call, method: Method) -> None:
        """Run a call that returns a stream, and send its items as they come. Cancelled by its caller, it has ended."""
        protocol, id = self._connection.protocol, call.invocation.id
        assert id is not None
        begun = False
        answer = protocol.completion(id)
        try:
            # Cancelled before, it begins all the same: what it does at its end is done.
            call.scope = call.scope or trio.CancelScope()
            with call.scope:
                stream = method.call(self._hub, call.arguments, call.uploads)
                if not method.generator:
                    stream = await stream
                try:
                    async for item in stream:
                        data = protocol.item(id, item)
                        begun = True
                        if not await self._connection.answer(data):
                            return
                finally:
                    if hasattr(stream, "aclose"):
                        await stream.aclose()
        except Exception as error:
            answer = protocol.failure(id, self._failure(call, method, error, begun=begun))
        finally:
            del self._by_id[id]
        await self._connection.answer(answer)

    async def _refuse(self, call: Call, failure: str) -> None:
        id = call.invocation.id
        self._let_go(call)
        if id is not None:
            del self._by_id[id]
            await self._connection.answer(self._connection.protocol.failure(id, failure))

    def _call(self, invocation: Invocation) -> Call:
        method = self._methods.find(invocation.target)
        failure = self._fault(invocation, method)
        call = Call(invocation, method, failure)
        if failure is None and method is not None:
            for id, (_, kind) in zip(invocation.streams, method.uploads, strict=True):
                if id in self._uploads:
                    raise BadMessage("A stream has the id of one that has not ended.")
                upload = self._uploads[id] = Upload(kind, self._options.stream_buffer)
                call.uploads.append(upload)
        return call

    def _fault(self, invocation: Invocation, method: Method | None) -> str | None:
        """Return what its caller is told of a call that cannot be run; None where nothing is wrong yet."""
        target = invocation.target
        if method is None:
            name = target[:LONGEST_TARGET]
            return f"Failed to invoke '{name}' due to an error on the server. HubException: Method does not exist."
        if method.streams and not invocation.streaming:
            return f"The client attempted to invoke the streaming '{target}' method with a non-streaming invocation."
        if invocation.streaming and not method.streams:
            return f"The client attempted to invoke the non-streaming '{target}' method with a streaming invocation."
        if len(invocation.streams) != len(method.uploads):
            return (
                f"Failed to invoke '{target}': it takes {len(method.uploads)} streams from the client, "
                f"not {len(invocation.streams)}."
            )
        if len(self._uploads) + len(method.uploads) > self._options.max_streams and method.uploads:
            return self._too_many_streams(target)
        return None

    def _too_many_streams(self, target: str) -> str:
        return f"Failed to invoke '{target}': this client has {self._options.max_streams} streams already."

    def _failure(self, call: Call, method: Method, error: Exception, *, begun: bool) -> str:
        """Return what its caller is told of an exception, and log what is none of the client's doing."""
        target = call.invocation.target
        cause = cause_of(error)
        if not isinstance(cause, HubException) and not self._connection.over:
            logger.error(
                "%s.%s failed, called by %s",
                type(self._hub).__name__,
                method.name,
                in_quotes(self._connection.id),
                exc_info=error,
            )
        detailed = self._options.detailed_errors
        return stream_failed(error, detailed) if begun else invocation_failed(target, error, detailed)

    def _let_go(self, call: Call) -> None:
        for upload in call.uploads:
            upload.close()
        for id in call.invocation.streams:
            if self._uploads.get(id) in call.uploads:
                del self._uploads[id]

    async def _room_for_call(self) -> None:
        while len(self._waiting) >= self._options.waiting_invocations and not self._closed:
            self._room = trio.Event()
            await self._room.wait()

    def _make_room(self) -> None:
        if self._room is not None:
            self._room.set()
            self._room = None


def _bad_arguments(call: Call, error: msgspec.DecodeError) -> str:
    return f"Failed to invoke '{call.invocation.target}' because of its arguments: {error}."
