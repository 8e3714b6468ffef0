"""The end of standard input, whatever that is."""

from __future__ import annotations

import io
import os
import sys

import pytest
import trio

from trioecho._process.standard_input import call_at_end_of_input


async def test_the_end_of_a_pipe_is_heard_and_what_comes_before_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In this run, once."""
    reading, writing = os.pipe()
    heard = trio.Event()
    with os.fdopen(reading) as standard_input:
        monkeypatch.setattr(sys, "stdin", standard_input)
        call_at_end_of_input(heard.set)
        os.write(writing, b"whatever")
        with trio.move_on_after(0.1):
            await heard.wait()
        assert not heard.is_set()
        os.close(writing)
        with trio.fail_after(10):
            await heard.wait()


async def test_a_file_and_no_input_at_all_end_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither can be waited for."""
    with open(os.devnull) as nothing:  # noqa: ASYNC230 (it is no disk)
        for standard_input in (nothing, None):
            monkeypatch.setattr(sys, "stdin", standard_input)
            heard = trio.Event()
            call_at_end_of_input(heard.set)
            with trio.fail_after(10):
                await heard.wait()


async def test_an_input_without_a_number_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as that of a notebook, or of a test."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("text"))
    heard = trio.Event()
    call_at_end_of_input(heard.set)
    with trio.fail_after(10):
        await heard.wait()
