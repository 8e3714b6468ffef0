"""A crowd of connections that all follow one plan, driven by one epoll. The bytes are made before the attack begins."""

import heapq
import select
import socket
import time
from dataclasses import dataclass

from target import Tally, Target

#: Bytes that are read at once, and thrown away.
ROOM = 256 * 1024

#: Seconds until a connection that could not even be tried, because of a limit of this machine, is tried again.
RETRY = 0.1

#: How far a connection is in its plan.
REQUEST, FIRST, AGAIN, DONE = range(4)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What each connection sends: `request` and, once the answer contains `answer`, `first`, then `again` for ever.

    `pace` is the seconds between two sendings of `again`, the connections being spread over them; 0 is as fast as the
    server takes it. With `reads` false nothing is read but the answer. One that `leaves` hangs up, with a reset, when
    there is no more to send, and comes again; any other stays. One that the server ends comes again.
    """

    request: bytes = b""
    answer: bytes = b""
    first: bytes = b""
    again: bytes = b""
    pace: float = 0.0
    reads: bool = True
    leaves: bool = False


class Member:
    """One connection of the crowd: what it still has to send of the present part, and what it was answered."""

    __slots__ = ("answer", "part", "socket", "stage", "unsent")

    def __init__(self, sock: socket.socket, request: bytes) -> None:
        self.socket = sock
        self.stage = REQUEST
        self.part = request
        self.unsent = memoryview(request)
        self.answer = b""


class Crowd:
    """Keeps `target.connections` connections busy with `plan`; `run` once."""

    def __init__(self, target: Target, plan: Plan) -> None:
        self._target = target
        self._plan = plan
        self._tally = Tally()
        self._sources = target.sources()
        self._epoll = select.epoll()
        self._members: dict[int, Member] = {}
        #: When which connection has something to send again: (time, a number that makes it unique, descriptor, member).
        self._turns: list[tuple[float, int, Member | None]] = []
        self._turn = 0

    def run(self) -> Tally:
        """Attack until the time is over, then reset every connection."""
        clock = self._target.clock()
        for _ in range(self._target.connections):
            self._come()
            if not clock.left:
                break
        while left := clock.left:
            if self._turns:
                left = min(left, max(0.0, self._turns[0][0] - time.monotonic()))
            for fd, event in self._epoll.poll(left):
                self._happened(self._members[fd], event)
            self._take_turns()
        for member in self._members.values():
            member.socket.close()
        self._epoll.close()
        return self._tally

    def _come(self) -> None:
        self._tally.opened += 1
        try:
            sock = self._target.connect(next(self._sources))
        except OSError as failure:
            self._tally.failures.add(str(failure))
            self._later(RETRY, None)
            return
        self._members[sock.fileno()] = Member(sock, self._plan.request)
        self._epoll.register(sock, select.EPOLLIN | select.EPOLLOUT)

    def _go(self, member: Member) -> None:
        del self._members[member.socket.fileno()]
        member.socket.close()
        self._come()

    def _later(self, seconds: float, member: Member | None) -> None:
        self._turn += 1
        heapq.heappush(self._turns, (time.monotonic() + seconds, self._turn, member))

    def _take_turns(self) -> None:
        now = time.monotonic()
        while self._turns and self._turns[0][0] <= now:
            _, _, member = heapq.heappop(self._turns)
            if member is None:
                self._come()
            elif member.socket.fileno() >= 0 and member.stage == AGAIN:
                self._begin(member, self._plan.again)
                self._later(self._plan.pace, member)

    def _happened(self, member: Member, event: int) -> None:
        try:
            if event & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR) and not self._receive(member):
                self._tally.ended += 1
                self._go(member)
            elif event & select.EPOLLOUT:
                self._send(member)
        except BlockingIOError:
            pass
        except OSError as failure:
            if member.stage == REQUEST and not member.answer:
                self._tally.failures.add(str(failure))
            self._tally.ended += 1
            self._go(member)

    def _receive(self, member: Member) -> bool:
        """Read once; False where the server has ended the connection."""
        data = member.socket.recv(ROOM)
        self._tally.received += len(data)
        if not data:
            return False
        if member.stage == REQUEST:
            member.answer += data
            if self._answered(member):
                self._next(member)
        return True

    def _answered(self, member: Member) -> bool:
        return not member.unsent and bool(member.answer) and self._plan.answer in member.answer

    def _send(self, member: Member) -> None:
        if member.unsent:
            sent = member.socket.send(member.unsent)
            self._tally.sent += sent
            member.unsent = member.unsent[sent:]
            if member.unsent:
                return
        if member.stage == AGAIN and not self._plan.pace:
            member.unsent = memoryview(member.part)
        elif member.stage == REQUEST and self._plan.request and not self._answered(member):
            self._listen(member)
        elif member.stage in (REQUEST, FIRST):
            self._next(member)
        else:
            self._listen(member)

    def _next(self, member: Member) -> None:
        """Go on to what comes after the request, or after the first part."""
        plan = self._plan
        if member.stage == REQUEST:
            self._tally.got_through += 1
            if plan.first:
                member.stage = FIRST
                self._begin(member, plan.first)
                return
        if plan.again:
            member.stage = AGAIN
            if not plan.pace:
                self._begin(member, plan.again)
                return
            self._later(plan.pace * (self._turn * 0.618034 % 1), member)
        elif plan.leaves:
            self._go(member)
            return
        else:
            member.stage = DONE
        self._listen(member)

    def _begin(self, member: Member, part: bytes) -> None:
        # What is still unsent of a paced part, to a server that does not read, is not sent twice.
        if not member.unsent:
            member.part = part
            member.unsent = memoryview(part)
            self._watch(member, writes=True)

    def _listen(self, member: Member) -> None:
        self._watch(member, writes=False)

    def _watch(self, member: Member, *, writes: bool) -> None:
        reads = self._plan.reads or member.stage == REQUEST
        wanted = select.EPOLLIN * reads | select.EPOLLOUT * writes
        self._epoll.modify(member.socket, wanted)


def crowd(target: Target, plan: Plan) -> Tally:
    """Attack `target` with a crowd that follows `plan`."""
    return Crowd(target, plan).run()
