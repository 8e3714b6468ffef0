"""One of several processes that serve, as their supervisor has it: started, asked, told to stop, awaited."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import trio

from trioecho._process.control import Channel
from trioecho._process.systemd import without_systemd

ROLE = "_TRIOECHO_WORKER"
"""The environment variable that makes a process a worker, and tells it what it was started with."""

ANSWER_WITHIN = 5.0
"""Seconds that a worker has for an answer: of one that is busy there is only what it has told before."""

HEAR_WITHIN = 1.0
"""Seconds for which what a worker has said is heard after its end."""


class WorkerProcess:
    """One process. `number` counts the places of workers from 0: who takes a dead one's place has its number."""

    def __init__(self, command: Sequence[str], number: int, listen: Sequence[int]) -> None:
        self.number = number
        self.ready = trio.Event()
        """Set when it accepts connections."""
        self.ended = trio.Event()
        self.told: Mapping[str, Any] = {}
        """What it said when it was ready: ``ready`` as `announcement.ready` has it, and ``lines`` for people."""
        self.figures: Any = None
        """What it last told of its figures; None before. One that ends in an orderly way tells them at its end."""
        self.status: int | None = None
        """Its exit status, or the negative number of the signal that killed it, once it has ended."""
        self.began_at = math.inf
        """When it was started, on Trio's clock."""
        self._command = command
        self._listen = listen
        self._process: trio.Process | None = None
        self._channel: Channel | None = None
        self._questions: dict[int, trio.MemorySendChannel[Any]] = {}
        self._asked = 0
        self._reload_when_ready = False

    @property
    def pid(self) -> int | None:
        """Its process id; None before it was started, or if it could not be."""
        return None if self._process is None else self._process.pid

    @property
    def how_it_ended(self) -> str:
        """For the log: ``ended with status 1``, ``was killed by SIGKILL``."""
        if self.status is None:
            return "could not be started"
        if self.status >= 0:
            return f"ended with status {self.status}"
        try:
            return f"was killed by {signal.Signals(-self.status).name}"
        except ValueError:
            return f"was killed by signal {-self.status}"

    async def run(self) -> None:
        """Start it, and hear what it says until it has ended. Cancelled: it is killed. Raises nothing of its own."""
        self.began_at = trio.current_time()
        try:
            with trio.CancelScope(shield=True):
                # It is short, and a process that was started half is nobody's.
                await self._start()
            if self._process is not None:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._hear)
                    self.status = await self._process.wait()
                    # What it said last may not have been heard yet; a process of its own may still have its end.
                    nursery.cancel_scope.deadline = trio.current_time() + HEAR_WITHIN
        finally:
            self.kill()
            with trio.CancelScope(shield=True):
                if self._process is not None:
                    self.status = await self._process.wait()
                if self._channel is not None:
                    await trio.aclose_forcefully(self._channel)
            for asked in self._questions.values():
                asked.close()
            self.ended.set()

    async def _start(self) -> None:
        self._channel, theirs = Channel.pair()
        with theirs:
            role = {"number": self.number, "control": theirs.fileno(), "listen": list(self._listen)}
            with suppress(OSError):
                self._process = await trio.lowlevel.open_process(
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(), *self._listen),
                    # Ctrl-C is the supervisor's, which tells everybody.
                    process_group=0,
                    env=without_systemd(os.environ) | {ROLE: json.dumps(role)},
                )

    async def _hear(self) -> None:
        assert self._channel is not None
        while (message := await self._channel.receive()) is not None:
            if "ready" in message:
                self.told = message
                self.ready.set()
                if self._reload_when_ready:
                    await self._say({"do": "reload"})
                continue
            if "figures" in message:
                self.figures = message["figures"]
            if (asked := self._questions.pop(int(message.get("answer", 0)), None)) is not None:
                asked.send_nowait(self.figures)
                asked.close()

    async def tell(self, order: str) -> None:
        """Have it do something, as `Process` takes it: ``stop``, ``leave``, ``hand over``, ``abort`` or ``reload``.

        One that has ended does nothing, and one that is not ready yet, and so would not hear of a stop, is killed for
        it. It reloads when it is ready, as it may have read the files before they were others.
        """
        if not self.ready.is_set():
            if order == "reload":
                self._reload_when_ready = True
            else:
                self.kill()
            return
        await self._say({"do": order})

    async def ask_figures(self) -> Any:
        """Its figures; None if it gives no answer within `ANSWER_WITHIN` seconds. Cancelled: nothing is lost."""
        if not self.ready.is_set() or self.ended.is_set():
            return None
        self._asked += 1
        number = self._asked
        sender, receiver = trio.open_memory_channel[Any](1)
        self._questions[number] = sender
        try:
            with trio.move_on_after(ANSWER_WITHIN):
                await self._say({"do": "figures", "number": number})
                with suppress(trio.EndOfChannel):
                    return await receiver.receive()
            return None
        finally:
            self._questions.pop(number, sender).close()
            receiver.close()

    def pass_on(self, number: int) -> None:
        """Send it a signal that it has something to do for; before it is ready it may die of that, and is spared."""
        if self.ready.is_set() and self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once, whatever it does. One that has ended stays so."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def _say(self, message: Mapping[str, Any]) -> None:
        assert self._channel is not None
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self._channel.send(message)
