"""``python -m trioecho check URL``: whether a WebSocket server does its work, in one line and an exit status."""

from __future__ import annotations

from typing import Any

import click
import trio

from trioecho._protocol.counted import counted
from trioecho.cli.destination import CONTEXT_SETTINGS, Destination, destination_options, option
from trioecho.cli.parameters import Command, Refusal, seconds
from trioecho.cli.terminal import escaped
from trioecho.client import WebSocket

EPILOG = """\b
Exit status:
  0 all was well
  1 something was not, and one line says what
  2 bad option

\b
Examples:
  An echo server, such as this one:
    python -m trioecho check ws://127.0.0.1:5000/ws
  Any WebSocket server, which need not echo:
    python -m trioecho check --no-echo --timeout 3 wss://example.com/ws
"""


class Check:
    """The steps of a check, the times they took, and the one that was being done."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.step = "connection"
        self._began = 0.0

    def begin(self, step: str) -> None:
        """The next step begins; `step` completes "no … within 10 seconds"."""
        self.step = step
        self._began = trio.current_time()

    def end(self, what: str) -> None:
        """The step is done."""
        self.done.append(f"{what} in {(trio.current_time() - self._began) * 1000:.1f} ms")

    async def run(self, destination: Destination, *, limit: float, message: str, echo: bool) -> None:
        """All steps, in `limit` seconds. Raises `Refusal` with what went wrong; 2 only for bad options."""
        connecting = destination.prepare(connect_timeout=limit)
        with trio.move_on_after(limit) as scope:
            try:
                self.begin("connection")
                async with connecting as ws:
                    self.end("connected")
                    await (self._echo(ws, message) if echo else self._ping(ws))
                    await self._close(ws)
            except (trio.BrokenResourceError, trio.EndOfChannel) as error:
                raise self._failed(f"while the {self.step} was awaited, {escaped(str(error))}") from None
        if scope.cancelled_caught:
            raise self._failed(f"no {self.step} within {counted(limit, 'second')}")

    async def _echo(self, ws: WebSocket, message: str) -> None:
        self.begin("echo")
        await ws.send(message)
        others = 0
        while (received := await ws.receive()) != message:
            others += 1
            self.step = f"echo of {message!r} (but {escaped(repr(received)[:80])})"
        behind = f", behind {counted(others, 'other message')}," if others else ""
        self.end(f"echo{behind}")

    async def _ping(self, ws: WebSocket) -> None:
        self.begin("Pong")
        await ws.ping()
        self.end("Pong")

    async def _close(self, ws: WebSocket) -> None:
        self.begin("Close")
        await ws.send_close()
        try:
            while True:
                await ws.receive()
        except trio.EndOfChannel:
            pass
        if ws.close_code not in (1000, 1005):
            reason = escaped(ws.close_reason or "")
            raise self._failed(f"the server answered Close 1000 with {ws.close_code} {reason}".rstrip())
        self.end("closed")

    def _failed(self, what: str) -> Refusal:
        so_far = f" ({', '.join(self.done)})" if self.done else ""
        return Refusal(f"{what}{so_far}", 1)


@click.command("check", cls=Command, epilog=EPILOG, context_settings=CONTEXT_SETTINGS)
@destination_options
@option(
    "--timeout", section="The check", type=seconds(), default="10", help="Seconds for all steps together."
)
@option(
    "--message", section="The check", default="trioecho check", metavar="TEXT", help="What is to be echoed."
)
@option(
    "--no-echo",
    section="The check",
    is_flag=True,
    help="Send no message: connect, Ping, await the Pong, close.",
)
def check(*, timeout: float, message: str, no_echo: bool, **destination: Any) -> None:
    """Check the WebSocket server at URL: connect, send a message, await its echo, close.

    Prints one line with the time of each step.
    """
    steps = Check()

    async def run() -> None:
        await steps.run(Destination(**destination), limit=timeout, message=message, echo=not no_echo)

    try:
        trio.run(run)
    except Refusal as refusal:
        # What cannot be connected to is no bad start of this program but the answer to what it was asked.
        raise Refusal(f"check failed: {refusal.message}", 1) if refusal.exit_code != 2 else refusal from None
    click.echo(f"ok {destination['url']}: {', '.join(steps.done)}")
