"""The chat's page. It stands beside the sample page, whose style and some of whose scripts it shares."""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping
from functools import cache

from trioecho import Refused, Request, Response
from trioecho._http.refusals import quoted
from trioecho._http.sample_page import PageFile, read_page

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page speaks to its own server alone."""


@cache
def chat_files() -> Mapping[str, PageFile]:
    """The files of the package's folder `chat/page` by the path of their URL below ``/chat``; `/` is index.html."""
    return read_page(importlib.resources.files("trioecho") / "chat" / "page", POLICY)


async def chat_page(request: Request) -> Response:
    """Answer with the page, at the route's own path, or with the file that the parameter `path` names.

    With a slash behind its name the page would not find its files: it is led to the name without. Raises `Refused`
    (404) for a file that is not there. Not a checkpoint.
    """
    name = request.path_params.get("path")
    if name == "":
        return Response(status=308, headers={"Location": f"../{request.path.rstrip('/').rpartition('/')[2]}"})
    file = chat_files().get("/" if name is None else f"/{name}")
    if file is None:
        raise Refused(404, f"Nothing is served at {quoted(request.path)}.")
    return file.answer(request)
