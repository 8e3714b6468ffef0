"""Opening a file beneath a directory: never one outside, whatever is asked for and whoever moves things meanwhile."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from static_files import (
    refused_by,
    request_for,
    root,
    way_of_opening,
)

from trioecho._http import beneath
from trioecho._http.beneath import open_beneath
from trioecho._http.files import Files
from trioecho._http.refusals import Refused

__all__ = ["root", "way_of_opening"]


def failing(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Lets `os.open` fail for the file."""
    really = os.open

    def fail(path: bytes, *arguments: int, dir_fd: int | None = None) -> int:
        if path.endswith(b"hello.txt"):
            raise OSError(number, os.strerror(number))
        return really(path, *arguments, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", fail)


@pytest.mark.parametrize(
    "number", [errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO, errno.EINVAL]
)
async def test_what_may_not_be_read_is_not_found(
    root: Path, number: int, monkeypatch: pytest.MonkeyPatch, way_of_opening: str
) -> None:
    """Whatever the kernel says about it."""
    failing(monkeypatch, number)
    assert (await refused_by(Files(root), request_for("/static/hello.txt"))).status == 404


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
async def test_a_lack_of_room_is_told_to_the_client(
    root: Path, number: int, monkeypatch: pytest.MonkeyPatch, way_of_opening: str
) -> None:
    """It may pass: 503, and when to ask again."""
    failing(monkeypatch, number)
    refused = await refused_by(Files(root), request_for("/static/hello.txt"))
    assert (refused.status, ("Retry-After", "1") in refused.headers) == (503, True)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
async def test_a_failure_of_the_machine_is_one(
    root: Path, number: int, monkeypatch: pytest.MonkeyPatch, way_of_opening: str
) -> None:
    """It is raised, for the log and a 500."""
    failing(monkeypatch, number)
    with pytest.raises(OSError, match=re.escape(os.strerror(number))) as raised:
        await Files(root)(request_for("/static/hello.txt"))
    assert raised.value.errno == number


async def test_a_fifo_is_not_even_opened(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that waits for its reader goes on waiting; and to open a device can have effects."""
    os.mkfifo(root / "fifo")
    opened: list[object] = []
    really = os.open

    def spied(path: bytes, *arguments: int, dir_fd: int | None = None) -> int:
        opened.append(path)
        return really(path, *arguments, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", spied)
    assert (await refused_by(Files(root), request_for("/static/fifo"))).status == 404
    assert opened == [os.fsencode(root)]


def to_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("../secret.txt")


def to_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def to_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("change", [to_link, to_fifo, to_directory, Path.unlink])
async def test_what_is_replaced_after_it_was_looked_at_is_not_opened(
    root: Path, change: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between `stat` and `open` whoever may write there can do anything."""
    check = beneath._check_kind

    def check_and_change(status: os.stat_result) -> None:
        check(status)
        if stat.S_ISREG(status.st_mode):
            change(root / "hello.txt")

    monkeypatch.setattr(beneath, "_check_kind", check_and_change)
    with trio.fail_after(60):
        assert (await refused_by(Files(root), request_for("/static/hello.txt"))).status == 404


async def test_a_link_put_on_the_way_is_not_followed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that was resolved is walked again, and then without any link."""
    (root / "link").symlink_to("docs")
    (root.parent / "deep").mkdir()
    (root.parent / "deep" / "page.html").write_bytes(b"outside")
    resolve = beneath._resolved

    def resolve_and_change(directory: str, names: tuple[bytes, ...]) -> tuple[bytes, list[bytes]]:
        resolved = resolve(directory, names)
        (root / "docs").rename(root / "old")
        (root / "docs").symlink_to("..")
        return resolved

    endpoint = Files(root)
    assert (await endpoint(request_for("/static/link/deep/page.html"))).body == b"inside: page"
    monkeypatch.setattr(beneath, "_resolved", resolve_and_change)
    assert (await refused_by(endpoint, request_for("/static/link/deep/page.html"))).status == 404


PIECES_OF_PATHS = re.findall(
    r"\S+",
    r". .. ... root docs deep page.html hello.txt secret.txt .env .git config out out.txt self up root-too %2e%2e %2E. "
    r".%2e ..%00 %2F %2f ..%2f.. %5c ..%5c.. \ %252e%252e %FF %C0%AE ~ proc fd",
)

NAMES = st.one_of(
    st.sampled_from(["", *PIECES_OF_PATHS]),
    st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="?"), max_size=4),
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(NAMES, max_size=7), relative=st.booleans(), by_parameter=st.booleans())
@example(names=["..", "secret.txt"], relative=True, by_parameter=True)
@example(names=["out", "secret.txt"], relative=False, by_parameter=True)
@example(names=["self", "..%2fsecret.txt"], relative=True, by_parameter=True)
def test_no_path_leads_out(
    names: list[str], relative: bool, by_parameter: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever is asked for, what is served is a file beneath the directory that is not hidden."""
    place = tmp_path_factory.getbasetemp() / "no_path_leads_out"
    if not place.exists():
        (place / "root" / "docs" / "deep").mkdir(parents=True)
        (place / "root" / ".git").mkdir()
        (place / "root-too").mkdir()
        for name in ("hello.txt", "docs/page.html", "docs/deep/page.html", "docs/deep/secret.txt"):
            (place / "root" / name).write_bytes(b"inside")
        for name in ("root/.env", "root/.git/config", "secret.txt", "root-too/secret.txt", "page.html"):
            (place / name).write_bytes(b"outside or hidden")
        (place / "root" / "out").symlink_to("..")
        (place / "root" / "docs" / "up").symlink_to("../..")
        (place / "root" / "out.txt").symlink_to("docs/../../secret.txt")
        (place / "root" / "self").symlink_to(".")
    endpoint = Files(place / "root")
    pattern = "/s/{path:path}" if by_parameter else "/s/{other:path}"
    request = request_for("/s/" + "/".join(names), pattern=pattern)
    if not by_parameter:
        request.path = request.path.removeprefix("/s")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(beneath, "_RELATIVE", relative)
        try:
            response = trio.run(endpoint, request)
        except Refused as refused:
            assert refused.status == 404  # noqa: PT017 (most are refused, not all)
        else:
            assert response.body == b"inside"


@given(
    st.lists(
        st.one_of(st.sampled_from([b"..", b".", b"", b"/etc/passwd", b"../secret"]), st.binary()), max_size=4
    )
)
def test_no_names_lead_out(names: list[bytes]) -> None:
    """What opens the file does not rely on what the endpoint lets through."""
    with pytest.raises((FileNotFoundError, IsADirectoryError)):
        open_beneath("/nowhere", [*names, b"passwd"])
    if any(name in (b"..", b".", b"") or b"/" in name for name in names):
        with pytest.raises(FileNotFoundError):
            open_beneath("/", [*names, b"etc"])
