"""What the numbers depend on: the machine, the versions, and whether the machine is doing anything else."""

import json
import os
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from contenders import REPOSITORY, SERVERS, Contender

#: A load average above this before the first measurement is worth a warning: then others use the cores too.
QUIET = 0.3


def cores() -> tuple[int, int]:
    """The core for the contenders and the core for the load generator; the same one if there is only one."""
    available = sorted(os.sched_getaffinity(0))
    return available[0], available[-1]


def warnings() -> list[str]:
    """What makes the numbers less trustworthy than they look."""
    found = []
    load = os.getloadavg()[0]
    if load > QUIET:
        found.append(f"the machine was busy before the run (load average {load:.2f}): the numbers are noisy")
    if len(os.sched_getaffinity(0)) < 2:
        found.append("there is one core only: contender and load generator take time from each other")
    return found


def cpu_model() -> str:
    """The processor's name as Linux has it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def output_of(*command: str) -> str:
    """What a command prints, or `unknown`."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def versions(contenders: Iterable[Contender]) -> dict[str, str]:
    """The versions of Python and of every package that takes part."""
    found = {"Python": f"{platform.python_version()} ({platform.python_implementation()})"}
    for package in sorted({package for contender in contenders for package in contender.packages}):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    commit = output_of("git", "-C", str(REPOSITORY), "describe", "--always", "--dirty")
    found["trioecho"] = f"{found.get('trioecho', '')} (commit {commit})".strip()
    if any(contender.program.endswith(".js") for contender in contenders):
        found["Node"] = output_of("node", "--version").lstrip("v")
        found |= json.loads((SERVERS / "package.json").read_text())["dependencies"]
    return found


def description() -> str:
    """One line on the machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{cpu_model()}, {os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release()}"
