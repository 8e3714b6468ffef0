"""What the soak's clients do, as a table.

A client decides by its own `random.Random`, made of the seed and its number, and by nothing else. One that is honest
says what it has missed; of one that is not, nothing is expected but that the server survives it.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, NamedTuple

import deflating
import trio
from websockets.sync.client import connect as connect_websockets

from chaos.client import GONE, NO_CLOSE, Account, Answer, Client, Cut, Http, send_all
from chaos.server import FILE, STORY
from trioecho.testing import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, RawClient


async def echo(client: Client, data: Callable[[list[str | bytes]], list[bytes]]) -> None:
    """Send and receive at once, and leave."""
    messages = client.words()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_all, client, data(messages))
        await client.expect(messages)
    await client.leave(client.dice.randrange(4000, 5000))


def frames(client: Client) -> Callable[[list[str | bytes]], list[bytes]]:
    return lambda messages: [frame for message in messages for frame in client.frames_of(message)]


# What is honest: nothing may be missing.


async def talks(client: Client) -> None:
    await client.open(client.dice.choice(("plain", "streamed", "children")))
    await echo(client, frames(client))


async def talks_compressed(client: Client) -> None:
    await client.open("echo", headers=f"Sec-WebSocket-Extensions: {deflating.OFFER}\r\n")
    compressor = deflating.Compressor(12)
    await echo(client, lambda messages: [compressor.frame(each) for each in messages])


async def dribbles(client: Client) -> None:
    """A few bytes at a time, cut anywhere, with pauses between."""
    await client.open("plain")
    messages: list[str | bytes] = [
        f"{client.number} {index}" for index in range(client.dice.randrange(1, 40))
    ]
    data = b"".join(frames(client)(messages))
    cuts = sorted(client.dice.randrange(len(data)) for _ in range(30))
    bits = [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.dribble, bits)
        await client.expect(messages)
    await client.leave(4000)


async def talks_at_once(client: Client) -> None:
    """The first messages come with the handshake, and the Close right behind the last."""
    await client.connect()
    client.raw = RawClient(client.stream)
    # All of it fits into what a server reads ahead.
    messages: list[str | bytes] = [
        f"{client.number} {index}" for index in range(client.dice.randrange(1, 100))
    ]
    data = b"".join(frames(client)(messages))
    client.due = 4000
    await client.upgrade("plain", behind=data + client.raw.frame(CLOSE, (4000).to_bytes(2)))
    await client.expect(messages)
    frame = await client.raw.receive_frame()
    while frame is not None and frame.opcode in (PING, PONG):
        frame = await client.raw.receive_frame()
    if frame is None:
        assert client.account.ending == "abort", "the Close was not answered"
        raise Cut
    if frame.close != (4000, ""):
        await client.stopped(frame)


async def half_closes(client: Client) -> None:
    """Ends its side of TCP behind the last message: all of them come back before the end."""
    await client.open("plain", "tcp", "unix")
    messages = client.words()
    data = frames(client)(messages)

    async def send() -> None:
        await send_all(client, data)
        await client.half_close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await client.expect(messages)
    rest = await client.raw.receive_rest()
    assert all(frame.opcode in (PING, PONG) or client.account.ending for frame in rest), rest


async def listens(client: Client) -> None:
    """To the broadcasts: the numbers rise, and what is missing was skipped."""
    compressed = client.dice.random() < 0.5
    headers = f"Sec-WebSocket-Extensions: {deflating.OFFER}\r\n" if compressed else ""
    path = await client.open("news", headers=headers)
    last = None
    slow = client.dice.random() < 0.3
    for _ in range(client.dice.randrange(1, 50)):
        message = await client.message()
        assert isinstance(message, str)
        number, _, filler = message.partition(" ")
        assert filler.strip("x") == ""
        if last is not None:
            assert int(number) > last, f"number {number} comes behind {last}"
            client.account.missed_news[path] += int(number) - last - 1
        last = int(number)
        client.account.messages += 1
        if slow:
            await trio.sleep(client.dice.random() * 0.05)
    await client.close(4000, "enough")
    # Some are on their way.
    while (frame := await client.raw.receive_frame()) is not None and frame.opcode != CLOSE:
        pass
    assert frame is not None or client.account.ending == "abort", "the Close was not answered"
    if frame is not None and frame.close != (4000, "enough"):
        await client.stopped(frame)


async def hears_a_failure(client: Client) -> None:
    await client.open("fails")
    await client.send(client.raw.frame(TEXT, b"go on"))
    await closed_by_server(client, (1011, "internal error"))


async def hears_goodbye(client: Client) -> None:
    await client.open("goodbye")
    await client.expect(["goodbye"])
    await closed_by_server(client, (4001, "that is all"))


async def closed_by_server(client: Client, close: tuple[int, str]) -> None:
    while (frame := await client.raw.receive_frame()) is not None and frame.opcode != CLOSE:
        assert frame.opcode == PING, frame
    if frame is None:
        assert client.account.ending == "abort", NO_CLOSE
        raise Cut
    if frame.close != close:
        await client.stopped(frame)
    await client.close(close[0])
    assert await client.raw.receive_rest() == []


async def breaks_the_protocol(client: Client) -> None:
    """Messages, then something wrong: they come back, and a Close says what it was."""
    await client.open("plain")
    messages: list[str | bytes] = ["one", b"two"]
    wrong, code = client.dice.choice(
        (
            (b"\x81\x05hello", 1002),
            (b"\x83\x80abcd", 1002),
            (client.raw.frame(CONTINUATION, b"x"), 1002),
            (client.raw.frame(TEXT, b"\xff"), 1007),
            (b"\x82\xff" + (2**40).to_bytes(8) + b"abcd", 1009),
        )
    )
    client.due = code
    await client.send(b"".join(frames(client)(messages)) + wrong)
    await client.expect(messages)
    while (frame := await client.raw.receive_frame()) is not None and frame.opcode != CLOSE:
        assert frame.opcode in (PING, PONG), frame
    if frame is None:
        assert client.account.ending == "abort", NO_CLOSE
        raise Cut
    if frame.close[0] != code:
        await client.stopped(frame)


async def uses_websockets(client: Client) -> None:
    """A client of other people's, in a thread of its own."""
    account, path = client.account, client.path("echo")
    place = client.dice.choice(("tcp", "tls"))
    messages = client.words(8)
    scheme, context = ("wss", account.context) if place == "tls" else ("ws", None)

    def talk() -> int:
        account.asked[path] += 1
        url = f"{scheme}://127.0.0.1:{account.places[place]}{path}"
        with connect_websockets(url, ssl=context, open_timeout=30, max_size=None, proxy=None) as connection:
            account.opened[path] += 1
            for index, message in enumerate(messages):
                connection.send(message)
                received = connection.recv(timeout=30)
                assert received == message, f"message {index} came back as {received[:60]!r}"
            connection.close(4000)
            return len(messages)

    try:
        account.messages += await trio.to_thread.run_sync(talk)
    except AssertionError:
        raise
    except Exception as error:
        # It has many for a handshake that is refused, and for a connection that ends.
        if not account.ending:
            raise AssertionError(f"{type(error).__name__}: {error}") from error
        raise Cut from None


Expectation = Callable[[Answer], object]


def requests_of(client: Client) -> list[tuple[str, bytes, bool, Expectation]]:
    """Requests for one connection: path, bytes, whether it is HEAD, and what makes the answer right."""
    made: list[tuple[str, bytes, bool, Expectation]] = []
    for _ in range(client.dice.randrange(1, 8)):
        kind = client.dice.randrange(7)
        method, field, body = "GET", "", b""
        if kind == 0:
            path, expected = client.path("nothing"), lambda answer: answer.status == 404
        elif kind == 1:
            path = client.path("counts")
            number = client.dice.randrange(200)
            lines = "".join(f"{each}\n" for each in range(number)).encode()
            expected = lambda answer, lines=lines: (answer.status, answer.body) == (200, lines)  # noqa: E731
        elif kind == 2:
            path, expected = client.path("breaks"), lambda answer: answer.status == 500
        elif kind == 3:
            begin = client.dice.randrange(len(STORY))
            path, field = f"/files/{FILE}", f"Range: bytes={begin}-\r\n"
            part = STORY[begin:]
            expected = lambda answer, part=part: (answer.status, answer.body) == (206, part)  # noqa: E731
        elif kind == 4:
            method, path = "HEAD", f"/files/{FILE}"
            expected = lambda answer: answer.fields["content-length"] == str(len(STORY))  # noqa: E731
        else:
            method, path = "POST", client.path("posted")
            content = client.dice.randbytes(client.dice.choice((0, 10, 1000, 100_000)))
            if kind == 5:
                field, body = f"Content-Length: {len(content)}\r\n", content
            else:
                field = "Transfer-Encoding: chunked\r\n"
                body = b"".join(
                    b"%x\r\n%s\r\n" % (len(content[at : at + 999]), content[at : at + 999])
                    for at in range(0, len(content), 999)
                )
                body += b"0\r\n\r\n"
            expected = lambda answer, content=content: (answer.status, answer.body) == (200, content)  # noqa: E731
        target = f"{path}?to={number}" if kind == 1 else path
        head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n{field}\r\n"
        made.append((path, head.encode() + body, method == "HEAD", expected))
    return made


async def asks(client: Client) -> None:
    """HTTP, one after the other or all ahead; then perhaps a WebSocket on the same connection."""
    await client.connect()
    http = Http(client)
    requests = requests_of(client)
    for path, _, _, _ in requests:
        client.account.asked[path] += 1
    pipelined = client.dice.random() < 0.5
    async with trio.open_nursery() as nursery:
        if pipelined:
            nursery.start_soon(send_all, client, [b"".join(request for _, request, _, _ in requests)])
        for path, request, head_only, expected in requests:
            if not pipelined:
                await send_all(client, [request])
            answer = await http.answer(path, head_only=head_only)
            assert expected(answer), f"{request[:100]!r} was answered {answer.status} {answer.body[:100]!r}"
            if answer.fields.get("connection") == "close":
                assert client.account.ending, f"the connection ends behind {request[:100]!r}"
                raise Cut
    if client.dice.random() < 0.5:
        await client.upgrade("plain")
        await echo(client, frames(client))


# What is not.


async def resets(client: Client) -> None:
    """At any moment: before a word, within the head, behind it, among messages that it has not read."""
    await client.connect()
    client.raw = RawClient(client.stream)
    when = client.dice.randrange(4)
    if when == 1:
        await client.send(b"GET /plain/nobody HTTP/1.1\r\nHost")
    elif when >= 2:
        await client.upgrade("plain")
        await send_all(client, frames(client)(client.words()))
        if when == 3:
            await client.message()
    client.reset()


async def vanishes(client: Client) -> None:
    """Ends TCP without a word, wherever it is."""
    await client.open(client.dice.choice(("plain", "news", "streamed", "children")))
    data = b"".join(frames(client)(client.words()))
    await send_all(client, [data[: client.dice.randrange(len(data))]])


async def stalls(client: Client) -> None:
    """Sends much, reads nothing, and has patience."""
    await client.open(client.dice.choice(("plain", "news", "streamed")))
    with trio.move_on_after(client.dice.random() * 3):
        await send_all(client, [client.raw.frame(BINARY, bytes(100_000))] * 50)
        await trio.sleep_forever()
    if client.dice.random() < 0.5:
        client.reset()


async def stalls_in_the_head(client: Client) -> None:
    await client.connect()
    head = b"POST /posted/nobody HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n"
    await client.send(head[: client.dice.randrange(len(head))])
    await trio.sleep(client.dice.random() * 3)


async def sends_rubbish(client: Client) -> None:
    """To the port, plain where TLS is spoken too, or behind a handshake."""
    rubbish = client.dice.randbytes(client.dice.choice((1, 10, 100, 10_000)))
    if client.dice.random() < 0.5:
        port = client.account.places[client.dice.choice(("tcp", "tls"))]
        client.stream = await trio.open_tcp_stream("127.0.0.1", int(port))
    else:
        offer = client.dice.choice(("", f"Sec-WebSocket-Extensions: {deflating.OFFER}\r\n"))
        await client.open("echo", headers=offer)
        if client.dice.random() < 0.5:
            rubbish = client.raw.frame(BINARY, b"once") + bytes((0xC1, 0x80 | 120)) + rubbish
    await client.send(rubbish)
    with trio.move_on_after(client.dice.random()):
        while await client.stream.receive_some():
            pass


async def sends_bombs(client: Client) -> None:
    """Compressed messages that are longer than they may be."""
    await client.open("echo", headers=f"Sec-WebSocket-Extensions: {deflating.OFFER}\r\n")
    bomb = zlib.compressobj(9, zlib.DEFLATED, -12)
    data = bomb.compress(bytes(client.dice.choice((10**5, 10**7)))) + bomb.flush(zlib.Z_SYNC_FLUSH)
    await client.send(deflating.compressed_frame(BINARY, data[:-4]))
    with trio.move_on_after(client.dice.random()):
        await client.raw.receive_rest()


async def breaks_off(client: Client) -> None:
    """An HTTP request, or its answer, in the midst of which it goes."""
    await client.connect()
    path = client.path(client.dice.choice(("posted", "counts")))
    client.account.asked[path] += 1
    if path.startswith("/posted"):
        request = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n0123456789"
    else:
        request = f"GET {path}?to=100000 HTTP/1.1\r\nHost: x\r\n\r\n"
    await client.send(request.encode())
    if client.dice.random() < 0.7:
        with trio.move_on_after(client.dice.random()):
            await client.stream.receive_some(100)
    if client.dice.random() < 0.5:
        client.reset()


class Action(NamedTuple):
    """One row of the table: what is done, how often among all that is done, and whether it is honest."""

    do: Callable[[Client], Awaitable[None]]
    weight: int
    honest: bool = True


ACTIONS: Final = (
    Action(talks, 20),
    Action(talks_compressed, 12),
    Action(dribbles, 6),
    Action(talks_at_once, 6),
    Action(half_closes, 8),
    Action(listens, 12),
    Action(hears_a_failure, 2),
    Action(hears_goodbye, 3),
    Action(breaks_the_protocol, 5),
    Action(uses_websockets, 2),
    Action(asks, 16),
    Action(resets, 8, honest=False),
    Action(vanishes, 8, honest=False),
    Action(stalls, 6, honest=False),
    Action(stalls_in_the_head, 3, honest=False),
    Action(sends_rubbish, 6, honest=False),
    Action(sends_bombs, 2, honest=False),
    Action(breaks_off, 5, honest=False),
)


async def behave(account: Account, number: int, patience: float) -> None:
    """Client `number` does what its dice say, and complains where it is honest and something was wrong."""
    account.begun += 1
    client = Client(account, number)
    (action,) = client.dice.choices(ACTIONS, [action.weight for action in ACTIONS])
    name = action.do.__name__

    def complain(what: object) -> None:
        if action.honest:
            account.complaints.append((client.last_path, f"client {number} {name}: {what}"))

    with trio.move_on_after(patience) as scope:
        if not action.honest:
            account.strangers.add(scope)
        async with closed_afterwards(client):
            try:
                async with trio.open_nursery() as client.nursery:
                    await action.do(client)
                    client.nursery.cancel_scope.cancel()
                account.done[name] += 1
            except* Cut:
                pass
            except* GONE as gone:
                if not account.ending:
                    complain(repr(first_of(gone)))
            except* AssertionError as wrong:
                complain(first_of(wrong))
    account.strangers.discard(scope)
    if scope.cancelled_caught:
        complain(f"waited for {patience:g} seconds")


def first_of(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group


@contextlib.asynccontextmanager
async def closed_afterwards(client: Client) -> AsyncIterator[None]:
    try:
        yield
    finally:
        stream = getattr(client, "stream", None)
        if stream is not None:
            await trio.aclose_forcefully(stream)
