"""``python -m trioecho connect URL``: a conversation with a WebSocket server, typed or piped."""

from __future__ import annotations

import contextlib
import math
import re
import signal
from collections.abc import AsyncIterator
from typing import Any

import click
import trio

from trioecho._protocol.counted import counted
from trioecho._protocol.frames import close_code_allowed
from trioecho.cli.destination import CONTEXT_SETTINGS, Destination, destination_options, option
from trioecho.cli.parameters import Command, Refusal, seconds
from trioecho.cli.terminal import Pipes, Terminal, escaped, standard_streams
from trioecho.client import WebSocket

GOOD_CODES = frozenset({1000, 1001, 1005})
"""Codes with which a server closes in good order: done, going away, and no code at all."""

SILENCE = 5.0
"""Seconds without a message, after our Close, in which the server's Close has to come."""

EPILOG = """\b
Exit status:
  0 closed in good order: 1000, 1001, no code, or an answer to our Close
  1 connection lost, or closed by the server with another code
  2 bad option, or a line that cannot be sent
  3 could not connect, or was refused

\b
Examples:
  Talk; Ctrl-D or Ctrl-C closes:
    python -m trioecho connect ws://127.0.0.1:5000/ws
  Send lines and print what comes back:
    printf 'one\\ntwo\\n' | python -m trioecho connect ws://127.0.0.1:5000/ws
  Only listen, for a minute:
    python -m trioecho connect --wait 60 ws://127.0.0.1:5000/ticker </dev/null
"""


class Conversation:
    """Standard input to the WebSocket and back, until one of them ends; `status` and `verdict` say how."""

    def __init__(
        self,
        ws: WebSocket,
        streams: Pipes | Terminal,
        *,
        binary: bool,
        wait: float,
        ping_interval: float,
        close_code: int,
        close_reason: str,
    ) -> None:
        self._ws = ws
        self._streams = streams
        self._binary = binary
        self._wait = wait
        self._ping_interval = ping_interval
        self._close = (close_code, close_reason)
        self._closing = False
        self._received = 0
        self._printing = False
        self._patience = trio.CancelScope()
        self._why_cancelled = f"no Close from the server within {counted(SILENCE, 'second')} after ours"
        self.refusal: Refusal | None = None
        self.status = 0
        self.verdict = ""

    async def run(self) -> None:
        """Talk. Cancelled: nothing more is said or printed; leaving the WebSocket closes it."""
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._obey, signals)
                nursery.start_soon(self._send_lines)
                if self._ping_interval < math.inf:
                    nursery.start_soon(self._ping)
                await self._print_messages()
                nursery.cancel_scope.cancel()

    async def _print_messages(self) -> None:
        try:
            with self._patience:
                async for message in self._ws:
                    self._received += 1
                    self._patience.deadline = math.inf
                    self._printing = True
                    await self._streams.show(message)
                    self._printing = False
                    self._set_deadline()
        except BrokenPipeError:
            return  # nobody reads our output any more: there is nothing left to do
        except trio.BrokenResourceError as error:
            self.status, self.verdict = 1, f"connection lost: {escaped(str(error))}"
            return
        if self._patience.cancelled_caught:
            self.status, self.verdict = 1, f"connection lost: {self._why_cancelled}"
            return
        code, reason = self._ws.close_code, escaped(self._ws.close_reason or "")
        said = "without a code" if code == 1005 else f"{code} {reason}".strip()
        answered = self._closing and code == self._close[0]
        self.status = 0 if code in GOOD_CODES or answered else 1
        self.verdict = f"closed: {said}" if self._closing else f"closed by the server: {said}"

    def _set_deadline(self) -> None:
        if self._closing:
            self._patience.deadline = trio.current_time() + SILENCE

    async def _say_close(self) -> None:
        if not self._closing:
            self._closing = True
            self._set_deadline()
            await self._ws.send_close(*self._close)

    async def _send_lines(self) -> None:
        number = 0
        # Closed explicitly, because Trio does not wait for a generator that is left in the middle.
        async with contextlib.aclosing(self._streams.lines()) as lines:
            async for line in lines:
                number += 1
                try:
                    message = parse_line(line, binary=self._binary)
                except ValueError as error:
                    if self._streams.interactive:
                        click.echo(f"trioecho: {error}", err=True)
                        continue
                    self.refusal = Refusal(f"line {number} of standard input {error}", 2)
                    break
                try:
                    await self._ws.send(message)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    return  # why, the other task tells
            else:
                await trio.sleep(0 if self._streams.interactive else self._wait)
        await self._say_close()

    async def _ping(self) -> None:
        while True:
            await trio.sleep(self._ping_interval)
            before = self._received
            answered = False
            with trio.move_on_after(self._ping_interval):
                try:
                    await self._ws.ping()
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    return  # why, the other task tells
                answered = True
            if not answered and self._received == before and not self._printing:
                self._why_cancelled = f"no Pong within {counted(self._ping_interval, 'second')}"
                self._patience.cancel()

    async def _obey(self, signals: AsyncIterator[int]) -> None:
        await anext(signals)
        await self._say_close()
        await anext(signals)
        self._why_cancelled = "interrupted before the server's Close"
        self._patience.cancel()


def parse_line(line: bytes, *, binary: bool) -> str | bytes:
    """The message that a line stands for; ValueError, with the rest of a sentence, for none."""
    if not binary:
        try:
            return line.decode()
        except UnicodeDecodeError:
            raise ValueError("is not UTF-8: send bytes as hex, with --binary") from None
    text = line.decode("ascii", errors="replace").strip()
    digits = re.sub(r"\s", "", text.removeprefix("0x"))
    try:
        return bytes.fromhex(digits)
    except ValueError:
        raise ValueError(
            f"is not hex: {escaped(text[:80])!r}; write bytes such as 00ff10 or 0x00ff10"
        ) from None


def close_code(value: Any) -> int:
    """A click type: a code that a Close frame may carry."""
    text = str(value)
    if not re.fullmatch("[0-9]{4}", text) or not close_code_allowed(int(text)):
        raise click.BadParameter(f"{text!r} may not be sent: 1000-1003, 1007-1014 and 3000-4999 may")
    return int(text)


def close_reason(value: Any) -> str:
    """A click type: a reason that fits into a Close frame."""
    text = str(value)
    if (size := len(text.encode(errors="surrogateescape"))) > 123:
        raise click.BadParameter(f"it has {size} bytes; a Close frame has room for 123")
    return text


@click.command("connect", cls=Command, epilog=EPILOG, context_settings=CONTEXT_SETTINGS)
@destination_options
@option(
    "--timeout",
    section="The way there",
    type=seconds(),
    default="10",
    help="Seconds for TCP, TLS and the handshake together.",
)
@option("--binary", section="Messages", is_flag=True, help="Lines are hex and sent as binary messages.")
@option(
    "--wait",
    section="The end",
    type=seconds(zero="closing at once"),
    default="0",
    help="Seconds to stay after the end of standard input, for messages to come.",
)
@option(
    "--ping-interval",
    section="Messages",
    type=seconds(zero="off"),
    default="off",
    help="Ping the server so often; one that does not answer in the same time counts as lost. 0 is off.",
)
@option(
    "--close-code",
    section="The end",
    type=close_code,
    default="1000",
    metavar="CODE",
    help="Code of our Close.",
)
@option(
    "--close-reason",
    section="The end",
    type=close_reason,
    default="",
    metavar="TEXT",
    help="Reason of our Close.",
)
def connect(
    *,
    timeout: float,
    binary: bool,
    wait: float,
    ping_interval: float,
    close_code: int,
    close_reason: str,
    **destination: Any,
) -> None:
    """Talk to the WebSocket server at URL: ws://… or wss://…

    Each line of standard input is sent as one text message; each message that comes is printed as one line, a binary
    one as hex behind 0x. At the end of the input the connection is closed, and what still comes before the server's
    Close is printed. At a terminal there are a prompt and a history, and control characters in messages are shown
    escaped.
    """

    async def talk() -> tuple[int, str, bool]:
        async with Destination(**destination).prepare(connect_timeout=timeout) as ws:
            with standard_streams() as streams:
                if streams.interactive:
                    agreed = f", subprotocol {escaped(ws.subprotocol)}" if ws.subprotocol else ""
                    click.echo(f"connected to {destination['url']}{agreed} (Ctrl-D closes)", err=True)
                conversation = Conversation(
                    ws,
                    streams,
                    binary=binary,
                    wait=wait,
                    ping_interval=ping_interval,
                    close_code=close_code,
                    close_reason=close_reason,
                )
                await conversation.run()
        if conversation.refusal is not None:
            raise conversation.refusal
        return conversation.status, conversation.verdict, streams.interactive

    try:
        status, verdict, interactive = trio.run(talk)
    except KeyboardInterrupt:
        raise Refusal("interrupted while connecting", 3) from None
    if verdict and (status or interactive):
        click.echo(f"trioecho: {verdict}", err=True)
    click.get_current_context().exit(status)
