"""Lines in and lines out: what a pipe gives and takes, and what a terminal may show."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from trioecho.cli import terminal
from trioecho.cli.terminal import Pipes, escaped, history_file, shown, standard_streams, write_all


class Standard:
    """Pipes in the place of standard input and output: the ends that somebody else has."""

    def __init__(self) -> None:
        self.held = os.dup(0), os.dup(1)
        source, self.keyboard = os.pipe()
        self.screen, sink = os.pipe()
        os.dup2(source, 0)
        os.dup2(sink, 1)
        os.close(source)
        os.close(sink)

    def type(self, data: bytes) -> None:
        os.write(self.keyboard, data)

    def close(self, name: str) -> None:
        """Close an end, once."""
        descriptor = getattr(self, name)
        if descriptor >= 0:
            os.close(descriptor)
            setattr(self, name, -1)

    def restore(self) -> None:
        for number, held in enumerate(self.held):
            os.dup2(held, number)
            os.close(held)
        self.close("keyboard")
        self.close("screen")


@contextlib.contextmanager
def standard() -> Iterator[Standard]:
    """In a test, and no fixture: pytest has its own in their place before and after."""
    made = Standard()
    try:
        yield made
    finally:
        made.restore()


async def lines(pipes: Pipes) -> list[bytes]:
    with trio.fail_after(60):
        return [line async for line in pipes.lines()]


async def test_lines_come_without_their_ends() -> None:
    """Empty ones too, and the last though it has no end; bytes that are no UTF-8 are the reader's business."""
    with standard() as ends:
        ends.type(b"one\n\ntwo\r\n \xff \nlast")
        ends.close("keyboard")
        assert await lines(Pipes()) == [b"one", b"", b"two", b" \xff ", b"last"]


async def test_who_shares_standard_input_may_have_made_it_non_blocking() -> None:
    """Then it is waited for."""
    with standard() as ends:
        os.set_blocking(0, False)
        taken: list[list[bytes]] = []

        async def take() -> None:
            taken.append(await lines(Pipes()))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(take)
            await trio.testing.wait_all_tasks_blocked(0.02)
            ends.type(b"late\n")
            ends.close("keyboard")
        assert taken == [[b"late"]]


async def test_a_closed_standard_input_is_an_empty_one() -> None:
    """As is a terminal that has hung up."""
    with standard():
        os.close(0)
        assert await lines(Pipes()) == []


@settings(deadline=None)
@given(st.lists(st.sampled_from([b"a", b"\r\n", b"\n", b"\r", b"bc\n", b"\n\n"]), max_size=8))
def test_lines_do_not_depend_on_how_they_are_cut(pieces: list[bytes]) -> None:
    """A line, and its end, may come in several reads."""

    async def read() -> bytes:
        await trio.lowlevel.checkpoint()
        return left.pop(0) if left else b""

    async def taken(with_pieces: list[bytes]) -> list[bytes]:
        left[:] = with_pieces
        return [line async for line in Pipes().lines()]

    left: list[bytes] = []
    whole = b"".join(pieces)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(terminal, "_read", read)
        cut = trio.run(taken, list(pieces))
        assert cut == trio.run(taken, [whole] if whole else [])
    expected = whole.split(b"\n")
    ended, last = expected[:-1], expected[-1]
    assert cut == [line.removesuffix(b"\r") for line in ended] + ([last] if last else [])


async def test_messages_are_written_as_lines() -> None:
    """In a pipe as they are; what no UTF-8 has is escaped, and binary is hex."""
    with standard() as ends:
        pipes = Pipes()
        for message in ("grüße\x1b", b"\x00\xff", "\ud800"):
            await pipes.show(message)
        assert os.read(ends.screen, 1000) == "grüße\x1b\n0x00ff\n\\ud800\n".encode()


async def test_a_reader_that_has_gone_is_told() -> None:
    """By BrokenPipeError, as everywhere."""
    with standard() as ends:
        ends.close("screen")
        with pytest.raises(BrokenPipeError):
            await write_all(b"to nobody")


async def test_what_is_more_than_a_pipe_takes_is_written_whole() -> None:
    """While the loop goes on: Pings are answered though nobody reads the output."""
    with standard() as ends:
        received = b""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write_all, bytes(300_000))
            while len(received) < 300_000:
                received += await trio.to_thread.run_sync(os.read, ends.screen, 65_536)
        assert received == bytes(300_000)


def test_without_a_terminal_the_streams_are_pipes() -> None:
    """And nobody is at them."""
    with standard():
        with standard_streams() as streams:
            assert isinstance(streams, Pipes)
            assert not streams.interactive


@pytest.mark.parametrize(
    ("message", "escape", "line"),
    [
        (b"\x00\xff", False, "0x00ff"),
        (b"", True, "0x"),
        ("\x1b[2J", False, "\x1b[2J"),
        ("\x1b[2J", True, r"\x1b[2J"),
    ],
)
def test_a_message_is_shown_as_text_or_as_hex(message: str | bytes, escape: bool, line: str) -> None:
    """Escaped where it goes to a screen."""
    assert shown(message, escape=escape) == line


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("plain ü€😀", "plain ü€😀"),
        ("\x00\x7f\x85", r"\x00\x7f\x85"),
        ("a\u2028b\u2066", r"a\u2028b\u2066"),
        ("👩\u200d💻", "👩\u200d💻"),
    ],
)
def test_escaped_leaves_what_is_harmless(text: str, seen: str) -> None:
    """Controls, line separators and what turns text around are escaped; joined emoji stay joined."""
    assert escaped(text) == seen


@given(st.text())
def test_nothing_that_is_shown_moves_the_cursor(text: str) -> None:
    """Nor is a character lost: what is harmless stays as it is."""
    line = escaped(text)
    assert not {char for char in line if char < " " or "\x7f" <= char < "\xa0"}
    assert len(line) >= len(text)


def test_the_history_is_where_xdg_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """$XDG_STATE_HOME if it is absolute, else ~/.local/state."""
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert history_file() == Path("/state/trioecho/history")
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_STATE_HOME", value)
        assert history_file() == Path("/home/me/.local/state/trioecho/history")
