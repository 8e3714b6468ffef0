"""How much memory a part of a test may allocate."""

from __future__ import annotations

import contextlib
import tracemalloc
from collections.abc import Iterator


@contextlib.contextmanager
def memory_within(limit: int) -> Iterator[None]:
    """Fails if at any moment more than `limit` bytes were allocated and not freed in between."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < limit, f"{peak} bytes at the peak, more than {limit}"
