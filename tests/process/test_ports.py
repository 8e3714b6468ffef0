"""Why a port cannot be had, and who has it."""

from __future__ import annotations

import errno
import os
import socket
import sys
from contextlib import closing

import pytest

from trioecho._process import ports
from trioecho._process.ports import advice, holder

IN_USE = OSError(errno.EADDRINUSE, "Address already in use")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_the_process_that_has_a_port_is_named() -> None:
    """Its number and its name, over IPv4 and IPv6, as long as it listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        assert (holder(port) or "").startswith(f"process {os.getpid()}, ")
        assert f" (by process {os.getpid()}, " in advice(IN_USE, port, "--port 0")
    assert holder(port) is None


def test_where_nobody_can_be_found_nobody_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's process, another system, or no time to look: the advice stays."""
    monkeypatch.setattr(ports, "PATIENCE", -1)
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        assert advice(IN_USE, taken.getsockname()[1], "--port 0") == "; --port 0 takes any free port"


@pytest.mark.parametrize(("platform", "port", "told"), [("darwin", 5000, True), ("darwin", 5001, False)])
def test_on_macos_airplay_is_named(
    monkeypatch: pytest.MonkeyPatch, platform: str, port: int, told: bool
) -> None:
    """Port 5000 is taken on every Mac whose AirPlay Receiver is on."""
    monkeypatch.setattr(ports, "holder", lambda port: None)
    monkeypatch.setattr(sys, "platform", platform)
    hint = advice(IN_USE, port, "port=0")
    assert ("AirPlay Receiver" in hint) is told
    assert hint.endswith("; port=0 takes any free port")


def test_a_port_of_the_administrators_is_explained() -> None:
    """Below 1024 it is not the port that is wrong, but the user."""
    denied = OSError(errno.EACCES, "Permission denied")
    assert advice(denied, 80, "--port 0").startswith("; ports below 1024 are the administrator's")
    assert advice(denied, 8080, "--port 0") == ""


def test_another_failure_gets_no_advice() -> None:
    """A name that does not resolve has nothing to do with the port."""
    assert advice(socket.gaierror(-2, "Name or service not known"), 5000, "--port 0") == ""
    assert advice(UnicodeError("label empty"), 5000, "--port 0") == ""
