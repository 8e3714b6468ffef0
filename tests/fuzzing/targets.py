"""What is fuzzed: for each parser of what a client sends, a function of any bytes that returns, or shows a defect.

A defect is an exception that the parser does not promise, an answer that depends on how the network cut the bytes, or
something kept that is larger than it may be. `run.py` lets atheris look for one, `test_targets.py` goes through the
corpus and what Hypothesis makes up.

The bytes are first taken for choices, such as limits and cuts, so that one target tries all of them.
"""

from __future__ import annotations

import functools
import re
import zlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, TypeAlias

from fuzzing.conversation import connection
from trioecho import Cors, WebSocketOptions, basic_auth, bearer
from trioecho._http.bodies import MAX_TRAILER_BYTES, Body, ChunkedBody, LengthBody
from trioecho._http.conditional import Validators, precondition, range_applies
from trioecho._http.hosts import is_authority, parse_host_pattern
from trioecho._http.messages import Request, Response, answer_to
from trioecho._http.origins import normalised, origin_allowed, parse_origin_pattern
from trioecho._http.paths import PathPattern, PathTable
from trioecho._http.ranges import content_range, requested_range
from trioecho._http.refusals import Refused
from trioecho._http.request_head import MAX_HEAD_BYTES, HeadSearch, RequestHead, parse_head, path_and_target
from trioecho._http.upgrade import (
    accepting_response,
    agree_on_compression,
    check_handshake,
    check_host,
    check_origin,
    choose_subprotocol,
    wants_websocket,
)
from trioecho._protocol.decoder import FrameDecoder
from trioecho._protocol.deflate import NAME, Deflate, agree
from trioecho._protocol.extensions import Offer, parse_offers
from trioecho._protocol.frames import FrameError, encode_frame, parse_close
from trioecho._protocol.inflating import InflatingDecoder
from trioecho._protocol.piecewise import Piece, PiecewiseDecoder
from trioecho._server.unix import UnixSocket, shown
from trioecho.client.address import handshake_request, parse_url

Target: TypeAlias = Callable[[bytes], None]

LONGEST_HEADER = 14
"""Bytes of a frame before its payload."""
MOST_CONTROL = 125


class Choices:
    """Choices taken off the front of some bytes; 0 and b"" when they are used up."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def __bool__(self) -> bool:
        return self._position < len(self._data)

    def number(self, below: int) -> int:
        """A number from 0 up to, not including, `below`, which is at most 65,536."""
        width = 1 if below <= 256 else 2
        taken = self.some(width)
        return int.from_bytes(taken) % below

    def some(self, size: int) -> bytes:
        """`size` bytes, fewer at the end."""
        taken = self._data[self._position : self._position + size]
        self._position += size
        return taken

    def rest(self) -> bytes:
        """All that is left."""
        return self.some(len(self._data))


def cut(data: bytes, size: int) -> Iterator[bytes]:
    """`data` in pieces of `size` bytes; of size 0, in one."""
    return (data[start : start + size] for start in range(0, len(data), size)) if size else iter([data])


def frames(choices: Choices, deflater: Any = None) -> bytes:
    """Frames as a client might send them, with rubbish between; all that is left of `choices`.

    With `deflater` a frame may be compressed, and what it is made of be repeated before.
    """
    sent = bytearray()
    while choices:
        kind = choices.number(8)
        if kind == 0:
            sent += choices.some(choices.number(16))
            continue
        first = (
            choices.number(256) if kind == 1 else (0x80, 0)[kind & 1] | (0, 1, 2, 8, 9, 10)[choices.number(6)]
        )
        payload = choices.some(choices.number(200))
        if deflater is not None and kind >= 4:
            content = payload * (1 + choices.number(65_536) % 500 if kind >= 6 else 1)
            payload = (deflater.compress(content) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]
            first |= 0x40
        frame = encode_frame(first & 0x0F, payload, key=b"\x01\x02\x03\x04")
        sent += bytes((first,)) + frame[1:]
    return bytes(sent)


def decoded(decoder: FrameDecoder, data: bytes, size: int, most: int) -> tuple[list[object], list[object]]:
    """What `decoder` makes of `data` in pieces of `size`: messages, and in the end a Close's or an error's code."""
    messages: list[Any] = []
    pings: list[object] = []
    for piece in cut(data, size):
        while True:
            try:
                close = decoder.decode(piece, messages)
                if close is not None:
                    return [*messages, ("Close", parse_close(close))], [
                        *pings,
                        *decoder.pings,
                        *decoder.pongs,
                    ]
            except FrameError as error:
                assert error.close_code in (1002, 1007, 1009), error
                assert str(error).isprintable(), error
                return [*messages, ("error", error.close_code)], [*pings, *decoder.pings, *decoder.pongs]
            assert decoder.pending_bytes <= most + LONGEST_HEADER + MOST_CONTROL + (
                len(piece) if held(decoder) else 0
            )
            pings += [*decoder.pings, *decoder.pongs]
            decoder.pings.clear()
            decoder.pongs.clear()
            if not held(decoder):
                break
            piece = b""
    return messages, pings


def held(decoder: FrameDecoder) -> bool:
    """Whether it has stopped in the midst of what it was given."""
    return isinstance(decoder, InflatingDecoder) and decoder.held


def plain_decoder(data: bytes) -> None:
    """Frames, right and wrong, mean the same however they are cut, and take no more memory than a message may."""
    choices = Choices(data)
    size, most, fragments = choices.number(20), 1 + choices.number(400), 1 + choices.number(10)
    sent = frames(choices)
    limits = {"max_message_size": most, "max_fragments": fragments}
    whole, pings = decoded(FrameDecoder(**limits), sent, 0, most)
    pieces, more_pings = decoded(FrameDecoder(**limits), sent, size, most)
    assert whole == pieces
    assert sorted(map(bytes, pings)) == sorted(map(bytes, more_pings))
    for message in whole:
        assert (
            isinstance(message, tuple)
            or len(message if isinstance(message, bytes) else message.encode()) <= most
        )
    one = FrameDecoder(**limits).decode_one(sent)
    assert one is None or whole == [one]


def piecewise_decoder(data: bytes) -> None:
    """The pieces of messages, put together, are what the other decoder makes of the same bytes."""
    choices = Choices(data)
    size = choices.number(20)
    sent = frames(choices)
    unlimited = 2**63
    whole, _ = decoded(FrameDecoder(max_message_size=unlimited, max_fragments=unlimited), sent, 0, unlimited)
    parts, _ = decoded(PiecewiseDecoder(), sent, size, 3)
    together: list[object] = []
    begun: Any = None
    for part in parts:
        if not isinstance(part, Piece):
            # A message that breaks off in an error or a Close has no end.
            assert begun is None or isinstance(part, tuple)
            together.append(part)
            continue
        begun = part.payload if begun is None else begun + part.payload
        if part.last:
            together.append(begun)
            begun = None
    assert together == whole


def inflating_decoder(data: bytes) -> None:
    """Compressed frames too, and no message is inflated beyond what it may have."""
    choices = Choices(data)
    size, most = choices.number(40), 1 + choices.number(2000)
    takeover = bool(choices.number(2))
    parameters = "" if takeover else "; client_no_context_takeover"
    agreement = agree(parse_offers([f"{NAME}; client_max_window_bits=9{parameters}"]), Deflate())
    assert agreement is not None
    sent = frames(choices, zlib.compressobj(6, zlib.DEFLATED, -9))
    limits: dict[str, Any] = {"max_message_size": most, "max_fragments": 20, "agreement": agreement}
    longest = most + (most >> 3) + 1024
    whole, _ = decoded(InflatingDecoder(**limits), sent, 0, longest)
    pieces, _ = decoded(InflatingDecoder(**limits), sent, size, longest)
    if whole != pieces:
        # What is both too long and no text is the one or the other, as it is seen first.
        assert whole[:-1] == pieces[:-1]
        assert {whole[-1], pieces[-1]} == {("error", 1007), ("error", 1009)}
    for message in whole:
        assert (
            isinstance(message, tuple)
            or len(message if isinstance(message, bytes) else message.encode()) <= most
        )
    one = None
    try:
        one = InflatingDecoder(**limits).decode_one(sent) if sent else None
    except FrameError as error:
        assert whole[-1:] == [("error", error.close_code)], error
    assert one is None or whole == [one]


def written(offer: Offer) -> str:
    """An offer as a client writes it."""
    return "; ".join(
        [offer.name, *(name if value is None else f'{name}="{value}"' for name, value in offer.parameters)]
    )


def extensions(data: bytes) -> None:
    """A list of extensions is understood or it is not; what is agreed on can be said, and is what RFC 7692 has."""
    choices = Choices(data)
    bits, takeover = 8 + choices.number(8), bool(choices.number(2))
    deflate = Deflate(
        server_max_window_bits=bits, client_max_window_bits=max(bits, 9), client_context_takeover=takeover
    )
    lines = choices.rest().decode("latin-1").split("\n")
    try:
        offers = parse_offers(lines)
    except ValueError as error:
        (unclear,) = error.args
        assert type(error) is ValueError
        assert unclear in ",".join(lines)
        return
    assert parse_offers([", ".join(map(written, offers))]) == offers
    agreement = agree(offers, deflate)
    if agreement is None:
        return
    (answer,) = parse_offers([agreement.answer])
    said = dict(answer.parameters)
    assert answer.name == NAME
    assert len(said) == len(answer.parameters)
    assert 8 <= agreement.encoding[0] <= bits
    assert 8 <= agreement.client_window_bits <= 15
    assert ("client_max_window_bits" in said) <= any(
        "client_max_window_bits" in dict(offer.parameters) for offer in offers
    )


def searched(pieces: Iterator[bytes]) -> RequestHead | tuple[int, str] | None:
    """The head of a request that comes in `pieces`, or with which status and sentence it is refused; None: no end."""
    search, received = HeadSearch(), bytearray()
    try:
        for piece in pieces:
            received += piece
            if not search.begun(received):
                assert received.strip(b"\r\n") == b""
                continue
            head = search.head(received)
            if head is not None:
                assert len(head) <= MAX_HEAD_BYTES
                return parse_head(head)
    except Refused as refused:
        assert refused.sentence.isprintable(), refused.sentence
        return refused.status, refused.sentence
    return None


def request_head(data: bytes) -> None:
    """A head is parsed or refused, the same however it is cut, and nothing in it ends a line."""
    choices = Choices(data)
    size = choices.number(50)
    sent = choices.rest()
    head = searched(cut(sent, 0))
    # What is long enough to be refused for that, is so with the byte that makes it so.
    assert head == searched(cut(sent, size)) or len(sent) > MAX_HEAD_BYTES
    if isinstance(head, RequestHead):
        assert not set(head.target) & set("\r\n\0 ")
        assert not set(head.fields) & set("\r\0")
        assert head.length is None or head.length >= 0
        assert head.method.isascii()
        look_into(Request(head.method, head.path, head.target, head.fields, http_version=head.http_version))


NAMES = [
    "Host",
    "Origin",
    "Upgrade",
    "Connection",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Extensions",
    "Cookie",
    "Authorization",
    "Range",
    "If-Range",
    "If-Match",
    "If-None-Match",
    "If-Modified-Since",
    "If-Unmodified-Since",
    "Content-Length",
    "Transfer-Encoding",
    "Expect",
    "Access-Control-Request-Method",
    "Access-Control-Request-Headers",
]


def handshake(data: bytes) -> None:
    """Any values of the headers that are looked into are judged, or refused with a sentence that can be sent."""
    choices = Choices(data)
    target = "/" + "".join(chr(0x21 + byte % 94) for byte in choices.some(choices.number(60)))
    usual = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    pairs = list(usual.items()) if choices.number(4) else []
    while choices:
        name = NAMES[choices.number(len(NAMES))]
        value = choices.some(choices.number(120)).decode("latin-1")
        value = re.sub(r"[\x00-\x08\x0a-\x1f\x7f]", "", value).strip(" \t")
        if name in usual and choices.number(2):
            pairs = [pair for pair in pairs if pair[0] != name]
        pairs.append((name, value))
    lines = "".join(f"{name}: {value}\r\n" for name, value in pairs)
    parsed = searched(iter([f"GET {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")]))
    if isinstance(parsed, RequestHead):
        look_into(Request(parsed.method, parsed.path, parsed.target, parsed.fields))
    # Whoever calls the judges with a request of their own has no h11 before them.
    path, target = path_and_target(target.encode())
    look_into(Request("GET", path, target, pairs))


OPTIONS: Final = WebSocketOptions(
    allowed_origins=["self", "https://*.client.com", "http://[::1]:8080", "null"],
    allowed_hosts=["*.client.com", "[::1]", "localhost:5000"],
    subprotocols=["chat.v1", "chat.v2"],
    compression=True,
)
CORS: Final = Cors(["https://*.client.com", "self"], headers=["Authorization"], credentials=True)
BASIC: Final = basic_auth({"zoe": "sesame"})
BEARER: Final = bearer({"zoe": "c2VzYW1l"})
VALIDATORS: Final = (Validators('"abc"', 784_111_777), Validators('W/"abc"'))


def look_into(request: Request) -> None:
    """Ask everything of a request that trioecho asks. What is refused is refused with what can be sent."""
    assert isinstance(wants_websocket(request), bool)
    assert all(isinstance(value, str) for value in request.cookies.values())
    assert len(request.query) <= 1000
    assert "\n" not in (request.host or "")
    for judge in (
        functools.partial(check_host, options=OPTIONS),
        functools.partial(check_origin, options=OPTIONS),
        functools.partial(agree_on_compression, options=OPTIONS),
        accepted,
        ranged,
        lambda request: finished(BASIC(request)),
        lambda request: finished(BEARER(request)),
        lambda request: CORS.preflight(request, ["GET"]),
        CORS.headers_for,
    ):
        try:
            judge(request)
        except Refused as refused:
            assert answer_to(refused).status == refused.status
            assert refused.sentence.isprintable(), refused.sentence
    if (request.origin or "null") == "https://evil.com":
        assert not origin_allowed(OPTIONS.origin_patterns, request.origin, None)


def accepted(request: Request) -> None:
    """Go on to the 101."""
    key, offered = check_handshake(request)
    chosen = choose_subprotocol(offered, OPTIONS.subprotocols)
    assert chosen is None or chosen in offered
    assert accepting_response(key, chosen).count(b"\r\n\r\n") == 1


def ranged(request: Request) -> None:
    """Ask for the part of a file."""
    for validators in VALIDATORS:
        assert precondition(request.method, request.headers, validators) in (None, 304, 412)
        for size in (0, 1, 1000):
            if range_applies(request.headers, validators):
                part = requested_range(request.headers, size)
                assert part is None or (0 <= part.start < part.stop <= size)
                if part is not None:
                    Response(b"", status=206, headers=[content_range(part, size)])


def finished(awaitable: Awaitable[object]) -> object:
    """What something to be awaited comes to that waits for nothing."""
    try:
        awaitable.__await__().__next__()
    except StopIteration as result:
        return result.value
    raise AssertionError("it waits for something")


def body(data: bytes) -> None:
    """A body ends where it ends however it is cut, and has no more bytes than were sent."""
    choices = Choices(data)
    size, length = choices.number(30), choices.number(3)
    sent = choices.rest()

    def read(pieces: Iterator[bytes]) -> tuple[bytes, object, bytes]:
        taking: Body = LengthBody(choices.number(300) if length == 2 else 10) if length else ChunkedBody()
        received, taken = bytearray(), bytearray()
        for each in pieces:
            received += each
            try:
                while not taking.ended and (some := taking.take(received)):
                    assert len(some) <= 65_536
                    taken += some
            except Refused as refused:
                assert refused.status == 400
                return bytes(taken), refused.sentence, b""
            assert taking.ended or len(received) <= 2 * MAX_TRAILER_BYTES + 32
        assert taking.broken_off()
        # Behind a body that has ended stands the next request.
        return bytes(taken), taking.ended, bytes(received) if taking.ended else b""

    whole = read(cut(sent, 0))
    assert len(whole[0]) <= len(sent)
    assert whole == read(cut(sent, size))


def paths(data: bytes) -> None:
    """Patterns are taken or refused, and what they find is what they match."""
    choices = Choices(data)
    patterns: dict[str, PathPattern] = {}
    for _ in range(choices.number(5)):
        text = "/" + choices.some(choices.number(20)).decode("latin-1")
        try:
            patterns[text] = PathPattern(text)
        except ValueError as error:
            assert type(error) is ValueError
    try:
        table = PathTable([(pattern, text) for text, pattern in patterns.items()])
    except ValueError:
        return
    path, target = path_and_target(re.sub(rb"[^\x21-\x7e]", b"", b"/" + choices.rest()))
    found = table.find(path, target)
    if found is not None:
        text, params = found
        assert text in patterns
        assert all(value != "" or ":path}" in text for value in params.values())


def names(data: bytes) -> None:
    """What users give for hosts, origins, URLs and Unix sockets is taken, or refused with a sentence."""
    choices = Choices(data)
    text = choices.rest().decode("utf-8", "replace")
    for parse in (parse_host_pattern, parse_origin_pattern):
        try:
            pattern: Any = parse(text)
        except ValueError as error:
            assert type(error) is ValueError
        else:
            assert parse(str(pattern)) == pattern
    spelling = normalised(text)
    assert spelling is None or normalised(spelling) == spelling
    assert isinstance(is_authority(text), bool)
    try:
        assert shown(UnixSocket(text).path).isprintable()
    except ValueError as error:
        assert type(error) is ValueError
    try:
        address = parse_url(text)
    except ValueError as error:
        assert type(error) is ValueError
    else:
        assert 0 < address.port < 65_536
        assert not set(address.host_field + address.target) & set("\r\n\0 ")
        handshake_request(address, headers=(), origin=None, subprotocols=())


TARGETS: Final[dict[str, Target]] = {
    "decoder": plain_decoder,
    "piecewise": piecewise_decoder,
    "inflating": inflating_decoder,
    "extensions": extensions,
    "head": request_head,
    "handshake": handshake,
    "body": body,
    "paths": paths,
    "names": names,
    "connection": connection,
}
"""By the name that `run.py` takes. Each has its folder in `corpus/`."""
