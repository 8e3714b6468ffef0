"""The head of a request, however the network cuts the bytes."""

import time
from collections.abc import Sequence
from itertools import pairwise

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from trioecho._http.http1 import Http1
from trioecho._http.refusals import Refused
from trioecho._http.request_head import MAX_HEAD_BYTES, parse_head
from trioecho._http.request_line import RequestLine

HEAD = b"GET /ws?a=1 HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Name: Zo\xeb\r\n\r\n"


class Pieces(trio.abc.Stream):
    """A peer that sends these pieces, each in its own packet, and then closes its side."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.left = [piece for piece in pieces if piece]

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        piece = self.left.pop(0) if self.left else b""
        if max_bytes is not None and len(piece) > max_bytes:
            self.left.insert(0, piece[max_bytes:])
            piece = piece[:max_bytes]
        return piece

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        raise AssertionError("reading a request sends nothing")

    async def wait_send_all_might_not_block(self) -> None:
        raise AssertionError("reading a request sends nothing")

    async def aclose(self) -> None:
        raise AssertionError("reading a request closes nothing")


async def outcome(pieces: Sequence[bytes]) -> object:
    """What comes of reading a request, as a value: all that was read and sent behind it, or the error."""
    stream = Pieces(pieces)
    http = Http1(stream)
    try:
        if not await http.begin():
            return "closed"
        request = await http.receive()
    except Refused as refused:
        return refused.status, refused.sentence, refused.headers
    behind = http.take_bytes() + b"".join(stream.left)
    return request.method, request.target, request.http_version, request.header_pairs(), behind


async def refusal_of(received: bytes) -> tuple[int, str]:
    """How a request is refused while the peer keeps its side open: nothing may depend on its end."""
    ours, peer = trio.testing.memory_stream_pair()
    await peer.send_all(received)
    with trio.fail_after(60), pytest.raises(Refused) as refused:
        await Http1(ours).receive()
    assert refused.value.headers == ()
    return refused.value.status, refused.value.sentence


async def test_a_request_is_read_with_what_was_sent_behind_it():
    """The first frames of a fast client are handed over untouched."""
    ours, peer = trio.testing.memory_stream_pair()
    await peer.send_all(HEAD + b"\x81\x80frames\r\n\r\n")
    http = Http1(ours)
    request = await http.receive()
    behind = http.take_bytes()
    assert (request.method, request.path, request.target) == ("GET", "/ws", "/ws?a=1")
    assert request.http_version == "1.1"
    assert request.header_pairs() == (("host", "127.0.0.1"), ("x-name", "Zo\xeb"))
    assert behind == b"\x81\x80frames\r\n\r\n"
    assert type(behind) is bytes


async def test_a_request_is_read_byte_by_byte():
    """Nothing is lost or added when every byte comes alone."""
    whole = HEAD + b"\x81\x80"
    assert await outcome([bytes([byte]) for byte in whole]) == await outcome([whole])


async def test_lines_may_end_without_a_carriage_return():
    """A lone LF ends a line, as RFC 9112 §2.2 allows and h11 does."""
    assert await outcome([HEAD.replace(b"\r", b"") + b"x"]) == await outcome([HEAD + b"x"])


EXPECTED = "An HTTP/1.1 request begins with a line like 'GET / HTTP/1.1'; received "
INVALID = "The request is not valid HTTP/1.1: "


@pytest.mark.parametrize(
    ("received", "status", "sentence"),
    [
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            400,
            "This port speaks plain HTTP; received what looks like a TLS hello: use http:// and ws:// here.",
        ),
        (b"\x81\x85", 400, f"{EXPECTED}'\\x81'."),
        (b"\x00" * 20_000, 400, f"{EXPECTED}'\\x00'."),
        (b"SSH-2.0-OpenSSH_9.6\r\n", 400, f"{EXPECTED}'SSH-2.0-OpenSSH_9.6'."),
        (b"SSH-2.0-<b> x", 400, f"{EXPECTED}'SSH-2.0-\\x3c'."),
        (b"GET /\r\n", 400, f"{EXPECTED}'GET /'."),
        (b"\r\n\nG\xff", 400, f"{EXPECTED}'G\\xff'."),
        (b"\r\n\rGET", 400, f"{EXPECTED}'\\rG'."),
        (b" GET / HTTP/1.1\r\n", 400, f"{EXPECTED}' '."),
        (b"GET  / HTTP/1.1\r\n", 400, f"{EXPECTED}'GET  '."),
        (b"GET /\xff", 400, f"{EXPECTED}'GET /\\xff'."),
        (b"GET / http/1.1", 400, f"{EXPECTED}'GET / h'."),
        (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400, f"{EXPECTED}'GET / HTTP/1.1 '."),
        (b"GET / HTTP/11\nHost: a\r\n\r\n", 400, f"{EXPECTED}'GET / HTTP/11'."),
        (b"GET / HTTP/1.1\r\n\r\n", 400, f"{INVALID}Missing mandatory Host: header."),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, f"{INVALID}Found multiple Host: headers."),
        (b"GET / HTTP/1.1\r\nHost: a\r\n<b>\r\n\r\n", 400, f"{INVALID}illegal header line: '\\x3cb\\x3e'."),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n", 400, f"{INVALID}illegal header line: 'X : a'."),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400, f"{INVALID}bad Content-Length."),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "This server speaks HTTP/1.1; received HTTP/2.0."),
        (b"GET / HTTP/0.9\r\n\r\n", 505, "This server speaks HTTP/1.1; received HTTP/0.9."),
        (
            b"GET / HTTP/1.1\r\nCookie: " + b"x" * MAX_HEAD_BYTES,
            431,
            "The head of a request may have 16384 bytes; received more.",
        ),
        (b"GET /" + b"x" * MAX_HEAD_BYTES, 431, "The head of a request may have 16384 bytes; received more."),
    ],
)
async def test_what_is_no_request_is_refused_at_once(received, status, sentence):
    """As soon as the bytes cannot become a request any more, it is refused, and by what they look like."""
    assert await refusal_of(received) == (status, sentence)


async def test_a_long_message_of_h11_is_shortened():
    """A header line of many kilobytes is not sent back."""
    _, sentence = await refusal_of(b"GET / HTTP/1.1\r\n" + b"x" * 10_000 + b"\r\n\r\n")
    assert sentence.startswith(f"{INVALID}illegal header line: 'xxx")
    assert sentence.endswith("xxx....")
    assert len(sentence) < 300


@pytest.mark.parametrize(("length", "fits"), [(MAX_HEAD_BYTES, True), (MAX_HEAD_BYTES + 1, False)])
async def test_a_head_may_have_16_kib_and_no_more(length, fits):
    """The limit holds to the byte, whether the head comes at once or in two pieces."""
    start, end = b"GET / HTTP/1.1\r\nHost: a\r\nCookie: ", b"\r\n\r\n"
    head = start + b"x" * (length - len(start) - len(end)) + end
    for pieces in (
        [head, b"behind"],
        [head + b"behind"],
        [head[:9], head[9:], b"behind"],
        [head[:-1], head[-1:] + b"behind"],
    ):
        result = await outcome(pieces)
        assert isinstance(result, tuple)
        if fits:
            assert result[-1] == b"behind"
        else:
            assert result[0] == 431


async def test_a_peer_that_closes_before_its_first_byte_is_not_answered():
    """A port scan is not a bad request: there is nobody to tell."""
    for pieces in ([], [b"\r\n"], [b"\r\n", b"\n\r"]):
        assert not await Http1(Pieces(pieces)).begin()
        with pytest.raises(trio.BrokenResourceError, match="before sending a request"):
            await Http1(Pieces(pieces)).receive()


async def test_a_peer_that_stops_in_the_middle_is_told_so():
    """A half-closed connection can still read why its request was refused."""
    assert await outcome([b"GET / HT", b"TP/1.1\r\nHost: a\r\n"]) == (
        400,
        "A request head ends with a blank line; received 25 bytes without one.",
        (),
    )


class Resetting(Pieces):
    """A peer that sends its pieces and then resets the connection."""

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if not self.left:
            raise trio.BrokenResourceError("reset")
        return await super().receive_some(max_bytes)


async def test_a_reset_while_reading_is_trios_error():
    """A connection that breaks raises what Trio raises."""
    with pytest.raises(trio.BrokenResourceError, match="reset"):
        await Http1(Resetting([b"GET / HT"])).receive()


async def test_the_deadline_is_the_callers(autojump_clock):
    """A peer that sends half a head and waits is waited for, until the caller's deadline."""
    ours, peer = trio.testing.memory_stream_pair()
    await peer.send_all(HEAD[:-1])
    with trio.move_on_after(10) as scope:
        await Http1(ours).receive()
    assert scope.cancelled_caught
    assert trio.current_time() == pytest.approx(scope.deadline)


FRAGMENTS_OF_HTTP = [
    *(
        b"GET",
        b" ",
        b"/ws",
        b"HTTP/1.1",
        b"HTTP/2.0",
        b"\r\n",
        b"\n",
        b"\r",
        b"Host: a",
        b":",
        b"\x16\x03",
        b"\x00",
    ),
    *(b"Content-Length: 5", b"Transfer-Encoding: gzip", b" folded", b"\xff", b"x" * 5_000, HEAD),
]
ALMOST_HTTP = st.lists(st.sampled_from(FRAGMENTS_OF_HTTP) | st.binary(max_size=4), max_size=12).map(b"".join)


@settings(deadline=None)
@given(ALMOST_HTTP, st.lists(st.integers(0, 20_000), max_size=6))
def test_the_answer_does_not_depend_on_how_the_network_cuts_the_bytes(received, cuts):
    """Any bytes, cut anywhere, give what they give in one piece, and only the promised errors come out."""
    places = [0, *sorted(min(cut, len(received)) for cut in cuts), len(received)]
    pieces = [received[start:end] for start, end in pairwise(places)]

    async def both() -> tuple[object, object]:
        return await outcome([received]), await outcome(pieces)

    whole, cut = trio.run(both)
    assert cut == whole


@pytest.mark.parametrize("before", [b"\r\n", b"\n", b"\r\n\r\n", b"\n\r\n\n"])
async def test_blank_lines_before_the_request_are_ignored(before):
    """A robust server ignores empty lines where it expects a request line (RFC 9112 §2.2), however they are cut."""
    expected = await outcome([HEAD + b"x"])
    assert await outcome([before + HEAD + b"x"]) == expected
    assert await outcome([before, HEAD, b"x"]) == expected
    assert await outcome([bytes([byte]) for byte in before + HEAD + b"x"]) == expected


async def test_blank_lines_count_for_the_length_of_the_head():
    """Nobody can send empty lines for ever."""
    blank = b"\r\n" * (MAX_HEAD_BYTES // 2)
    assert (await outcome([blank + HEAD]))[0] == 431
    assert (await outcome([blank[: -len(HEAD)] + HEAD]))[0] == "GET"


LINES = b"GET / HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize(("number", "fits"), [(99, True), (100, False), (4_040, False)])
async def test_a_head_has_100_header_lines_and_no_more(number, fits):
    """One line more, and it is 431, before anybody has parsed them."""
    head = LINES + b"a:\r\n" * number + b"\r\n"
    if fits:
        assert len((await outcome([head]))[3]) == 1 + number
    else:
        sentence = f"The head of a request may have 100 header lines; received {number + 1}."
        assert await outcome([head]) == (431, sentence, ())


@pytest.mark.parametrize(
    "name",
    ["Connection", "upgrade", "Expect", "If-None-Match", "sec-websocket-PROTOCOL"],
)
async def test_a_list_in_a_header_has_100_elements_and_no_more(name):
    """Who has to look into each element of a list bounds it, over all its lines."""
    for number, fits in ((100, True), (101, False), (15_000, False)):
        rest = number - 50
        lines = [b",".join([b"x"] * 50), b",".join([b"x"] * min(rest, 1)) + b"," * (rest - 1)]
        head = LINES + b"".join(name.encode() + b": " + line + b"\r\n" for line in lines) + b"\r\n"
        result = await outcome([head])
        if fits:
            assert result[0] == "GET"
        else:
            sentence = f"The header {name.title()} may list 100 elements; received {number}."
            assert result == (431, sentence, ())


async def test_commas_elsewhere_are_no_list():
    """A cookie or a comment may have any number of commas."""
    head = LINES + b"Cookie: " + b"," * 5_000 + b"\r\nX-Connection: " + b"," * 5_000 + b"\r\n\r\n"
    assert (await outcome([head]))[0] == "GET"


HOST = "A Host header is a host, or a host and a port, such as 'server.example.com:5000'; received "
ONE_LINE = "A header stands on one line; received one that goes on in the line "
NO_CONTROL = "A header has no control characters but tabs; received "


@pytest.mark.parametrize("host", ["me:password@a", "a<b", "a:b", "[1:2]"])
async def test_a_target_names_a_host(host):
    """User information in it is an error (RFC 9110 §4.2.4); what stands in Host is ignored (RFC 9112 §3.2.2)."""
    head = f"GET http://{host}/ HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    status, sentence = (await outcome([head]))[:2]
    assert status == 400
    assert sentence.startswith("The host of a target is a host, or a host and a port, such as ")


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (b"Host: a\r\nX: a\r\n b\r\n", f"{ONE_LINE}' b'."),
        (b"Host: a\nX: a\n\tb\n", f"{ONE_LINE}'\\tb'."),
        (b" Host: a\r\nX: a\r\n", f"{ONE_LINE}' Host: a'."),
        (b"Host: a\r\nX: a\x01b\r\n", f"{NO_CONTROL}'\\x01' in the line 'X: a\\x01b'."),
        (b"Host: a\r\nX: a\x00b\r\n", f"{NO_CONTROL}'\\x00' in the line 'X: a\\x00b'."),
        (b"Host: a\r\nX: \x7f\r\nY: \x01\r\n", f"{NO_CONTROL}'\\x7f' in the line 'X: \\x7f'."),
        (b"Host: a\r\nX: a\x0bb\x0cc\r\n", f"{NO_CONTROL}'\\x0b' in the line 'X: a\\x0bb\\x0cc'."),
        (b"Host: a\r\nX: a\rb\r\n", f"{NO_CONTROL}'\\r' in the line 'X: a\\rb'."),
        (b"Host: a\r\nX: a\r\r\n", f"{NO_CONTROL}'\\r' in the line 'X: a\\r'."),
        (b"Host: a b\r\n", f"{HOST}'a b'."),
        (b"Host: a/b\r\n", f"{HOST}'a/b'."),
        (b"Host: me@a\r\n", f"{HOST}'me@a'."),
        (b"Host: http://a\r\n", f"{HOST}'http://a'."),
        (b"Host: a:b\r\n", f"{HOST}'a:b'."),
        (b"Host: a:123456\r\n", f"{HOST}'a:123456'."),
        (b"Host: a:1:2\r\n", f"{HOST}'a:1:2'."),
        (b"Host: ::1\r\n", f"{HOST}'::1'."),
        (b"Host: [::1\r\n", f"{HOST}'[::1'."),
        (b"Host: [1:2]\r\n", f"{HOST}'[1:2]'."),
        (b"Host: %4\r\n", f"{HOST}'%4'."),
        (b"host:\t<b>\t\r\n", f"{HOST}'\\x3cb\\x3e'."),
        (b"X: host: a\r\nHOST: b\xfccher.example\r\n", f"{HOST}'b\\xfccher.example'."),
    ],
)
async def test_a_head_that_servers_read_differently_is_refused(lines, sentence):
    """Folded lines, control characters and a Host that is none: one meaning for everybody on the way, or 400."""
    for end in (b"\r\n", b"\n"):
        head = b"GET / HTTP/1.1\r\n" + lines + end
        assert await outcome([head]) == (400, sentence, ())
        assert await outcome([head[:20], head[20:]]) == (400, sentence, ())


@pytest.mark.parametrize(
    "host",
    [
        b"a",
        b"A.example:5000",
        b"127.0.0.1:",
        b"[::1]:5000",
        b"[::ffff:127.0.0.1]",
        b"a_b.c-d.",
        b"",
        b"%41",
        b"a\t",
    ],
)
async def test_a_host_that_is_one_is_accepted(host):
    """What the grammar of URIs allows passes (RFC 9110 §7.2); it may be empty."""
    for line in (b"Host: " + host, b"hOST:" + host):
        result = await outcome([b"GET / HTTP/1.1\r\nX: \ta\tb\r\n" + line + b"\r\n\r\n"])
        assert result[0] == "GET"


async def test_http_1_2_is_read_as_http_1_1():
    """A higher minor version is understood as the highest known one (RFC 9110 §2.5), its Host is needed too."""
    assert (await outcome([HEAD.replace(b"HTTP/1.1", b"HTTP/1.2")]))[2] == "1.2"
    for target in (b"/", b"http://a/"):
        assert await outcome([b"GET " + target + b" HTTP/1.2\r\n\r\n"]) == (
            400,
            f"{INVALID}Missing mandatory Host: header.",
            (),
        )
    assert (await outcome([b"GET / HTTP/1.0\r\n\r\n"]))[0] == "GET"


async def test_a_request_line_in_single_bytes_is_read_once():
    """Four times the bytes, each in its own packet, are four times the work to recognise, not sixteen times."""

    def seconds(length: int) -> float:
        line = b"GET /" + b"x" * length
        received = bytearray()
        begin = RequestLine()
        started = time.process_time()
        for byte in line:
            received.append(byte)
            begin.check(received)
        return time.process_time() - started

    assert min(seconds(16_000) for _ in range(5)) < 8 * min(seconds(4_000) for _ in range(5))


@pytest.mark.parametrize(
    ("target", "host", "named"),
    [
        (b"/ws", b"a.com:5000", "a.com:5000"),
        (b"/ws", None, None),
        (b"/ws?http://b.com/", b"a.com", "a.com"),
        (b"*", b"a.com", "a.com"),
        (b"http://b.com:1/ws", b"a.com", "b.com:1"),
        (b"http://b.com:1/ws", None, "b.com:1"),
        (b"HTTPS://b.com?x", b"a.com", "b.com"),
        (b"http:///", b"a.com", ""),
    ],
)
async def test_a_request_names_its_host_in_the_target_or_in_host(target, host, named):
    """The absolute form names the host, whatever stands in Host (RFC 9112 §3.2.2)."""
    version, line = (b"1.0", b"") if host is None else (b"1.1", b"hOST: " + host + b"\r\n")
    head = b"GET " + target + b" HTTP/" + version + b"\r\nX: x\r\n" + line + b"\r\n"
    request = await Http1(Pieces([head])).receive()
    assert request.host == named
    assert request.headers.get_all("host") == (() if named is None else (named,))


@pytest.mark.parametrize(
    ("lines", "length", "persistent", "expects_continue"),
    [
        (b"", 0, True, False),
        (b"Content-Length: 5\r\n", 5, True, False),
        (b"Content-Length: 0\r\nExpect: 100-continue\r\n", 0, True, False),
        (b"content-length:00005\t\r\nEXPECT: x, 100-Continue\r\n", 5, True, True),
        (b"Transfer-Encoding: chunked\r\n", None, True, False),
        (b"TRANSFER-encoding: Chunked \r\nConnection: close\r\n", None, False, False),
        (b"Connection: x, CLOSE\r\n", 0, False, False),
        (b"Connection: closed\r\n", 0, True, False),
    ],
)
def test_a_head_says_what_follows_it(lines, length, persistent, expects_continue):
    """How long the body is, whether another request may follow, and whether the client waits with the body."""
    head = parse_head(b"POST / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n")
    assert (head.length, head.persistent, head.expects_continue) == (length, persistent, expects_continue)
    if length is not None:
        old = parse_head(b"POST / HTTP/1.0\r\nHost: a\r\n" + lines + b"\r\n")
        assert (old.length, old.persistent, old.expects_continue) == (length, False, False)


ONE_LENGTH = "A request has one Content-Length, one number; received "
BOTH = "A request has a Content-Length or a Transfer-Encoding, but not both; received both."
ALONE = "Transfer-Encoding may be 'chunked' alone; received "


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", BOTH),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", BOTH),
        (b"Transfer-Encoding: identity\r\nContent-Length: 5\r\n", BOTH),
        (b"Content-Length: 5\r\nContent-Length: 5\r\n", f"{ONE_LENGTH}'5', '5'."),
        (b"Content-Length: 5\r\nX: x\r\ncontent-length: 6\r\n", f"{ONE_LENGTH}'5', '6'."),
        (b"Content-Length: 5, 5\r\n", f"{ONE_LENGTH}'5, 5'."),
        (b"Content-Length: 5,\r\n", f"{ONE_LENGTH}'5,'."),
        (b"Content-Length: +5\r\n", f"{INVALID}bad Content-Length."),
        (b"Content-Length: -1\r\n", f"{INVALID}bad Content-Length."),
        (b"Content-Length: 5 6\r\n", f"{INVALID}bad Content-Length."),
        (b"Content-Length: 0x5\r\n", f"{INVALID}bad Content-Length."),
        (b"Content-Length: 1_0\r\n", f"{INVALID}bad Content-Length."),
        (b"Content-Length: \xb2\r\n", f"{INVALID}bad Content-Length."),
        (b"Content-Length:\r\n", f"{INVALID}bad Content-Length."),
        (b"Content-Length: " + b"9" * 21 + b"\r\n", f"{INVALID}bad Content-Length."),
        (b"Content-Length : 5\r\n", f"{INVALID}illegal header line: 'Content-Length : 5'."),
        (b"Transfer-Encoding : chunked\r\n", f"{INVALID}illegal header line: 'Transfer-Encoding : chunked'."),
        (b"Transfer-Encoding\t: chunked\r\n", f"{INVALID}illegal header line: 'Transfer-Encoding\\t: chunked'."),
        (b"Transfer-Encoding: gzip\r\n", f"{ALONE}'gzip'."),
        (b"Transfer-Encoding: gzip, chunked\r\n", f"{ALONE}'gzip, chunked'."),
        (b"Transfer-Encoding: chunked, gzip\r\n", f"{ALONE}'chunked, gzip'."),
        (b"Transfer-Encoding: chunked, chunked\r\n", f"{ALONE}'chunked, chunked'."),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", f"{ALONE}'chunked', 'chunked'."),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", f"{ALONE}'chunked', 'identity'."),
        (b"Transfer-Encoding: xchunked\r\n", f"{ALONE}'xchunked'."),
        (b'Transfer-Encoding: "chunked"\r\n', f"{ALONE}'\"chunked\"'."),
        (b"Transfer-Encoding: chunked;x=1\r\n", f"{ALONE}'chunked;x=1'."),
        (b"Transfer-Encoding:\r\n", f"{ALONE}''."),
        (
            b"Transfer-Encoding: \x0bchunked\r\n",
            f"{NO_CONTROL}'\\x0b' in the line 'Transfer-Encoding: \\x0bchunked'.",
        ),
        (b"X: x\rTransfer-Encoding: x\r\n", f"{NO_CONTROL}'\\r' in the line 'X: x\\rTransfer-Encoding: x'."),
        (b"X: x\r\n Transfer-Encoding: chunked\r\n", f"{ONE_LINE}' Transfer-Encoding: chunked'."),
        (b"Transfer-Encoding:\r\n chunked\r\n", f"{ONE_LINE}' chunked'."),
        (b"Transfer Encoding: chunked\r\n", f"{INVALID}illegal header line: 'Transfer Encoding: chunked'."),
    ],
)  # fmt: skip
async def test_where_a_request_ends_has_one_answer(lines, sentence):
    """What two servers may frame differently is refused, and the connection ends with that."""
    http = Http1(Pieces([b"POST / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n0\r\n\r\nGET / HTTP/1.1\r\n"]))
    with pytest.raises(Refused) as refused:
        await http.receive()
    assert (refused.value.status, refused.value.sentence) == (400, sentence)
    assert not http.reusable


async def test_http_1_0_has_no_chunks():
    """A server of HTTP/1.0 on the way would take them for the body itself (RFC 9112 §6.1)."""
    assert await refusal_of(b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n") == (
        400,
        "HTTP/1.0 has no Transfer-Encoding; received one.",
    )
