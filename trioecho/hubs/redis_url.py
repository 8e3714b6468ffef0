"""The URL of a Redis, in parts.

``redis://[[user]:password@]host[:port][/db]``, ``rediss://`` for TLS, ``unix://[[user]:password@]/path[?db=N]``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

PORT = 6379

RIGHT = "such as 'redis://localhost', 'rediss://:password@redis.example:6379/0' or 'unix:///run/redis.sock'"


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """Where a Redis is, and who we are there. As a string it has no password, so it can be logged."""

    host: str
    """Empty where there is a `path`."""
    port: int = PORT
    path: str = ""
    """The path of a Unix socket."""
    tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0

    def __str__(self) -> str:
        if self.path:
            return f"unix://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss' if self.tls else 'redis'}://{host}:{self.port}"


def parse_redis_url(url: object) -> RedisUrl:
    """Return the parts of a URL. Raises TypeError or ValueError with one sentence, which repeats no password."""
    if not isinstance(url, str):
        raise TypeError(f"url takes a string {RIGHT}; you gave {url!r}")
    try:
        parts = urlsplit(url)
        port = parts.port
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise ValueError(f"url takes a URL {RIGHT}; of yours {_cause(error)}") from None
    username, password = (unquote(each) if each else None for each in (parts.username, parts.password))
    path = unquote(parts.path)
    given = dict(query)
    db = given.pop("db", None)
    if given:
        raise ValueError(f"the query of url takes nothing but db; yours has {next(iter(given))!r}")
    if parts.scheme == "unix":
        if parts.hostname or not path.startswith("/"):
            raise ValueError(f"a unix:// url has three slashes before its path, {RIGHT}")
        return RedisUrl("", path=path, username=username, password=password, db=_db(db or "0"))
    if parts.scheme not in ("redis", "rediss"):
        raise ValueError(f"url takes a URL {RIGHT}; yours begins with {parts.scheme!r}")
    if not parts.hostname:
        raise ValueError(f"url takes a URL with a host, {RIGHT}")
    return RedisUrl(
        parts.hostname,
        PORT if port is None else port,
        tls=parts.scheme == "rediss",
        username=username,
        password=password,
        db=_db(db or path.strip("/") or "0"),
    )


def _db(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 6):
        raise ValueError(f"the db of url takes a number such as 0; you gave {text!r}")
    return int(text)


def _cause(error: ValueError) -> str:
    # What urllib says may repeat what stands where it looked for the port: a password.
    return "the port is no number up to 65535" if "ort" in str(error) else "a part is none"
