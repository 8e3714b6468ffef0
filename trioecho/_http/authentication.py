"""Authentication of requests: user names with passwords (RFC 7617), and tokens (RFC 6750).

Each function here makes one for `admit`, which can be awaited at the beginning of an `HttpRoute`'s function as well.
What is received stays out of the sentences of refusals: they are logged.
"""

from __future__ import annotations

import base64
import functools
import hmac
import inspect
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from trioecho._http.messages import Request
from trioecho._http.refusals import Refused
from trioecho._protocol.tokens import TOKEN

Authenticate: TypeAlias = Callable[[Request], Awaitable[None]]
BasicCheck: TypeAlias = Callable[[str, str], object] | Mapping[str, str] | str
BearerCheck: TypeAlias = Callable[[str], object] | Mapping[str, str] | str

# RFC 6750 §2.1: b64token.
_BEARER_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def basic_auth(check: BasicCheck, *, realm: str = "trioecho") -> Authenticate:
    """Make a function for `admit` that asks for a user name and a password: HTTP Basic authentication (RFC 7617).

    `check` is a function of both, synchronous or async. What it returns is put into ``request.state["user"]`` (the user
    name, if it is True); anything false refuses the request with 401, upon which a browser asks its user. It may raise
    `Refused` itself. It compares with `hmac.compare_digest`, whose time tells nothing about the password, and hashes
    in another thread (`trio.to_thread.run_sync`), for a slow synchronous `check` holds up everyone. Or `check` is a
    mapping of user names to passwords, or one ``"user:password"``; these are compared so.

    `realm` says what the password is for. The password can be read by all on the way where there is no TLS.

    Example:

        admit = trioecho.basic_auth({"zoe": "sesame"}, realm="the echo")
        routes = {"/ws": trioecho.WebSocketRoute(trioecho.echo, admit=admit)}

    Raises TypeError or ValueError with one sentence for what will not do. What it makes is a
    checkpoint only if `check` is.
    """
    if isinstance(check, str):
        name, colon, password = check.partition(":")
        if not colon:
            raise ValueError("check takes 'user:password' as a string; you gave one without a colon")
        check = {name: password}
    if isinstance(check, Mapping):
        known = _Known(check, "passwords")
        for name in check:
            if ":" in name:
                raise ValueError(f"a user name has no colon in HTTP Basic authentication; you gave {name!r}")
        call: Callable[[str, str], object] = known.has
    else:
        call = _checked_function(check, "the user name and the password")
    challenge = {"WWW-Authenticate": f'Basic realm={_quoted_string(realm)}, charset="UTF-8"'}

    async def admit(request: Request) -> None:
        credentials = _credentials(request, "basic")
        if credentials is None:
            raise Refused(
                401,
                "This needs a user name and a password (HTTP Basic authentication); received none.",
                challenge,
            )
        pair = _user_and_password(credentials)
        if pair is None:
            raise Refused(
                401,
                "HTTP Basic authentication takes 'user:password' in UTF-8 and base64; received something else.",
                challenge,
            )
        user = await _result(call(*pair))
        if not user:
            raise Refused(401, "The user name or the password is wrong.", challenge)
        request.state["user"] = pair[0] if user is True else user

    return admit


def bearer(
    check: BearerCheck,
    *,
    realm: str = "trioecho",
    query: str | None = "access_token",
    subprotocol_prefix: str | None = "bearer.",
) -> Authenticate:
    """Make a function for `admit` that asks for a token (RFC 6750): ``Authorization: Bearer TOKEN``.

    A browser's WebSocket cannot send that header. For its sake a token is taken from two more places, each of which
    None switches off:

    - the parameter `query` of the URL: ``new WebSocket("wss://host/ws?access_token=" + encodeURIComponent(token))``.
      trioecho does not log it; proxies on the way may.
    - a subprotocol that begins with `subprotocol_prefix`: ``new WebSocket(url, ["chat.v1", "bearer." + token])``. It is
      never agreed on, so that the token is not sent back. Offer a real one beside it that the server agrees on, such as
      chat.v1 here: a browser that offers some and gets none closes the connection. The token cannot contain a slash or
      an equals sign then.

    `check` is a function of the token, synchronous or async. What it returns is put into ``request.state["user"]``;
    anything false refuses the request with 401. It may raise `Refused` itself, such as 403 for a token that is good for
    something else. It compares with `hmac.compare_digest`, whose time tells nothing about the token. Or `check` is a
    mapping of users to their tokens, or one token (the user is then True); these are compared so.

    Example:

        import hmac

        async def user_of(token: str) -> str | None:
            return "zoe" if hmac.compare_digest(token, "c2VzYW1l") else None

        routes = {"/ws": trioecho.WebSocketRoute(trioecho.echo, admit=trioecho.bearer(user_of))}

    Without a token a request is refused with 401; with several that differ, or a malformed one, with 400.

    Raises TypeError or ValueError with one sentence for what will not do. What it makes is a
    checkpoint only if `check` is.
    """
    call: Callable[[str], object]
    if isinstance(check, str):
        _check_token(check)
        call = functools.partial(_Known({"": check}, "tokens").has, "")
    elif isinstance(check, Mapping):
        call = _Known(check, "tokens").owner
        for user, token in check.items():
            _check_token(token)
            if not user:
                raise ValueError(
                    "check takes a mapping of users to tokens; one of the users is an empty string"
                )
    else:
        call = _checked_function(check, "the token")
    if query is not None and (not isinstance(query, str) or not query):
        raise ValueError(
            f"query takes the name of a parameter such as 'access_token', or None; you gave {query!r}"
        )
    if subprotocol_prefix is not None and (
        not isinstance(subprotocol_prefix, str) or TOKEN.fullmatch(subprotocol_prefix) is None
    ):
        raise ValueError(
            f"subprotocol_prefix takes a token such as 'bearer.', or None; you gave {subprotocol_prefix!r}"
        )
    challenge = f"Bearer realm={_quoted_string(realm)}"
    places = "'Authorization: Bearer'"
    if query is not None:
        places += f", the parameter {query!r}"
    if subprotocol_prefix is not None:
        places += f", or a subprotocol that begins with {subprotocol_prefix!r}"

    def refused(status: int, sentence: str, error: str) -> Refused:
        return Refused(status, sentence, {"WWW-Authenticate": f'{challenge}, error="{error}"'})

    async def admit(request: Request) -> None:
        tokens = _tokens(request, query, subprotocol_prefix)
        if not tokens:
            # RFC 6750 §3.1: no error code for who did not know that a token is needed.
            sentence = f"This needs a token, in {places}; received none."
            raise Refused(401, sentence, {"WWW-Authenticate": challenge})
        if len(tokens) > 1:
            raise refused(400, "A request has one token; received several that differ.", "invalid_request")
        (token,) = tokens
        if _BEARER_TOKEN.fullmatch(token) is None:
            raise refused(
                400,
                "A token has letters, digits and -._~+/ with = at its end, percent-encoded in a URL; "
                "received something else.",
                "invalid_request",
            )
        user = await _result(call(token))
        if not user:
            raise refused(401, "The token is not valid, or not any more.", "invalid_token")
        request.state["user"] = user
        request.token_prefix = subprotocol_prefix

    return admit


class _Known:
    """Users and their secrets, compared in a time that depends on neither: keyed digests are, all of one length."""

    def __init__(self, known: Mapping[str, str], what: str) -> None:
        self._key = secrets.token_bytes(32)
        self._digests: dict[str, bytes] = {}
        # Of whom nobody knows, who takes as long as the others.
        self._nobody = secrets.token_bytes(32)
        if not known:
            raise ValueError(f"check takes a mapping of users to {what}; you gave an empty one")
        for user, secret in known.items():
            if not isinstance(user, str) or not isinstance(secret, str):
                raise TypeError(
                    f"check takes a mapping of users to {what}, all strings; one is "
                    f"{type(user).__name__} to {type(secret).__name__}"
                )
            if not secret:
                raise ValueError(f"check takes {what} that are not empty; that of {user!r} is")
            self._digests[user] = self._digest(secret)

    def has(self, user: str, secret: str) -> bool:
        return hmac.compare_digest(self._digests.get(user, self._nobody), self._digest(secret))

    def owner(self, secret: str) -> str | None:
        digest = self._digest(secret)
        owners = [user for user, theirs in self._digests.items() if hmac.compare_digest(theirs, digest)]
        return owners[0] if owners else None

    def _digest(self, secret: str) -> bytes:
        return hmac.digest(self._key, secret.encode("utf-8", "surrogatepass"), "sha256")


def _credentials(request: Request, scheme: str) -> str | None:
    """Return what stands behind the scheme in Authorization; None where there is none, or another scheme."""
    values = request.headers.get_all("authorization")
    if len(values) > 1:
        raise Refused(400, f"A request has one Authorization header; received {len(values)}.")
    if not values:
        return None
    name, _, credentials = values[0].strip(" \t").partition(" ")
    return credentials.strip(" ") if name.lower() == scheme else None


def _user_and_password(credentials: str) -> tuple[str, str] | None:
    try:
        text = base64.b64decode(credentials, validate=True).decode()
    except ValueError:
        return None
    user, colon, password = text.partition(":")
    return (user, password) if colon and _CONTROL.search(text) is None else None


def _tokens(request: Request, query: str | None, prefix: str | None) -> set[str]:
    """Return the different tokens of a request."""
    tokens = set()
    credentials = _credentials(request, "bearer")
    if credentials is not None:
        tokens.add(credentials)
    if query is not None:
        tokens.update(request.query.get_all(query))
    if prefix is not None:
        for line in request.headers.get_all("sec-websocket-protocol"):
            for offer in line.split(","):
                offered = offer.strip(" \t")
                if offered.startswith(prefix):
                    tokens.add(offered.removeprefix(prefix))
    return tokens


async def _result(result: object) -> object:
    return await result if inspect.isawaitable(result) else result


def _checked_function(check: object, of: str) -> Callable[..., object]:
    if inspect.iscoroutine(check):
        check.close()
        raise TypeError(
            "check takes the function itself, without calling it; you gave what an async one returns"
        )
    if not callable(check):
        raise TypeError(
            f"check takes a function of {of}, a mapping or a string; you gave {type(check).__name__}"
        )
    return check


def _check_token(token: str) -> None:
    # Not shown: it is a secret.
    if _BEARER_TOKEN.fullmatch(token) is None:
        raise ValueError(
            "a token has letters, digits and -._~+/ with = at its end; you gave one that is empty or has others"
        )


def _quoted_string(realm: object) -> str:
    if not isinstance(realm, str) or not realm.isascii() or not realm.isprintable():
        raise ValueError(f"realm takes printable ASCII such as 'trioecho'; you gave {realm!r}")
    escaped = realm.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
