"""How the client connects: what it asks for, which answers it takes, and in which words it fails."""

from __future__ import annotations

import contextlib
import re
import ssl
from pathlib import Path
from typing import Any

import pytest
import trio
from connecting import connect, plain_and_tls
from scripted_peer import Peer, close, scripted
from serving import PATIENCE, one_way, serving
from serving import way_of_reading as way_of_reading

import trioecho
from trioecho import client


@one_way
async def test_the_request_says_what_it_was_told() -> None:
    """Path and query, Origin, subprotocols and header fields arrive; the answer's are there."""
    seen: list[trioecho.WebSocket] = []

    async def handler(ws: trioecho.WebSocket) -> None:
        seen.append(ws)

    options = {"origin": "https://client.com", "subprotocols": ["v2", "v1"]}
    async with serving(handler, subprotocols=("v1",)) as server:
        async with connect(server, "/ws?room=1", headers={"X-Name": " value"}, **options) as ws:
            assert ws.subprotocol == "v1"
            assert ("sec-websocket-protocol", "v1") in ws.response_headers
        async with connect(server, headers=[("X-A", "1"), ("X-A", "2")]) as ws:
            assert ws.subprotocol is None
    assert (seen[0].target, seen[0].origin) == ("/ws?room=1", "https://client.com")
    assert ("x-name", "value") in seen[0].headers
    assert ("host", f"127.0.0.1:{server.port}") in seen[0].headers
    assert [value for name, value in seen[1].headers if name == "x-a"] == ["1", "2"]


@plain_and_tls
@pytest.mark.parametrize("status", [403, 404, 503])
async def test_a_refusal_says_status_and_sentence(status: int) -> None:
    """HandshakeRefused has the status, the header fields and the body; its text names the server's sentence."""
    limits = {"allowed_origins": ("https://client.com",), "max_connections": 1}
    async with serving(**limits) as server, connect(server):
        path, origin = (
            ("/nowhere" if status == 404 else "/ws"),
            ("https://evil.example" if status == 403 else None),
        )
        with pytest.raises(client.HandshakeRefused) as refused:
            async with connect(server, path, origin=origin):
                raise AssertionError("it was not refused")
        error = refused.value
        assert error.status == status
        assert dict(error.headers)["content-type"].startswith("text/plain")
        sentence = error.body.decode().strip()
        assert str(error) == f"the server refused the WebSocket: {status} {sentence}"


ANSWERS = {
    "a body that ends with TCP": (
        b"HTTP/1.0 403 Forbidden\r\nContent-Type: text/plain\r\n\r\nnot you\nsecond line",
        "the server refused the WebSocket: 403 not you",
    ),
    "a page": (
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>",
        "the server refused the WebSocket: 502 Bad Gateway",
    ),
    "control characters": (
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 9\r\n\r\n\x1b[2Jwords",
        r"the server refused the WebSocket: 400 \x1b[2Jwords",
    ),
    "a redirection": (
        b"HTTP/1.1 301 Moved Permanently\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
        "the server refused the WebSocket: 301 Moved Permanently",
    ),
    "a body without end": (
        b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: text/plain\r\n\r\n" + b"x" * 10_000_000,
        "the server refused the WebSocket: 500 " + "x" * 200 + "…",
    ),
    "nothing": (b"", "the server hung up without an answer to the WebSocket handshake"),
    "half a head": (
        b"HTTP/1.1 101 Switch",
        "the server's answer to the WebSocket handshake is no whole HTTP response; "
        "it begins with 'HTTP/1.1 101 Switch'",
    ),
    "another protocol": (
        b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
        "the server's answer to the WebSocket handshake is no whole HTTP response; "
        "it begins with 'SSH-2.0-OpenSSH_9.9'",
    ),
    "a wrong accept token": (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: AAAA\r\n\r\n",
        "the server's answer 'HTTP/1.1 101 Switching Protocols' accepts no WebSocket: Bad accept token",
    ),
}


@one_way
@pytest.mark.parametrize(("answer", "sentence"), ANSWERS.values(), ids=ANSWERS)
async def test_an_answer_that_is_no_websocket_is_told_in_words(answer: bytes, sentence: str) -> None:
    """HandshakeRefused for a status, HandshakeFailed for anything else; at once, with one sentence."""

    async def script(peer: Peer) -> None:
        await peer.read_request()
        with contextlib.suppress(trio.BrokenResourceError):
            await peer.stream.send_all(answer)

    async with scripted(script) as url:
        with trio.fail_after(PATIENCE), pytest.raises(client.HandshakeFailed) as failed:
            async with client.connect(url, connect_timeout=1000):
                raise AssertionError("it was accepted")
    assert str(failed.value) == sentence
    assert isinstance(failed.value, client.HandshakeRefused) == ("refused" in sentence)
    if isinstance(failed.value, client.HandshakeRefused):
        assert len(failed.value.body) <= 65_536


@one_way
async def test_a_reset_during_the_handshake_is_told() -> None:
    """trio-websocket would wait for ever."""

    async def script(peer: Peer) -> None:
        await peer.read_request()
        peer.reset()

    async with scripted(script) as url:
        with (
            trio.fail_after(PATIENCE),
            pytest.raises(client.HandshakeFailed, match="hung up without an answer"),
        ):
            async with client.connect(url, connect_timeout=1000):
                raise AssertionError("it was accepted")


@one_way
@pytest.mark.parametrize(
    ("answer", "kind", "sentence"),
    [
        (b"", trio.TooSlowError, "no answer to the handshake within 0.1 seconds"),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\nno", client.HandshakeRefused, "403 no"),
    ],
    ids=["silence", "half a body"],
)
async def test_connecting_is_bounded(answer: bytes, kind: type[Exception], sentence: str) -> None:
    """`connect_timeout` ends the wait; a status that has come by then is told."""

    async def script(peer: Peer) -> None:
        await peer.read_request()
        await peer.stream.send_all(answer)
        await peer.wait_for_end()

    async with scripted(script) as url:
        with pytest.raises(kind, match=sentence):
            async with client.connect(url, connect_timeout=0.1):
                raise AssertionError("it was accepted")


@one_way
async def test_cancelled_while_connecting_nothing_is_left() -> None:
    """The server that does not answer sees the end of TCP."""
    ended = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.read_request()
        await peer.wait_for_end()
        ended.set()

    async with scripted(script) as url:
        with trio.move_on_after(0.1) as scope:
            async with client.connect(url):
                raise AssertionError("it was accepted")
        assert scope.cancelled_caught
        await ended.wait()


# The way there


@one_way
async def test_what_cannot_be_reached_is_an_os_error() -> None:
    """A port without a server, a Unix socket that is not there: OSError as Trio raises it, in no group."""
    async with serving() as server:
        port = server.port
    with pytest.raises(OSError, match="all attempts to connect"):
        async with client.connect(f"ws://127.0.0.1:{port}/ws"):
            pass
    with pytest.raises(FileNotFoundError):
        async with client.connect("ws://localhost/ws", unix="/nowhere/socket"):
            pass


@pytest.mark.parametrize("way_of_reading", ["poller-tls"], indirect=True)
async def test_a_certificate_that_is_not_trusted_is_an_os_error() -> None:
    """By default the system's authorities are asked; the error is OpenSSL's own."""
    async with serving() as server:
        with pytest.raises(ssl.SSLCertVerificationError):
            async with client.connect(f"wss://127.0.0.1:{server.port}/ws"):
                pass


@one_way
async def test_unix_sockets_are_reached(tmp_path: Path) -> None:
    """With `unix` the URL only says what to ask for."""
    requests = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        requests.append(peer.request)
        frame = await peer.receive()
        assert frame is not None
        await peer.send(frame.opcode, frame.payload)
        await peer.receive()
        await peer.stream.send_all(close(1000))

    path = tmp_path / "socket"
    async with scripted(script, unix=path):
        for headers in ({}, {"Host": "other"}):
            async with client.connect("ws://example.com/room", unix=path, headers=headers) as ws:
                await ws.send("hello")
                assert await ws.receive() == "hello"
    assert [request.split(b"\r\n")[:2] for request in requests] == [
        [b"GET /room HTTP/1.1", b"Host: example.com"],
        [b"GET /room HTTP/1.1", b"Host: other"],
    ]


@one_way
async def test_ipv6_addresses_are_reached() -> None:
    """The URL has brackets around the address, and so has the Host header."""
    hosts = []

    async def handler(ws: trioecho.WebSocket) -> None:
        hosts.append(dict(ws.headers)["host"])

    async with serving(handler, host="::1") as server:
        async with client.connect(f"ws://[::1]:{server.port}/ws") as ws:
            assert [message async for message in ws] == []
    assert hosts == [f"[::1]:{server.port}"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"url": "http://host/ws"}, "it begins with ws:// or wss://"),
        ({"headers": {"X Y": "z"}}, "is no name of a header field"),
        ({"ssl_context": ssl.create_default_context()}, "an ssl_context is for wss://"),
        ({"max_message_size": 0}, "at least 1"),
        ({"connect_timeout": 0}, "more than 0"),
        ({"close_timeout": float("inf")}, "finite"),
    ],
)
@one_way
def test_arguments_that_make_no_sense_are_value_errors(options: dict[str, Any], sentence: str) -> None:
    """At the call itself, in one sentence."""
    with pytest.raises(ValueError, match=re.escape(sentence)):
        client.connect(**{"url": "ws://host/ws", **options})
