"""Makes one chosen system call of a server fail, as a machine short of memory or file numbers makes it fail.

Only the operating system's side is replaced: functions of `os`, `select.epoll`, and the methods of Trio's sockets. So
it has to be there before the server starts, and knows nothing of the server's parts.
"""

from __future__ import annotations

import functools
import os
import select
import socket
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import trio


class Injection:
    """The system calls of servers in this process, counted, and one of them made to fail.

    Calls are named ``"os.read"``, ``"os.write"``, ``"os.writev"``, ``"epoll.register"``, ``"epoll.modify"``,
    ``"epoll.unregister"``, ``"epoll.poll"``, ``"socket.recv"``, ``"socket.send"``, ``"socket.getpeername"`` and
    ``"socket.accept"``. Those of sockets are the ones of the server that listens at the port given to `arm`.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.calls: Counter[str] = Counter()
        """How often each has been called since `arm`."""
        self.struck = False
        """Whether the armed call has failed."""
        self.closed_epolls = 0
        """Epolls given back."""
        self.too_late: list[str] = []
        """Calls of an epoll that had been closed."""
        self._port = -1
        self._call, self._number, self._error = "", 0, BaseException()
        for name in ("read", "write", "writev"):
            patch.setattr(os, name, self._failing(f"os.{name}", getattr(os, name)))
        if hasattr(select, "epoll"):
            real = select.epoll

            def epoll(*arguments: Any, **options: Any) -> Any:
                made = real(*arguments, **options)
                # Trio makes its own before there is a task.
                return _Epoll(self, made) if trio.lowlevel.in_trio_task() else made

            patch.setattr(select, "epoll", epoll)
        with socket.socket() as any_socket:
            kind = type(trio.socket.from_stdlib_socket(any_socket))
        for name in ("recv", "send", "accept"):
            patch.setattr(kind, name, self._failing_later(f"socket.{name}", getattr(kind, name)))
        getpeername = kind.getpeername

        def failing_getpeername(sock: trio.socket.SocketType) -> Any:
            if self._is_ours(sock):
                self.reach("socket.getpeername")
            return getpeername(sock)

        patch.setattr(kind, "getpeername", failing_getpeername)

    def arm(self, port: int, call: str = "", number: int = 1, error: BaseException | None = None) -> None:
        """Make the `number`-th `call` from now on raise `error`, once; without `call`, only count."""
        self._port = port
        self.calls.clear()
        self.struck = False
        self._call, self._number = call, number
        self._error = error if error is not None else MemoryError("on purpose")

    def disarm(self) -> None:
        """Let everything succeed."""
        self._call = ""

    def reach(self, call: str) -> None:
        """`call` is about to be made."""
        self.calls[call] += 1
        if call == self._call and self.calls[call] == self._number:
            self.struck = True
            raise self._error

    def _is_ours(self, sock: trio.socket.SocketType) -> bool:
        try:
            return bool(sock.getsockname()[1] == self._port)
        except OSError:
            return False

    def _failing(self, call: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def failing(*arguments: Any) -> Any:
            self.reach(call)
            return function(*arguments)

        return failing

    def _failing_later(self, call: str, function: Callable[..., Any]) -> Callable[..., Any]:
        async def failing(sock: trio.socket.SocketType, *arguments: Any) -> Any:
            if self._is_ours(sock):
                self.reach(call)
            return await function(sock, *arguments)

        return failing


class _Epoll:
    """A real epoll, whose methods an `Injection` can make fail."""

    def __init__(self, injection: Injection, real: Any) -> None:
        self._injection = injection
        self._real = real
        for name in ("register", "modify", "unregister", "poll"):
            setattr(self, name, functools.partial(self._do, name))

    def _do(self, name: str, *arguments: Any, **options: Any) -> Any:
        if self._real.closed:
            self._injection.too_late.append(name)
        self._injection.reach(f"epoll.{name}")
        return getattr(self._real, name)(*arguments, **options)

    def close(self) -> None:
        if not self._real.closed:
            self._injection.closed_epolls += 1
        self._real.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)
