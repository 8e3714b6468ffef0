"""A restart under load refuses nobody: the clients of tests/benchmark/restart.py, some hundreds of them."""

from __future__ import annotations

import sys

import pytest
from benchmark.restart import measure

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells who the workers are")


@pytest.mark.parametrize("way", ["workers", "socket"])
async def test_nobody_is_refused_while_servers_are_replaced(way: str) -> None:
    """Workers by a signal to their supervisor; servers that share a listening socket one by the other."""
    outcomes = await measure(way, connections=300, restarts=2, at_once=8)
    assert outcomes == {"101": 300}
