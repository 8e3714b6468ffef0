"""A message that is encoded once: what it holds, that it never changes, and that everything that sends can send it."""

from __future__ import annotations

from typing import Any

import pytest
from serving import connected, one_way, serving, until
from serving import way_of_reading as way_of_reading
from slow_client import hold, joined

import trioecho
from trioecho import Prepared
from trioecho.testing import BINARY, TEXT, Frame, encode_frame


@one_way
@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_it_is_one_whole_frame_without_a_mask(size: int) -> None:
    """RFC 6455 §5.2, in the shortest form of its length."""
    payload = b"x" * size
    for message, text, opcode in (
        (payload.decode(), None, TEXT),
        (payload.decode(), True, TEXT),
        (payload, None, BINARY),
        (payload, False, BINARY),
        (payload, True, TEXT),
    ):
        prepared = Prepared(message, text=text)
        assert prepared.frame == encode_frame(opcode, payload)
        assert (prepared.size, prepared.text, prepared.payload) == (size, opcode == TEXT, payload)


@one_way
def test_its_size_is_in_bytes() -> None:
    """Of the payload, as records count it."""
    assert Prepared("grüß dich").size == 11
    assert repr(Prepared("grüß dich")) == "<trioecho.Prepared text, 11 bytes>"
    assert repr(Prepared(b"12")) == "<trioecho.Prepared binary, 2 bytes>"


@one_way
def test_it_never_changes() -> None:
    """Not by assignment, nor when what it was made of does."""
    origin = bytearray(b"before")
    prepared = Prepared(origin)
    view = Prepared(memoryview(origin))
    origin[:] = b"behind"
    assert (bytes(prepared.payload), bytes(view.payload)) == (b"before", b"before")
    for name in ("size", "frame", "_frame", "new"):
        with pytest.raises(AttributeError, match="a Prepared message never changes"):
            setattr(prepared, name, b"other")
    with pytest.raises(AttributeError, match="a Prepared message never changes"):
        del prepared._frame
    with pytest.raises(TypeError):
        prepared.payload[0] = 0


@one_way
@pytest.mark.parametrize(
    ("message", "text", "error", "sentence"),
    [
        (3, None, TypeError, "a message is str or bytes, not int"),
        (None, True, TypeError, "a message is str or bytes, not NoneType"),
        ("x", False, TypeError, "a str goes as a text message, not with text=False"),
        ("a\ud800", None, ValueError, r"received '\ud800' at index 1"),
        (Prepared("x"), None, TypeError, "a message is str or bytes, not Prepared"),
    ],
)
def test_a_mistake_is_answered_by_a_sentence(
    message: Any, text: bool | None, error: type[Exception], sentence: str
) -> None:
    """When it is made, not when it is sent."""
    with pytest.raises(error) as caught:
        Prepared(message, text=text)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("size", [5, 200, 20_000])
async def test_it_is_sent_as_often_as_one_likes(size: int) -> None:
    """To several clients, among other messages, in order, and counted as any other."""
    prepared = Prepared("x" * size)
    async with serving(hold) as server, joined(server) as (one, _), joined(server) as (two, _):
        for ws in server.connections:
            await ws.send("first")
            await ws.send(prepared)
            assert ws.try_send(prepared)
            assert await trioecho.broadcast([ws], prepared) == 1
            await ws.send("last")
        for client in (one, two):
            heard = [await client.receive() for _ in range(5)]
            assert heard == ["first", "x" * size, "x" * size, "x" * size, "last"]
        for ws in server.connections:
            await until(lambda ws=ws: ws.record.messages_sent == 5)
            assert ws.record.bytes_sent == 9 + 3 * size


async def test_it_is_gathered_with_others() -> None:
    """Where more messages wait for the handler, answers go out together and stay in order."""
    prepared = Prepared(b"prepared")

    async def handler(ws: trioecho.WebSocket) -> None:
        async for message in ws:
            await ws.send(prepared)
            await ws.send(message)

    async with serving(handler) as server, connected(server) as client:
        await client.stream.send_all(b"".join(client.frame(TEXT, b"%d" % n) for n in range(50)))
        for number in range(50):
            assert await client.receive() == b"prepared"
            assert await client.receive() == f"{number}"


async def test_bytes_go_as_text_unlooked_at() -> None:
    """With ``text=True``, from each that sends; whether they are UTF-8 is for the peer to see."""
    async with serving(hold) as server, joined(server) as (client, ws):
        await ws.send(memoryview("grüß dich".encode()), text=True)
        assert await client.receive() == "grüß dich"
        assert ws.try_send(bytearray("grüß dich".encode()), text=True)
        assert await client.receive() == "grüß dich"
        await ws.send(b"x" * 300, text=True)
        assert await client.receive() == "x" * 300
        await ws.send(b"\xff", text=True)
        assert await client.receive_frame() == Frame(True, TEXT, b"\xff")
        await ws.send("text", text=True)
        await ws.send(b"bytes", text=False)
        assert [await client.receive(), await client.receive()] == ["text", b"bytes"]


@one_way
async def test_what_text_cannot_mean_is_refused() -> None:
    """Where the message is sent, and nothing is."""
    async with serving(hold) as server, joined(server) as (_, ws):
        for message, text, sentence in (
            ("x", False, "a str goes as a text message, not with text=False"),
            (Prepared("x"), True, r"give text= to Prepared\(...\)"),
            (Prepared("x"), False, r"give text= to Prepared\(...\)"),
        ):
            with pytest.raises(TypeError, match=sentence):
                await ws.send(message, text=text)
            with pytest.raises(TypeError, match=sentence):
                ws.try_send(message, text=text)
        assert ws.record.messages_sent == 0
