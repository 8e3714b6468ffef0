"""Network namespaces without names: each lives as long as a descriptor here, so that none is left behind.

`Namespace.do` calls a function in a thread that has entered it. What that makes, a socket or a process, stays in there
and can be used from anywhere; so a test holds both ends of a connection between two machines that do not exist.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")

CLONE_NEWNET = 0x4000_0000
TUN = "/dev/net/tun"


class Namespace:
    """One network namespace, with nothing in it but its loopback interface; made by `namespace`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def do(self, function: Callable[[], T]) -> T:
        """What `function` returns or raises, called in there."""
        return _in_a_thread(lambda: (_call("setns", self._descriptor, CLONE_NEWNET), function())[1])

    def run(self, *command: str) -> str:
        """What this command prints in there; fails with what it says if it fails."""
        done = self.do(lambda: subprocess.run(command, capture_output=True, text=True, timeout=20))
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def set(self, name: str, value: object) -> None:
        """Set a sysctl such as ``ipv4.tcp_rto_max_ms``, if this kernel has it and lets us."""

        def write() -> None:
            with contextlib.suppress(OSError), open(f"/proc/sys/net/{name.replace('.', '/')}", "w") as file:
                file.write(str(value))

        self.do(write)


@contextlib.contextmanager
def namespace() -> Iterator[Namespace]:
    """A new namespace; OSError where that is not permitted."""

    def make() -> int:
        _call("unshare", CLONE_NEWNET)
        return os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    descriptor = _in_a_thread(make)
    try:
        made = Namespace(descriptor)
        made.run("ip", "link", "set", "lo", "up")
        yield made
    finally:
        os.close(descriptor)


def why_not() -> str | None:
    """Why there can be no namespaces joined by TUN devices here; None if there can."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if shutil.which("ip") is None:
        return "there is no ip (iproute2)"
    if not os.path.exists(TUN):
        return f"there is no {TUN}"
    try:
        with namespace() as inside:
            inside.do(lambda: os.close(os.open(TUN, os.O_RDWR)))
    except (OSError, AssertionError) as error:
        return f"network namespaces are not permitted: {error}"
    return None


def _in_a_thread(function: Callable[[], T]) -> T:
    """A thread of its own, because a namespace is entered by a thread, and nobody has to find the way back."""
    outcome: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(function())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def _call(name: str, *arguments: int) -> None:
    """A system call that Python has only from 3.12 on."""
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
