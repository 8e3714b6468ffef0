"""The options: defaults, what is normalised, and the sentence for each mistake."""

import dataclasses
import inspect
import math
from datetime import timedelta

import pytest

from trioecho import AddressLimits, Deflate
from trioecho.options import WebSocketOptions, checked_path


def test_the_defaults_are_aspnets_where_aspnet_has_one():
    """Without arguments, the options are those of the documentation."""
    options = WebSocketOptions()
    given = {each.name: getattr(options, each.name) for each in dataclasses.fields(options) if each.init}
    assert given == {
        "path": "/ws",
        "root_path": "",
        "allowed_origins": (),
        "allowed_hosts": (),
        "keep_alive_interval": 120.0,
        "keep_alive_timeout": 20.0,
        "idle_timeout": math.inf,
        "handshake_timeout": 10.0,
        "close_timeout": 5.0,
        "send_timeout": 30.0,
        "answer_timeout": 1.0,
        "max_message_size": 1_048_576,
        "max_fragments": 131_072,
        "flood_limit": 1000,
        "stream_messages": False,
        "max_connections": None,
        "max_sockets": None,
        "limits_per_address": None,
        "trusted_proxies": (),
        "proxy_protocol": False,
        "max_memory": 0.5,
        "subprotocols": (),
        "compression": False,
    }


def test_every_option_is_documented_with_its_default():
    """Each option has its paragraph in the class's docstring, and that begins with the default."""
    documentation = inspect.getdoc(WebSocketOptions) or ""
    for each in dataclasses.fields(WebSocketOptions):
        if each.init:
            assert f"\n- `{each.name}` (default " in documentation


def test_options_cannot_be_changed_but_copied():
    """The options of a running server stay as they were checked; a copy is checked again."""
    options = WebSocketOptions(allowed_origins=["https://client.com"])
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.path = "/other"
    copy = dataclasses.replace(options, path="/other")
    assert (copy.path, copy.origin_patterns) == ("/other", options.origin_patterns)
    with pytest.raises(ValueError, match="must begin with a slash"):
        dataclasses.replace(options, path="other")


def test_compression_is_what_its_parameters_are():
    """True is Deflate with its defaults, and False is nothing."""
    assert WebSocketOptions(compression=True).compression == Deflate()
    assert WebSocketOptions(compression=True) == WebSocketOptions(compression=Deflate())
    assert WebSocketOptions(compression=Deflate(level=1)).compression.level == 1
    assert WebSocketOptions(compression=False).compression is False


def test_limits_per_address_are_what_their_numbers_are():
    """True is AddressLimits with its defaults, and False is nothing."""
    assert WebSocketOptions(limits_per_address=True).limits_per_address == AddressLimits()
    assert WebSocketOptions(limits_per_address=False).limits_per_address is None
    few = AddressLimits(connections=2)
    assert WebSocketOptions(limits_per_address=few).limits_per_address is few


def test_options_are_equal_by_value_and_can_be_keys():
    """Two sets of options made alike are one, also from a list and from a tuple."""
    one = WebSocketOptions(allowed_origins=["https://client.com"], subprotocols=["a", "b"], idle_timeout=0)
    other = WebSocketOptions(allowed_origins=("https://client.com",), subprotocols=("a", "b"))
    assert one == other
    assert hash(one) == hash(other)


def test_options_are_given_by_name():
    """A positional argument is refused: nobody should have to know the order of fifteen options."""
    with pytest.raises(TypeError):
        WebSocketOptions("/ws")


@pytest.mark.parametrize("name", ["keep_alive_interval", "idle_timeout"])
@pytest.mark.parametrize("off", [0, 0.0, math.inf])
def test_off_is_infinity(name, off):
    """What is switched off, as 0 or as infinity, reads as infinity: a deadline needs no special case."""
    assert getattr(WebSocketOptions(**{name: off}), name) == math.inf


@pytest.mark.parametrize("name", ["keep_alive_timeout", "handshake_timeout"])
def test_waiting_for_ever_can_be_chosen(name):
    """These two deadlines may be infinite."""
    assert getattr(WebSocketOptions(**{name: math.inf}), name) == math.inf


def test_whole_seconds_become_floats():
    """Times are floats however they were given."""
    assert repr(WebSocketOptions(keep_alive_interval=30).keep_alive_interval) == "30.0"


def test_iterables_become_tuples():
    """Lists, and anything else that yields strings, are kept as tuples that nobody can change later."""
    options = WebSocketOptions(allowed_origins=iter(["https://client.com"]), subprotocols=["b", "a"])
    assert options.allowed_origins == ("https://client.com",)
    assert options.subprotocols == ("b", "a")
    assert [str(pattern) for pattern in options.origin_patterns] == ["https://client.com"]
    options = WebSocketOptions(allowed_hosts=iter(["LOCALHOST", "*.example.com:8443"]))
    assert options.allowed_hosts == ("LOCALHOST", "*.example.com:8443")
    assert [str(pattern) for pattern in options.host_patterns] == ["localhost", "*.example.com:8443"]


MISTAKES = [
    # lists
    ("allowed_origins", "https://client.com", TypeError,
     "allowed_origins takes a list of origins; you gave the string 'https://client.com': "
     "write ['https://client.com']"),
    ("allowed_origins", None, TypeError, "allowed_origins takes a list of origins; you gave None"),
    ("allowed_origins", [1], TypeError,
     "allowed_origins takes a list of origins, each a string; it contains 1"),
    ("allowed_origins", ["client.com"], ValueError,
     "allowed_origins: 'client.com' is not an origin because it has no scheme: write 'https://client.com'"),
    ("allowed_hosts", "localhost", TypeError,
     "allowed_hosts takes a list of hosts; you gave the string 'localhost': write ['localhost']"),
    ("allowed_hosts", [1], TypeError, "allowed_hosts takes a list of hosts, each a string; it contains 1"),
    ("allowed_hosts", ["http://localhost:5000/"], ValueError,
     "allowed_hosts: 'http://localhost:5000/' is not a host because it has a scheme and ends with a slash: "
     "write 'localhost:5000'"),
    ("subprotocols", "chat", TypeError,
     "subprotocols takes a list of subprotocols; you gave the string 'chat': write ['chat']"),
    ("subprotocols", {"a", "b"}, TypeError, None),
    ("subprotocols", ["chat room"], ValueError,
     "subprotocols: 'chat room' is no token (letters, digits and !#$%&'*+-.^_`|~) such as 'chat.v1'"),
    ("subprotocols", [""], ValueError,
     "subprotocols: '' is no token (letters, digits and !#$%&'*+-.^_`|~) such as 'chat.v1'"),
    ("subprotocols", ["chät"], ValueError,
     "subprotocols: 'chät' is no token (letters, digits and !#$%&'*+-.^_`|~) such as 'chat.v1'"),
    ("subprotocols", ["a", "b", "a"], ValueError, "subprotocols: 'a' is listed twice"),
    # times
    ("keep_alive_interval", -1, ValueError,
     "keep_alive_interval must be a number of seconds, or 0 or math.inf to switch it off; you gave -1"),
    ("idle_timeout", math.nan, ValueError,
     "idle_timeout must be a number of seconds, or 0 or math.inf to switch it off; you gave nan"),
    ("keep_alive_timeout", 0, ValueError, "keep_alive_timeout must be more than 0 seconds; you gave 0"),
    ("handshake_timeout", -math.inf, ValueError,
     "handshake_timeout must be more than 0 seconds; you gave -inf"),
    ("handshake_timeout", 10**400, ValueError, None),
    ("close_timeout", math.inf, ValueError,
     "close_timeout must be finite, so that no peer can hold the server; the default is 5.0"),
    ("send_timeout", math.inf, ValueError,
     "send_timeout must be finite, so that no peer can hold the server; the default is 30.0"),
    ("answer_timeout", math.inf, ValueError,
     "answer_timeout must be finite, so that no peer can hold the server; the default is 1.0"),
    ("answer_timeout", 0, ValueError, "answer_timeout must be more than 0 seconds; you gave 0"),
    ("close_timeout", math.nan, ValueError, "close_timeout must be more than 0 seconds; you gave nan"),
    ("close_timeout", True, TypeError, "close_timeout takes seconds as a number; you gave True"),
    ("close_timeout", "5", TypeError, "close_timeout takes seconds as a number; you gave '5'"),
    ("idle_timeout", None, TypeError, "idle_timeout takes seconds as a number; you gave None"),
    ("idle_timeout", timedelta(minutes=2), TypeError,
     "idle_timeout takes seconds as a number; you gave a timedelta: write 120.0"),
    # counts
    ("max_message_size", 0, ValueError, "max_message_size must be at least 1 (bytes); you gave 0"),
    ("max_message_size", 1e6, TypeError,
     "max_message_size takes a whole number of bytes; you gave 1000000.0"),
    ("max_message_size", None, TypeError, "max_message_size takes a whole number of bytes; you gave None"),
    ("max_fragments", True, TypeError, "max_fragments takes a whole number of fragments; you gave True"),
    ("flood_limit", 0, ValueError,
     "flood_limit must be at least 1 (frames a second, or None for no limit); you gave 0"),
    ("flood_limit", 0.5, TypeError,
     "flood_limit takes a whole number of frames a second, or None for no limit; you gave 0.5"),
    ("max_memory", 1000, ValueError,
     "max_memory must be at least 1,048,576 bytes; you gave 1000"),
    ("max_memory", 1.5, ValueError,
     "max_memory takes a whole number of bytes, a share such as 0.5 of what there is, or None for no limit: a share is "
     "above 0, and 1 at most; you gave 1.5"),
    ("max_memory", "512MiB", TypeError,
     "max_memory takes a whole number of bytes, a share such as 0.5 of what there is, or None for no limit; you gave "
     "'512MiB'"),
    ("max_connections", 0, ValueError,
     "max_connections must be at least 1 (connections, or None for no limit); you gave 0"),
    ("max_connections", math.inf, TypeError,
     "max_connections takes a whole number of connections, or None for no limit; you gave inf"),
    ("max_sockets", 0, ValueError, "max_sockets must be at least 1 (sockets, or None); you gave 0"),
    ("max_sockets", 1, ValueError,
     "max_sockets must be at least 2, one of them for who comes next; you gave 1"),
    ("max_sockets", 9.5, TypeError, "max_sockets takes a whole number of sockets, or None; you gave 9.5"),
    # addresses
    ("limits_per_address", 100, TypeError,
     "limits_per_address takes True, trioecho.AddressLimits(...) or None; you gave 100"),
    ("trusted_proxies", "10.0.0.0/8", TypeError,
     "trusted_proxies takes a list of networks; you gave the string '10.0.0.0/8': write ['10.0.0.0/8']"),
    ("trusted_proxies", ["10.0.0.1/8"], ValueError,
     "trusted_proxies: '10.0.0.1/8' is an address within a network: write '10.0.0.0/8'"),
    ("proxy_protocol", 2, TypeError, "proxy_protocol takes True or False; you gave 2"),
    ("proxy_protocol", True, ValueError,
     "proxy_protocol needs trusted_proxies, the networks from which such a header is believed"),
    # the rest
    ("stream_messages", 1, TypeError, "stream_messages takes True or False; you gave 1"),
    ("compression", 1, TypeError, "compression takes True, False or trioecho.Deflate(...); you gave 1"),
    ("compression", None, TypeError, "compression takes True, False or trioecho.Deflate(...); you gave None"),
    ("path", b"/ws", TypeError, "path takes a string such as '/ws'; you gave b'/ws'"),
    ("path", "ws", ValueError, "path must begin with a slash; you gave 'ws': write '/ws'"),
    ("path", "", ValueError, "path must begin with a slash; you gave '': write '/'"),
    ("path", "ws://127.0.0.1:5000/chat", ValueError,
     "path must begin with a slash; you gave 'ws://127.0.0.1:5000/chat': write '/chat'"),
    ("path", "/ws?a=1", ValueError,
     "path must have no query, fragment, white space or control character; you gave '/ws?a=1': write '/ws'"),
    ("path", "/ws#top", ValueError,
     "path must have no query, fragment, white space or control character; you gave '/ws#top': write '/ws'"),
    ("path", "/ws ", ValueError,
     "path must have no query, fragment, white space or control character; you gave '/ws ': write '/ws'"),
    ("path", "/caf%C3%A9", ValueError,
     "path is compared with the decoded path of a request; you gave '/caf%C3%A9': write '/café'"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "error", "sentence"), MISTAKES)
def test_a_mistake_is_answered_with_what_would_be_right(name, value, error, sentence):
    """A wrong value is refused when the options are made, in one sentence that names the option."""
    with pytest.raises(error) as refused:
        WebSocketOptions(**{name: value})
    assert str(refused.value).startswith(name)
    assert "\n" not in str(refused.value)
    if sentence is not None:
        assert str(refused.value) == sentence


@pytest.mark.parametrize("path", ["/", "/ws", "/a/b", "/ws/", "/größe", "/100%", "/a%2x"])
def test_a_path_is_taken_as_it_is_read(path):
    """Anything that a decoded path may be is accepted."""
    assert checked_path(path) == path
