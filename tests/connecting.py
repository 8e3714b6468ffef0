"""`trioecho.client` against a server of `serving`."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import serving

import trioecho
from trioecho import client

plain_and_tls = pytest.mark.parametrize("way_of_reading", ["poller", "poller-tls"], indirect=True)


def connect(
    server: trioecho.Server, path: str = "/ws", **options: Any
) -> AbstractAsyncContextManager[client.WebSocket]:
    """`client.connect` to `server`, encrypted if that is."""
    if serving.encrypted(server):
        options.setdefault("ssl_context", serving.certificates()[1])
    if not server.urls:
        scheme = "wss" if serving.encrypted(server) else "ws"
        return client.connect(f"{scheme}://127.0.0.1{path}", unix=server.unix_paths[0], **options)
    return client.connect(f"{server.url.rstrip('/').replace('http', 'ws', 1)}{path}", **options)
