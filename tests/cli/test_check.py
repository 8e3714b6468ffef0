"""``check``: one line with times, and an exit status, about a WebSocket server."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import serving as serving_module
import trio
from commands import CHECK, authority_of_serving, run
from scripted_peer import Peer, close, scripted
from serving import PATIENCE, serving, until

import trioecho
from trioecho.testing import CLOSE, PING, PONG, encode_frame

MILLISECONDS = r"[0-9]+\.[0-9] ms"


async def test_an_echo_server_is_ok() -> None:
    """One line on standard output, with the time of each step; the server sees a message and a clean end."""
    async with serving() as server:
        status, output, errors = await run(CHECK, server.websocket_url)
        assert (status, errors) == (0, "")
        times = f"connected in {MILLISECONDS}, echo in {MILLISECONDS}, closed in {MILLISECONDS}"
        assert re.fullmatch(f"ok {server.websocket_url}: {times}\n", output)
        await until(lambda: server.records)
        record = server.records[0]
        assert (record.messages_received, record.code_received, record.clean) == (1, 1000, True)


async def test_the_message_is_the_one_given_and_others_before_its_echo_are_no_fault() -> None:
    """--message; a server may greet."""
    received = []

    async def handler(ws: trioecho.WebSocket) -> None:
        await ws.send("welcome")
        async for message in ws:
            received.append(message)
            await ws.send(message)

    async with serving(handler) as server:
        status, output, _ = await run(CHECK, "--message", "are you there?", server.websocket_url)
    assert (status, received) == (0, ["are you there?"])
    assert re.search(f"echo, behind 1 other message, in {MILLISECONDS}", output)


async def test_no_echo_pings_and_sends_no_message() -> None:
    """--no-echo is for servers that do not echo."""
    opcodes = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        while (frame := await peer.receive()) is not None:
            opcodes.append(frame.opcode)
            answer = close(1000) if frame.opcode == CLOSE else encode_frame(PONG, frame.payload)
            await peer.stream.send_all(answer)
            if frame.opcode == CLOSE:
                return

    async with scripted(script) as url:
        status, output, errors = await run(CHECK, "--no-echo", url)
    assert (status, errors) == (0, "")
    assert opcodes == [PING, CLOSE]
    assert re.search(f"connected in {MILLISECONDS}, Pong in {MILLISECONDS}, closed in {MILLISECONDS}", output)


async def silent(ws: trioecho.WebSocket) -> None:
    """Receives, and says nothing."""
    async for _ in ws:
        pass


async def deaf(ws: trioecho.WebSocket) -> None:
    """Closes with an error."""
    await ws.aclose(1011, "no time\x07")


async def shouting(ws: trioecho.WebSocket) -> None:
    """Answers with something else."""
    async for message in ws:
        await ws.send(str(message).upper())


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (silent, r"no echo within 1 second \(connected in [0-9.]+ ms\)"),
        (deaf, r"while the echo was awaited, the server closed the WebSocket: 1011 no time\\x07"),
        (shouting, r"no echo of 'trioecho check' \(but 'TRIOECHO CHECK'\) within 1 second \(connected in"),
    ],
)
async def test_a_server_that_does_not_echo_fails(handler: trioecho.Handler, words: str) -> None:
    """Exit status 1, nothing on standard output, and one line that says what failed and what had gone well."""
    async with serving(handler) as server:
        status, output, errors = await run(CHECK, "--timeout", 1, server.websocket_url)
    assert (status, output, errors.count("\n")) == (1, "", 1)
    assert re.match(f"trioecho: check failed: {words}", errors)


async def test_a_server_that_does_not_close_in_good_order_fails() -> None:
    """No Close, another code, or TCP lost instead: each is said."""
    answers = {
        b"": "no Close within 1 second",
        close(1002, "what?"): "the server answered Close 1000 with 1002 what?",
        None: "while the Close was awaited, TCP ended without a Close from the server",
    }
    for answer, words in answers.items():

        async def script(peer: Peer, answer: bytes | None = answer) -> None:
            await peer.accept()
            while (frame := await peer.receive()) is not None and frame.opcode != CLOSE:
                await peer.send(frame.opcode, frame.payload)
            if answer is None:
                peer.reset()
            else:
                await peer.stream.send_all(answer)
                await peer.wait_for_end()

        async with scripted(script) as url:
            status, output, errors = await run(CHECK, "--timeout", 1, url)
        assert (status, output, errors.count("\n")) == (1, "", 1)
        assert errors.startswith(f"trioecho: check failed: {words} (connected in "), errors


async def test_a_server_that_cannot_be_reached_fails() -> None:
    """Nobody listens, it refuses, or it does not answer in time: exit status 1, in words."""

    async def script(peer: Peer) -> None:
        await peer.read_request()
        await peer.wait_for_end()

    async with serving() as server:
        url = server.websocket_url
        assert (await run(CHECK, url.replace("/ws", "/nowhere")))[::2] == (
            1,
            f"trioecho: check failed: {url.replace('/ws', '/nowhere')}: the server refused the WebSocket: "
            "404 No WebSocket is served at '/nowhere'; WebSockets are served at '/ws'.\n",
        )
    refused = f"trioecho: check failed: cannot connect to {url}: Connection refused\n"
    assert await run(CHECK, url) == (1, "", refused)
    async with scripted(script) as url:
        assert await run(CHECK, "--timeout", 0.2, url) == (
            1,
            "",
            "trioecho: check failed: no connection within 0.2 seconds\n",
        )


async def test_the_way_there_is_that_of_connect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--origin, --header, --subprotocol, --unix, --cacert and --insecure do what they do there."""
    seen: list[trioecho.WebSocket] = []
    requests = []

    async def handler(ws: trioecho.WebSocket) -> None:
        seen.append(ws)
        await trioecho.echo(ws)

    async def script(peer: Peer) -> None:
        await peer.accept()
        requests.append(peer.request)
        frame = await peer.receive()
        assert frame is not None
        await peer.send(frame.opcode, frame.payload)
        await peer.receive()
        await peer.stream.send_all(close(1000))

    async with scripted(script, unix=tmp_path / "socket"):
        assert (await run(CHECK, "--unix", tmp_path / "socket", "ws://localhost/x"))[0] == 0
    assert requests[0].startswith(b"GET /x HTTP/1.1")

    monkeypatch.setattr(serving_module, "_encrypted", True)
    authority = tmp_path / "authority.pem"
    authority.write_text(authority_of_serving())
    options = ("--origin", "https://client.com", "--header", "X-A: 1", "--subprotocol", "v1")
    async with serving(handler, subprotocols=("v1",)) as server:
        assert (await run(CHECK, *options, "--cacert", authority, server.websocket_url))[0] == 0
        assert (await run(CHECK, "--insecure", server.websocket_url))[0] == 0
        status, _, errors = await run(CHECK, server.websocket_url)
    assert status == 1
    assert "its certificate is not trusted" in errors
    assert (seen[0].origin, seen[0].subprotocol) == ("https://client.com", "v1")
    assert ("x-a", "1") in seen[0].headers


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ftp://x/"], "'ftp://x/' is no WebSocket URL; it begins with ws:// or wss://"),
        (["--timeout", "soon", "ws://x/"], "--timeout: 'soon' is not a time in seconds"),
        ([], "Missing argument 'URL'. (--help lists the options)"),
    ],
)
async def test_a_command_line_that_makes_no_sense_is_no_failed_check(
    arguments: list[str], words: str
) -> None:
    """Exit status 2, in one line."""
    status, output, errors = await run(CHECK, *arguments)
    assert (status, output, errors.count("\n")) == (2, "", 1)
    assert errors.startswith(f"trioecho: {words}")


async def test_the_time_limit_is_over_everything() -> None:
    """A server that echoes late and closes late is given up after --timeout, however far it came."""

    async def script(peer: Peer) -> None:
        await peer.accept()
        frame = await peer.receive()
        assert frame is not None
        await peer.send(frame.opcode, frame.payload)
        while True:  # it chatters instead of closing
            try:
                await peer.send(1, b"chatter")
                await trio.sleep(0.01)
            except trio.BrokenResourceError:
                return

    async with scripted(script) as url:
        with trio.fail_after(PATIENCE):
            status, _, errors = await run(CHECK, "--timeout", 1, url)
    assert status == 1
    assert errors.startswith("trioecho: check failed: no Close within 1 second (connected in ")
