"""What a starting server writes on standard output, and when it warns."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

import pytest
from serving import one_way, serving
from serving import unix_path as unix_path
from serving import way_of_reading as way_of_reading

from trioecho import echo
from trioecho._process.announcement import announce, warn_if_open_to_every_page

pytestmark = one_way


async def test_the_ready_lines_name_each_address_once(capsys: pytest.CaptureFixture[str]) -> None:
    """The first line has both URLs, each further address a line of its own; nothing else is written."""
    async with serving(host=("127.0.0.2", "127.0.0.3")) as server:
        announce(server)
        out, err = capsys.readouterr()
        assert out.splitlines() == [
            f"trioecho serves {server.url} and {server.websocket_url} (Ctrl-C stops it)",
            f"and http://127.0.0.3:{server.port}",
        ]
        assert err == ""


class Recording(io.TextIOBase):
    """A standard output that takes down each call."""

    def __init__(self, encoding: str | None) -> None:
        self._encoding = encoding
        self.calls: list[str] = []

    @property
    def encoding(self) -> str | None:  # type: ignore[override]
        return self._encoding

    def write(self, text: str) -> int:
        text.encode(self._encoding or "utf-8")
        self.calls.append(text)
        return len(text)

    def flush(self) -> None:
        self.calls.append("flushed")


@pytest.mark.parametrize("encoding", ["ascii", None])
async def test_the_lines_come_all_at_once(encoding: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one write, and flushed: who reads a pipe to the first line has the others too. In any encoding, or none."""
    output = Recording(encoding)
    monkeypatch.setattr(sys, "stdout", output)
    async with serving(host=("127.0.0.2", "127.0.0.3"), path="/über") as server:
        announce(server)
    assert [call.count("\n") for call in output.calls] == [2, 0]
    assert output.calls[-1] == "flushed"


async def test_without_standard_output_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nobody to tell, and that is no failure."""
    async with serving() as server:
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", None)
            announce(server)


@pytest.fixture
def full_disk() -> Iterator[TextIO]:
    """A file that takes nothing."""
    if not os.path.exists("/dev/full"):
        pytest.skip("this platform has no /dev/full")
    with open("/dev/full", "w") as full:
        yield full


async def test_a_full_disk_is_told_and_does_not_come_back(
    full_disk: TextIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OSError, once: what could not be written is not tried again when the interpreter ends."""
    async with serving() as server:
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", full_disk)
            with pytest.raises(OSError, match="No space left on device"):
                announce(server)
    full_disk.flush()
    assert os.fstat(full_disk.fileno()).st_rdev == os.stat(os.devnull).st_rdev


def as_typed(name: str, value: Any) -> str:
    return f"--{name} {value}"


@pytest.mark.parametrize(
    ("hosts", "origins", "warned"),
    [
        (["127.0.0.1"], (), False),
        (["127.8.8.8", "::1"], (), False),
        (["0.0.0.0"], (), True),
        (["127.0.0.1", "::"], (), True),
        (["192.0.2.1"], (), True),
        (["0.0.0.0"], ("https://client.com",), False),
    ],
)
def test_whoever_can_be_reached_by_every_page_is_warned(
    hosts: list[str], origins: tuple[str, ...], warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """One address beyond loopback suffices; a list of origins is what is asked for, in the user's own words."""
    caplog.set_level(logging.DEBUG, "trioecho")
    warn_if_open_to_every_page(hosts, origins, as_typed)
    assert [entry.levelname for entry in caplog.records] == ["WARNING"] * warned
    for entry in caplog.records:
        message = entry.getMessage()
        assert message.startswith(f"listening on {' '.join(hosts)} with every origin allowed: ")
        assert "add --allowed_origins https://example.com (or --host 127.0.0.1 for" in message


async def test_a_service_of_websockets_alone_names_them(capsys: pytest.CaptureFixture[str]) -> None:
    """There is no page to open, so each address is named by the URL of the first WebSocket."""
    async with serving({"/chat": echo}, host=("127.0.0.2", "127.0.0.3")) as server:
        announce(server)
    assert capsys.readouterr().out.splitlines() == [
        f"trioecho serves ws://127.0.0.2:{server.port}/chat (Ctrl-C stops it)",
        f"and ws://127.0.0.3:{server.port}/chat",
    ]


async def test_programs_are_told_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """One line, whatever there is to tell."""
    async with serving(host=("127.0.0.2", "127.0.0.3")) as server:
        announce(server, as_json=True)
        line, end = capsys.readouterr().out.split("\n")
        assert end == ""
        assert json.loads(line) == {
            "url": server.url,
            "websocket_url": server.websocket_url,
            "urls": list(server.urls),
            "unix": [],
            "ca": None,
            "metrics_url": None,
            "pid": os.getpid(),
        }


async def test_an_authority_of_the_servers_own_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """In the first line, behind the URLs, and in the JSON; what a path may hold spoils neither."""
    async with serving(host=("127.0.0.2", "127.0.0.3")) as server:
        announce(server, ca_file="/a/ca\n.pem")
        first, second = capsys.readouterr().out.splitlines()
        assert first == (
            f"trioecho serves {server.url} and {server.websocket_url} with the CA /a/ca\\n.pem (Ctrl-C stops it)"
        )
        assert second == f"and http://127.0.0.3:{server.port}"
        announce(server, as_json=True, ca_file="/a/ca\n.pem")
        assert json.loads(capsys.readouterr().out)["ca"] == "/a/ca\n.pem"


async def test_what_there_is_not_is_null(capsys: pytest.CaptureFixture[str], unix_path: str) -> None:
    """A server at a Unix socket has no URL."""
    async with serving(at={"unix": unix_path}) as server:
        announce(server, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert (told["url"], told["websocket_url"], told["unix"]) == (None, None, [unix_path])
