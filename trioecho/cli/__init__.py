"""The command line: ``python -m trioecho``, or ``trioecho``."""

from trioecho.cli.serve import main

__all__ = ["main"]
