"""`connect`: a WebSocket for the length of an ``async with``."""

from __future__ import annotations

import contextlib
import math
import os
import ssl
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager

import trio

from trioecho._protocol.counted import counted
from trioecho.client.address import Address, HandshakeRequest, handshake_request, parse_url
from trioecho.client.websocket import WebSocket


def connect(
    url: str,
    *,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    origin: str | None = None,
    subprotocols: Iterable[str] = (),
    ssl_context: ssl.SSLContext | None = None,
    unix: str | os.PathLike[str] | None = None,
    max_message_size: int = 2**20,
    connect_timeout: float = 10,
    close_timeout: float = 5,
) -> AbstractAsyncContextManager[WebSocket]:
    """Open a WebSocket at `url`, and close it when the ``async with`` is left.

        async with trioecho.client.connect("wss://example.com/ws", subprotocols=["v1"]) as ws:
            await ws.send("hello")

    - `url`:
        ``ws://`` or ``wss://``, with a name, an IPv4 address or an IPv6 address in brackets.
    - `headers`:
        Further header fields of the request, as a mapping or as pairs. ``Host`` replaces the URL's.
    - `origin`:
        What the Origin header says; without it there is none, as from any program that is no browser.
    - `subprotocols`:
        What to offer, the preferred one first. The server's choice is ``ws.subprotocol``.
    - `ssl_context`:
        For ``wss://``; the default trusts what the system trusts.
    - `unix`:
        Path of a Unix socket to connect to instead of the URL's host and port.
    - `max_message_size`:
        The longest message accepted, in bytes (of a text, in characters). A longer one is answered 1009 and ends
        the connection.
    - `connect_timeout`:
        Seconds for TCP, TLS and the handshake together. ``math.inf`` is no limit.
    - `close_timeout`:
        Seconds that the end may take, whatever the server does; then TCP is closed.

    Leaving the block says Close 1000, or 1011 if an exception left it, waits for the server's Close and its end of
    TCP, and closes TCP. Cancelled in the block: Close 1001 is sent if there is room for it at once, nothing is waited
    for, TCP is closed. Cancelled while connecting: TCP is closed. An exception of the block leaves it as it was raised,
    never in a group.

    Raises ValueError for arguments that make no sense, at the call itself. Entering raises `HandshakeRefused` when the
    server answers with another status than 101, `HandshakeFailed` when it answers with something else or hangs up,
    OSError when it cannot be reached or its certificate is not trusted, `trio.TooSlowError` after `connect_timeout`.
    """
    address = parse_url(url)
    request = handshake_request(address, headers=headers, origin=origin, subprotocols=subprotocols)
    if not address.secure and ssl_context is not None:
        raise ValueError(f"{url!r} is not encrypted; an ssl_context is for wss://")
    if max_message_size < 1:
        raise ValueError(f"max_message_size is a number of bytes, at least 1; received {max_message_size}")
    if not connect_timeout > 0:
        raise ValueError(f"connect_timeout is in seconds, more than 0; received {connect_timeout}")
    if not 0 < close_timeout < math.inf:
        raise ValueError(f"close_timeout is in seconds, more than 0 and finite; received {close_timeout}")
    return _connection(
        address,
        request,
        ssl_context=ssl_context,
        unix=unix,
        max_message_size=max_message_size,
        connect_timeout=connect_timeout,
        close_timeout=close_timeout,
    )


@contextlib.asynccontextmanager
async def _connection(
    address: Address,
    request: HandshakeRequest,
    *,
    ssl_context: ssl.SSLContext | None,
    unix: str | os.PathLike[str] | None,
    max_message_size: int,
    connect_timeout: float,
    close_timeout: float,
) -> AsyncIterator[WebSocket]:
    deadline = trio.current_time() + connect_timeout
    with _in_time(
        deadline, f"no connection to {address.host_field} within {counted(connect_timeout, 'second')}"
    ):
        stream = await _open_stream(address, ssl_context, unix)
    ws = WebSocket(stream, max_message_size=max_message_size, close_timeout=close_timeout)
    # What leaves the block is kept, and raised outside of the nursery, which would make a group of it.
    failure: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ws.live, request)
            try:
                try:
                    with _in_time(
                        deadline, f"no answer to the handshake within {counted(connect_timeout, 'second')}"
                    ):
                        await ws.opened()
                except trio.TooSlowError:
                    raise ws.refusal_so_far() or trio.TooSlowError(
                        f"no answer to the handshake within {counted(connect_timeout, 'second')}"
                    ) from None
                yield ws
            except BaseException as error:
                failure = error
            try:
                await ws.leave(failed=failure is not None)
            except BaseException as error:
                failure = failure or error
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        failure = _of_nursery(group, failure)
    finally:
        # Waits for nothing. Not shielded, a cancellation would take the place of what the block raised.
        with trio.CancelScope(shield=True):
            await ws.hang_up()
    if failure is not None:
        raise failure


@contextlib.contextmanager
def _in_time(deadline: float, complaint: str) -> Iterator[None]:
    with trio.CancelScope(deadline=deadline) as scope:
        yield
    if scope.cancelled_caught:
        raise trio.TooSlowError(complaint)


async def _open_stream(
    address: Address, ssl_context: ssl.SSLContext | None, unix: str | os.PathLike[str] | None
) -> trio.abc.Stream:
    stream: trio.SocketStream
    if unix is not None:
        stream = await trio.open_unix_socket(unix)
    else:
        stream = await trio.open_tcp_stream(address.host, address.port)
    if not address.secure:
        return stream
    if ssl_context is None:
        ssl_context = ssl.create_default_context()
        ssl_context.set_alpn_protocols(["http/1.1"])
    encrypted = trio.SSLStream(stream, ssl_context, server_hostname=address.host, https_compatible=True)
    try:
        await encrypted.do_handshake()
    except BaseException as error:
        await trio.aclose_forcefully(stream)
        if isinstance(error, trio.BrokenResourceError):
            # Trio puts the reason, such as a certificate that is not trusted, into the cause.
            if isinstance(error.__cause__, OSError):
                raise error.__cause__ from None
            raise ConnectionError("the server hung up during the TLS handshake") from None
        raise
    return encrypted


def _of_nursery(group: BaseExceptionGroup[BaseException], failure: BaseException | None) -> BaseException:
    """What to raise for a nursery's group: not one that only tells again of the cancellation which ended the block."""
    _, rest = group.split(trio.Cancelled)
    if rest is None:
        return failure or _leaf(group)
    return _leaf(rest) if failure is None or isinstance(failure, trio.Cancelled) else failure


def _leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
