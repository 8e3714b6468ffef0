"""Where trioecho does otherwise than an RFC says, as SECURITY.md has it: shown where no other test shows it."""

from __future__ import annotations

import pytest
from serving import connected, open_stream, serving

import trioecho


async def told(request: trioecho.Request) -> trioecho.Response:
    """What the function has of a request."""
    body = (await request.body()).decode()
    return trioecho.Response(f"{request.method} {request.host} {request.path} {body}")


ROUTES: trioecho.Routes = {
    "/": trioecho.HttpRoute(told, methods=["GET", "POST"]),
    "/a|b": trioecho.HttpRoute(told),
    "/ws": trioecho.echo,
}


async def answer_to(
    line: str, fields: str = "", body: str = "", routes: trioecho.Routes = ROUTES, **options: object
) -> tuple[int, str]:
    """The status of the answer to a request, and all of the answer."""
    async with serving(routes, **options) as server:
        stream = await open_stream(server)
        async with stream:
            head = f"{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n"
            await stream.send_all((head + body).encode())
            answer = b"".join([chunk async for chunk in stream]).decode()
    return int(answer.split(" ")[1]), answer


async def test_a_subprotocol_that_is_offered_twice_is_one() -> None:
    """RFC 6455 §4.1 forbids it to clients; the handler sees none of it."""
    async with serving(subprotocols=["chat"]) as server:
        async with connected(server, headers="Sec-WebSocket-Protocol: chat, chat\r\n") as client:
            assert client.response.count(b"chat") == 1


@pytest.mark.parametrize("last", ["Q", "R", "f"])
async def test_the_bits_that_base64_leaves_over_may_be_anything(last: str) -> None:
    """22 characters of base64 have 132 bits, and the key 128 (RFC 6455 §4.2.1)."""
    fields = (
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ{last}==\r\n"
    )
    async with serving() as server:
        stream = await open_stream(server)
        async with stream:
            await stream.send_all(f"GET /ws HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode())
            assert bytes(await stream.receive_some()).startswith(b"HTTP/1.1 101 ")


async def test_extensions_are_not_read_where_there_are_none() -> None:
    """RFC 6455 §9.1 has a malformed header fail the handshake. Without compression nobody looks."""
    malformed = "Sec-WebSocket-Extensions: ;;==\r\n"
    async with serving() as server, connected(server, headers=malformed) as client:
        await client.send("hello")
        assert await client.receive() == "hello"
    async with serving(compression=True) as server:
        with pytest.raises(AssertionError, match=r"HTTP/1\.1 400 "):
            async with connected(server, headers=malformed):
                pass


async def test_a_method_that_nobody_knows_is_not_allowed() -> None:
    """405 and what is, not 501 (RFC 9110 §9.1)."""
    for method in ("BREW", "TRACE"):
        status, answer = await answer_to(f"{method} /")
        assert (status, "\r\nAllow: GET, POST, HEAD, OPTIONS\r\n" in answer) == (405, True)


async def test_a_path_of_websockets_has_no_head() -> None:
    """RFC 9110 §9.1 has every server of general purpose support GET and HEAD."""
    assert [(await answer_to(f"{method} /ws"))[0] for method in ("GET", "HEAD")] == [400, 405]


async def test_another_expectation_is_passed_over() -> None:
    """It may be answered with 417 (RFC 9110 §10.1.1)."""
    assert (await answer_to("GET /", "Expect: a-miracle\r\n"))[0] == 200


async def test_preconditions_are_the_functions_own() -> None:
    """Whether what it would answer is current, a function alone can know (RFC 9110 §13, §14)."""
    for field in ('If-Match: "other"', "If-None-Match: *", "Range: bytes=0-0"):
        assert (await answer_to("GET /", f"{field}\r\n"))[0] == 200


async def test_a_long_target_is_a_long_head() -> None:
    """431, where RFC 9112 §3 says 414."""
    assert (await answer_to(f"GET /{'a' * 16_400}"))[0] == 431


async def test_a_target_is_any_printable_ascii() -> None:
    """A route may even have such a path; RFC 9112 §3.2 has 400 for what RFC 3986 does not allow."""
    assert (await answer_to("GET /a|b"))[0] == 200
    for target in ('/"<>', "/#", "/%zz", "ftp://a/", "a:80"):
        assert (await answer_to(f"GET {target}"))[0] == 404


async def test_an_asterisk_is_a_path_like_any() -> None:
    """Nothing is served there, but for OPTIONS, whose answer does not look at the routes (RFC 9112 §3.2.4)."""
    assert (await answer_to("GET *"))[0] == 404
    status, answer = await answer_to("OPTIONS *")
    assert (status, "\r\nAllow: GET, HEAD, OPTIONS\r\n" in answer) == (204, True)


@pytest.mark.parametrize("codings", ["gzip, chunked", "identity", "chunked, chunked"])
async def test_another_transfer_coding_is_a_400(codings: str) -> None:
    """RFC 9112 §6.1 has 501 for those that are not known."""
    status, answer = await answer_to("POST /", f"Transfer-Encoding: {codings}\r\n", "0\r\n\r\n")
    assert (status, "'chunked' alone" in answer) == (400, True)


async def test_what_a_chunk_extension_says_is_not_read() -> None:
    """RFC 9112 §7.1.1 has names and values; behind a semicolon stands any text, and is dropped."""
    status, answer = await answer_to(
        "POST /", "Transfer-Encoding: chunked\r\n", "5;;;==\r\nhello\r\n0\r\n\r\n"
    )
    assert (status, answer.rpartition("\r\n")[2]) == (200, "POST a / hello")
