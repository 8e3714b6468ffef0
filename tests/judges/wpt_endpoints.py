"""What the web platform tests for WebSockets talk to: the endpoints that their ``handlers/*_wsh.py`` describe.

They are written anew, each named after its path. Where a test wants a server that breaks RFC 6455, the endpoint is a
`RawRoute`, with wsproto for the frames.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import time

import trio
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, Message
from wsproto.utilities import generate_accept_token

import trioecho

MIB = 2**20

# Endpoints that say something, or nothing.


async def silent(ws: trioecho.WebSocket) -> None:
    """Take what comes, say nothing, and answer the Close."""
    async for _ in ws:
        pass


async def at_once(ws: trioecho.WebSocket) -> None:
    """Close with 1000."""


async def echo(ws: trioecho.WebSocket) -> None:
    async for message in ws:
        await ws.send(message)
        if message == "Goodbye":
            break


async def echo_exit(ws: trioecho.WebSocket) -> None:
    async for message in ws:
        if message == "Goodbye":
            break


async def empty_message(ws: trioecho.WebSocket) -> None:
    await ws.send("pass" if await ws.receive() == "" else "fail")


async def echo_query(ws: trioecho.WebSocket) -> None:
    await ws.send(ws.request.target.partition("?")[2])


async def echo_cookie(ws: trioecho.WebSocket) -> None:
    await ws.send(ws.request.headers.get("cookie") or "(none)")


async def origin(ws: trioecho.WebSocket) -> None:
    await ws.send(ws.request.origin or "")


async def referrer(ws: trioecho.WebSocket) -> None:
    await ws.send(ws.request.headers.get("referer") or "MISSING AS PER FETCH")


async def protocol(ws: trioecho.WebSocket) -> None:
    await ws.send(ws.subprotocol or "")


# Endpoints that take their time.


async def delayed_passive_close(ws: trioecho.WebSocket) -> None:
    async for _ in ws:
        pass
    await trio.sleep(1)


async def receive_backpressure(ws: trioecho.WebSocket) -> None:
    await trio.sleep(2)
    await ws.receive()


async def receive_many_with_backpressure(ws: trioecho.WebSocket) -> None:
    await trio.sleep(0.1)
    async for message in ws:
        await ws.send(str(len(message)))
        await trio.sleep(0.1)


async def send_backpressure(ws: trioecho.WebSocket) -> None:
    """Say how many seconds it has taken to send 16 MiB."""
    await ws.send(b"")
    before = time.perf_counter()
    for _ in range(16):
        await ws.send(b" " * MIB)
    await ws.send(str(time.perf_counter() - before))


async def after_two_seconds(request: trioecho.Request) -> None:
    await trio.sleep(2)


async def after_ten_seconds(request: trioecho.Request) -> None:
    await trio.sleep(10)


# Endpoints that set cookies.


async def set_cookie(request: trioecho.Request) -> trioecho.Accept:
    return _cookies(f"ws_test_{_query(request)}=test; Path=/")


async def set_cookie_http(request: trioecho.Request) -> trioecho.Accept:
    return _cookies(f"ws_test_{_query(request)}=test; Path=/; HttpOnly")


async def set_cookie_secure(request: trioecho.Request) -> trioecho.Accept:
    return _cookies(f"ws_test_{_query(request)}=test; Secure; Path=/")


async def set_cookies_samesite(request: trioecho.Request) -> trioecho.Accept:
    value = request.query.get("value", "1")
    age = "; Max-Age=0" if "clear" in request.target else ""
    return _cookies(
        f"samesite-unspecified={value}; Path=/{age}",
        f"samesite-lax={value}; Path=/; SameSite=Lax{age}",
        f"samesite-strict={value}; Path=/; SameSite=Strict{age}",
        f"samesite-none={value}; Path=/; SameSite=None; Secure{age}",
    )


def _cookies(*cookies: str) -> trioecho.Accept:
    return trioecho.Accept(headers=[("Set-Cookie", cookie) for cookie in cookies])


def _query(request: trioecho.Request) -> str:
    return request.target.partition("?")[2]


# Endpoints that leave without a Close. trioecho has no call for that: here TCP is ended beneath it.


async def passive_close_abort(ws: trioecho.WebSocket) -> None:
    async for _ in ws:
        pass
    end_tcp_of(ws)


async def remote_close(ws: trioecho.WebSocket) -> None:
    query = ws.request.query
    if "abrupt" in query:
        await ws.ping()
        end_tcp_of(ws)
    elif "code" in query:
        await ws.aclose(int(query["code"]), query.get("reason", ""))
    else:
        await ws.aclose(None)


def end_tcp_of(ws: trioecho.WebSocket) -> None:
    """End the connection of `ws` as if its cable had been cut. Looks for it among the process's descriptors (Linux)."""
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            end = socket.socket(fileno=int(descriptor))
            try:
                if end.getpeername()[:2] == ws.request.client:
                    end.shutdown(socket.SHUT_RDWR)
            finally:
                end.detach()


# Endpoints that break RFC 6455.


def switching(request: trioecho.Request, *lines: str, accept: str | None = None) -> bytes:
    """Return the 101 that accepts a handshake, with more `lines`, and perhaps with a wrong key."""
    if accept is None:
        accept = generate_accept_token(request.headers["sec-websocket-key"].encode()).decode()
    head = (
        "HTTP/1.1 101 Switching Protocols",
        "Connection: Upgrade",
        "Upgrade: WebSocket",
        f"Sec-WebSocket-Accept: {accept}",
        *lines,
    )
    return "\r\n".join((*head, "", "")).encode()


async def read_to_the_end(stream: trio.abc.Stream) -> None:
    """Wait until the browser has ended TCP, so that what was sent is not lost to a reset."""
    with trio.move_on_after(5), contextlib.suppress(trio.BrokenResourceError):
        while await stream.receive_some():
            pass


async def handshake_protocol(request: trioecho.Request, stream: trio.abc.Stream) -> None:
    """Agree on a subprotocol, whether it was offered or not, and close."""
    connection = Connection(ConnectionType.SERVER)
    goodbye = connection.send(CloseConnection(1000))
    await stream.send_all(switching(request, "Sec-WebSocket-Protocol: foobar") + goodbye)
    await read_to_the_end(stream)


async def simple_handshake(request: trioecho.Request, stream: trio.abc.Stream) -> None:
    """Send the 101 and a Close in one packet; end TCP when the browser has answered."""
    connection = Connection(ConnectionType.SERVER)
    goodbye = connection.send(CloseConnection(1001, "PASS"))
    await stream.send_all(switching(request, "Set-Cookie: ws_test=test") + goodbye)
    await stream.receive_some()


async def wrong_accept_key(request: trioecho.Request, stream: trio.abc.Stream) -> None:
    await stream.send_all(switching(request, accept="thisisawrongacceptkey"))
    await read_to_the_end(stream)


async def invalid(request: trioecho.Request, stream: trio.abc.Stream) -> None:
    await stream.send_all(b"FOO BAR BAZ\r\n\r\n")
    await read_to_the_end(stream)


async def echo_raw(request: trioecho.Request, stream: trio.abc.Stream) -> None:
    """Send the content of each message as bytes, without a frame around it, until one is ``exit``."""
    await stream.send_all(switching(request))
    connection = Connection(ConnectionType.SERVER)
    while data := await stream.receive_some():
        connection.receive_data(data)
        for event in connection.events():
            if isinstance(event, CloseConnection):
                await stream.send_all(connection.send(event.response()))
                return
            if isinstance(event, Message):
                content = event.data.encode() if isinstance(event.data, str) else bytes(event.data)
                if content == b"exit":
                    return
                await stream.send_all(content)


OPTIONS = trioecho.WebSocketOptions(
    # The longest sleep before a handshake, the largest message, and the latest answer of a Close.
    handshake_timeout=30,
    max_message_size=64 * MIB,
    answer_timeout=3,
    close_timeout=10,
    keep_alive_interval=math.inf,
)

ENDPOINTS: dict[str, trioecho.Route] = {
    "/basic_auth": trioecho.WebSocketRoute(at_once, admit=trioecho.basic_auth("foo:bar", realm="camelot")),
    "/delayed-passive-close": delayed_passive_close,
    "/echo": trioecho.WebSocketRoute(echo, subprotocols=["echo"]),
    "/echo-cookie": echo_cookie,
    "/echo-query": echo_query,
    "/echo-query_v13": echo_query,
    "/echo_close_data": echo_exit,
    "/echo_exit": echo_exit,
    "/echo_raw": trioecho.RawRoute(echo_raw),
    "/empty-message": empty_message,
    "/handshake_no_extensions": at_once,
    "/handshake_no_protocol": at_once,
    "/handshake_protocol": trioecho.RawRoute(handshake_protocol),
    "/handshake_sleep_2": trioecho.WebSocketRoute(at_once, admit=after_two_seconds),
    "/invalid": trioecho.RawRoute(invalid),
    "/origin": origin,
    "/passive-close-abort": passive_close_abort,
    "/protocol": trioecho.WebSocketRoute(
        protocol, subprotocols=lambda request, offered: offered[0] if offered else None
    ),
    "/protocol_array": trioecho.WebSocketRoute(
        protocol, subprotocols=lambda request, offered: offered[0] if offered else None
    ),
    "/receive-backpressure": trioecho.WebSocketRoute(
        receive_backpressure,
        # Otherwise the one large message is put together while nobody asks for it.
        options={"stream_messages": True},
    ),
    "/receive-many-with-backpressure": receive_many_with_backpressure,
    "/referrer": referrer,
    "/remote-close": remote_close,
    "/send-backpressure": send_backpressure,
    "/set-cookie": trioecho.WebSocketRoute(silent, admit=set_cookie),
    "/set-cookie-secure": trioecho.WebSocketRoute(silent, admit=set_cookie_secure),
    "/set-cookie_http": trioecho.WebSocketRoute(silent, admit=set_cookie_http),
    "/set-cookies-samesite": trioecho.WebSocketRoute(silent, admit=set_cookies_samesite),
    "/simple_handshake": trioecho.RawRoute(simple_handshake),
    "/sleep_10_v13": trioecho.WebSocketRoute(echo, admit=after_ten_seconds),
    "/wrong_accept_key": trioecho.RawRoute(wrong_accept_key),
}
