"""Which web pages may connect: ASP.NET's rules, and the spellings that are refused with a better one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioecho._http.origins import normalised, origin_allowed, parse_origin_pattern


def allowed(configured: list[str], origin: str | None) -> bool:
    return origin_allowed([parse_origin_pattern(each) for each in configured], origin)


# ASP.NET's unit tests of its WebSocket middleware. Its vector "" (listed, matches nothing, 403) is missing:
# an empty string is refused when the options are made, see
# test_what_no_browser_sends_is_refused_with_the_right_spelling.
@pytest.mark.parametrize(
    ("configured", "expected"),
    [
        ([], True),
        (["http://e.com"], False),
        (["http://e.com", "http://example.com"], True),
        (["*"], True),
        (["http://e.com", "*"], True),
        (["http://ExAmPLE.cOm"], True),
    ],
)
def test_origins_are_judged_as_in_aspnet(configured, expected):
    """An origin is accepted or refused as ASP.NET's own test vectors say."""
    assert allowed(configured, "http://example.com") is expected


@pytest.mark.parametrize("configured", [[], ["http://e.com"], ["*"], ["null"]])
def test_a_request_without_an_origin_passes(configured):
    """A request without an Origin does not come from a browser, and passes whatever is listed."""
    assert allowed(configured, None)


@pytest.mark.parametrize(
    ("configured", "origin", "expected"),
    [
        # case, on both sides
        ("https://client.com", "HTTPS://Client.COM", True),
        # default ports, on both sides
        ("https://client.com:443", "https://client.com", True),
        ("https://client.com", "https://client.com:443", True),
        ("http://client.com:80", "http://client.com", True),
        ("https://client.com:80", "https://client.com", False),
        ("https://client.com:0443", "https://client.com", True),
        ("https://client.com", "https://client.com:8443", False),
        ("https://client.com:8443", "https://client.com:8443", True),
        # the scheme counts
        ("https://client.com", "http://client.com", False),
        # no part of a name is enough
        ("https://client.com", "https://evilclient.com", False),
        ("https://client.com", "https://client.com.evil.com", False),
        ("https://client.com", "https://www.client.com", False),
        # a browser never sends these
        ("https://client.com", "https://client.com/", False),
        ("https://client.com", "https://client.com, https://evil.com", False),
        ("https://client.com", "https://client.com https://evil.com", False),
        ("https://client.com", "https://evil.com@client.com", False),
        ("https://client.com", "", False),
        # IP addresses
        ("http://127.0.0.1:8888", "http://127.0.0.1:8888", True),
        ("http://[::1]:8888", "http://[0:0:0:0:0:0:0:1]:8888", True),
        ("http://[2001:DB8::1]", "http://[2001:db8::1]:80", True),
        ("http://[::1]", "http://[::2]", False),
        ("http://[::1]", "http://[::1", False),
        ("http://[::1]", "http://[1:2]", False),
        # pages that have no host name
        ("null", "null", True),
        ("null", "https://client.com", False),
        ("https://client.com", "null", False),
        ("chrome-extension://abcdefgh", "chrome-extension://abcdefgh", True),
        # punycode is ASCII like any other name
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example", True),
        # all of them, be they ever so strange
        ("*", "null", True),
        ("*", "", True),
        ("*", "anything at all", True),
    ],
)
def test_origins_are_compared_as_browsers_mean_them(configured, origin, expected):
    """Case, default ports and the spelling of IP addresses make no difference; everything else does."""
    assert allowed([configured], origin) is expected


@pytest.mark.parametrize(
    ("configured", "origin", "expected"),
    [
        ("https://*.client.com", "https://www.client.com", True),
        ("https://*.client.com", "https://a.b.client.com", True),
        ("https://*.CLIENT.com", "https://www.client.COM:443", True),
        ("https://*.client.com", "https://client.com", False),
        ("https://*.client.com", "https://.client.com", False),
        ("https://*.client.com", "https://evilclient.com", False),
        ("https://*.client.com", "https://www.client.com.evil.com", False),
        ("https://*.client.com", "https://evil.com/.client.com", False),
        ("https://*.client.com", "https://evil.com?.client.com", False),
        ("https://*.client.com", "https://evil.com:1.client.com", False),
        ("https://*.client.com", "https://user@www.client.com", False),
        ("https://*.client.com", "http://www.client.com", False),
        ("https://*.client.com", "https://www.client.com:8443", False),
        ("https://*.client.com:8443", "https://www.client.com:8443", True),
        ("https://*.client.com:8443", "https://www.client.com", False),
        ("https://*.client.com", "null", False),
    ],
)
def test_an_asterisk_stands_for_one_or_more_labels(configured, origin, expected):
    """`https://*.client.com` is every host below client.com, and neither client.com nor evilclient.com."""
    assert allowed([configured], origin) is expected


@pytest.mark.parametrize(
    ("own", "origin", "expected"),
    [
        ("http://localhost:5000", "http://localhost:5000", True),
        ("HTTP://LocalHost:80", "http://localhost", True),
        ("https://[0::1]:443", "https://[::1]", True),
        ("http://localhost:5000", "http://localhost:5001", False),
        ("http://localhost:5000", None, True),
        (None, "http://localhost:5000", False),
        (None, "self", False),
        ("http://a b", "http://a b", False),
        ("http://", "http://", False),
    ],
)
def test_self_is_the_servers_own_origin(own, origin, expected):
    """`self` stands for the origin that the request came to, in any spelling, and for nothing where that is none."""
    assert origin_allowed([parse_origin_pattern("self")], origin, own) is expected


SHAPE = "an origin is scheme://host or scheme://host:port, for example 'https://client.com'"
ASTERISK = (
    "an asterisk stands only for the first labels of a host name, as in 'https://*.client.com', "
    "or alone for every origin, '*'"
)


@pytest.mark.parametrize(
    ("configured", "lesson"),
    [
        ("", f"not an origin: {SHAPE}; leave the list empty to allow every origin"),
        ("client.com", "not an origin because it has no scheme: write 'https://client.com'"),
        ("localhost:3000", "not an origin because it has no scheme: write 'http://localhost:3000'"),
        ("//a.com", "not an origin because it has no scheme: write 'https://a.com'"),
        ("http:/a.com", "not an origin because it has no :// behind its scheme: write 'http://a.com'"),
        ("https://a.com/", "not an origin because it ends with a slash: write 'https://a.com'"),
        (
            "https://a.com/x",
            "not an origin because it has more than a host and a port: write 'https://a.com'",
        ),
        (
            "https://a.com?x",
            "not an origin because it has more than a host and a port: write 'https://a.com'",
        ),
        ("https://me:secret@a.com", "not an origin because it has a user name: write 'https://a.com'"),
        (
            "ws://a.com",
            "not an origin because it has the WebSocket's scheme ws, not that of the page that opens it: "
            "write 'http://a.com'",
        ),
        (
            "wss://*.a.com/ws",
            "not an origin because it has the WebSocket's scheme wss, not that of the page that opens it "
            "and has more than a host and a port: write 'https://*.a.com'",
        ),
        (" https://a.com", "not an origin because it has white space around it: write 'https://a.com'"),
        ("https://a.com:", "not an origin because it ends with a colon: write 'https://a.com'"),
        (
            "http://a.com:65536",
            "not an origin because it has a port outside 1 to 65535: write 'http://a.com'",
        ),
        (
            "https://bücher.example:8443",
            "not an origin because it is not in the ASCII spelling (punycode) that browsers send: "
            "write 'https://xn--bcher-kva.example:8443'",
        ),
        ("http://::1", "not an origin because it has an IPv6 address without brackets: write 'http://[::1]'"),
        ("Self", "not an origin: the server's own is written 'self'"),
        ("'self' ", "not an origin: the server's own is written 'self'"),
        ("file:///x", "not what browsers send: a page opened from a file sends 'null', so write 'null'"),
        (
            "https://a.com, https://b.com",
            "not an origin but a list in one string: write 'https://a.com', 'https://b.com'",
        ),
        ("https://*", f"not an origin: {ASTERISK}"),
        ("https://*a.com", f"not an origin: {ASTERISK}"),
        ("https://www.*.com", f"not an origin: {ASTERISK}"),
        ("https://a.com:*", f"not an origin: {ASTERISK}"),
        ("https://*.[::1]", f"not an origin: {ASTERISK}"),
        ("https://", f"not an origin: {SHAPE}"),
        ("https://a..com", f"not an origin: {SHAPE}"),
        ("https://a b.com", f"not an origin: {SHAPE}"),
        (f"https://{'ü' * 70}.com", f"not an origin: {SHAPE}"),
    ],
)
def test_what_no_browser_sends_is_refused_with_the_right_spelling(configured, lesson):
    """A configured origin that could never match is refused, with the spelling that was probably meant."""
    with pytest.raises(ValueError) as refused:  # noqa: PT011 (the whole sentence is compared below)
        parse_origin_pattern(configured)
    assert str(refused.value) == f"{configured!r} is {lesson}"


@pytest.mark.parametrize(
    "text", ["https://client.com", "https://*.client.com:8443", "null", "self", "*", "http://[::1]:8888"]
)
def test_a_pattern_prints_as_it_is_written(text):
    """A parsed pattern shows the spelling a browser would use, so that a refusal can name it."""
    assert str(parse_origin_pattern(text)) == text


@given(st.text())
def test_every_text_is_an_origin_or_gets_a_lesson(text):
    """No text whatever makes the parser fail in another way than ValueError with its sentence."""
    try:
        pattern = parse_origin_pattern(text)
    except ValueError as refused:
        sentence = str(refused)
    else:
        sentence = f"{text!r} is {pattern}"
        assert parse_origin_pattern(str(pattern)) == pattern
    assert sentence.startswith(f"{text!r} is ")


@given(st.text())
def test_a_normalised_origin_stays_as_it_is(text):
    """Normalising twice is normalising once."""
    once = normalised(text)
    assert once is None or normalised(once) == once
