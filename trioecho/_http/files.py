"""A directory of static files, as the endpoint of a route: `Files`.

A request is answered by one call in a thread: it opens the file, judges the request by the file's status, and reads the
content where it is small. A larger one is streamed, a call for each piece. No file's bytes are kept between requests:
the kernel does that.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import trio

from trioecho._http.beneath import OpenFile, open_beneath
from trioecho._http.conditional import Validators, etag_of, precondition, range_applies
from trioecho._http.content_types import NOSNIFF, checked_content_types, content_type
from trioecho._http.fields import Headers, checked_fields
from trioecho._http.messages import Request, Response
from trioecho._http.ranges import ACCEPT_RANGES, content_range, requested_range
from trioecho._http.refusals import HeadersLike, Refused, quoted
from trioecho._protocol.shortage import Shortage, lacks_room

PIECE = 65_536
"""Bytes that are read at once. Up to as many make a small file, which is answered by one call in a thread."""

MOST_THREADS = 16
"""Threads that wait for the disk at a time, for one `Files`. Trio has 40 for all else, which a disk that hangs must
not use up. Picked arbitrarily: a disk that works is busy with fewer."""

LONGEST_PATH = 4096
"""Characters of a path that are looked at: as many bytes as Linux takes (PATH_MAX)."""

_OWN_FIELDS = (
    "accept-ranges",
    "cache-control",
    "content-length",
    "content-range",
    "content-type",
    "etag",
    "last-modified",
    "location",
    "x-content-type-options",
)


class Files:
    """Serve the files of a directory: an endpoint for a route such as ``{"/static/{path:path}": Files("static")}``.

    What is served is named by the route's parameter `path`, or, where it has none, by the path of the request. It is
    read anew for each request, so a file that is replaced is served from then on. GET and HEAD are answered, with an
    ETag and Last-Modified (304 for what the client has, RFC 9110 §13) and in parts (206 and 416, RFC 9110 §14; several
    ranges in one request get the whole).

    - `directory`: an existing one; a relative path is taken from the working directory of now. It may be a link.
    - `index`: the name of the file that stands for a directory, at its path with a slash at the end; without the slash
        the answer is a redirect to it (308). None: a directory is not found.
    - `cache_control`: the Cache-Control of what is found. By default "no-cache": a browser keeps the file, but asks
        before it uses it. For files whose names change with their content, "public, max-age=31536000, immutable" saves
        that. None: no such header.
    - `headers`: header fields for every answer, such as a Content-Security-Policy or Access-Control-Allow-Origin.
    - `content_types`: types by the ending of a name, such as ``{".obj": "model/obj"}``, before those that trioecho
        knows. What is in neither is application/octet-stream, and browsers are told not to guess (``nosniff``).

    Example:

        from pathlib import Path

        Path("site").mkdir()
        Path("site", "index.html").write_text("<!doctype html><title>Hello</title>")
        files = trioecho.Files("site", cache_control="max-age=60")
        routes = {"/": files, "/{path:path}": files, "/ws": trioecho.echo}

    Nothing outside the directory is served: not by ``..``, a percent-encoded slash or a backslash, and not by a
    symbolic link that leads out. A link that leads to a file within is followed. Names that begin with a dot are not
    found, wherever they stand in the path; for ``/.well-known/`` give a `Files` of that directory. What is no regular
    file, may not be read, or is not there is not found either, and the answer is the same for all (404).

    Called with a request it returns a `Response`, or raises `Refused` (304 is a `Response`), and OSError if the disk
    fails. Without a descriptor, memory or a thread for one more file it is 503 with Retry-After, and the log says so
    once a minute at most. That is a checkpoint, and so is each piece of a streamed body. Cancelled: the thread that
    waits for the disk is left to itself, and closes the file when it is done. A streamed body has as many bytes as its
    Content-Length says, or raises EOFError for a file that became shorter.

    Raises TypeError or ValueError with one sentence for what will not do.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        index: str | None = "index.html",
        cache_control: str | None = "no-cache",
        headers: HeadersLike = (),
        content_types: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._directory = _checked_directory(directory)
        self._index = None if index is None else _checked_index(index).encode()
        self._always = (NOSNIFF, *_checked_headers(headers))
        self._found = self._always
        if cache_control is not None:
            if not isinstance(cache_control, str):
                raise TypeError(
                    f"cache_control takes a string such as 'no-cache', or None; you gave {cache_control!r}"
                )
            self._found += checked_fields({"Cache-Control": cache_control})
        self._content_types = checked_content_types(content_types)
        self._shortage = Shortage("cannot open files to be served", "files are served again")
        # Trio's limiters belong to one run, an object of this class may serve in several.
        self._limiter: trio.lowlevel.RunVar[trio.CapacityLimiter] = trio.lowlevel.RunVar("trioecho.Files")

    def __repr__(self) -> str:
        return f"<trioecho.Files {self._directory!r}>"

    async def __call__(self, request: Request) -> Response:
        """Answer a request; see the class."""
        if request.method not in ("GET", "HEAD"):
            raise Refused(
                405,
                f"A file takes GET and HEAD; received {quoted(request.method)}.",
                (("Allow", "GET, HEAD"), *self._always),
            )
        asked = _asked(request)
        if asked is None:
            raise self._not_found(request)
        threads = self._threads()
        # The fields are parsed here: the request is not the thread's, which may outlive it.
        try:
            response = await trio.to_thread.run_sync(
                self._answer,
                request,
                request.headers,
                asked,
                threads,
                abandon_on_cancel=True,
                limiter=threads,
            )
        except (OSError, MemoryError, RuntimeError) as error:
            if not lacks_room(error):
                raise
            self._shortage.met(error, time.monotonic())
            sentence = "This server has no room to open one more file; ask again."
            raise Refused(503, sentence, (("Retry-After", "1"), *self._always)) from None
        if self._shortage.lasts:
            self._shortage.done(time.monotonic())
        return response

    def _threads(self) -> trio.CapacityLimiter:
        try:
            return self._limiter.get()
        except LookupError:
            limiter = trio.CapacityLimiter(MOST_THREADS)
            self._limiter.set(limiter)
            return limiter

    def _answer(
        self, request: Request, headers: Headers, asked: _Asked, threads: trio.CapacityLimiter
    ) -> Response:
        """In a thread: open what is asked for, and answer with it."""
        names = asked.names
        if asked.directory:
            if self._index is None:
                raise self._not_found(request)
            names = (*names, self._index)
        try:
            file = open_beneath(self._directory, names)
        except IsADirectoryError:
            if not asked.directory and self._has_index(names):
                raise self._redirect(request) from None
            raise self._not_found(request) from None
        except FileNotFoundError:
            raise self._not_found(request) from None
        body: _FileBody | None = None
        try:
            response = self._respond(request, headers, names[-1].decode(), file, threads)
            body = response.body if isinstance(response.body, _FileBody) else None
            return response
        finally:
            if body is None:
                file.close()

    def _respond(
        self, request: Request, headers: Headers, name: str, file: OpenFile, threads: trio.CapacityLimiter
    ) -> Response:
        """Answer with an open file, which is the response's own if that has a `_FileBody`."""
        size = file.status.st_size
        validators = _validators(file.status)
        fields = (*self._found, *validators.fields)
        status = precondition(request.method, headers, validators)
        if status == 304:
            return Response(status=304, headers=fields)
        if status is not None:
            raise Refused(status, f"{quoted(request.path)} is not in the state that was asked for.", fields)
        fields += (ACCEPT_RANGES,)
        kind = content_type(name, self._content_types)
        if request.method == "HEAD":
            # A Range is for GET alone (RFC 9110 §14.2).
            fields += (("Content-Length", str(size)),)
            return Response(_NotSent(), headers=fields, content_type=kind)
        part = self._part(headers, validators, size)
        status = 200
        if part is None:
            part = range(size)
        else:
            status = 206
            fields += (content_range(part, size),)
        if len(part) > PIECE:
            fields += (("Content-Length", str(len(part))),)
            body = _FileBody(file, name, part, threads)
            return Response(body, status=status, headers=fields, content_type=kind)
        content = file.read(part.start, len(part)) if part else b""
        if len(content) < len(part):
            sentence = f"{quoted(request.path)} is being changed; ask again."
            raise Refused(503, sentence, (("Retry-After", "1"), *self._always))
        return Response(content, status=status, headers=fields, content_type=kind)

    def _part(self, headers: Headers, validators: Validators, size: int) -> range | None:
        if not range_applies(headers, validators):
            return None
        try:
            return requested_range(headers, size)
        except Refused as refused:
            raise Refused(refused.status, refused.sentence, (*refused.headers, *self._always)) from None

    def _has_index(self, names: tuple[bytes, ...]) -> bool:
        if self._index is None:
            return False
        try:
            open_beneath(self._directory, (*names, self._index)).close()
        except (FileNotFoundError, IsADirectoryError):
            return False
        return True

    def _redirect(self, request: Request) -> Refused:
        """To the same path with a slash.

        As a relative reference: it stays on this host whatever the path is ("//evil.example/" would not), and right
        behind a proxy that has taken off the beginning of the path. The dot keeps a colon in it from ending a scheme.
        """
        path, question, query = request.target.partition("?")
        location = f"./{path[path.rfind('/') + 1 :]}/{question}{query}"
        return Refused(
            308, "A directory has a slash at the end of its path.", (("Location", location), *self._found)
        )

    def _not_found(self, request: Request) -> Refused:
        return Refused(404, f"Nothing is served at {quoted(request.path)}.", self._always)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a path names: the components, and whether a slash at the end says that it is a directory."""

    names: tuple[bytes, ...]
    directory: bool


def _asked(request: Request) -> _Asked | None:
    """Return what a request names; None if that is nothing that could be served, whatever the directory holds."""
    path = request.path_params.get("path")
    if path is None:
        path = request.path.removeprefix("/")
    if len(path) > LONGEST_PATH:
        return None
    # An encoded slash is part of a name (RFC 3986 §2.2), and no file's name has one. A route's parameter has it
    # decoded, so it is looked for as it was sent.
    segments = request.target.partition("?")[0].split("/")[-1 - path.count("/") :]
    if any("%2f" in segment.lower() for segment in segments):
        return None
    try:
        names = path.encode().split(b"/")
    except UnicodeEncodeError:
        return None
    directory = not names[-1]
    if directory:
        del names[-1]
    if any(not name or name.startswith(b".") or b"\\" in name or b"\0" in name for name in names):
        return None
    return _Asked(tuple(names), directory)


def _validators(status: os.stat_result) -> Validators:
    changed = int(status.st_mtime)
    # RFC 9110 §8.8.2.1: a Last-Modified is never later than the answer.
    last_modified = min(changed, int(time.time())) if changed >= 0 else None
    return Validators(etag_of(status.st_mtime_ns, status.st_size, status.st_ino), last_modified)


class _FileBody:
    """A part of an open file, piece by piece; the file is closed at its end, whatever the end is."""

    __slots__ = ("_file", "_left", "_name", "_offset", "_threads")

    def __init__(self, file: OpenFile, name: str, part: range, threads: trio.CapacityLimiter) -> None:
        self._file = file
        self._name = name
        self._offset = part.start
        self._left = len(part)
        self._threads = threads

    def __aiter__(self) -> _FileBody:
        return self

    async def __anext__(self) -> bytes:
        if not self._left or self._file.closed:
            raise StopAsyncIteration
        try:
            piece = await trio.to_thread.run_sync(
                self._file.read,
                self._offset,
                min(PIECE, self._left),
                abandon_on_cancel=True,
                limiter=self._threads,
            )
            if not piece:
                raise EOFError(
                    f"the file {quoted(self._name)} became shorter while it was sent: "
                    f"{self._left} bytes are missing"
                )
        except BaseException:
            self._file.close()
            raise
        self._offset += len(piece)
        self._left -= len(piece)
        if not self._left:
            self._file.close()
        return piece

    async def aclose(self) -> None:
        """Close the file. Not a checkpoint."""
        self._left = 0
        self._file.close()


class _NotSent:
    """The body of an answer to a HEAD, of which only the length is told."""

    def __aiter__(self) -> _NotSent:
        return self

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration


def _checked_directory(directory: object) -> str:
    rule = "directory takes the path of an existing directory, such as 'static'; you gave"
    if not isinstance(directory, (str, os.PathLike)):
        raise TypeError(f"{rule} {directory!r}")
    path = os.fspath(directory)
    if not isinstance(path, str):
        raise TypeError(f"{rule} {directory!r}: give a str")
    if not path or "\0" in path:
        raise ValueError(f"{rule} {path!r}")
    path = os.path.abspath(path)
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise ValueError(f"{rule} {path!r}, where nothing is") from None
    except OSError as error:
        raise ValueError(f"{rule} {path!r}: {error.strerror}") from None
    if not stat.S_ISDIR(mode):
        raise ValueError(f"{rule} {path!r}, which is a file")
    if not os.access(path, os.X_OK):
        raise ValueError(f"{rule} {path!r}, which this process may not look into")
    return path


def _checked_index(index: object) -> str:
    rule = "index takes the name of a file such as 'index.html', or None; you gave"
    if not isinstance(index, str):
        raise TypeError(f"{rule} {index!r}")
    if not index or index.startswith(".") or any(sign in index for sign in "/\\\0"):
        raise ValueError(f"{rule} {index!r}")
    return index


def _checked_headers(headers: HeadersLike) -> tuple[tuple[str, str], ...]:
    fields = checked_fields(headers)
    for name, _ in fields:
        if name.lower() in _OWN_FIELDS:
            raise ValueError(f"the header {name} is made for each file: leave it out of Files")
    # What no response may have is refused here, and not when the first one is made.
    Response(headers=fields)
    return fields
