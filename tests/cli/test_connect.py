"""``connect``: standard input to a WebSocket and back, and an exit status that says what happened."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest
import serving as serving_module
import trio
from commands import CONNECT, authority_of_serving, on_a_terminal, run, started
from scripted_peer import Peer, close, scripted
from serving import PATIENCE, serving, until

import trioecho
from trioecho.cli.connect import parse_line
from trioecho.testing import BINARY, CLOSE, PING, PONG, TEXT, encode_frame

SLOW = (
    "-c",
    """
import atexit, builtins, time
from trioecho.cli.connect import connect

at_once = builtins.input

def input(prompt):
    time.sleep(0.1)
    return at_once(prompt)

builtins.input = input
atexit.register(time.sleep, 0.4)
connect(prog_name="connect")
""",
)
"""`CONNECT`, but it takes readline a while to take the terminal over, and Python longer to end."""

IMPATIENT = ("-c", "import trioecho.cli.connect as it; it.SILENCE = 0.1; it.connect(prog_name='connect')")
"""`CONNECT`, but the server's Close may take only 0.1 seconds."""


async def hold(ws: trioecho.WebSocket) -> None:
    """Sends nothing, and stays until the client closes."""
    async for _ in ws:
        pass


# Pipes


async def test_lines_are_sent_and_messages_printed() -> None:
    """One text message a line, empty ones too, the last without its end; nothing else is printed."""
    async with serving() as server:
        lines = "one\n\n  two ü€😀\r\nthree".encode()
        assert await run(CONNECT, server.websocket_url, stdin=lines) == (0, "one\n\n  two ü€😀\nthree\n", "")
        await until(lambda: server.records)
        assert (server.records[0].code_received, server.records[0].clean) == (1000, True)


async def test_what_still_comes_after_the_end_of_input_is_printed() -> None:
    """Thousands of echoes are on their way when the input ends; all are printed before the program ends."""
    lines = "".join(f"line {number}\n" for number in range(20_000))
    async with serving() as server:
        assert await run(CONNECT, server.websocket_url, stdin=lines.encode()) == (0, lines, "")


async def test_standard_input_may_be_a_file_or_nothing(tmp_path: Path) -> None:
    """What no poller takes: a regular file, and /dev/null."""
    (tmp_path / "lines").write_text("from a file\n")
    async with serving() as server:
        with (tmp_path / "lines").open() as file:
            assert await run(CONNECT, server.websocket_url, stdin=file) == (0, "from a file\n", "")
        assert await run(CONNECT, server.websocket_url, stdin=subprocess.DEVNULL) == (0, "", "")


async def test_wait_stays_for_messages_to_come() -> None:
    """With --wait, the end of the input is no reason to leave; the server's Close is."""

    async def late(ws: trioecho.WebSocket) -> None:
        with trio.move_on_after(0.3) as scope:
            await ws.receive()
        assert scope.cancelled_caught, "the client did not stay"
        await ws.send("late")

    async with serving(late) as server:
        assert await run(CONNECT, "--wait", PATIENCE, server.websocket_url) == (0, "late\n", "")


@pytest.mark.parametrize("stdin", ["pipe", "terminal"])
async def test_the_servers_close_ends_the_program_while_standard_input_is_open(
    stdin: str, tmp_path: Path
) -> None:
    """Nobody types, nobody closes the pipe: the program ends all the same, and by itself."""

    async def greet(ws: trioecho.WebSocket) -> None:
        await ws.send("bye")

    async with serving(greet) as server:
        if stdin == "pipe":
            async with started(CONNECT, server.websocket_url) as process:
                assert await process.wait() == 0
        else:
            async with on_a_terminal(server.websocket_url, state=tmp_path) as screen:
                assert await screen.end() == 0
                assert "< bye" in screen.text
                assert "closed by the server: 1000" in screen.text


async def test_binary_lines_are_hex_both_ways() -> None:
    """--binary sends bytes, with and without 0x and spaces; binary messages are printed as hex behind 0x."""
    async with serving() as server:
        result = await run(CONNECT, "--binary", server.websocket_url, stdin=b"00ff\n0x41 42\n\n")
        assert result == (0, "0x00ff\n0x4142\n0x\n", "")
        await until(lambda: server.records)
        assert server.records[0].messages_received == 3


@pytest.mark.parametrize(
    ("options", "line", "sentence"),
    [
        (
            ["--binary"],
            b"xyz",
            "line 2 of standard input is not hex: 'xyz'; write bytes such as 00ff10 or 0x00ff10",
        ),
        ([], b"\xff", "line 2 of standard input is not UTF-8: send bytes as hex, with --binary"),
    ],
)
async def test_a_line_that_cannot_be_sent_ends_it(options: list[str], line: bytes, sentence: str) -> None:
    """Exit status 2, the number of the line in words, and a Close for the server."""
    async with serving() as server:
        status, output, errors = await run(
            CONNECT, *options, server.websocket_url, stdin=b"00\n" + line + b"\n11\n"
        )
        assert (status, errors) == (2, f"trioecho: {sentence}\n")
        assert output in ("00\n", "0x00\n")
        await until(lambda: server.records)
        assert server.records[0].clean


async def test_control_characters_go_into_a_pipe_as_they_are() -> None:
    """Only a terminal needs protection."""
    async with serving() as server:
        assert await run(CONNECT, server.websocket_url, stdin=b"\x1b[31mred\n") == (0, "\x1b[31mred\n", "")


async def test_a_reader_that_leaves_ends_it_in_good_order() -> None:
    """As with `| head -1`: no traceback, and a Close for the server."""

    async def chatter(ws: trioecho.WebSocket) -> None:
        while True:
            await ws.send("x" * 1000)
            await trio.sleep(0.001)

    async with serving(chatter) as server:
        async with started(CONNECT, server.websocket_url) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            await process.stdout.receive_some()
            await process.stdout.aclose()
            assert await process.wait() == 0
            assert await process.stderr.receive_some() == b""
        await until(lambda: server.records)
        assert server.records[0].code_received == 1000


async def test_pings_are_answered_while_nobody_reads_the_output() -> None:
    """The output's pipe is full, and the loop runs on."""
    answered = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.accept(behind=encode_frame(TEXT, b"x" * 200_000))
        for _ in range(3):
            await peer.send(PING, b"alive?")
            frame = await peer.receive()
            assert frame is not None
            assert (frame.opcode, frame.payload) == (PONG, b"alive?")
        answered.set()
        await peer.stream.send_all(close(1000))
        await peer.wait_for_end()

    async with scripted(script) as url, started(CONNECT, url) as process:
        await answered.wait()
        assert process.stdout is not None
        received = 0
        while data := await process.stdout.receive_some():
            received += len(data)
        assert received == 200_001
        assert await process.wait() == 0


# How it ends


@pytest.mark.parametrize(
    ("code", "reason", "status", "words"),
    [
        (1000, "", 0, ""),
        (1001, "going", 0, ""),
        (1011, "internal error", 1, "trioecho: closed by the server: 1011 internal error\n"),
        (4000, "\x1b[2J", 1, "trioecho: closed by the server: 4000 \\x1b[2J\n"),
    ],
)
async def test_the_servers_code_decides_the_exit_status(
    code: int, reason: str, status: int, words: str
) -> None:
    """0 for 1000 and 1001; 1 for any other code, which is said."""

    async def closing(ws: trioecho.WebSocket) -> None:
        await ws.aclose(code, reason)

    async with serving(closing) as server:
        assert await run(CONNECT, "--wait", PATIENCE, server.websocket_url) == (status, "", words)


async def test_an_empty_close_is_good_order() -> None:
    """No code is no error."""

    async def script(peer: Peer) -> None:
        await peer.accept(behind=close())
        await peer.wait_for_end()

    async with scripted(script) as url:
        assert await run(CONNECT, "--wait", PATIENCE, url) == (0, "", "")


async def test_our_code_and_reason_are_said() -> None:
    """--close-code and --close-reason; the server's same answer is good order."""
    async with serving(hold) as server:
        options = ("--close-code", 4000, "--close-reason", "enough")
        assert await run(CONNECT, *options, server.websocket_url) == (0, "", "")
        await until(lambda: server.records)
        assert (server.records[0].code_received, server.records[0].reason_received) == (4000, "enough")


async def test_a_lost_connection_is_told() -> None:
    """The server resets TCP: exit status 1, and what came before is printed."""

    async def script(peer: Peer) -> None:
        await peer.accept(behind=encode_frame(TEXT, b"last words"))
        await peer.receive()
        peer.reset()

    async with scripted(script) as url:
        status, output, errors = await run(CONNECT, "--wait", PATIENCE, url, stdin=b"die\n")
    assert (status, output) == (1, "last words\n")
    assert errors == "trioecho: connection lost: TCP ended without a Close from the server\n"


async def test_a_server_that_never_answers_our_close_is_told() -> None:
    """It is waited for as long as messages come, and then so many seconds."""

    async def script(peer: Peer) -> None:
        await peer.accept()
        while (frame := await peer.receive()) is not None and frame.opcode != CLOSE:
            pass
        await peer.send(TEXT, b"still talking")
        await peer.wait_for_end()

    async with scripted(script) as url:
        status, output, errors = await run(IMPATIENT, url)
    assert (status, output) == (1, "still talking\n")
    assert errors == "trioecho: connection lost: no Close from the server within 0.1 seconds after ours\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_closes_in_good_order(number: int) -> None:
    """Ctrl-C, or SIGTERM: the server gets a Close, the exit status is 0."""
    async with serving(hold) as server:
        async with started(CONNECT, server.websocket_url) as process:
            await until(lambda: server.connections)
            # The handshake is done on this side before the process has set its signals up.
            assert process.stdin is not None
            await process.stdin.send_all(b"ready\n")
            await until(lambda: any(ws.record.messages_received for ws in server.connections))
            process.send_signal(number)
            assert await process.wait() == 0
        await until(lambda: server.records)
        assert (server.records[0].code_received, server.records[0].clean) == (1000, True)


async def test_a_second_signal_does_not_wait_for_the_servers_close() -> None:
    """Exit status 1, and why."""
    said_close = trio.Event()
    ready = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.receive()
        ready.set()
        await peer.receive()
        said_close.set()
        await peer.wait_for_end()

    async with scripted(script) as url, started(CONNECT, url) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        await process.stdin.send_all(b"ready\n")
        await ready.wait()
        process.send_signal(signal.SIGINT)
        await said_close.wait()
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 1
        words = b"trioecho: connection lost: interrupted before the server's Close\n"
        assert await process.stderr.receive_some() == words


async def test_ping_interval_pings_and_notices_a_silent_server() -> None:
    """Answered Pings go on; one without a Pong in the same time ends it with 1."""
    pings = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        while (frame := await peer.receive()) is not None:
            if frame.opcode == PING:
                pings.append(frame)
                if len(pings) < 3:
                    await peer.send(PONG, frame.payload)

    async with scripted(script) as url, started(CONNECT, "--ping-interval", 0.3, url) as process:
        assert await process.wait() == 1
        assert process.stderr is not None
        errors = await process.stderr.receive_some()
    assert errors == b"trioecho: connection lost: no Pong within 0.3 seconds\n"
    assert len(pings) >= 3


# Connecting


async def test_the_request_says_what_the_options_say() -> None:
    """--origin, --header and --subprotocol, the latter two repeated."""
    seen: list[trioecho.WebSocket] = []

    async def handler(ws: trioecho.WebSocket) -> None:
        seen.append(ws)

    options = ["--origin", "https://client.com", "--header", "X-A: 1", "--header", "X-B:2:3"]
    options += ["--subprotocol", "v2", "--subprotocol", "v1"]
    async with serving(handler, subprotocols=("v1",)) as server:
        assert (await run(CONNECT, *options, server.websocket_url))[0] == 0
    assert (seen[0].origin, seen[0].subprotocol) == ("https://client.com", "v1")
    assert {("x-a", "1"), ("x-b", "2:3")} <= set(seen[0].headers)


async def test_unix_sockets_are_reached(tmp_path: Path) -> None:
    """--unix PATH."""

    async def script(peer: Peer) -> None:
        await peer.accept(behind=encode_frame(BINARY, b"\x01") + close(1000))
        await peer.wait_for_end()

    async with scripted(script, unix=tmp_path / "socket"):
        assert await run(CONNECT, "--unix", tmp_path / "socket", "ws://localhost/") == (0, "0x01\n", "")


async def test_certificates_are_checked_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Untrusted: 3. With its authority in --cacert, or --insecure: connected."""
    authority = tmp_path / "authority.pem"
    monkeypatch.setattr(serving_module, "_encrypted", True)
    async with serving() as server:
        authority.write_text(authority_of_serving())
        url = server.websocket_url
        status, _, errors = await run(CONNECT, url)
        assert status == 3
        assert errors.startswith(f"trioecho: cannot connect to {url}: its certificate is not trusted: ")
        for options in (["--cacert", authority], ["--insecure"]):
            assert await run(CONNECT, *options, url, stdin=b"hello\n") == (0, "hello\n", "")


async def test_what_cannot_be_connected_to_is_told_in_one_line() -> None:
    """Exit status 3: nobody listens, the server refuses, the server does not answer, it is no WebSocket server."""

    async def silent(peer: Peer) -> None:
        await peer.read_request()
        await peer.wait_for_end()

    async def ssh(peer: Peer) -> None:
        await peer.stream.send_all(b"SSH-2.0-OpenSSH\r\n\r\n")

    async with serving(allowed_origins=("https://client.com",)) as server:
        url = server.websocket_url
        status, _, errors = await run(CONNECT, "--origin", "https://evil.example", url)
        assert (status, errors.count("\n")) == (3, 1)
        assert errors.startswith(
            f"trioecho: {url}: the server refused the WebSocket: 403 The origin 'https://evil.example' may not"
        )
    assert await run(CONNECT, url) == (3, "", f"trioecho: cannot connect to {url}: Connection refused\n")
    missing = await run(CONNECT, "--unix", "/nowhere/socket", "ws://localhost/")
    assert missing == (
        3,
        "",
        "trioecho: cannot connect to ws://localhost/ at /nowhere/socket: No such file or directory\n",
    )
    async with scripted(silent) as url:
        late = await run(CONNECT, "--timeout", 0.1, url)
        assert late == (
            3,
            "",
            f"trioecho: cannot connect to {url}: no answer to the handshake within 0.1 seconds\n",
        )
    async with scripted(ssh) as url:
        status, _, errors = await run(CONNECT, url)
        assert (status, errors.count("\n")) == (3, 1)
        assert "no whole HTTP response; it begins with 'SSH-2.0-OpenSSH'" in errors


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["http://x/"], "'http://x/' is no WebSocket URL; it begins with ws:// or wss://"),
        ([], "Missing argument 'URL'. (--help lists the options)"),
        (
            ["--header", "X Y: z", "ws://x/"],
            "'X Y' is no name of a header field; write one such as 'Authorization'",
        ),
        (["--close-code", "1005", "ws://x/"], "--close-code: '1005' may not be sent"),
        (
            ["--close-reason", "x" * 124, "ws://x/"],
            "--close-reason: it has 124 bytes; a Close frame has room for 123",
        ),
        (["--wait", "-1", "ws://x/"], "--wait: '-1' is not a time in seconds"),
        (["--insecure", "ws://x/"], "--insecure is about certificates: it goes with a wss:// URL"),
    ],
)
async def test_a_command_line_that_makes_no_sense_is_told_in_one_line(
    arguments: list[str], sentence: str
) -> None:
    """Exit status 2, and nothing is connected to."""
    status, output, errors = await run(CONNECT, *arguments)
    assert (status, output, errors.count("\n")) == (2, "", 1)
    assert errors.startswith(f"trioecho: {sentence}")


# A terminal


async def test_a_person_talks_at_a_terminal(tmp_path: Path) -> None:
    """A prompt, echoes as they come, Ctrl-D closes; the terminal is left as it was, the lines are in the history."""
    async with serving(subprotocols=("v1",)) as server:
        url = server.websocket_url
        async with on_a_terminal("--subprotocol", "v1", url, state=tmp_path / "state") as screen:
            await screen.until("> ")
            assert f"connected to {url}, subprotocol v1" in screen.text
            screen.type("hello\n")
            await screen.until("< hello\r\n")
            screen.type("again\n")
            await screen.until("< again\r\n")
            assert await screen.press_ctrl_d() == 0
            assert "closed: 1000" in screen.text
    history = tmp_path / "state" / "trioecho" / "history"
    assert [line for line in history.read_text().splitlines() if not line.startswith("_")] == [
        "hello",
        "again",
    ]
    assert history.parent.stat().st_mode & 0o077 == 0


async def test_the_history_of_before_is_there(tmp_path: Path) -> None:
    """Arrow up brings the last line of the last time."""
    (tmp_path / "trioecho").mkdir()
    (tmp_path / "trioecho" / "history").write_text("from last time\n")
    async with serving() as server, on_a_terminal(server.websocket_url, state=tmp_path) as screen:
        await screen.until("> ")
        screen.type("\x1b[A\n")
        await screen.until("< from last time\r\n")
        assert await screen.press_ctrl_d() == 0


async def test_a_message_does_not_disturb_the_line_that_is_being_typed(tmp_path: Path) -> None:
    """What arrives is shown above, and what was typed is shown again behind the prompt, and sent when done."""
    say = trio.Event()

    async def handler(ws: trioecho.WebSocket) -> None:
        await say.wait()
        await ws.send("interruption")
        assert await ws.receive() == "half done"
        await ws.send("got it")

    async with serving(handler) as server, on_a_terminal(server.websocket_url, state=tmp_path) as screen:
        await screen.until("> ")
        screen.type("half")
        await screen.until("half")
        say.set()
        await screen.until("< interruption\r\n> half")
        screen.type(" done\n")
        await screen.until("< got it\r\n")
        assert await screen.end() == 0


async def test_control_characters_are_escaped_on_a_terminal(tmp_path: Path) -> None:
    """No message moves the cursor, changes colours or forges a line."""

    async def hostile(ws: trioecho.WebSocket) -> None:
        await ws.send("\x1b]0;owned\x07\x1b[2J\r\nforged\u202e\x9b1A")
        await hold(ws)

    async with serving(hostile) as server, on_a_terminal(server.websocket_url, state=tmp_path) as screen:
        await screen.until(r"< \x1b]0;owned\x07\x1b[2J\r\nforged\u202e\x9b1A")
        assert await screen.press_ctrl_d() == 0


async def test_a_line_that_is_no_hex_is_told_and_the_next_one_sent(tmp_path: Path) -> None:
    """A person may try again."""
    async with serving() as server, on_a_terminal("--binary", server.websocket_url, state=tmp_path) as screen:
        await screen.until("> ")
        screen.type("xyz\n")
        await screen.until("is not hex: 'xyz'")
        screen.type("ff\n")
        await screen.until("< 0xff\r\n")
        assert await screen.press_ctrl_d() == 0


async def test_ctrl_c_at_a_terminal_closes_in_good_order(tmp_path: Path) -> None:
    """No traceback, a Close for the server, the terminal as it was."""
    async with serving() as server:
        async with on_a_terminal(server.websocket_url, state=tmp_path) as screen:
            await screen.until("> ")
            screen.type("half a line\x03")
            assert await screen.end() == 0
            assert "Traceback" not in screen.text
        await until(lambda: server.records)
        assert (server.records[0].code_received, server.records[0].messages_received) == (1000, 0)


async def test_the_terminal_is_as_it_was_though_the_server_closes_before_the_prompt(tmp_path: Path) -> None:
    """The thread that waits for a line is about to set readline's mode when it is over."""

    async def leave(ws: trioecho.WebSocket) -> None:
        pass

    async with serving(leave) as server:
        async with on_a_terminal(server.websocket_url, state=tmp_path, command=SLOW) as screen:
            assert await screen.end() == 0


# Its parts


def test_a_line_is_a_message() -> None:
    """Text as it is; hex with or without 0x and spaces."""
    assert parse_line(b" a ", binary=False) == " a "
    assert parse_line(b" 0x00 FF ", binary=True) == b"\x00\xff"
