"""The fixtures `trioecho_server` and `trioecho_tls_server` for pytest, which finds them by the entry point.

They stand beside the package because pytest imports this file in every run, and whoever imports a part of a package
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


@pytest.fixture
def trioecho_tls_server() -> Iterator[FaultServer]:
    """The same by https and wss: clients trust ``trioecho_tls_server.client_context``, or the authority in the file
    ``trioecho_tls_server.ca_file``. Needs ``trioecho[selfsigned]``."""
    from trioecho.testing import serve

    with serve(tls=True) as server:
        yield server
