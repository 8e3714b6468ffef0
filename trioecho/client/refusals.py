"""Handshakes that did not end in a WebSocket: what the server answered, as exceptions and in words."""

from __future__ import annotations

import http
import re

# Two lines of a terminal: a sentence fits, a page does not.
_LONGEST_SENTENCE = 200
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: [^\r\n]*)?")

Headers = tuple[tuple[str, str], ...]


class HandshakeFailed(Exception):  # noqa: N818 (the name says what happened)
    """The server's answer is no answer to a WebSocket handshake: it hung up, speaks no HTTP, or answered wrongly.

    Example:

        import trioecho.client

        async def main() -> None:
            async with trio.open_nursery() as nursery:
                # A server, but none of WebSockets.
                listener = await nursery.start(trio.serve_tcp, trio.aclose_forcefully, 0)
                port = listener[0].socket.getsockname()[1]
                try:
                    async with trioecho.client.connect(f"ws://localhost:{port}/ws"):
                        raise AssertionError("it has opened")
                except trioecho.client.HandshakeFailed as failed:
                    print(failed)
                nursery.cancel_scope.cancel()
    """


class HandshakeRefused(HandshakeFailed):
    """The server answered the handshake with an HTTP status of its own instead of 101.

    `status` is that status, `headers` are the response's header fields in order, names in lower case, and `body` is
    its body, of which at most 64 KiB are kept. The text of the exception names the status and, if the body is plain
    text, its first line.
    """

    def __init__(self, status: int, headers: Headers = (), body: bytes = b"") -> None:
        super().__init__(status, headers, body)
        self.status = status
        self.headers = headers
        self.body = body

    def __str__(self) -> str:
        sentence = self._sentence() or _phrase(self.status)
        return f"the server refused the WebSocket: {self.status} {sentence}".rstrip()

    def _sentence(self) -> str:
        kind = dict(self.headers).get("content-type", "text/plain").lower()
        if not kind.startswith("text/plain"):
            return ""
        line = self.body.decode("utf-8", errors="replace").strip().partition("\n")[0].strip()
        shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)
        return shown if len(shown) <= _LONGEST_SENTENCE else f"{shown[:_LONGEST_SENTENCE]}…"


def _phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return ""


def parse_answer(answer: bytes) -> tuple[int, Headers, bytes] | None:
    """Status, header fields and what follows them, of an answer's bytes; None if its head is not whole, or no HTTP."""
    head, end, body = answer.partition(b"\r\n\r\n")
    status_line, *lines = head.split(b"\r\n")
    found = _STATUS_LINE.fullmatch(status_line)
    if found is None or not end:
        return None
    fields = (line.decode("latin-1").partition(":") for line in lines)
    return int(found[1]), tuple((name.lower(), value.strip(" \t")) for name, _, value in fields), body


def failure(answer: bytes, complaint: str) -> HandshakeFailed:
    """The exception for an answer that led to no WebSocket; `complaint` is what the library below found wrong."""
    if not answer:
        return HandshakeFailed("the server hung up without an answer to the WebSocket handshake")
    parsed = parse_answer(answer)
    if parsed is not None and parsed[0] != 101:
        return HandshakeRefused(*parsed)
    first_line = ascii(answer.partition(b"\n")[0].strip()[:80].decode("latin-1"))
    if parsed is None:
        return HandshakeFailed(
            f"the server's answer to the WebSocket handshake is no whole HTTP response; it begins with {first_line}"
        )
    return HandshakeFailed(
        f"the server's answer {first_line} accepts no WebSocket: {complaint or 'it hung up'}"
    )
