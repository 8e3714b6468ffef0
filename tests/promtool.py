"""Prometheus' own checker, where it is installed."""

from __future__ import annotations

import os
import shutil

PROMTOOL = os.environ.get("PROMTOOL") or shutil.which("promtool")
"""Its path; None without it. In Debian it comes with the package `prometheus`."""
