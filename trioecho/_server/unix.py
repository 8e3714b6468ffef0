"""Unix sockets to listen at: `UnixSocket`, and what becomes of the file in which one stands.

The facts that this file rests on:

- bind(2) makes the file, and fails with EADDRINUSE if anything is there already, a file, a link or the socket of a
  server that has died. Nothing removes it but unlink(2).
- connect(2) needs permission to write to the file, and is refused until listen(2). So owner and mode are set between
  bind and listen, and there is no moment in which somebody can connect who should not. A umask would do that too, but
  it is the whole process's.
- Only asking tells whether somebody listens: connect(2) is refused (ECONNREFUSED) where nobody does.
- A server that has bound and does not listen yet looks dead to another one that is starting. So they take turns, by a
  lock on the directory (flock(2)), which leaves no file behind.
- The name is bound at its final place and not renamed into it, because the kernel would go on calling it by the first
  name: to peers (getpeername), and to administrators (``ss -xl``).
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass

import trio

try:
    import fcntl
    import grp
    import pwd
except ImportError:  # not on Windows, which has no Unix sockets in Python either
    pass

LONGEST_PATH = 107 if sys.platform == "linux" else 103
"""Bytes: sun_path of unix(7) without the zero byte at its end."""

MOST_BACKLOG = 65_535
"""What listen(2) is asked for where nobody says: the kernel cuts it to its own limit, as Trio has it do for TCP."""

TURN = 1.0
"""Seconds to wait for another server that is starting in the same directory; a start takes less than a millisecond."""


@dataclass(frozen=True, slots=True, init=False)
class UnixSocket:
    """A Unix socket to listen at, for ``trioecho.serve(…, unix=…)``.

    - `path`:
        Where its file is made, as str or `os.PathLike`, at most 107 bytes (103 on macOS). A file that a dead server has
        left there is replaced; one at which somebody listens, or that is no socket, is left alone and `serve` raises
        OSError. When the server stops accepting, the file is removed if it still is this server's. On Linux
        ``"\\0name"`` is an abstract name (unix(7)): there is no file, and every process of the machine's network
        namespace may connect.
    - `mode`:
        The file's permissions, a number such as ``0o660``. Who may write to it may connect, on Linux; the default lets
        in only the user that runs the server.
    - `owner`, `group`:
        Whose the file is, as a name or a number; None leaves what the system gives. Giving it to another user takes
        root; to a group, membership.

    Example:

        import functools

        async def main() -> None:
            socket = trioecho.UnixSocket("echo.sock", mode=0o660)
            async with trio.open_nursery() as nursery:
                server = await nursery.start(functools.partial(trioecho.serve, unix=socket))
                print("listening at", server.unix_paths)
                server.stop()

    Raises TypeError or ValueError with one sentence for what cannot be right. That a user or group exists is only
    looked at by `serve`, which raises OSError.
    """

    path: str
    mode: int
    owner: str | int | None
    group: str | int | None

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        mode: int = 0o600,
        owner: str | int | None = None,
        group: str | int | None = None,
    ) -> None:
        object.__setattr__(self, "path", _checked_path(path))
        object.__setattr__(self, "mode", _checked_mode(mode))
        object.__setattr__(self, "owner", _checked_account("owner", owner))
        object.__setattr__(self, "group", _checked_account("group", group))
        if self.abstract and (mode != 0o600 or owner is not None or group is not None):
            raise ValueError(
                f"mode, owner and group are those of a file, and {shown(self.path)} is an abstract name, which has none"
            )

    @property
    def abstract(self) -> bool:
        """Whether it is a name without a file."""
        return self.path.startswith("\0")

    async def listen(self, backlog: int | None = None) -> UnixListener:
        """Listen there; `backlog` as of listen(2), None for as much as the system gives.

        Raises OSError, with the path in its ``filename``, if that cannot be. Cancelled, or when it raises, nothing
        listens and no file is left.
        """
        if not hasattr(socket, "AF_UNIX"):
            raise OSError(errno.EAFNOSUPPORT, "this platform has no Unix sockets", self.path)
        await trio.lowlevel.checkpoint()
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made: _File | None = None
        try:
            directory = os.path.dirname(self.path) or "."
            async with contextlib.nullcontext() if self.abstract else _turn(directory):
                self._bind(bound)
                if not self.abstract:
                    made = _File.at(self.path)
                    self._hand_over()
                bound.listen(MOST_BACKLOG if backlog is None else backlog)
            return UnixListener(bound, self.path, made)
        except BaseException as error:
            if made is not None:
                made.remove()
            bound.close()
            if isinstance(error, OSError) and error.filename is None:
                raise OSError(error.errno, error.strerror, self.path) from None
            raise

    def _bind(self, bound: socket.socket) -> None:
        try:
            bound.bind(self.path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or self.abstract:
                raise
            _remove_stale(self.path)
            bound.bind(self.path)

    def _hand_over(self) -> None:
        """Give the file its owner and permissions."""
        user, group = _user(self.owner), _group(self.group)
        if (user, group) != (-1, -1):
            try:
                os.chown(self.path, user, group, follow_symlinks=False)
            except PermissionError:
                to = " and ".join(
                    f"{what} {who}"
                    for what, who in (("user", self.owner), ("group", self.group))
                    if who is not None
                )
                raise PermissionError(errno.EPERM, f"this user may not give it to {to}", self.path) from None
        os.chmod(self.path, self.mode)


class UnixListener(trio.abc.Listener[trio.SocketStream]):
    """Accepts connections at a bound and listening Unix socket; closing it removes its file, if it has one.

    `socket` is its `trio.socket.SocketType`, `path` what it was bound to.
    """

    def __init__(self, bound: socket.socket, path: str, made: _File | None) -> None:
        self.path = path
        self._made = made
        self._listener = trio.SocketListener(trio.socket.from_stdlib_socket(bound))
        self.socket = self._listener.socket

    async def accept(self) -> trio.SocketStream:
        """The next connection. Cancelled: none is lost. Raises what `trio.SocketListener.accept` raises."""
        return await self._listener.accept()

    async def aclose(self) -> None:
        """Remove the file, if it still is this socket's, and stop listening."""
        # In this order: as long as it listens nobody puts another file in its place.
        if self._made is not None:
            self._made.remove()
            self._made = None
        await self._listener.aclose()


@dataclass(frozen=True, slots=True)
class _File:
    """The file of a bound socket; while that is open the kernel gives its number to no other file."""

    path: str
    device: int
    number: int

    @classmethod
    def at(cls, path: str) -> _File:
        found = os.lstat(path)
        # The program may change its directory before it ends.
        return cls(os.path.abspath(path), found.st_dev, found.st_ino)

    def remove(self) -> None:
        """Remove it, unless another has taken its place. Raises nothing."""
        with contextlib.suppress(OSError):
            found = os.lstat(self.path)
            if (found.st_dev, found.st_ino) == (self.device, self.number):
                os.unlink(self.path)


def _remove_stale(path: str) -> None:
    """Remove the socket of a server that has died; OSError if somebody listens there, or if it is something else."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(
                errno.EEXIST, "what is there is no socket; remove it, or choose another path", path
            )
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            # A server whose backlog is full would make this wait.
            probe.setblocking(False)
            probe.connect(path)
    except ConnectionRefusedError:
        os.unlink(path)
    except FileNotFoundError:
        pass  # its server has just ended
    except PermissionError:
        raise PermissionError(
            errno.EACCES, "a socket is there, and this user may not ask whether anybody listens at it", path
        ) from None
    except FileExistsError:
        raise
    except OSError:
        # EAGAIN is a full backlog, EPROTOTYPE a datagram socket: somebody is there.
        raise OSError(errno.EADDRINUSE, "another server listens there", path) from None
    else:
        raise OSError(errno.EADDRINUSE, "another server listens there", path)


@contextlib.asynccontextmanager
async def _turn(directory: str) -> AsyncIterator[None]:
    """Let no other server start in `directory` meanwhile; for `TURN` seconds at most, since anybody may hold the lock.

    Where the directory cannot be opened or locked, this does nothing.
    """
    try:
        number = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        until = trio.current_time() + TURN
        while trio.current_time() < until:
            try:
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                await trio.sleep(TURN / 100)
            except OSError:
                break
            else:
                break
        yield
    finally:
        os.close(number)


def shown(path: str) -> str:
    """A Unix socket's name on one line: an abstract one as ``@name``, what cannot be printed escaped."""
    text = f"@{path[1:]}" if path.startswith("\0") else path
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def name_of(address: str | bytes) -> str:
    """What a Unix socket is called: getsockname(2) or getpeername(2) as text; "" for one without a name."""
    return os.fsdecode(address)


def _checked_path(path: object) -> str:
    sentence = f"a Unix socket has a path such as '/run/app.sock'; you gave {path!r}"
    if not isinstance(path, (str, os.PathLike)) or not isinstance(text := os.fspath(path), str):
        raise TypeError(sentence)
    if not text.strip("\0") or "\0" in text[1:]:
        raise ValueError(sentence)
    if text[0] == "\0" and sys.platform != "linux":
        raise ValueError(f"{sentence}: abstract names are Linux's")
    try:
        length = len(os.fsencode(text))
    except UnicodeEncodeError:
        raise ValueError(f"{sentence}, which is no text for a file's name") from None
    if length > LONGEST_PATH:
        raise ValueError(
            f"a Unix socket's path has at most {LONGEST_PATH} bytes, and {shown(text)!r} has {length}; choose a shorter"
            " one, or one relative to the working directory"
        )
    return text


def _checked_mode(mode: object) -> int:
    sentence = f"mode takes permissions from 0 to 0o777, such as 0o660; you gave {mode!r}"
    digits = str(mode)
    lesson = f": write 0o{digits}" if 0 < len(digits) <= 3 and not digits.strip("01234567") else ""
    if isinstance(mode, bool) or not isinstance(mode, int):
        raise TypeError(sentence + lesson)
    if not 0 <= mode <= 0o777:
        raise ValueError(sentence + lesson)
    return mode


def _checked_account(which: str, account: object) -> str | int | None:
    sentence = f"{which} takes a name or a number; you gave {account!r}"
    if account is None:
        return None
    if isinstance(account, bool) or not isinstance(account, (str, int)):
        raise TypeError(sentence)
    if account == "" or (isinstance(account, int) and account < 0):
        raise ValueError(sentence)
    return account


def _user(owner: str | int | None) -> int:
    if owner is None or isinstance(owner, int):
        return -1 if owner is None else owner
    try:
        return pwd.getpwnam(owner).pw_uid
    except (KeyError, ValueError):
        raise OSError(errno.EINVAL, f"this machine has no user {owner!r}") from None


def _group(group: str | int | None) -> int:
    if group is None or isinstance(group, int):
        return -1 if group is None else group
    try:
        return grp.getgrnam(group).gr_gid
    except (KeyError, ValueError):
        raise OSError(errno.EINVAL, f"this machine has no group {group!r}") from None
