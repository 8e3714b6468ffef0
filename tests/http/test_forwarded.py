"""Who the client is, as trusted proxies tell: the chain read from the right, what is ignored, and what is refused."""

from __future__ import annotations

import ipaddress
import logging
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioecho._http.forwarded import believe
from trioecho._http.messages import Request
from trioecho._http.networks import Networks
from trioecho._http.refusals import Refused

PROXIES = Networks.of(["10.0.0.0/8", "2001:db8:ffff::/48"])

Seen = tuple[tuple[str, int] | None, str, str | None]


def told(*headers: tuple[str, str]) -> Seen:
    """Client, scheme and host of a request that came with these headers from 10.0.0.1."""
    request = Request("GET", "/", "/", [("Host", "inside"), *headers], client=("10.0.0.1", 4321))
    believe(request, PROXIES)
    return request.client, request.scheme, request.host


def client(*headers: tuple[str, str]) -> tuple[str, int] | None:
    return told(*headers)[0]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # One hop; what the client itself has sent stands to the left.
        (["192.0.2.1"], ("192.0.2.1", 0)),
        (["1.1.1.1, 192.0.2.1"], ("192.0.2.1", 0)),
        (["1.1.1.1", "192.0.2.1"], ("192.0.2.1", 0)),
        # Several: up to the first that is not trusted.
        (["1.1.1.1, 192.0.2.1, 10.0.0.2, 10.0.0.3"], ("192.0.2.1", 0)),
        (["10.9.9.9, 192.0.2.1, 10.0.0.2"], ("192.0.2.1", 0)),
        # All of them are: the first of all.
        (["10.0.0.3, 10.0.0.2"], ("10.0.0.3", 0)),
        # Spellings.
        (["192.0.2.1:4711"], ("192.0.2.1", 4711)),
        (["2001:DB8::1"], ("2001:db8::1", 0)),
        (["[2001:db8::1]:4711"], ("2001:db8::1", 4711)),
        (["::ffff:192.0.2.1"], ("192.0.2.1", 0)),
        (["192.0.2.1, 2001:db8:ffff::1"], ("192.0.2.1", 0)),
        (["192.0.2.1 ,, \t10.0.0.2,"], ("192.0.2.1", 0)),
        # What is no address ends the reading, and hides nothing that stands to the right.
        (["192.0.2.1, unknown, 10.0.0.2"], ("10.0.0.2", 0)),
        (["192.0.2.1, unknown"], ("10.0.0.1", 4321)),
        (["192.0.2.1:99999"], ("10.0.0.1", 4321)),
        (["fe80::1%eth0"], ("10.0.0.1", 4321)),
        (["192.0.2.01"], ("10.0.0.1", 4321)),
        ([""], ("10.0.0.1", 4321)),
        ([","], ("10.0.0.1", 4321)),
    ],
)
def test_the_rightmost_that_is_no_trusted_proxy_is_the_client(
    values: list[str], expected: tuple[str, int]
) -> None:
    """Of X-Forwarded-For, on one line or several."""
    assert client(*[("X-Forwarded-For", value) for value in values]) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("for=192.0.2.1", (("192.0.2.1", 0), "http", "inside")),
        ('For="[2001:db8::1]:4711";Proto=https', (("2001:db8::1", 4711), "https", "inside")),
        (
            'for="192.0.2.1:47";host="client.com:8443";proto=HTTPS;by=_x',
            (("192.0.2.1", 47), "https", "client.com:8443"),
        ),
        (
            "for=1.1.1.1, for=192.0.2.1;proto=https , for=10.0.0.2;proto=http",
            (("192.0.2.1", 0), "https", "inside"),
        ),
        (
            "for=1.1.1.1;proto=https;host=evil.com, for=192.0.2.1;proto=http",
            (("192.0.2.1", 0), "http", "inside"),
        ),
        ("for=192.0.2.1;host=client.com, for=10.0.0.2", (("192.0.2.1", 0), "http", "client.com")),
        ("for=192.0.2.1:80", (("192.0.2.1", 80), "http", "inside")),
        ('for="192.0.2.1:_obf"', (("192.0.2.1", 0), "http", "inside")),
        ('for="\\1\\92.0.2.1"', (("192.0.2.1", 0), "http", "inside")),
        ("for=_hidden;proto=https", (("10.0.0.1", 4321), "https", "inside")),
        ("for=unknown", (("10.0.0.1", 4321), "http", "inside")),
        ("proto=https", (("10.0.0.1", 4321), "https", "inside")),
        ("for=192.0.2.1, proto=https", (("10.0.0.1", 4321), "https", "inside")),
        (" , ;; for=192.0.2.1;", (("192.0.2.1", 0), "http", "inside")),
    ],
)
def test_forwarded_says_the_same_in_one_header(value: str, expected: Seen) -> None:
    """RFC 7239 §4: quotes, any order, any case; each element is one hop."""
    assert told(("Forwarded", value)) == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-Proto", "https")], "https"),
        ([("X-Forwarded-Proto", "wss")], "https"),
        ([("X-Forwarded-Proto", "ws")], "http"),
        ([("X-Forwarded-Proto", "https, http"), ("X-Forwarded-For", "192.0.2.1")], "http"),
        ([("X-Forwarded-Proto", "https, http"), ("X-Forwarded-For", "192.0.2.1, 10.0.0.2")], "https"),
        # A proxy that replaces it leaves one for all hops.
        ([("X-Forwarded-Proto", "https"), ("X-Forwarded-For", "192.0.2.1, 10.0.0.2")], "https"),
        ([("X-Forwarded-Proto", "gopher")], "http"),
    ],
)
def test_the_scheme_is_what_as_many_hops_say(headers: list[tuple[str, str]], expected: str) -> None:
    """One that is neither http nor https is ignored."""
    assert told(*headers)[1] == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["client.com"], "client.com"),
        (["evil.com, client.com:8443"], "client.com:8443"),
        (["evil.com", "[::1]:80"], "[::1]:80"),
        (["evil/../com"], "inside"),
        (["a b"], "inside"),
        ([":80"], ":80"),
    ],
)
def test_the_host_is_what_the_proxy_was_asked_for(values: list[str], expected: str) -> None:
    """What is no host is ignored; the header Host stays as it was sent."""
    request = Request(
        "GET", "/", "/a?b", [("Host", "inside"), *[("X-Forwarded-Host", each) for each in values]]
    )
    believe(request, PROXIES)
    assert request.host == expected
    assert request.headers["host"] == "inside"
    assert request.url == f"http://{expected}/a?b"


def test_what_is_ignored_is_told_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    """Escaped, and in one line each."""
    caplog.set_level(logging.DEBUG, logger="trioecho")
    told(("X-Forwarded-For", "x\x85y"), ("X-Forwarded-Proto", "gopher"), ("X-Forwarded-Host", "a b"))
    assert [record.getMessage() for record in caplog.records] == [
        r"a proxy says that its client is 'x\x85y', which is no address",
        "a proxy says that a request came by 'gopher', which is neither http nor https",
        "a proxy says that a request is for 'a b', which is no host",
    ]


@pytest.mark.parametrize(
    "value",
    [
        # A client has left a quotation mark open, behind which the proxy has written.
        'for="1.1.1.1, for=192.0.2.1',
        'for="1.1.1.1, for="[2001:db8::1]"',
        "for",
        "for=1.1.1.1;for=192.0.2.1",
        "for = 192.0.2.1",
        "=192.0.2.1",
        "for=192.0.2.1 proto=https",
        'for="192.0.2.1"x',
    ],
)
def test_forwarded_that_is_not_in_its_grammar_is_refused(value: str) -> None:
    """Nobody can say what of it the proxy has written."""
    with pytest.raises(Refused, match="Forwarded is a list such as") as refused:
        told(("Forwarded", value))
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "other",
    [
        [("X-Forwarded-For", "192.0.2.2")],
        [("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-Proto", "https")],
        [("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-Host", "evil.com")],
        [("X-Forwarded-Proto", "https")],
        [("X-Forwarded-Host", "evil.com")],
    ],
)
def test_two_opinions_are_refused(other: list[tuple[str, str]]) -> None:
    """One of the two kinds is the client's own; where both say the same it does not matter which."""
    forwarded = ("Forwarded", "for=192.0.2.1;proto=http")
    with pytest.raises(Refused, match="a proxy removes what it does not write") as refused:
        told(forwarded, *other)
    assert refused.value.status == 400
    assert told(forwarded, ("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-Proto", "http"))[0] == (
        "192.0.2.1",
        0,
    )


VALUES = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=60
)
NAMES = st.sampled_from(["Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"])
SIGNS = st.text(st.sampled_from('for=";,\\ \t1.:[]_https'), max_size=60)


@given(st.lists(st.tuples(NAMES, VALUES | SIGNS), max_size=5))
def test_whatever_a_proxy_sends_is_believed_ignored_or_refused(headers: list[tuple[str, str]]) -> None:
    """No other exception comes out, and a client is an address."""
    try:
        found, scheme, _ = told(*[(name, value.strip()) for name, value in headers])
    except Refused:
        return
    assert found is not None
    ipaddress.ip_address(found[0])
    assert 0 <= found[1] < 65536
    assert scheme in ("http", "https")


@given(st.ip_addresses(), st.lists(SIGNS, max_size=4))
def test_whatever_a_client_sends_the_proxys_word_counts(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, sent: list[str]
) -> None:
    """What stands to the left changes nothing, unless the address that the proxy has seen is a proxy's itself."""
    seen = str(getattr(address, "ipv4_mapped", None) or address)
    if seen not in PROXIES and "%" not in seen:
        found = client(
            *[("X-Forwarded-For", each.strip()) for each in sent], ("X-Forwarded-For", str(address))
        )
        assert found == (seen, 0)


@pytest.mark.parametrize(
    "piece",
    [
        "a,",
        "10.0.0.1,",
        "for=x;",
        'for="\\a',
        "for=10.0.0.1,",
        "for=a ",
        '"',
        ";",
        " ",
        "=",
        "for=1;proto=a,",
        "1.",
        "[",
    ],
)
@pytest.mark.parametrize("name", ["Forwarded", "X-Forwarded-For", "X-Forwarded-Host"])
def test_the_time_grows_with_the_length(name: str, piece: str) -> None:
    """16 times as long takes less than 64 times as long, and a head has no more than 16 KiB."""

    def seconds(size: int) -> float:
        request = Request("GET", "/", "/", [(name, (piece * size)[: 1024 * size].strip())])
        best = 1.0
        for _ in range(5):
            began = time.process_time()
            try:
                believe(request, PROXIES)
            except Refused:
                pass
            best = min(best, time.process_time() - began)
        return best

    assert seconds(16_000) < 64 * max(seconds(1000), 0.0005)
