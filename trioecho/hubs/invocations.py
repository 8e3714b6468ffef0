"""The calls of one client: in their order, so many at once, each in a cancel scope of its own.

Two tasks see to them. One reads, and runs a call whose turn it is by itself: most need not wait, and waking another
task for each would cost half as much again. Where one does wait, the other task reads from then on, and calls queue.
More tasks work them off where `parallel_invocations` has it. Calls that stream, in either direction, begin in their
turn and then have a task each, so that a long stream holds nothing up.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Coroutine
from typing import TYPE_CHECKING, Any

import msgspec
import trio
from msgspec.structs import astuple

from trioecho._protocol.untrusted import in_quotes
from trioecho.hubs.backplane import BackplaneError
from trioecho.hubs.call import NO_UPLOADS, Call, Worker
from trioecho.hubs.exceptions import HubException, cause_of, invocation_failed, stream_failed
from trioecho.hubs.messages import BadMessage, Invocation
from trioecho.hubs.methods import Method, Methods
from trioecho.hubs.resumed import Resumed
from trioecho.hubs.uploads import Uploads

if TYPE_CHECKING:
    from trioecho.hubs.hub import Hub
    from trioecho.hubs.hub_connection import HubConnection
    from trioecho.hubs.hub_options import HubOptions

logger = logging.getLogger("trioecho.hubs")

CANCELLED = "The invocation was cancelled."

LONGEST_TARGET = 100
"""Characters of an unknown method's name that its caller is told again."""


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
        "_waiting",
        "reader",
        "uploads",
    )

    def __init__(
        self, connection: HubConnection, hub: Hub[Any], methods: Methods, options: HubOptions
    ) -> None:
        self._connection = connection
        self._hub = hub
        self._methods = methods
        self._options = options
        # None until the first one: most connections never have one, and an empty queue takes 760 bytes.
        self._waiting: deque[Call] | None = None
        self._by_id: dict[str, Call] = {}
        self.uploads = Uploads(connection.protocol, options)
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
        if self._waiting is None:
            self._waiting = deque()
        if len(self._waiting) >= self._options.waiting_invocations:
            return False
        call = self._call(invocation)
        id = invocation.id
        if id is not None:
            if id in self._by_id:
                raise BadMessage("An invocation has the id of one that has not ended.")
            self._by_id[id] = call
        self._waiting.append(call)
        if self._has_turn:
            if self._idle:
                trio.lowlevel.reschedule(self._idle.pop().task)
            else:
                self._hire()
        return True

    async def room(self) -> None:
        """Wait until one call more would be taken. A checkpoint only where it would not be.

        Raises `BadMessage` where for `client_timeout` no call has had its turn.
        """
        with trio.move_on_after(self._options.client_timeout):
            while (
                self._waiting and len(self._waiting) >= self._options.waiting_invocations and not self._closed
            ):
                self._room = trio.Event()
                await self._room.wait()
            return
        raise BadMessage(f"More than {self._options.waiting_invocations} invocations wait for their turn.")

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
        self._waiting = None
        for call in tuple(self._by_id.values()):
            if call.scope is not None:
                call.scope.cancel()
        self.uploads.close()
        self._make_room()

    def begin(self) -> None:
        """Let calls run: from now on, tasks that `attend` may."""
        self._open = True
        for _ in range(min(self._options.parallel_invocations, len(self._waiting or ())) - 1):
            self._hire()

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

    def run_now(self, worker: Worker, invocation: Invocation) -> Awaitable[bool] | bool:
        """Run a call whose turn it is in the task that reads, `worker`.

        Returns True where it has run and was answered, and False where it has to go to `add`, since it is not its turn,
        or it is none that is simply called. Where it waits for anything, or its answer does, the rest is to be awaited
        at once: another task reads on meanwhile, so that `worker` is not the `reader` any more, and False says that
        the call was cancelled, and `worker` has the answer.
        """
        # Every call by a client comes here: what is written out could be a property, or a method, and would cost more.
        if (
            self._waiting
            or not self._open
            or self._running >= self._options.parallel_invocations
            or self._closed
            or invocation.streaming
        ):
            return False
        method, id = self._methods.find(invocation.target), invocation.id
        if method is None or method.beside or invocation.streams or id in self._by_id:
            return False
        protocol = self._connection.protocol
        try:
            arguments = protocol.parse(invocation.arguments, method.arguments)
        except msgspec.DecodeError:
            return False
        running = method.function(self._hub, *astuple(arguments))
        try:
            try:
                trap = running.send(None)
            except StopIteration as done:
                # Most calls come here: no other task has to be woken, and nothing is kept of them.
                if id is None:
                    return True
                answer = protocol.completion(id) if method.void else protocol.result(id, done.value)
            else:
                return self._run_on(worker, Call(invocation, method, None), method, running, trap)
        except Exception as error:
            if (answer := self._failed(Call(invocation, method, None), error)) == b"":
                return True
        return self._connection.answered_at_once(answer) or self._answer_later(answer)

    async def _run_on(
        self, worker: Worker, call: Call, method: Method, running: Coroutine[Any, Any, Any], trap: Any
    ) -> bool:
        """Go on with a call that waits. Another task reads from now on."""
        if call.invocation.id is not None:
            self._by_id[call.invocation.id] = call
        self._hand_over()
        return await self._run_plain(worker, call, method, Resumed(running, trap))

    async def _answer_later(self, answer: bytes) -> bool:
        """Send an answer for which there is no room yet. What has to be read may be what it waits for."""
        self._running += 1
        try:
            self._hand_over()
            await self._connection.answer(answer)
        finally:
            self._running -= 1
        return True

    async def _work_off(self, worker: Worker, call: Call) -> bool:
        """Run a call that has waited. Returns False where it was cancelled: then `worker` has the answer."""
        if self._room is not None:
            self._make_room()
        method = call.method
        if method is not None and call.failure is None and not method.beside and call.scope is None:
            try:
                arguments = self._connection.protocol.parse(call.invocation.arguments, method.arguments)
            except msgspec.DecodeError as error:
                call.failure = _bad_arguments(call, error)
            else:
                running = method.call(self._hub, arguments, NO_UPLOADS)
                return await self._run_plain(worker, call, method, running)
        # Also what is refused has its answer before another has its turn: nobody can make answers pile up.
        self._running += 1
        try:
            if call.failure is None and method is not None and method.beside:
                await self._begin_beside(call, method)
            else:
                await self._refuse(call, call.failure or CANCELLED)
        finally:
            self._running -= 1
        return True

    async def _run_plain(self, worker: Worker, call: Call, method: Method, running: Awaitable[Any]) -> bool:
        id = call.invocation.id
        call.scope = worker.scope
        worker.call = call
        self._running += 1
        try:
            try:
                result = await running
                answer = self._succeeded(method, id, result)
            except Exception as error:
                answer = self._failed(call, error)
            if worker.scope.cancel_called:
                # Nothing can be waited for in it any more.
                worker.answer = answer
                return False
            worker.call = None
            if id is not None:
                del self._by_id[id]
                if not self._connection.answered_at_once(answer):
                    await self._connection.answer(answer)
        finally:
            self._running -= 1
        return True

    def _hand_over(self) -> None:
        """Let another task read."""
        self.reader = None
        if self._idle:
            trio.lowlevel.reschedule(self._idle.pop().task)
        else:
            self._hire()

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

    def _succeeded(self, method: Method, id: str | None, result: object) -> bytes:
        """Return what the caller is answered; b"" for nobody. Raises what encoding the result raises."""
        if id is None:
            return b""
        protocol = self._connection.protocol
        return protocol.completion(id) if method.void else protocol.result(id, result)

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
        id = call.invocation.id
        answer = self._told(call, CANCELLED)
        try:
            call.scope = call.scope or trio.CancelScope()
            with call.scope:
                result = await method.call(self._hub, call.arguments, call.uploads)
                answer = self._succeeded(method, id, result)
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
            call.uploads = self.uploads.begin(invocation.streams, method)
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
        if len(self.uploads) + len(method.uploads) > self._options.max_streams and method.uploads:
            return self._too_many_streams(target)
        return None

    def _too_many_streams(self, target: str) -> str:
        return f"Failed to invoke '{target}': this client has {self._options.max_streams} streams already."

    def _failure(self, call: Call, method: Method, error: Exception, *, begun: bool) -> str:
        """Return what its caller is told of an exception, and log what is none of the client's doing."""
        target = call.invocation.target
        cause = cause_of(error)
        # A backplane tells by itself that it is away, once.
        if not isinstance(cause, HubException | BackplaneError) and not self._connection.over:
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
        self.uploads.let_go(call.invocation.streams, call.uploads)

    def _make_room(self) -> None:
        if self._room is not None:
            self._room.set()
            self._room = None


def _bad_arguments(call: Call, error: msgspec.DecodeError) -> str:
    return f"Failed to invoke '{call.invocation.target}' because of its arguments: {error}."
