"""The path below which a proxy shows the server: ``/echo`` for https://client.com/echo/ws.

Some proxies hand on the path as it was asked for, some take the prefix away. Both will do, as with ASP.NET's
UsePathBase: a prefix that is there is taken away, and where it is not, a proxy has done so. Routes and handlers never
see it; what is sent to clients, such as the page's WebSocket and `Request.url`, has it in front.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from trioecho._http.messages import Request

_SEGMENTS = re.compile(r"(?:/[A-Za-z0-9._~@:+=,;!$&'()*-]+)+")


def checked_root_path(value: object) -> str:
    """Return a prefix without a slash at its end, "" for none; TypeError or ValueError with one sentence for another.

    Letters and digits of ASCII, and signs that no URL encodes: so it reads the same in every URL.
    """
    if not isinstance(value, str):
        raise TypeError(f"root_path takes a string such as '/echo'; you gave {value!r}")
    stripped = value.rstrip("/")
    if not stripped:
        return ""
    if _SEGMENTS.fullmatch(stripped) is None or {".", ".."} & set(stripped.split("/")):
        at = unquote(value.partition("://")[2].partition("/")[2] if "://" in value else value).strip("/ ")
        suggestion = f": write '/{at}'" if _SEGMENTS.fullmatch(f"/{at}") and ".." not in at else ""
        raise ValueError(
            "root_path takes a path such as '/echo', of letters, digits and signs that no URL encodes; "
            f"you gave {value!r}{suggestion}"
        )
    return stripped


def take_root_path(request: Request, root_path: str) -> bool:
    """Tell a request its prefix, and take that away from `path` and `target`, where it is there.

    False: it asks for the prefix itself, without the slash below which a page finds its files. Its path is "/" then.
    """
    request.root_path = root_path
    path = request.path
    if path == root_path:
        request.path = "/"
        request.target = f"/{request.target[_end(request.target, root_path) :]}"
        return False
    if path.startswith(f"{root_path}/"):
        request.path = path[len(root_path) :]
        request.target = request.target[_end(request.target, root_path) :]
    return True


def _end(target: str, root_path: str) -> int:
    """How long the prefix is in `target`, where any of its characters may be encoded, but no slash is added."""
    end = 0
    for _ in range(root_path.count("/")):
        found = re.compile(r"[/?]|\Z").search(target, end + 1)
        assert found is not None
        end = found.start()
    return end
