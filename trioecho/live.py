"""LiveServer: a server in a thread of its own, for notebooks and for tests of code that is not Trio.

Its laws:

- One daemon thread, one `trio.run`. It survives a notebook's Interrupt, and it never keeps a program from
  ending: at exit it is stopped, clients included, within a second or two.
- Ready means ready: `start` returns when connections are accepted. Nothing sleeps and hopes.
- A crash is never silent: `start`, `stop`, `url` and everything else that needs the server raise what crashed
  it, the exception itself and not the group around it, which IPython would not show.
- Running a notebook's cell again replaces: `start` on a running LiveServer starts it afresh, a LiveServer
  takes over the port or Unix socket that an older one of this program holds, and one that nobody refers to any more is
  stopped.
- Any thread may call anything. However many start it at the same moment, one server runs afterwards, and each of
  the others has been stopped.
- It never prints, and its repr holds no port: which cell would get the text is arbitrary, and a notebook's
  output should be the same each time.
"""

from __future__ import annotations

import atexit
import functools
import logging
import ssl
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Self, TypeAlias, TypeVar

import trio

from trioecho._protocol.counted import counted
from trioecho._protocol.record import ConnectionRecord
from trioecho._server.listening import NOT_GIVEN, Host, ListenAt, NotGiven, Unix
from trioecho._server.routes import Route, Routes
from trioecho._server.serve import serve
from trioecho._server.server import Server
from trioecho.options import WebSocketOptions

T = TypeVar("T")
Place: TypeAlias = tuple[tuple[str, ...] | None, int, str | None]
"""Hosts, port and Unix path, the port 0 if it is any free one."""
_logger = logging.getLogger("trioecho")

AT_EXIT = 1.0
"""Seconds that handlers get when the program ends: a kernel that is shut down is killed soon after."""


class LiveServer:
    """A WebSocket server in a daemon thread, usable from plain functions, asyncio, Trio and notebooks.

    The parameters are those of `trioecho.serve`, except that `port` is 0 by default: any free one. Use it
    as a context manager, or call `start` and `stop`. The handler runs in the server's thread, so what it
    shares with other threads needs a lock or `run`. With `listeners` it can be started once, since the server
    closes them.

    Raises what `serve` raises for a place to listen at that makes no sense; for other wrong arguments when it is
    started.
    """

    def __init__(
        self,
        handler: Route | Routes | None = None,
        *,
        options: WebSocketOptions | None = None,
        host: Host | NotGiven = NOT_GIVEN,
        port: int | NotGiven = NOT_GIVEN,
        unix: Unix | None = None,
        fd: int | None = None,
        listeners: Sequence[trio.SocketListener] | None = None,
        backlog: int | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        listen_at = ListenAt.of(
            host, port, unix=unix, fd=fd, listeners=listeners, backlog=backlog, default_port=0
        )
        self._serve = functools.partial(
            serve,
            handler,
            host=host,
            port=listen_at.port if listen_at.tcp else port,
            unix=unix,
            fd=fd,
            listeners=listeners,
            backlog=backlog,
            options=options,
            ssl_context=ssl_context,
        )
        self._place = _place(listen_at)
        # Held while starting: by all that start at this place, or, where each gets one of its own, by this one.
        self._starting = (
            threading.Lock()
            if self._place is None
            else _starting_at.setdefault(self._place, threading.Lock())
        )
        self._thread: _ServerThread | None = None
        self._let_go: Callable[[], object] | None = None

    def start(self) -> Self:
        """Starts the server and returns when it accepts connections; returns the LiveServer itself.

        If it runs already, or an older LiveServer of this program listens on the same port or Unix socket, that one
        is stopped first. Threads that call this at the same moment take turns, so the last one's server is left.
        Raises OSError if it cannot listen.
        """
        with self._starting:
            self.stop()
            for thread in tuple(_running):
                if self._place is not None and thread.place == self._place:
                    thread.stop(AT_EXIT)
            if not _logger.handlers:
                # Where nobody has asked for logs, Python prints warnings to standard error: here, into some cell.
                _logger.addHandler(logging.NullHandler())
            thread = _ServerThread(self._serve, self._place)
            thread.start()
            self._thread = thread
            if self._let_go is not None:
                self._let_go()
            finalizer = weakref.finalize(self, thread.abandon)
            finalizer.atexit = False
            # Once another one is started, this one need not be ended when this object is forgotten.
            self._let_go = finalizer.detach
        return self

    def stop(self, *, timeout: float = 10.0) -> None:
        """Stops gracefully, returns when the server has ended: 1001 to everyone, `timeout` s for the
        handlers.

        Does nothing if it was not started or has been stopped. If the server crashed, raises what crashed it,
        once. Must not be called from a handler: it waits for the handler. Does not wait for a `start` that
        another thread is in the middle of, and whose server it therefore does not stop.
        """
        thread = self._thread
        if thread is not None:
            thread.stop(timeout)
            thread.raise_failure(once=True)

    def run(self, async_fn: Callable[..., Awaitable[T]], *args: object) -> T:
        """Runs ``await async_fn(*args)`` inside the server's own Trio run, and returns or raises what it
        does.

        For looking at the server from inside, such as `trio.lowlevel.current_root_task`. Blocks the calling
        thread, so call it from a plain function. A server that is stopped meanwhile waits for its handlers but not
        for `async_fn`, which is cancelled then. Raises trio.RunFinishedError, a RuntimeError, if the server has
        ended or ends before `async_fn` has finished, or what crashed it.
        """
        thread = self._running_thread()
        try:
            return trio.from_thread.run(async_fn, *args, trio_token=thread.token)
        except (trio.Cancelled, BaseExceptionGroup) as error:
            # Only the end of the whole run cancels `async_fn`. To this thread a cancellation means nothing.
            failure = _without_cancelled(error)
        if failure is not None:
            raise failure
        thread.join(AT_EXIT)
        thread.raise_failure()
        while isinstance(async_fn, functools.partial):
            async_fn = async_fn.func
        name = getattr(async_fn, "__name__", repr(async_fn))
        raise trio.RunFinishedError(f"the LiveServer was stopped before {name} had finished")

    @property
    def server(self) -> Server:
        """The `Server`. It belongs to the other thread: read what does not change, or use `run`."""
        return self._running_thread().server

    @property
    def url(self) -> str:
        """The server's URL, ``http://127.0.0.1:41234``, where the sample has its page."""
        return self.server.url

    @property
    def websocket_url(self) -> str:
        """The WebSocket's URL, ``ws://127.0.0.1:41234/ws``."""
        return self.server.websocket_url

    @property
    def records(self) -> tuple[ConnectionRecord, ...]:
        """The records of the connections that have ended, the oldest first, at most the last 1000.

        They stay readable after `stop`. A client that has seen the end of its connection may be a moment ahead
        of the record: `wait_for_records` waits for it.
        """
        thread = self._thread
        return () if thread is None else thread.ask(lambda: tuple(thread.server.records))

    def wait_for_records(self, count: int, *, timeout: float = 5.0) -> tuple[ConnectionRecord, ...]:
        """The `records`, as soon as at least `count` connections have ended; TimeoutError after `timeout` s.

        Blocks the calling thread.
        """
        deadline = time.monotonic() + timeout
        while len(records := self.records) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{len(records)} of {counted(count, 'connection')} ended within {timeout:g} s"
                )
            time.sleep(0.005)
        return records

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        except BaseException:
            # The body's own failure is the one to show; with none, the server's is.
            if error is None:
                raise

    def __repr__(self) -> str:
        state = "running" if self._thread is not None and self._thread.is_alive() else "not running"
        return f"<trioecho.LiveServer {state}>"

    def _running_thread(self) -> _ServerThread:
        if self._thread is not None:
            self._thread.raise_failure()
            if self._thread.is_alive():
                return self._thread
        raise RuntimeError("the LiveServer is not running: call start(), or use it in a with statement")


class _ServerThread:
    """One run of one server. Does not know its LiveServer, so that a forgotten LiveServer can be noticed."""

    server: Server
    token: trio.lowlevel.TrioToken

    def __init__(self, serve: Callable[..., Awaitable[None]], place: Place | None) -> None:
        self.serve = serve
        self.place = place
        self._failure: BaseException | None = None
        self._telling = threading.Lock()
        self._settled = threading.Event()
        self._thread = threading.Thread(target=self._main, name="trioecho.LiveServer", daemon=True)
        self.is_alive = self._thread.is_alive
        self.join = self._thread.join

    def start(self) -> None:
        self._thread.start()
        self._settled.wait()
        self.raise_failure()

    def stop(self, timeout: float) -> None:
        self._tell(lambda: self.server.stop(timeout=timeout))
        self.join()

    def abandon(self) -> None:
        """Stops without waiting: the garbage collector may call this in any thread, even the server's."""
        self._tell(lambda: self.server.stop(timeout=AT_EXIT))

    def ask(self, question: Callable[[], T]) -> T:
        """Answers `question` in the server's thread, from whichever thread it is asked."""
        if threading.current_thread() is self._thread:
            return question()
        answer: Future[T] = Future()
        if not self._tell(lambda: answer.set_result(question())):
            return question()
        return answer.result()

    def raise_failure(self, *, once: bool = False) -> None:
        """Raises what crashed the server, if anything did; where it is said `once`, that was the last time."""
        with self._telling:
            failure = self._failure
            if once:
                self._failure = None
        if failure is not None:
            raise failure

    def _tell(self, action: Callable[[], object]) -> bool:
        try:
            self.token.run_sync_soon(action)
        except trio.RunFinishedError:
            return False
        return True

    def _main(self) -> None:
        try:
            trio.run(self._run)
        except BaseException as error:
            self._failure = _leaf(error)
        finally:
            _running.discard(self)
            self._settled.set()

    async def _run(self) -> None:
        self.token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            self.server = await nursery.start(self.serve)
            _running.add(self)
            self._settled.set()


def _place(listen_at: ListenAt) -> Place | None:
    """What another LiveServer would have to make room for; None where only one server can ever listen."""
    port = listen_at.port if listen_at.tcp else 0
    path = None if listen_at.unix is None else listen_at.unix.path
    return None if port == 0 and path is None else (listen_at.hosts, port, path)


def _leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _without_cancelled(error: BaseException) -> BaseException | None:
    """What is left of an exception without its `trio.Cancelled`, None if nothing is."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(trio.Cancelled)[1]
    return None if isinstance(error, trio.Cancelled) else error


# Each is in it from when it listens until its run has ended. `tuple(_running)` and the like are atomic.
_running: set[_ServerThread] = set()

_starting_at: dict[Place, threading.Lock] = {}
"""The locks of `LiveServer.start`, one for each place that somebody chose."""


@atexit.register
def _stop_all() -> None:
    for thread in tuple(_running):
        thread.abandon()
    for thread in tuple(_running):
        thread.join(2 * AT_EXIT)
