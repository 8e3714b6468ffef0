"""Which hosts a server answers for: what is matched, and the spellings that are refused with a better one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioecho._http.hosts import host_allowed, is_authority, parse_host_pattern


def allowed(configured: list[str], named: str | None, *, secure: bool = False) -> bool:
    return host_allowed([parse_host_pattern(each) for each in configured], named, secure=secure)


@pytest.mark.parametrize(
    ("configured", "named", "expected"),
    [
        ([], "anything", True),
        ([], None, True),
        (["*"], "anything", True),
        (["*"], None, True),
        (["example.com"], "example.com", True),
        (["example.com"], "EXAMPLE.com", True),
        (["Example.COM"], "example.com", True),
        (["other.com", "example.com"], "example.com", True),
        (["example.com"], "www.example.com", False),
        (["example.com"], "example.com.evil.com", False),
        (["example.com"], "evilexample.com", False),
        (["example.com"], "", False),
        (["example.com"], None, False),
        # ports are ignored unless they are listed
        (["example.com"], "example.com:8443", True),
        (["example.com"], "example.com:", True),
        (["example.com:8443"], "example.com:8443", True),
        (["example.com:8443"], "example.com:08443", True),
        (["example.com:8443"], "example.com:8444", False),
        (["example.com:8443"], "example.com", False),
        (["example.com:80"], "example.com", True),
        (["example.com:80"], "example.com:", True),
        # below a domain
        (["*.example.com"], "www.example.com", True),
        (["*.example.com"], "a.B.example.com:5000", True),
        (["*.example.com"], "example.com", False),
        (["*.example.com"], ".example.com", False),
        (["*.example.com"], "evilexample.com", False),
        (["*.example.com:80"], "www.example.com", True),
        (["*.example.com:80"], "www.example.com:81", False),
        # addresses
        (["127.0.0.1"], "127.0.0.1:5000", True),
        (["[::1]"], "[::1]:5000", True),
        (["[0:0::1]"], "[::1]", True),
        (["[::1]"], "[0:0:0:0:0:0:0:1]", True),
        (["[::1]:5000"], "[::1]:5001", False),
        (["[::1]"], "[::2]", False),
        # what is no host at all
        (["example.com"], "me@example.com", False),
        (["example.com"], "example.com/", False),
        (["[::1]"], "[::1", False),
        (["[::1]"], "[1:2]", False),
    ],
)
def test_hosts_are_matched_as_in_aspnet(configured, named, expected):
    """Exact names, names below a domain, addresses; without case; ports only where they are listed."""
    assert allowed(configured, named) is expected


def test_the_default_port_is_the_schemes():
    """A Host without a port means 443 over TLS, and 80 without."""
    assert allowed(["example.com:443"], "example.com", secure=True)
    assert not allowed(["example.com:443"], "example.com")
    assert not allowed(["example.com:80"], "example.com", secure=True)


SHAPE = "a host is a name or an address, with a port where only that one is meant, for example 'client.com'"
ASTERISK = "an asterisk stands only for the first labels, as in '*.client.com', or alone for every host, '*'"


@pytest.mark.parametrize(
    ("configured", "lesson"),
    [
        ("", f"not a host: {SHAPE}; leave the list empty to allow every host"),
        (" ", f"not a host: {SHAPE}; leave the list empty to allow every host"),
        ("http://client.com", "not a host because it has a scheme: write 'client.com'"),
        ("ws://client.com:5000/ws",
         "not a host because it has a scheme and has more than a host and a port: write 'client.com:5000'"),
        ("https://*.client.com", "not a host because it has a scheme: write '*.client.com'"),
        ("//client.com", "not a host because it has a scheme: write 'client.com'"),
        ("client.com/", "not a host because it ends with a slash: write 'client.com'"),
        ("client.com?x", "not a host because it has more than a host and a port: write 'client.com'"),
        ("me@client.com", "not a host because it has a user name: write 'client.com'"),
        (" client.com", "not a host because it has white space around it: write 'client.com'"),
        ("client.com:", "not a host because it ends with a colon: write 'client.com'"),
        ("client.com:0", "not a host because it has a port outside 1 to 65535: write 'client.com'"),
        ("client.com:65536", "not a host because it has a port outside 1 to 65535: write 'client.com'"),
        ("::1", "not a host because it has an IPv6 address without brackets: write '[::1]'"),
        ("http://::1/", "not a host because it has a scheme and ends with a slash and has an IPv6 address "
                        "without brackets: write '[::1]'"),
        ("bücher.example:8443",
         "not a host because it is not in the ASCII spelling (punycode) that clients send: "
         "write 'xn--bcher-kva.example:8443'"),
        ("a.com, b.com", "not a host but a list in one string: write 'a.com', 'b.com'"),
        ("*client.com", f"not a host: {ASTERISK}"),
        ("www.*.com", f"not a host: {ASTERISK}"),
        ("client.com:*", f"not a host: {ASTERISK}"),
        ("*.[::1]", f"not a host: {ASTERISK}"),
        ("*.", f"not a host: {ASTERISK}"),
        ("a b", f"not a host: {SHAPE}"),
        ("a..b", f"not a host: {SHAPE}"),
        ("[1:2]", f"not a host: {SHAPE}"),
        ("http://", f"not a host: {SHAPE}"),
    ],
)  # fmt: skip
def test_what_matches_no_host_is_refused_with_the_right_spelling(configured, lesson):
    """A configured host that could never match is refused, with the spelling that was probably meant."""
    with pytest.raises(ValueError) as refused:  # noqa: PT011 (the whole sentence is compared below)
        parse_host_pattern(configured)
    assert str(refused.value) == f"{configured!r} is {lesson}"


@pytest.mark.parametrize(
    "text", ["client.com", "*.client.com:8443", "*", "[::1]:5000", "127.0.0.1", "*.client.com"]
)
def test_a_pattern_prints_as_it_is_written(text):
    """A parsed pattern shows its one spelling, so that a refusal can name it."""
    assert str(parse_host_pattern(text)) == text


@given(st.text() | st.text("a.*:[]/@1%"))
def test_every_text_is_a_host_or_gets_a_lesson(text):
    """No text whatever makes the parser fail in another way than ValueError with its sentence."""
    try:
        pattern = parse_host_pattern(text)
    except ValueError as refused:
        sentence = str(refused)
    else:
        sentence = f"{text!r} is {pattern}"
        assert parse_host_pattern(str(pattern)) == pattern
    assert sentence.startswith(f"{text!r} is ")


@given(st.text() | st.text("a.:[]/@1%"))
def test_what_is_allowed_by_name_is_an_authority(text):
    """No spelling passes a list that would not pass as a Host."""
    if allowed(["a", "*.a", "[::1]"], text):
        assert is_authority(text)
