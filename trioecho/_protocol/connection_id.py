"""Short names for connections: eight letters and digits by which the lines of a log are told apart and put together.

Nothing is kept to make them unique: a process counts from a random number on, and the count is multiplied by an odd
number modulo 2**40, which gives each of them another place, far from its neighbours'. So ids that follow one another
look different, none comes twice within 10**12 connections, and two processes, or one before and after its restart, are
unlikely to share one. They are names and no secrets: whoever has one can reckon the next.
"""

from __future__ import annotations

import itertools
import os
import secrets

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32 in lower case: without i, l, o and u, which are taken for others or make words."""

_PAIRS = tuple(one + other for one in _ALPHABET for other in _ALPHABET)
_MASK = 2**40 - 1
_SCATTER = 0x9E3779B97F
"""2**40 divided by the golden ratio, an odd number: its multiples lie as far apart as they can."""

_numbers = itertools.count(secrets.randbits(40))


def new_id() -> str:
    """An id for one connection, such as ``"k3m9x2aq"``. May be called in any thread."""
    number = next(_numbers) * _SCATTER & _MASK
    return (
        _PAIRS[number >> 30]
        + _PAIRS[number >> 20 & 1023]
        + _PAIRS[number >> 10 & 1023]
        + _PAIRS[number & 1023]
    )


def _begin_anew() -> None:
    global _numbers
    _numbers = itertools.count(secrets.randbits(40))


if hasattr(os, "register_at_fork"):
    # Otherwise a process's children would count alike.
    os.register_at_fork(after_in_child=_begin_anew)
