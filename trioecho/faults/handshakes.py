"""Faults of the opening handshake: slow, wrong, refused, redirected, with credentials, and only at the nth attempt."""

from __future__ import annotations

import json

import trio

from trioecho._http.authentication import basic_auth, bearer
from trioecho._http.messages import Response
from trioecho._http.refusals import Refused, phrase
from trioecho._http.upgrade import check_handshake
from trioecho._protocol.frames import TEXT, encode_frame
from trioecho.faults.session import Session

# What a client asks for may come back in a page of its choice: no browser is to run it.
_HARMLESS = (
    ("Content-Security-Policy", "sandbox; default-src 'none'"),
    ("X-Content-Type-Options", "nosniff"),
)


async def handshake(
    session: Session, *, delay: float, hang: bool, key: str, subprotocol: str, extension: str, glue: str
) -> None:
    """Accepts late, never, or with what the client has not asked for; then echoes."""
    check_handshake(session.request)
    if hang:
        await session.until_gone()
        return
    await trio.sleep(delay)
    await session.accept(
        key=None if key == "missing" else key,
        subprotocol=subprotocol or None,
        extension=extension or None,
        behind=encode_frame(TEXT, glue.encode()) if glue else b"",
    )
    await session.echo()


async def status(
    session: Session, *, code: int, body: str, retry_after: int | None, header: tuple[tuple[str, str], ...]
) -> None:
    """Answers with a status instead of 101."""
    fields = [*_HARMLESS, *header]
    if retry_after is not None:
        fields.append(("Retry-After", str(retry_after)))
    try:
        response = Response(body or f"{code} {phrase(code)}\n", status=code, headers=fields)
    except ValueError as error:
        raise Refused(400, f"header: {error}.") from None
    await session.respond(response)


async def redirect(session: Session, *, n: int, code: int) -> None:
    """Redirects n times, each time to the path with the next lower number; 0 accepts and echoes."""
    if n == 0:
        await session.accept()
        await session.echo()
        return
    path = session.request.root_path + session.request.path.rpartition("/")[0]
    query = session.request.target.partition("?")[2]
    await session.refuse(Refused(code, headers={"Location": f"{path}/{n - 1}{'?' if query else ''}{query}"}))


async def auth_basic(session: Session, *, user: str, password: str) -> None:
    """Accepts who gives the user name and the password that stand in the path."""
    if ":" in user:
        raise Refused(400, "A user name has no colon in HTTP Basic authentication (RFC 7617).")
    await basic_auth({user: password}, realm="faults")(session.request)
    await session.accept()
    await session.echo()


async def auth_bearer(session: Session, *, token: str) -> None:
    """Accepts who gives the token that stands in the path: in Authorization, a parameter or a subprotocol."""
    try:
        admit = bearer(token, realm="faults")
    except ValueError as error:
        raise Refused(400, f"token: {error}.") from None
    await admit(session.request)
    await session.accept()
    await session.echo()


async def cookies(session: Session, *, set: tuple[tuple[str, str], ...]) -> None:
    """Sends the cookies that came as JSON, sets those that are asked for with the 101, then echoes."""
    fields = [("Set-Cookie", f"{name}={value}; Path=/; SameSite=Lax") for name, value in set]
    for _, value in set:
        if ";" in value or "," in value:
            raise Refused(400, "The value of a cookie has no semicolon and no comma (RFC 6265 §4.1.1).")
    await session.accept(headers=fields)
    await session.send(json.dumps(session.request.cookies))
    await session.echo()


async def flaky(session: Session, *, fail: int, key: str, status: int) -> None:
    """Refuses the first attempts for a key, then accepts and echoes."""
    check_handshake(session.request)
    number = session.seen.attempt(key)
    if number <= fail:
        raise Refused(status, f"Attempt {number} for this key; {fail} fail.", {"Retry-After": "0"})
    await session.accept(headers=[("Trioecho-Attempt", str(number))])
    await session.echo()
