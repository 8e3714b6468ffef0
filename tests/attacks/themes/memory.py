"""Holds of memory: half messages, whole messages whose echoes nobody reads."""

from attack import attack
from crowd import Plan, crowd
from prebuilt import TEXT
from target import Tally, Target
from wire import CONTINUATION, begun_frame, frame, handshake, upgraded

#: One character outside of the Basic Multilingual Plane makes CPython keep every character of a text in four bytes.
WIDE = "🐘".encode()

#: Bytes of a message, and of one of its fragments.
MESSAGE = 2**20
FRAGMENT = 4096

TEXT_OF_MESSAGE = WIDE + b"a" * (MESSAGE - len(WIDE))


def hold(target: Target, first: bytes) -> Tally:
    """WebSockets that send `first` and nothing more."""
    return crowd(target, Plan(request=handshake(target), answer=upgraded(), first=first))


@attack("half text messages of 1 MiB with an emoji, in one frame", 300)
def half_messages(target: Target) -> Tally:
    """All but the last byte of a message, which never comes."""
    return hold(target, begun_frame(TEXT, TEXT_OF_MESSAGE[:-1], MESSAGE))


@attack("half text messages of 1 MiB with an emoji, in fragments", 300)
def half_fragmented(target: Target) -> Tally:
    """All but the last fragment of a message, which never comes."""
    starts = range(FRAGMENT, MESSAGE - FRAGMENT, FRAGMENT)
    rest = (frame(CONTINUATION, TEXT_OF_MESSAGE[at : at + FRAGMENT], final=False) for at in starts)
    return hold(target, frame(TEXT, TEXT_OF_MESSAGE[:FRAGMENT], final=False) + b"".join(rest))


@attack("text messages of 1 MiB with an emoji, echoes unread", 300)
def unread_megabytes(target: Target) -> Tally:
    """One message after the other, whose echoes are never read."""
    plan = Plan(request=handshake(target), answer=upgraded(), again=frame(TEXT, TEXT_OF_MESSAGE), reads=False)
    return crowd(target, plan)


ATTACKS = (half_messages, half_fragmented, unread_megabytes)
