"""Which sockets that this process was started with it is to listen at: ``--fd``, and what systemd hands over."""

from __future__ import annotations

from trioecho._process.systemd import sockets_handed_over
from trioecho.cli.parameters import Refusal


def inherited(given: int | str | None, *, elsewhere: bool) -> list[int] | None:
    """The descriptors: that of a number or a name; without one all of systemd's, unless it is to listen `elsewhere`.

    None for no such place. Raises `Refusal` (2) for a name that systemd does not know.
    """
    if isinstance(given, int):
        return [given]
    handed = sockets_handed_over()
    if given is None:
        return [each.fd for each in handed] or None if not elsewhere else None
    named = [each.fd for each in handed if each.name == given]
    if not named:
        there = ", ".join(dict.fromkeys(each.name for each in handed))
        told = f"there are {there}" if there else "it handed over none"
        raise Refusal(f"--fd: systemd handed over no socket named {given}: {told}", 2)
    return named
