"""Where `connect` and `check` go: options that make no sense, and a way there that fails, are one line each."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from pathlib import Path
from typing import Any

import click
import pytest
import trio
from scripted_peer import Peer, scripted
from serving import certificates, one_way, serving
from serving import way_of_reading as way_of_reading

import trioecho
from trioecho.cli.destination import Destination, destination_options, why
from trioecho.cli.parameters import Refusal


def destination(url: str, **changes: Any) -> Destination:
    nothing = {
        "origin": None,
        "headers": (),
        "subprotocols": (),
        "unix": None,
        "cacert": None,
        "insecure": False,
    }
    return Destination(url=url, **{**nothing, **changes})


def refusal(of: Destination) -> tuple[int, str]:
    """How it is refused at once."""
    with pytest.raises(Refusal) as refused:
        of.prepare(connect_timeout=5)
    return refused.value.exit_code, refused.value.message


async def failure(of: Destination, *, seconds: float = 5) -> str:
    """How connecting fails: exit status 3, in one line."""
    with pytest.raises(Refusal) as refused:
        async with of.prepare(connect_timeout=seconds):
            raise AssertionError("it was accepted")
    assert refused.value.exit_code == 3
    assert "\n" not in refused.value.message
    return refused.value.message


@one_way
def test_the_options_are_those_of_a_destination() -> None:
    """Each has its field, and nothing given is nothing asked for."""
    given: list[dict[str, Any]] = []

    @click.command()
    @destination_options
    def command(**values: Any) -> None:
        given.append(values)

    command.main(["ws://x/"], standalone_mode=False)
    assert Destination(**given[0]) == destination("ws://x/")
    options = "--origin o --header A:1 --header B:2 --subprotocol v --unix u --cacert c --insecure ws://x/"
    command.main(options.split(), standalone_mode=False)
    assert Destination(**given[1]) == destination(
        "ws://x/",
        origin="o",
        headers=("A:1", "B:2"),
        subprotocols=("v",),
        unix=Path("u"),
        cacert=Path("c"),
        insecure=True,
    )


@one_way
async def test_the_request_says_what_the_options_say() -> None:
    """A header field is a name and a value with a colon between; the value may have more of them."""
    seen: list[trioecho.WebSocket] = []

    async def handler(ws: trioecho.WebSocket) -> None:
        seen.append(ws)

    async with serving(handler, subprotocols=("v1",)) as server:
        there = destination(
            server.websocket_url, headers=("X-A : 1:2",), origin="https://client.com", subprotocols=("v1",)
        )
        async with there.prepare(connect_timeout=5) as ws:
            assert ws.subprotocol == "v1"
    assert seen[0].origin == "https://client.com"
    assert dict(seen[0].headers)["x-a"] == "1:2"


@one_way
@pytest.mark.parametrize(
    ("url", "changes", "sentence"),
    [
        ("http://x/", {}, "'http://x/' is no WebSocket URL; it begins with ws:// or wss://"),
        ("ws://x/", {"headers": ("X",)}, "--header: 'X' has no colon: write one such as 'Name: value'"),
        ("ws://x/", {"headers": ("X Y: z",)}, "'X Y' is no name of a header field"),
        ("ws://x/", {"insecure": True}, "--insecure is about certificates: it goes with a wss:// URL"),
        ("ws://x/", {"cacert": Path("f")}, "--cacert is about certificates: it goes with a wss:// URL"),
        (
            "wss://x/",
            {"insecure": True, "cacert": Path("f")},
            "--cacert names whom to trust and --insecure trusts everybody",
        ),
    ],
)
def test_options_that_make_no_sense_are_refused_before_anything_is_connected_to(
    url: str, changes: dict[str, Any], sentence: str
) -> None:
    """Exit status 2."""
    status, message = refusal(destination(url, **changes))
    assert status == 2
    assert message.startswith(sentence)


@one_way
def test_a_certificate_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """Exit status 3, as for the server's."""
    (tmp_path / "empty.pem").write_text("")
    for file in ("missing.pem", "empty.pem"):
        status, message = refusal(destination("wss://x/", cacert=tmp_path / file))
        assert status == 3
        assert message.startswith(f"cannot use {tmp_path / file} as certificates (PEM): ")


@pytest.mark.parametrize("way_of_reading", ["poller-tls"], indirect=True)
async def test_only_a_certificate_that_is_trusted_is_accepted(tmp_path: Path) -> None:
    """By its authority, or whoever it may be from."""
    authority = tmp_path / "authority.pem"
    known = certificates()[1].get_ca_certs(binary_form=True)
    authority.write_text("".join(map(ssl.DER_cert_to_PEM_cert, known)))
    async with serving() as server:
        url = server.websocket_url
        expected = f"cannot connect to {url}: its certificate is not trusted: "
        assert (await failure(destination(url))).startswith(expected)
        for changes in ({"insecure": True}, {"cacert": authority}):
            async with destination(url, **changes).prepare(connect_timeout=5) as ws:
                await ws.send("hello")
                assert await ws.receive() == "hello"


@one_way
async def test_a_way_that_fails_is_told_in_the_systems_words() -> None:
    """Nobody listens, at a port or at a Unix socket; the server refuses, or does not answer in time."""

    async def silent(peer: Peer) -> None:
        await peer.read_request()
        await peer.wait_for_end()

    async with serving() as server:
        url = server.websocket_url
        nowhere = url.replace("/ws", "/nowhere")
        assert (await failure(destination(nowhere))).startswith(
            f"{nowhere}: the server refused the WebSocket: 404 "
        )
    assert await failure(destination(url)) == f"cannot connect to {url}: Connection refused"
    assert await failure(destination("ws://x/", unix=Path("/nowhere/socket"))) == (
        "cannot connect to ws://x/ at /nowhere/socket: No such file or directory"
    )
    async with scripted(silent) as url:
        assert await failure(destination(url), seconds=0.1) == (
            f"cannot connect to {url}: no answer to the handshake within 0.1 seconds"
        )


@one_way
async def test_what_happens_on_the_way_back_is_none_of_its_business() -> None:
    """An OSError of the block is not one of connecting."""
    async with serving() as server:
        with pytest.raises(OSError, match="a full disk"):
            async with destination(server.websocket_url).prepare(connect_timeout=5):
                raise OSError("a full disk")


def caused(*causes: OSError) -> OSError:
    error = OSError("all attempts to connect failed")
    error.__cause__ = ExceptionGroup("attempts", causes)
    return error


def of_openssl(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] in some function")
    error.reason = reason
    return error


REFUSED = OSError(errno.ECONNREFUSED, "[Errno 111] connecting to ('127.0.0.1', 5000)")
UNREACHABLE = OSError(errno.ENETUNREACH, "Network is unreachable")


@one_way
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (REFUSED, os.strerror(errno.ECONNREFUSED)),
        (caused(REFUSED, UNREACHABLE, REFUSED), f"{os.strerror(errno.ECONNREFUSED)}, {UNREACHABLE.strerror}"),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (of_openssl("WRONG_VERSION_NUMBER"), "wrong version number"),
        (trio.TooSlowError("too late"), "too late"),
        (OSError(), "OSError"),
    ],
)
def test_an_error_has_words_for_people(error: BaseException, words: str) -> None:
    """Without its number or the address, which is in the line already; of several attempts each reason once."""
    assert why(error) == words
