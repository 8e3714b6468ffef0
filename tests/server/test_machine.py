"""How much memory a process may use: the least of what the machine has and what the kernel has been told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from trioecho._server import machine
from trioecho._server.machine import ASSUMED, memory_available


@pytest.fixture(autouse=True)
def large_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has 1 TiB, and no limit of its own."""
    monkeypatch.setattr(machine, "_physical", lambda: iter([2**40]))
    monkeypatch.setattr(machine, "_address_space", lambda: iter(()))


def write(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_the_machines_memory_where_nothing_else_is_said(tmp_path: Path) -> None:
    """No cgroups at all."""
    assert memory_available(tmp_path) == 2**40


@pytest.mark.parametrize(
    ("own", "parent", "found"), [("1000\n", "max\n", 1000), ("max\n", "2000\n", 2000), ("5000", "3000", 3000)]
)
def test_version_2_counts_the_least_of_the_process_and_its_parents(
    own: str, parent: str, found: int, tmp_path: Path
) -> None:
    """systemd's slices, Kubernetes' pods."""
    write(tmp_path, "proc/self/cgroup", "0::/a.slice/b.service\n")
    write(tmp_path, "sys/fs/cgroup/a.slice/b.service/memory.max", own)
    write(tmp_path, "sys/fs/cgroup/a.slice/memory.max", parent)
    assert memory_available(tmp_path) == found


def test_version_1_counts_too_also_where_the_path_is_the_hosts(tmp_path: Path) -> None:
    """Docker names the host's path, and mounts the container's own cgroup."""
    write(tmp_path, "proc/self/cgroup", "5:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n0::/\n")
    write(tmp_path, "sys/fs/cgroup/memory/memory.limit_in_bytes", "123456789\n")
    assert memory_available(tmp_path) == 123_456_789


def test_what_makes_no_sense_is_passed_over(tmp_path: Path) -> None:
    """Lines and numbers that are none."""
    write(tmp_path, "proc/self/cgroup", "nonsense\n\n0::/a\n")
    write(tmp_path, "sys/fs/cgroup/a/memory.max", "much\n")
    assert memory_available(tmp_path) == 2**40


def test_something_is_assumed_where_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without sysconf."""
    monkeypatch.setattr(machine, "_physical", lambda: iter(()))
    assert memory_available(tmp_path) == ASSUMED


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_the_limit_of_the_address_space_counts() -> None:
    """``ulimit -v``, of a process that has one."""
    program = "from trioecho._server.machine import memory_available; print(memory_available())"
    limited = f"ulimit -v 900000 && exec {sys.executable} -c '{program}'"
    found = subprocess.run(["sh", "-c", limited], capture_output=True, text=True, check=True).stdout
    assert int(found) <= 900_000 * 1024
