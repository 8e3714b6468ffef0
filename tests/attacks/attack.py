"""One attack: what it is called, what it takes, and what it does. The themes are made of these."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from target import Tally, Target


class Service(Enum):
    """What the server is started as."""

    ECHO = "ws"
    TLS = "wss"
    DEFLATE = "ws, permessage-deflate"
    HTTP = "ws and HTTP"
    LOGGING = "ws, stderr an unread pipe"
    SHORT_OF_DESCRIPTORS = "ws, ulimit -n 1024"


@dataclass(frozen=True, kw_only=True, slots=True)
class Attack:
    """A row of the table. `seconds` is how long it takes to show; None is as long as the run has for each."""

    name: str
    title: str
    connections: int
    carry_out: Callable[[Target], Tally]
    service: Service = Service.ECHO
    seconds: float | None = None


def attack(
    title: str, connections: int, *, service: Service = Service.ECHO, seconds: float | None = None
) -> Callable[[Callable[[Target], Tally]], Attack]:
    """Make a function an `Attack` of the same name."""

    def made(function: Callable[[Target], Tally]) -> Attack:
        return Attack(
            name=function.__name__.replace("_", "-"),
            title=title,
            connections=connections,
            carry_out=function,
            service=service,
            seconds=seconds,
        )

    return made
