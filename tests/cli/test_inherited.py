"""Which of the sockets that the process was started with it listens at. What systemd does is in test_systemd.py."""

from __future__ import annotations

import os

import pytest
from command_line import refused

from trioecho.cli.inherited import inherited
from trioecho.cli.parameters import Refusal


@pytest.fixture
def two_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "3")
    monkeypatch.setenv("LISTEN_FDNAMES", "web:admin:web")
    monkeypatch.setattr(os, "set_inheritable", lambda *_: None)


@pytest.mark.usefixtures("two_sockets")
def test_a_name_is_all_sockets_of_that_name() -> None:
    """A number is itself; without either all are taken, unless there is another place to listen at."""
    assert inherited("web", elsewhere=False) == [3, 5]
    assert inherited("admin", elsewhere=True) == [4]
    assert inherited(9, elsewhere=False) == [9]
    assert inherited(None, elsewhere=False) == [3, 4, 5]
    assert inherited(None, elsewhere=True) is None


@pytest.mark.usefixtures("two_sockets")
def test_a_name_that_systemd_does_not_know_is_refused_with_those_that_it_does() -> None:
    with pytest.raises(Refusal, match="--fd: systemd handed over no socket named x: there are web, admin"):
        inherited("x", elsewhere=False)


def test_without_systemd_there_is_none() -> None:
    assert inherited(None, elsewhere=False) is None
    assert refused("--fd", "web") == (2, "--fd: systemd handed over no socket named web: it handed over none")
