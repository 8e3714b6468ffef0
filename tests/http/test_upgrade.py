"""The judge of handshakes: tables of requests, and the whole sentence that each bad one hears."""

import base64
import os
import re
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection
from wsproto.events import Request as WsprotoRequest

from trioecho._http.messages import Request
from trioecho._http.refusals import Refused
from trioecho._http.request_head import parse_head, path_and_target
from trioecho._http.upgrade import (
    MOST_PARAMETERS,
    accepting_response,
    agree_on_compression,
    check_handshake,
    check_host,
    check_origin,
    choose_subprotocol,
    wants_websocket,
)
from trioecho._server.admission import admit_websocket
from trioecho._server.handlers import echo
from trioecho._server.routes import RouteTable
from trioecho._server.service import Service
from trioecho.options import WebSocketOptions

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 §1.3
GOOD = {
    "Host": "server.example.com",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}
Changes = dict[str, str | list[str] | None]


@dataclass(frozen=True)
class Handshake:
    """What was accepted."""

    request: Request
    subprotocol: str | None
    key: str


def judge(
    asked: Request, options: WebSocketOptions, paths: Collection[str], *, room: bool, stopping: bool = False
) -> Handshake:
    """Let every judge have a look, in the server's order; none of them waits for anything."""
    service = Service(RouteTable(dict.fromkeys(paths, echo), options), options)
    service.routes.sample = True
    service.stopping = stopping
    if not room and not stopping:
        assert options.max_connections is not None
        service.connections = dict.fromkeys(range(options.max_connections))
    check_host(asked, options)
    endpoint = service.routes.find(asked)
    with pytest.raises(StopIteration) as returned:
        admit_websocket(asked, endpoint, service).send(None)
    admission = returned.value.value
    return Handshake(asked, admission.subprotocol, admission.key)


def request(
    changes: Changes | None = None,
    *,
    target: str = "/ws",
    method: str = "GET",
    version: str = "1.1",
    secure: bool = False,
) -> Request:
    """The handshake of RFC 6455 §1.2, some headers changed, repeated (a list) or removed (None)."""
    headers: list[tuple[str, str]] = []
    for name, value in {**GOOD, **(changes or {})}.items():
        values = value if isinstance(value, list) else [] if value is None else [value]
        headers.extend((name.lower(), each) for each in values)
    path, target = path_and_target(target.encode())
    fields = "\n".join(f"{name}:{value}" for name, value in headers)
    scheme = "https" if secure else "http"
    return Request(method, path, target, fields, http_version=version, scheme=scheme)


def accepted(changes: Changes | None = None, *, secure: bool = False, **options: object) -> Handshake:
    return judge(request(changes, secure=secure), WebSocketOptions(**options), ("/ws",), room=True)


def refused(
    bad: Request, *, room: bool = True, stopping: bool = False, **options: object
) -> tuple[int, str, dict[str, str]]:
    with pytest.raises(Refused) as caught:
        judge(bad, WebSocketOptions(**options), ("/ws",), room=room, stopping=stopping)
    assert str(caught.value) == caught.value.sentence
    return caught.value.status, caught.value.sentence, dict(caught.value.headers)


def test_a_good_handshake_is_accepted_and_told_whole():
    """What the handler may want to know of the request is in the Handshake."""
    good = request({"Origin": "https://client.com", "X-Name": "Zoë"}, target="/ws?room=1&name=a%20b")
    handshake = judge(good, WebSocketOptions(), ("/chat", "/ws"), room=True)
    assert handshake == Handshake(request=good, subprotocol=None, key=KEY)
    assert (handshake.request.path, handshake.request.target) == ("/ws", "/ws?room=1&name=a%20b")
    assert handshake.request.origin == "https://client.com"
    assert handshake.request.header_pairs() == (
        ("host", "server.example.com"),
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-key", KEY),
        ("sec-websocket-version", "13"),
        ("origin", "https://client.com"),
        ("x-name", "Zoë"),
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"Upgrade": "WebSocket", "Connection": "UPGRADE"},
        {"Upgrade": "h2c, websocket", "Connection": "keep-alive, Upgrade"},
        {"Upgrade": ["h2c", "websocket"], "Connection": ["keep-alive", "upgrade"]},
        {"Connection": "keep-alive ,\tUpgrade , x"},
        {"Content-Length": "0"},
        {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"},
        {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZZ=="},  # the four left-over bits are not zero
    ],
)
def test_a_handshake_may_be_written_in_other_ways(changes):
    """Case, comma-separated lists, several lines and offers that are declined do not matter."""
    assert accepted(changes).key == changes.get("Sec-WebSocket-Key", KEY)


PROXY = "which a proxy may have removed"
NO_KEY = "Sec-WebSocket-Key must be one header with 16 bytes in base64; received "
NO_VERSION = "Sec-WebSocket-Version must be 13; received "
VERSION_13 = {"Sec-WebSocket-Version": "13", "Upgrade": "websocket"}


@pytest.mark.parametrize(
    ("bad", "status", "sentence", "headers"),
    [
        (request({"Sec-WebSocket-Version": None}), 426, f"{NO_VERSION}none.", VERSION_13),
        (request({"Sec-WebSocket-Version": "8"}), 426, f"{NO_VERSION}'8'.", VERSION_13),
        (request({"Sec-WebSocket-Version": "013"}), 426, f"{NO_VERSION}'013'.", VERSION_13),
        (request({"Sec-WebSocket-Version": "13, 8"}), 426, f"{NO_VERSION}'13, 8'.", VERSION_13),
        (request({"Sec-WebSocket-Version": ["13", "13"]}), 426, f"{NO_VERSION}'13', '13'.", VERSION_13),
        (request({"Sec-WebSocket-Key": None}), 400, f"{NO_KEY}none.", {}),
        (request({"Sec-WebSocket-Key": ""}), 400, f"{NO_KEY}''.", {}),
        (request({"Sec-WebSocket-Key": "short"}), 400, f"{NO_KEY}'short'.", {}),
        (request({"Sec-WebSocket-Key": KEY[:-1]}), 400, f"{NO_KEY}'{KEY[:-1]}'.", {}),
        (request({"Sec-WebSocket-Key": f"{KEY}="}), 400, f"{NO_KEY}'{KEY}='.", {}),
        (request({"Sec-WebSocket-Key": "_" * 22 + "=="}), 400, f"{NO_KEY}'{'_' * 22}=='.", {}),
        (request({"Sec-WebSocket-Key": [KEY, KEY]}), 400, f"{NO_KEY}'{KEY}', '{KEY}'.", {}),
        (
            request({"Upgrade": None}),
            400,
            f"A WebSocket handshake has 'websocket' in its Upgrade header, {PROXY}; received none.",
            {},
        ),
        (
            request({"Upgrade": "websockets"}),
            400,
            f"A WebSocket handshake has 'websocket' in its Upgrade header, {PROXY}; received 'websockets'.",
            {},
        ),
        (
            request({"Connection": None}),
            400,
            f"A WebSocket handshake has 'upgrade' in its Connection header, {PROXY}; received none.",
            {},
        ),
        (
            request({"Connection": ["keep-alive", "close"]}),
            400,
            f"A WebSocket handshake has 'upgrade' in its Connection header, {PROXY}; "
            "received 'keep-alive', 'close'.",
            {},
        ),
        (
            request(method="POST"),
            405,
            "A WebSocket handshake is a GET request; received 'POST'.",
            {"Allow": "GET"},
        ),
        (
            request(version="1.0"),
            400,
            "A WebSocket handshake needs HTTP/1.1; received HTTP/1.0, perhaps from a proxy.",
            {},
        ),
        (
            request({"Content-Length": "5"}),
            400,
            "A WebSocket handshake has no body; received the Content-Length '5'.",
            {},
        ),
        (
            request({"Transfer-Encoding": "chunked"}),
            400,
            "A WebSocket handshake has no body; received the Transfer-Encoding 'chunked'.",
            {},
        ),
        (
            request(target="/chat?room=1"),
            404,
            "No WebSocket is served at '/chat'; WebSockets are served at '/ws'.",
            {},
        ),
        (
            request(target="/ws/"),
            404,
            "No WebSocket is served at '/ws/'; WebSockets are served at '/ws'.",
            {},
        ),
        (request(target="/WS"), 404, "No WebSocket is served at '/WS'; WebSockets are served at '/ws'.", {}),
        (
            request({"Sec-WebSocket-Protocol": "chat room"}),
            400,
            "Sec-WebSocket-Protocol is a list of tokens such as 'chat.v1'; received one with ' ' in it.",
            {},
        ),
        (
            request({"Sec-WebSocket-Protocol": ["chat", '"a"']}),
            400,
            "Sec-WebSocket-Protocol is a list of tokens such as 'chat.v1'; received one with '\"' in it.",
            {},
        ),
        (
            request({"Origin": ["https://a.com", "https://b.com"]}),
            400,
            "A request has at most one Origin header; received 'https://a.com', 'https://b.com'.",
            {},
        ),
    ],
)
def test_a_bad_handshake_hears_what_was_received_and_what_would_do(bad, status, sentence, headers):
    """Each fault has its status, its sentence and its headers, whole."""
    assert refused(bad) == (status, sentence, headers)


def test_an_origin_that_is_not_listed_is_refused_by_name():
    """A page that may not connect gets 403, and its author reads the origin that the browser sent."""
    assert refused(
        request({"Origin": "https://evil.com"}),
        allowed_origins=["https://client.com", "https://*.client.com"],
    ) == (
        403,
        "The origin 'https://evil.com' may not connect; allowed: 'https://client.com', 'https://*.client.com'.",
        {},
    )


def test_an_origin_cannot_smuggle_markup_into_the_sentence():
    """What was received is quoted: no control character, no HTML, no megabyte."""
    status, sentence, _ = refused(
        request({"Origin": "<script>\x01é" + "x" * 200}), allowed_origins=["https://client.com"]
    )
    assert status == 403
    assert sentence == (
        f"The origin '\\x3cscript\\x3e\\x01\\xe9{'x' * 90}'... (210 characters) may not connect; "
        "allowed: 'https://client.com'."
    )


@pytest.mark.parametrize(
    ("host", "origin", "secure", "expected"),
    [
        ("server.example.com:5000", "http://server.example.com:5000", False, True),
        ("SERVER.example.com:5000", "http://server.EXAMPLE.com:5000", False, True),
        ("server.example.com", "http://server.example.com:80", False, True),
        ("server.example.com:80", "http://server.example.com", False, True),
        ("server.example.com:", "http://server.example.com", False, True),
        ("server.example.com:443", "https://server.example.com", True, True),
        ("[0:0:0:0:0:0:0:1]:5000", "http://[::1]:5000", False, True),
        # the scheme is that of the transport, whatever the page says
        ("server.example.com", "https://server.example.com", False, False),
        ("server.example.com", "http://server.example.com", True, False),
        ("server.example.com:5000", "http://server.example.com:5001", False, False),
        ("server.example.com:5000", "http://server.example.com", False, False),
        ("localhost:5000", "http://127.0.0.1:5000", False, False),
        ("server.example.com", "null", False, False),
        ("server.example.com", "self", False, False),
        ("", "http://", False, False),
        ("%41", "http://%41", False, False),
    ],
)
def test_self_is_the_origin_that_the_request_came_to(host, origin, secure, expected):
    """`self` stands for the scheme of the transport and the request's Host, compared as origins are."""
    changes: Changes = {"Host": host, "Origin": origin}
    if expected:
        assert accepted(changes, secure=secure, allowed_origins=["self"]).request.origin == origin
    else:
        assert refused(request(changes, secure=secure), allowed_origins=["self"])[0] == 403


def test_self_stands_beside_other_origins():
    """The refusal names what `self` was for this request, so that one sees what a proxy has made of it."""
    listed = ["https://client.com", "self"]
    assert accepted({"Origin": "http://server.example.com"}, allowed_origins=listed)
    assert accepted({"Origin": "https://client.com"}, allowed_origins=listed)
    assert refused(request({"Origin": "https://server.example.com"}), allowed_origins=listed) == (
        403,
        "The origin 'https://server.example.com' may not connect; allowed: 'https://client.com', 'self', "
        "where 'self' is 'http://server.example.com'.",
        {},
    )


def test_the_absolute_form_names_the_host():
    """`GET http://host/ws` came to that host; the Host header is ignored then (RFC 9112 §3.2.2)."""
    head = parse_head(
        b"GET http://A.com:80/ws HTTP/1.1\r\nHost: server.example.com\r\nOrigin: http://a.com\r\n"
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: " + KEY.encode() + b"\r\n\r\n"
    )
    absolute = Request(head.method, head.path, head.target, head.fields)
    options = WebSocketOptions(allowed_origins=["self"], allowed_hosts=["a.com"])
    assert judge(absolute, options, ("/ws",), room=True).request.target == "/ws"
    status, sentence, _ = refused(absolute, allowed_hosts=["server.example.com"])
    assert (status, sentence.split(";")[0]) == (421, "This server does not answer for the host 'A.com:80'")


def test_a_host_that_is_not_listed_is_misdirected():
    """Another Host gets 421, before anything else is said; the author reads what came and what would do."""
    assert refused(
        request({"Host": "rebound.evil.com:5000", "Origin": "http://rebound.evil.com:5000"}),
        allowed_hosts=["localhost", "*.example.com"],
        allowed_origins=["self"],
    ) == (
        421,
        "This server does not answer for the host 'rebound.evil.com:5000'; allowed: 'localhost', '*.example.com'.",
        {},
    )
    assert accepted({"Host": "www.example.com:5000"}, allowed_hosts=["localhost", "*.example.com"])


def test_without_a_host_no_list_of_hosts_is_passed():
    """HTTP/1.0 needs no Host; where hosts are listed, having none is having the wrong one."""
    with pytest.raises(Refused) as caught:
        check_host(request({"Host": None}, version="1.0"), WebSocketOptions(allowed_hosts=["a.com"]))
    assert caught.value.status == 421
    assert (
        caught.value.sentence == "This server does not answer for a request without a Host; allowed: 'a.com'."
    )


def test_a_request_without_an_origin_passes_any_list():
    """What is not a browser connects, whichever pages may."""
    assert accepted(allowed_origins=["https://client.com"]).request.origin is None


def test_a_server_that_is_full_says_when_to_come_back():
    """A request for which there is no room gets 503 with Retry-After."""
    full = "connections are taken; try again in 5 seconds."
    assert refused(request(), room=False, max_connections=9) == (503, f"All 9 {full}", {"Retry-After": "5"})


@pytest.mark.parametrize("limit", [None, 9])
def test_a_server_that_stops_says_so(limit):
    """A request that comes too late hears that the server is stopping, not that it is full."""
    assert refused(request(), room=False, stopping=True, max_connections=limit) == (
        503,
        "This server is stopping and takes no new connections; try again in 5 seconds.",
        {"Retry-After": "5"},
    )


def test_the_first_fault_in_order_is_told():
    """Host, origin, path, method, HTTP version, upgrade, version, body, key, subprotocols, room: in this order."""
    wrong: Changes = {"Host": "rebound.evil.com", "Origin": "https://evil.com"}
    changes: Changes = {
        **wrong,
        "Upgrade": "h2c",
        "Connection": "close",
        "Sec-WebSocket-Version": "8",
        "Content-Length": "1",
        "Sec-WebSocket-Key": "short",
        "Sec-WebSocket-Protocol": "a b",
    }
    target, method, version = "/elsewhere", "POST", "1.0"
    heard: list[tuple[int, str]] = []

    def listen() -> None:
        status, sentence, _ = refused(
            request(changes, target=target, method=method, version=version),
            room=False,
            max_connections=9,
            allowed_origins=["https://client.com"],
            allowed_hosts=["server.example.com"],
        )
        heard.append((status, sentence.split(";")[0]))

    listen()
    changes["Host"] = "server.example.com"
    listen()
    changes["Origin"] = "https://client.com"
    listen()
    target = "/ws"
    listen()
    method = "GET"
    listen()
    version = "1.1"
    for name in list(changes)[2:]:
        listen()
        changes[name] = GOOD.get(name)
    listen()
    assert heard == [
        (421, "This server does not answer for the host 'rebound.evil.com'"),
        (403, "The origin 'https://evil.com' may not connect"),
        (404, "No WebSocket is served at '/elsewhere'"),
        (405, "A WebSocket handshake is a GET request"),
        (400, "A WebSocket handshake needs HTTP/1.1"),
        (400, "A WebSocket handshake has 'websocket' in its Upgrade header, which a proxy may have removed"),
        (400, "A WebSocket handshake has 'upgrade' in its Connection header, which a proxy may have removed"),
        (426, "Sec-WebSocket-Version must be 13"),
        (400, "A WebSocket handshake has no body"),
        (400, "Sec-WebSocket-Key must be one header with 16 bytes in base64"),
        (400, "Sec-WebSocket-Protocol is a list of tokens such as 'chat.v1'"),
        (503, "All 9 connections are taken"),
    ]


@pytest.mark.parametrize(
    ("ours", "offered", "agreed"),
    [
        ((), None, None),
        ((), "chat", None),
        (("chat",), None, None),
        (("chat",), "chat", "chat"),
        (("chat",), "superchat", None),
        (("chat",), "Chat", None),
        (("v2", "v1"), "v1, v2", "v2"),
        (("v2", "v1"), ["v1", "v0,v2"], "v2"),
        (("v2", "v1"), "v1", "v1"),
        (("chat",), "a,, chat ,", "chat"),
        (("chat",), "", None),
    ],
)
def test_the_subprotocol_is_ours_in_our_order_of_preference(ours, offered, agreed):
    """The first of our subprotocols that the client offers is agreed on; if none fits, none."""
    assert accepted({"Sec-WebSocket-Protocol": offered}, subprotocols=ours).subprotocol == agreed


def test_the_offered_subprotocols_are_told_in_their_order():
    """Each once, whatever lines they stand on; who chooses may have a mind of their own."""
    offered = check_handshake(request({"Sec-WebSocket-Protocol": ["b, a", "b,,c"]}))
    assert offered == (KEY, ("b", "a", "c"))
    assert check_handshake(request()) == (KEY, ())
    assert choose_subprotocol(("b", "a"), ["c", "a", "b"]) == "a"
    assert choose_subprotocol(("b", "a"), ["c"]) is None
    assert choose_subprotocol((), ["c"]) is None


def test_the_accepting_response_has_more_headers():
    """Such as cookies, several of one name, in Latin-1."""
    response = accepting_response(KEY, "chat", (("Set-Cookie", "a=1"), ("Set-Cookie", "b=\xeb")))
    assert response.endswith(
        b"\r\nSec-WebSocket-Protocol: chat\r\nSet-Cookie: a=1\r\nSet-Cookie: b=\xeb\r\n\r\n"
    )


def test_the_accepting_response_says_what_was_agreed_on():
    """Extensions in a line of their own."""
    response = accepting_response(KEY, None, (), "permessage-deflate; server_max_window_bits=12")
    assert response.endswith(
        b"\r\nSec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=12\r\n\r\n"
    )


COMPRESSION = WebSocketOptions(compression=True)


@pytest.mark.parametrize(
    ("offered", "answer"),
    [
        (None, None),
        ("x-other", None),
        ("permessage-deflate", "permessage-deflate; server_max_window_bits=12"),
        (["x-other", "permessage-deflate; server_max_window_bits=9"], "permessage-deflate; server_max_window_bits=9"),
        (
            ["permessage-deflate; server_max_window_bits=08", 'permessage-deflate; server_max_window_bits="10"'],
            "permessage-deflate; server_max_window_bits=10",
        ),
    ],
)  # fmt: skip
def test_compression_is_agreed_on_over_all_header_lines(offered, answer):
    """The first offer that is good; and nothing where the server has none."""
    asked = request({"Sec-WebSocket-Extensions": offered})
    agreement = agree_on_compression(asked, COMPRESSION)
    assert (None if agreement is None else agreement.answer) == answer
    assert agree_on_compression(asked, WebSocketOptions()) is None


@pytest.mark.parametrize(
    ("offered", "received"),
    [
        ("permessage-deflate;;", "'permessage-deflate;;'"),
        (["permessage-deflate", "bad@"], "'bad@'"),
        ("x" * 200 + "@", "'" + "x" * 100 + "'... (201 characters)"),
    ],
)
def test_what_is_no_list_of_extensions_is_400(offered, received):
    """RFC 6455 §9.1: the handshake fails; the sentence shows what was received, and not too much of it."""
    with pytest.raises(Refused) as refused:
        agree_on_compression(request({"Sec-WebSocket-Extensions": offered}), COMPRESSION)
    assert (refused.value.status, refused.value.sentence) == (
        400,
        "Sec-WebSocket-Extensions is a list of extensions such as 'permessage-deflate; client_max_window_bits'; "
        f"received {received}.",
    )


def test_a_list_of_extensions_that_is_too_long_is_431():
    """Nobody should have to look through it."""
    most = "x" + ";a" * MOST_PARAMETERS
    assert agree_on_compression(request({"Sec-WebSocket-Extensions": most}), COMPRESSION) is None
    with pytest.raises(Refused) as refused:
        agree_on_compression(request({"Sec-WebSocket-Extensions": [most, "y;a"]}), COMPRESSION)
    assert refused.value.status == 431


@pytest.mark.parametrize("version", ["1.1", "1.2", "1.9"])
def test_http_1_1_or_higher_is_accepted(version):
    """RFC 6455 §4.2.1 asks for HTTP/1.1 or higher."""
    assert judge(request(version=version), WebSocketOptions(), ("/ws",), room=True).request.path == "/ws"


def work(function: Callable[[], object]) -> int:
    """How many functions, in Python or in C, a call calls: a measure of work that is the same on any machine."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(None)
    return calls


def test_a_path_of_escapes_is_not_worth_its_decoding():
    """The work for a path does not grow with its escapes beyond any that could be meant."""
    assert path_and_target(b"/" + b"%41" * 1000) == ("/" + "A" * 1000, "/" + "%41" * 1000)
    for flood in (b"%2F" * 5_300, b"%41" * 5_300, b"%2F%41" * 2_650):
        target = b"/" + flood
        assert path_and_target(target) == (target.decode(), target.decode())
        assert work(lambda target=target: path_and_target(target)) < 30
    slashes = b"/" + b"%2F" * 1000
    assert path_and_target(slashes)[0] == slashes.decode()
    assert work(lambda: path_and_target(slashes)) < 2 * work(lambda: path_and_target(b"/" + b"%41" * 1000))


@pytest.mark.parametrize("name", ["Sec-WebSocket-Protocol", "Connection", "Upgrade"])
def test_empty_elements_of_a_list_are_no_work(name):
    """15,900 commas in a list cost hardly more calls than one."""
    value = GOOD.get(name, "chat")
    few, many = (request({name: "," * commas + value}) for commas in (1, 15_900))
    options = WebSocketOptions(subprotocols=["chat"])

    def decide(asked: Request) -> None:
        assert wants_websocket(asked)
        judge(asked, options, ("/ws",), room=True)

    assert work(lambda: decide(many)) <= work(lambda: decide(few)) + 10


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"Upgrade": "WEBSOCKET", "Sec-WebSocket-Key": None}, True),
        ({"Upgrade": "h2c, websocket", "Sec-WebSocket-Key": None}, True),
        # a proxy has removed what concerns only its own connection
        ({"Upgrade": None, "Connection": "close"}, True),
        ({"Upgrade": None, "Sec-WebSocket-Key": None}, False),
        ({"Upgrade": "h2c", "Sec-WebSocket-Key": None}, False),
    ],
)
def test_who_means_a_websocket_is_judged_as_one(changes, expected):
    """A request is taken for a handshake if it asks for a WebSocket or brings a key for one."""
    assert wants_websocket(request(changes)) is expected


@pytest.mark.parametrize(
    ("target", "path", "origin_form"),
    [
        ("/ws", "/ws", "/ws"),
        ("/ws?", "/ws", "/ws?"),
        ("/ws?a=/x?b", "/ws", "/ws?a=/x?b"),
        ("/%77s", "/ws", "/%77s"),
        ("/caf%C3%A9", "/café", "/caf%C3%A9"),
        ("/a%2Fb%2f%41", "/a%2Fb%2fA", "/a%2Fb%2f%41"),
        ("/%ff", "/%ff", "/%ff"),
        ("/100%", "/100%", "/100%"),
        ("http://server.example.com/ws?a=1", "/ws", "/ws?a=1"),
        ("HTTPS://server.example.com:5000/ws", "/ws", "/ws"),
        ("http://server.example.com", "/", "/"),
        ("http://server.example.com?a=1", "/", "/?a=1"),
        ("//ws", "//ws", "//ws"),
        ("*", "*", "*"),
        ("server.example.com:443", "server.example.com:443", "server.example.com:443"),
    ],
)
def test_the_path_is_what_the_target_means(target, path, origin_form):
    """The query is split off, the path decoded, the absolute form understood."""
    assert path_and_target(target.encode()) == (path, origin_form)


@pytest.mark.parametrize("subprotocol", [None, "chat.v1"])
def test_the_accepting_response_is_what_wsproto_awaits(subprotocol):
    """wsproto as the client finds its own key answered, and the subprotocol agreed on."""
    client = WSConnection(ConnectionType.CLIENT)
    asked = client.send(WsprotoRequest(host="localhost", target="/ws", subprotocols=["other", "chat.v1"]))
    key = re.search(rb"Sec-WebSocket-Key: (\S+)", asked)[1].decode()
    handshake = accepted(
        {"Sec-WebSocket-Key": key, "Sec-WebSocket-Protocol": "other, chat.v1"},
        subprotocols=[] if subprotocol is None else [subprotocol],
    )
    client.receive_data(accepting_response(handshake.key, handshake.subprotocol))
    (event,) = client.events()
    assert isinstance(event, AcceptConnection)
    assert event.subprotocol == subprotocol


def test_the_accepting_response_answers_the_key_of_the_rfc():
    """The example of RFC 6455 §1.3."""
    response = accepting_response("dGhlIHNhbXBsZSBub25jZQ==", None)
    assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in response


@given(st.binary(min_size=16, max_size=16))
def test_every_key_of_16_bytes_is_accepted(key):
    """Sixteen bytes in base64 are a key, whichever they are."""
    encoded = base64.b64encode(key).decode()
    assert accepted({"Sec-WebSocket-Key": encoded}).key == encoded


@pytest.mark.parametrize("length", [0, 1, 15, 17, 18, 32])
def test_a_key_of_another_length_is_refused(length):
    """A key must have 16 bytes."""
    assert refused(request({"Sec-WebSocket-Key": base64.b64encode(os.urandom(length)).decode()}))[0] == 400


HANDSHAKE_VALUES = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=30
)


@given(
    st.dictionaries(
        st.sampled_from(
            [*GOOD, "Origin", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Content-Length"]
        ),
        HANDSHAKE_VALUES
        | st.sampled_from(["", ",", "websocket, x", "keep-alive, Upgrade", "https://a.b", "a;b"]),
        max_size=4,
    )
)
def test_any_headers_are_a_handshake_or_are_refused(changes: dict[str, str]) -> None:
    """With a sentence that can be sent and logged; nothing else is raised."""
    options = WebSocketOptions(
        allowed_origins=["self", "https://*.b"], allowed_hosts=["*.example.com"], compression=True
    )
    request = Request("GET", "/ws", "/ws", GOOD | changes)
    refusals = []
    for check in (check_host, check_origin, agree_on_compression):
        try:
            check(request, options)
        except Refused as refused:
            refusals.append(refused)
    try:
        key, offered = check_handshake(request)
    except Refused as refused:
        refusals.append(refused)
    else:
        assert wants_websocket(request)
        assert key == request.headers["sec-websocket-key"]
        assert len(set(offered)) == len(offered)
    assert all(refused.sentence.isprintable() for refused in refusals)
    assert {refused.status for refused in refusals} <= {400, 403, 421, 426, 431}
