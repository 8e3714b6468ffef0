"""What people may call themselves and a room, and what they may say: each checked, or refused with one sentence."""

from __future__ import annotations

import unicodedata

from trioecho.hubs import HubException

LONGEST_NAME = 32
"""Characters of a person's or a room's name: what fits beside a message."""

LONGEST_TEXT = 2_000
"""Characters of one message: a page. In JSON with every character escaped that is still less than 32 KiB, the hub's
limit for what it receives."""

LONGEST_COUNTDOWN = 60
"""Seconds. A stream holds a place among those that a client may have."""

# Parts of emoji and of words in several scripts; everything else that is invisible only serves to deceive.
_JOINERS = "\u200c\u200d"


def name_of(what: str, given: str) -> str:
    """Return a name as it is shown, with single spaces. `what` tells whose it is, for the sentence of `HubException`,
    which is raised for one that is empty, too long, or has something invisible in it."""
    name = unicodedata.normalize("NFC", " ".join(given.split()))
    if not 0 < len(name) <= LONGEST_NAME:
        raise HubException(f"The name of {what} has 1 to {LONGEST_NAME} characters; this has {len(name)}.")
    if any(unicodedata.category(each)[0] == "C" and each not in _JOINERS for each in name):
        raise HubException(f"The name of {what} has an invisible character in it: write it anew.")
    return name


def text_of(given: str) -> str:
    """Return what is said, without the white space around it. Raises `HubException` for nothing, and for too much."""
    text = given.strip()
    if not text:
        raise HubException("There is nothing in this message.")
    if len(text) > LONGEST_TEXT:
        raise HubException(f"A message has at most {LONGEST_TEXT:,} characters; this has {len(text):,}.")
    return text


def check_seconds(seconds: int) -> None:
    """Raise `HubException` for what is no time to count down from."""
    if not 1 <= seconds <= LONGEST_COUNTDOWN:
        raise HubException(f"A countdown takes 1 to {LONGEST_COUNTDOWN} seconds; you asked for {seconds}.")
