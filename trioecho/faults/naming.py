"""Which of the connections that the server has seen a client's own object stands for, whatever library it is of.

Every answer to a handshake names its connection in a header, so whatever keeps the headers of the 101 will do, also
when it has been closed. What does not is known by the address of its end of TCP, as long as that is open.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from trioecho._server.addresses import authority

HEADER = "trioecho-seen"
"""The field of a 101, or of a refusal, that has the connection's id."""


def names_of(connection: object) -> tuple[str, ...]:
    """Return the ids and addresses under which `connection` may be remembered, the surest first.

    An id or an address as a string is itself. Else it is a connection of websockets, aiohttp, websocket-client,
    trio-websocket, or trioecho's own; or a socket, or whatever has one. Raises TypeError with one sentence for what
    tells nothing of itself.
    """
    if isinstance(connection, str):
        return (connection,)
    found = tuple(dict.fromkeys([*_ids(connection), *_addresses(connection)]))
    if not found:
        raise TypeError(
            "seen takes the id of a connection, as in ?id=mine, or a client's connection that tells its headers or "
            f"its address; you gave {connection!r}"
        )
    return found


def _ids(connection: object) -> Iterator[str]:
    """What stands in the headers of the 101: websockets, aiohttp, trioecho's client; websocket-client;
    trio-websocket; the raw client."""
    for name in ("response", "_response", "handshake_response"):
        yield from _id_in(getattr(getattr(connection, name, None), "headers", None))
    for name in ("response_headers", "handshake_headers"):
        yield from _id_in(getattr(connection, name, None))
    head = getattr(connection, "response", None)
    if isinstance(head, bytes):
        lines = [line.partition(b":") for line in head.split(b"\r\n")[1:]]
        yield from _id_in([(name, value.strip()) for name, _, value in lines])


def _id_in(headers: Any) -> Iterator[str]:
    if isinstance(headers, Mapping):
        headers = headers.items()
    if not isinstance(headers, Iterable):
        return
    for pair in headers:
        if isinstance(pair, tuple | list) and len(pair) == 2 and _text(pair[0]).lower() == HEADER:
            yield _text(pair[1])


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _addresses(connection: Any) -> Iterator[str]:
    with contextlib.suppress(Exception):
        host, port = connection.local_address[:2]
        yield authority(host, port)
    with contextlib.suppress(Exception):
        host, port = connection.get_extra_info("sockname")[:2]
        yield authority(host, port)
    with contextlib.suppress(Exception):
        yield authority(str(connection.local.address), connection.local.port)
    for way in ("getsockname", "sock.getsockname", "socket.getsockname", "stream.socket.getsockname"):
        # Of another library's object anything may fail in any way.
        with contextlib.suppress(Exception):
            host, port = operator.attrgetter(way)(connection)()[:2]
            yield authority(host, port)
