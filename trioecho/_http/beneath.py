"""Opening a file beneath a directory, and never one elsewhere.

The names come from a client, and whoever may write into the directory can move things while they are looked at. So the
path is not checked and then opened; it is walked. Each directory is opened relative to the one before, and what turns
out to be a symbolic link is not followed. What has been opened this way was reached from the directory through
directories alone, whatever was renamed or replaced meanwhile. If there is a link on the way, the path is resolved, must
lead to a place beneath the directory, and is then walked in the same manner: a link put there in between is not
followed.

Only regular files are opened: what is no such is found by `stat` before, since opening a device or a FIFO can have
effects, and by `fstat` afterwards, since it may have been put there in between; `O_NONBLOCK` sees to it that this does
not wait.

Not guaranteed: a hard link within the directory is a file of it, and so is what is mounted there. The directory itself
may be a link or stand behind one; whoever can replace it decides what is served. Where files cannot be opened relative
to a directory (Windows), the path is resolved, checked, and opened: who may write into the directory could put a link
there in between.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Sequence

_RELATIVE = os.open in os.supports_dir_fd and os.stat in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")

_CLOSE_ON_EXEC = getattr(os, "O_CLOEXEC", 0)
# O_PATH needs no right to list a directory, only to pass through it.
_DIRECTORY = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0) | _CLOSE_ON_EXEC
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_FILE = (
    os.O_RDONLY
    | _CLOSE_ON_EXEC
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)

# What a component that is a link, or no directory, is answered with; the last by FreeBSD.
_MAYBE_A_LINK = {errno.ELOOP, errno.ENOTDIR, errno.EMLINK}

# What the client's names can bring about. Everything else is the machine's failure, such as EIO or EMFILE.
_NOT_THERE = {
    *_MAYBE_A_LINK,
    errno.ENOENT,
    errno.EACCES,
    errno.EPERM,
    errno.ENAMETOOLONG,
    errno.EINVAL,  # a name that this file system cannot have
    errno.EILSEQ,  # the same on macOS
    errno.ENXIO,  # a socket
    errno.ENODEV,
    errno.EOPNOTSUPP,
}


class OpenFile:
    """A regular file that is open for reading, and its status at that time.

    One thread at a time may `read`. `close` may be called at any time and more than once; while a thread reads, it
    leaves the closing to that thread, since the number of a closed descriptor may be another file's at once. One that
    is forgotten is closed by the garbage collector.
    """

    __slots__ = ("_closed", "_descriptor", "_lock", "_reading", "status")

    def __init__(self, descriptor: int) -> None:
        """Take over a descriptor. Raises OSError (ENXIO), and closes it, if it is not a regular file's."""
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._reading = False
        self._closed = False
        self.status = os.fstat(descriptor)
        if not stat.S_ISREG(self.status.st_mode):
            self.close()
            raise OSError(errno.ENXIO, "not a regular file")

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset`, fewer only at the end of the file. May wait for the disk."""
        with self._lock:
            if self._closed:
                raise ValueError("the file is closed")
            self._reading = True
        try:
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            data = os.read(self._descriptor, size)
            while 0 < len(data) < size and (more := os.read(self._descriptor, size - len(data))):
                data += more
            return data
        finally:
            with self._lock:
                self._reading = False
                if self._closed:
                    os.close(self._descriptor)

    @property
    def closed(self) -> bool:
        """Whether it has been closed, or will be when the thread that reads is done."""
        return self._closed

    def close(self) -> None:
        """Close it. Does not wait."""
        with self._lock:
            if not self._closed:
                self._closed = True
                if not self._reading:
                    os.close(self._descriptor)

    def __del__(self) -> None:
        if hasattr(self, "status"):
            self.close()


def open_beneath(directory: str, names: Sequence[bytes]) -> OpenFile:
    """Open the file that is reached from `directory` by `names`, one for each component of its path.

    Symbolic links are followed where they lead to a place beneath the directory. Raises FileNotFoundError for all that
    is no regular file there or may not be read, IsADirectoryError for a directory, and another OSError where the
    machine fails, such as EIO. May wait for the disk.
    """
    try:
        for name in names:
            if name in (b"", b".", b"..") or b"/" in name or b"\0" in name or os.fsencode(os.sep) in name:
                raise OSError(errno.ENOENT, "not a name")
        return _walk(directory, names) if _RELATIVE else _resolve_and_open(directory, names)
    except IsADirectoryError:
        raise
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise
        raise FileNotFoundError(errno.ENOENT, "no file to be served") from error


def _walk(directory: str, names: Sequence[bytes]) -> OpenFile:
    try:
        return _walk_without_links(os.fsencode(directory), names)
    except OSError as error:
        if error.errno not in _MAYBE_A_LINK:
            raise
    return _walk_without_links(*_resolved(directory, names))


def _walk_without_links(directory: bytes, names: Sequence[bytes]) -> OpenFile:
    """Raises OSError with one of `_MAYBE_A_LINK` if there is a link on the way."""
    at = os.open(directory, _DIRECTORY)
    try:
        for name in names[:-1]:
            below = os.open(name, _DIRECTORY | _NOFOLLOW, dir_fd=at)
            os.close(at)
            at = below
        if not names:
            raise IsADirectoryError(errno.EISDIR, "the directory itself")
        _check_kind(os.stat(names[-1], dir_fd=at, follow_symlinks=False))
        descriptor = os.open(names[-1], _FILE | _NOFOLLOW, dir_fd=at)
    finally:
        os.close(at)
    return OpenFile(descriptor)


def _resolve_and_open(directory: str, names: Sequence[bytes]) -> OpenFile:
    if os.name == "nt" and any(b":" in name for name in names):
        raise OSError(errno.ENOENT, "a drive, or a stream of a file")
    base, inside = _resolved(directory, names)
    path = os.path.join(base, *inside)
    _check_kind(os.lstat(path))
    return OpenFile(os.open(path, _FILE | _NOFOLLOW))


def _resolved(directory: str, names: Sequence[bytes]) -> tuple[bytes, list[bytes]]:
    """Return the directory without links, and the names that lead from there to the same place without links.

    Raises OSError if that place is elsewhere, or is not there.
    """
    separator = os.fsencode(os.sep)
    base = os.path.realpath(os.fsencode(directory), strict=True)
    place = os.path.realpath(os.path.join(base, *names), strict=True)
    if place == base:
        return base, []
    above = base if base.endswith(separator) else base + separator
    if not place.startswith(above):
        raise OSError(errno.ENOENT, "a link that leads out of the directory")
    return base, place[len(above) :].split(separator)


def _check_kind(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "a directory")
    if stat.S_ISLNK(status.st_mode):
        raise OSError(errno.ELOOP, "a symbolic link")
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.ENXIO, "not a regular file")
