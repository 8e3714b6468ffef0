"""The fixture `trioecho_server` for pytest, which finds it by its entry point.

It stands beside the package because pytest imports this file in every run, and whoever imports a part of a package
imports all that its ``__init__`` does: here nothing is imported until a test asks for a server.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from trioecho.testing import FaultServer


@pytest.fixture
def trioecho_server() -> Iterator[FaultServer]:
    """A server that misbehaves on request, for this test alone: ``trioecho_server.at("/close/4001")`` is a URL, and
    ``trioecho_server.seen(ws)`` what the server saw."""
    from trioecho.testing import serve

    with serve() as server:
        yield server
