"""One connection to Redis: it ends when it is to, says why it was lost, and reads no faster than is taken."""

from __future__ import annotations

import contextlib
import functools
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio
import trustme
from hubs.redis_server import RedisServer, running_redis

from trioecho.hubs.redis_connection import Pace, RedisConnection, RedisLost
from trioecho.hubs.redis_url import parse_redis_url


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with running_redis() as redis:
        yield redis


@contextlib.asynccontextmanager
async def held(
    url: str, pace: Pace | None = None, ssl_context: ssl.SSLContext | None = None
) -> AsyncIterator[RedisConnection]:
    """A connection that is ready."""
    connection = RedisConnection(parse_redis_url(url), ssl_context, pace)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.run)
            try:
                await connection.ready.wait()
                yield connection
            finally:
                connection.close()


async def why(url: str, then: RedisServer | None = None) -> str:
    """Why there is no connection, or not any more when `then` was killed."""
    with pytest.RaisesGroup(pytest.RaisesExc(RedisLost), flatten_subgroups=True) as found:
        async with held(url):
            if then is not None:
                await trio.to_thread.run_sync(then.kill)
            await trio.sleep_forever()
    return str(found.value.exceptions[0])


async def test_it_says_why_it_is_lost_or_was_not_to_be_had(redis: RedisServer) -> None:
    with running_redis("--requirepass", "right") as secret:
        assert "HELLO must be called" in await why(secret.url)
        assert "invalid username-password pair" in await why(secret.url.replace("//", "//:wrong@"))
    assert "DB index is out of range" in await why(f"{redis.url}?db=99")
    assert "lost" in await why(redis.url, redis)
    assert "No such file" in await why(redis.url)


async def test_user_password_and_db_are_told_to_redis() -> None:
    with running_redis("--user", "ann", "on", ">secret", "~*", "&*", "+@all") as redis:
        async with held(redis.url.replace("unix://", "unix://ann:secret@") + "?db=3") as connection:
            found = await connection.redis.create_request(b"CLIENT INFO")
            assert b" user=ann " in found
            assert b" db=3 " in found


async def test_tls_checks_whose_the_certificate_is(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(tmp_path / "key")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "certificate")
    authority.cert_pem.write_to_path(tmp_path / "authority")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ["--tls-port", str(port), "--tls-auth-clients", "no", "--tls-key-file", str(tmp_path / "key")]
    options += [
        "--tls-cert-file",
        str(tmp_path / "certificate"),
        "--tls-ca-cert-file",
        str(tmp_path / "authority"),
    ]
    with running_redis(*options):
        trusting = ssl.create_default_context()
        authority.configure_trust(trusting)
        async with held(f"rediss://localhost:{port}", ssl_context=trusting) as connection:
            assert await connection.redis.create_request(b"PING") == b"PONG"
        with pytest.RaisesGroup(RedisLost, flatten_subgroups=True):
            async with held(f"rediss://127.0.0.1:{port}", ssl_context=trusting):
                pass


async def test_one_that_does_not_log_in_is_ended_silently(caplog: pytest.LogCaptureFixture) -> None:
    """coredis would log a failure, and swallow the cancellation."""
    caplog.set_level(logging.WARNING)
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(socket.create_server(("127.0.0.1", 0))))
    url = "redis://{}:{}".format(*listener.socket.getsockname())
    async with listener:
        connection = RedisConnection(parse_redis_url(url), None)
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(connection.run)
                async with await listener.accept() as stream:
                    assert b"HELLO" in await stream.receive_some()
                    connection.close()
    assert not caplog.records


async def test_what_is_not_taken_stays_in_redis(redis: RedisServer) -> None:
    """However much is published, coredis keeps no more than it reads at once."""
    pace, most, taken = Pace(), 0, 0
    payload = b"x" * 100
    async with held(redis.url, pace) as listener, held(redis.url) as publisher:
        waiting = listener.redis._push_message_buffer_in.statistics
        listener.redis.send_command(b"SUBSCRIBE", b"channel")
        async with trio.open_nursery() as nursery:
            async with contextlib.aclosing(listener.redis.push_messages) as pushes:
                async for _ in pushes:
                    pace.taken += 1
                    if not taken:
                        for _ in range(5000):
                            request = publisher.redis.create_request(b"PUBLISH", b"channel", payload)
                        nursery.start_soon(functools.partial(request.get_result))
                    most = max(most, waiting().current_buffer_used)
                    taken += 1
                    if taken == 5001:
                        break
    # 64 KiB are read at once.
    assert 0 < most < 65536 / len(payload)
