"""``python -m trioecho deploy NAME``: the files with which it is run behind proxies, by systemd and in containers.

They are in the package's folder `deploy`; whoever needs one prints it, and changes names and paths.
"""

from __future__ import annotations

import difflib
import importlib.resources
from typing import NamedTuple

import click

from trioecho.cli.parameters import Command, Refusal


class Files(NamedTuple):
    """What is printed under one name, one after the other, and its line in ``--help``."""

    sentence: str
    names: tuple[str, ...]


FILES = {
    "nginx": Files("nginx before two servers.", ("nginx.conf",)),
    "haproxy": Files("HAProxy before two servers, WebSockets over HTTP/2 included.", ("haproxy.cfg",)),
    "caddy": Files("Caddy before two servers.", ("Caddyfile",)),
    "apache": Files("Apache before two servers.", ("apache.conf",)),
    "systemd": Files("A hardened service and its socket.", ("trioecho.socket", "trioecho.service")),
    "docker": Files("A Dockerfile.", ("Dockerfile",)),
    "kubernetes": Files("Deployment, Service, disruption budget and autoscaler.", ("kubernetes.yaml",)),
    "grafana": Files("A dashboard for Grafana.", ("grafana.json",)),
}
"""What there is to print."""

UNITS = "/etc/systemd/system"


class _Deploy(Command):
    """A command whose argument is one of `FILES`, which ``--help`` lists."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("NAME is one of"):
            formatter.write_dl([(name, files.sentence) for name, files in FILES.items()])
        super().format_options(ctx, formatter)


@click.command("deploy", cls=_Deploy, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name", metavar="NAME", required=False)
def deploy(name: str | None) -> None:
    """Print a file for running trioecho, to be changed where names and paths are others.

    Each says in comments how it is used, and what was not tried out.
    """
    if name is None:
        raise Refusal(f"deploy needs the name of what to print a file for: there is {', '.join(FILES)}", 2)
    if name not in FILES:
        near = difflib.get_close_matches(name.lower(), FILES, 1)
        advice = f"did you mean {near[0]}?" if near else f"there is {', '.join(FILES)}"
        raise Refusal(f"there is no file for {name!r}: {advice}", 2)
    click.echo(printed(name), nl=False)


def printed(name: str) -> str:
    """Return what is printed for one of `FILES`; of several files each has its path in front."""
    names = FILES[name].names
    texts = [_read(each) for each in names]
    if len(texts) == 1:
        return texts[0]
    return "\n".join(f"# {UNITS}/{each}\n{text}" for each, text in zip(names, texts, strict=True))


def _read(file: str) -> str:
    return (importlib.resources.files("trioecho") / "deploy" / file).read_text(encoding="utf-8")
