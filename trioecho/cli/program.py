"""`Program`: one command that serves, and hands over to the subcommand that is named first."""

from __future__ import annotations

import importlib
from typing import Any

import click

from trioecho.cli.parameters import Command, Refusal

SUBCOMMANDS = {
    "serve": "Serve, which is what happens without a command, too.",
    "connect": "Talk to a WebSocket server, at the terminal or in pipes.",
    "check": "See whether a WebSocket server echoes: one line, exit status 0 or 1.",
    "deploy": "Print a file for nginx, HAProxy, Caddy, Apache, systemd, Docker, Kubernetes, Grafana.",
}
"""The subcommands in the order of ``--help``, each with its sentence there.

Each is a click command of this name in a module of this name in `trioecho.cli`, which is imported when it is called.
``serve`` is `Program` itself.
"""


class Program(Command):
    """A click command whose first argument may be a subcommand. Without one it is ``serve``."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if not args or args[0].startswith("-"):
            return super().make_context(info_name, args, parent, **extra)
        name, *rest = args
        if name not in SUBCOMMANDS:
            raise Refusal(f"there is no command {name!r}{_suggestion(name)} (--help lists the options)", 2)
        return self._subcommand(name).make_context(f"{info_name} {name}", rest, parent, **extra)

    def _subcommand(self, name: str) -> click.Command:
        if name == "serve":
            return Command(
                name,
                params=self.params,
                callback=self.callback,
                help=self.help,
                epilog=self.epilog,
                context_settings=self.context_settings,
            )
        command: click.Command = getattr(importlib.import_module(f"trioecho.cli.{name}"), name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command that `make_context` found, which may be a subcommand."""
        return super().invoke(ctx) if ctx.command is self else ctx.command.invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        with formatter.section("Commands"):
            formatter.write_dl(list(SUBCOMMANDS.items()))

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return ["[COMMAND]", *super().collect_usage_pieces(ctx)]


def _suggestion(name: str) -> str:
    if name.isascii() and name.isdigit():
        return f": write --port {name}"
    return f": there is {', '.join(SUBCOMMANDS)}"
