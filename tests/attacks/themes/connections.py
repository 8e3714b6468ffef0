"""Holds of connections and of what each of them needs: a task, a descriptor, a line in the log."""

from attack import Service, attack
from crowd import Plan, crowd
from target import Tally, Target
from wire import handshake, upgraded


@attack("say nothing until they time out, all at once", 5000, seconds=13.0)
def silence(target: Target) -> Tally:
    """TCP connections without a byte; most servers give up on them after 10 seconds."""
    return crowd(target, Plan())


@attack("say nothing, renewed, ulimit -n 1024", 1100, service=Service.SHORT_OF_DESCRIPTORS, seconds=13.0)
def descriptors(target: Target) -> Tally:
    """More TCP connections than the server may have descriptors."""
    return crowd(target, Plan())


def come_and_go(target: Target) -> Tally:
    """WebSockets that are reset as soon as they are open, and come again."""
    return crowd(target, Plan(request=handshake(target), answer=upgraded(), leaves=True))


@attack("WebSockets opened and reset", 50)
def resets(target: Target) -> Tally:
    """The server has as much to do for each as for one that stays."""
    return come_and_go(target)


@attack("WebSockets opened and reset, log into an unread pipe", 50, service=Service.LOGGING)
def unread_log(target: Target) -> Tally:
    """Whoever has started the server does not read its stderr; each connection writes lines of the log."""
    return come_and_go(target)


ATTACKS = (silence, descriptors, resets, unread_log)
