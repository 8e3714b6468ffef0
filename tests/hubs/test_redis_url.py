"""URLs of a Redis: each part, what is wrong with one, and that no password is repeated."""

from __future__ import annotations

from typing import Any

import pytest

from trioecho.hubs.redis_url import RedisUrl, parse_redis_url


@pytest.mark.parametrize(
    ("url", "parts", "shown"),
    [
        ("redis://localhost", RedisUrl("localhost"), "redis://localhost:6379"),
        (
            "redis://ann:s%40cret@redis.example:7000/3",
            RedisUrl("redis.example", 7000, username="ann", password="s@cret", db=3),
            "redis://redis.example:7000",
        ),
        (
            "rediss://:secret@[::1]/?db=2",
            RedisUrl("::1", tls=True, password="secret", db=2),
            "rediss://[::1]:6379",
        ),
        ("unix:///run/redis.sock", RedisUrl("", path="/run/redis.sock"), "unix:///run/redis.sock"),
        (
            "unix://:secret@/run/redis.sock?db=1",
            RedisUrl("", path="/run/redis.sock", password="secret", db=1),
            "unix:///run/redis.sock",
        ),
    ],
)
def test_each_part_is_found_and_a_password_is_not_shown(url: str, parts: RedisUrl, shown: str) -> None:
    assert parse_redis_url(url) == parts
    assert str(parts) == shown
    assert "cret" not in repr(parts)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (b"redis://localhost", "takes a string such as 'redis://localhost'"),
        ("localhost:6379", "begins with 'localhost'"),
        ("http://localhost", "begins with 'http'"),
        ("redis://", "with a host"),
        ("redis://:secret@", "with a host"),
        ("redis://:secret@localhost:http", "the port is no number"),
        ("redis://:secret@localhost:99999", "the port is no number"),
        ("redis://:secret@[::1", "a part is none"),
        ("redis://:secret@localhost/first", "the db of url takes a number such as 0; you gave 'first'"),
        ("redis://:secret@localhost?max_connections=3", "nothing but db; yours has 'max_connections'"),
        ("unix://run/redis.sock", "three slashes"),
        ("unix:redis.sock", "three slashes"),
    ],
)
def test_what_is_no_url_is_told_in_one_sentence(url: Any, says: str) -> None:
    with pytest.raises((TypeError, ValueError)) as refusal:
        parse_redis_url(url)
    assert says in str(refusal.value)
    assert "secret" not in str(refusal.value)
