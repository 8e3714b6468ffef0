"""Why a port cannot be listened at, and who has it: what the system tells a user about processes of their own."""

from __future__ import annotations

import errno
import os
import sys
import time
from pathlib import Path

PATIENCE = 0.3
"""Seconds that the search may take: it only makes the message better."""

LISTENING = "0A"
"""TCP_LISTEN in /proc/net/tcp."""

AIRPLAY_PORTS = (5000, 7000)


def advice(error: Exception, port: int, any_port: str) -> str:
    """What to add to the system's words when `port` cannot be had; `any_port` is what the user types for any."""
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        by = holder(port)
        by = f" (by {by})" if by else ""
        if sys.platform == "darwin" and port in AIRPLAY_PORTS:
            by = f"{by}; on macOS AirPlay Receiver takes this port, until it is switched off in System Settings"
        return f"{by}; {any_port} takes any free port"
    if number == errno.EACCES and port < 1024:
        return f"; ports below 1024 are the administrator's, {any_port} takes any free port"
    return ""


def holder(port: int) -> str | None:
    """The process that listens at a TCP port: ``process 1234, python``. None if Linux does not tell, or is not it."""
    try:
        sockets = {f"socket:[{inode}]" for inode in _listening(port)}
        return _process_with(sockets) if sockets else None
    except (OSError, ValueError):
        return None


def _listening(port: int) -> set[str]:
    inodes: set[str] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue  # no such protocol, or no Linux
        for row in rows:
            columns = row.split()
            if columns[3] == LISTENING and int(columns[1].rpartition(":")[2], 16) == port:
                inodes.add(columns[9])
    return inodes


def _process_with(sockets: set[str]) -> str | None:
    until = time.monotonic() + PATIENCE
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        if time.monotonic() > until:
            return None
        try:
            if any(os.readlink(descriptor) in sockets for descriptor in (process / "fd").iterdir()):
                name = (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
                shown = "".join(character if character.isprintable() else "?" for character in name)
                return f"process {process.name}, {shown}"
        except OSError:
            continue  # somebody else's, or gone by now
    return None
