"""How much memory this process may use, the machine's or less where the kernel has been told so; how much it uses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

try:
    import resource
except ImportError:  # not on Windows
    _HAS_LIMITS = False
else:
    _HAS_LIMITS = True

ASSUMED: Final = 2**31
"""Bytes that are assumed where the system tells nothing."""


def memory_available(root: Path = Path("/")) -> int:
    """The least of: the machine's physical memory, what the process's cgroups allow (Docker, Kubernetes and systemd set
    them; version 2 and 1), and the limit of its address space (``ulimit -v``). In bytes.

    `root` is where ``proc`` and ``sys`` are. Without any of them it is `ASSUMED`.
    """
    return min((*_physical(), *_cgroups(root), *_address_space()), default=ASSUMED)


def memory_resident(root: Path = Path("/")) -> int:
    """How much of its memory this process has in the machine's, in bytes; 0 where the system does not tell (Linux
    does)."""
    try:
        return int((root / "proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, IndexError, ValueError, OSError):
        return 0


def _physical() -> Iterator[int]:
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return
    if memory > 0:
        yield memory


def _address_space() -> Iterator[int]:
    if _HAS_LIMITS:
        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        if soft != resource.RLIM_INFINITY:
            yield soft


def _cgroups(root: Path) -> Iterator[int]:
    """What each cgroup allows, from the process's own up to the root: a parent's limit holds for its children."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        # "0::/system.slice/x.service" in version 2, "4:memory:/docker/..." in version 1.
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            mount, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            mount, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        # Inside of a container the path may be one of the machine's, which is not there: what is mounted counts.
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts), -1, -1):
            try:
                written = mount.joinpath(*parts[:depth], name).read_text().strip()
            except (OSError, ValueError):
                continue
            if written.isdecimal():
                yield int(written)
