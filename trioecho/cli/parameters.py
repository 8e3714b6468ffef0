"""What the command line adds to click: seconds, sizes, headings in ``--help``, and mistakes said in one line.

click answers a mistake with three lines, of which two are about how to ask for help. Here the one line says
what was typed, where (the environment is easily forgotten), and what would be right.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any

import click
from click.core import ParameterSource

from trioecho._http.address_limits import AddressLimits

ENVIRONMENT_PREFIX = "TRIOECHO"

CONFIGURATION_FILE = "trioecho.configuration"
"""Where a context's `meta` has the path of the file that ``--config`` names."""

_GIVEN = "trioecho.given"
_LIMITS = tuple(field.name for field in dataclasses.fields(AddressLimits))
UNITS = {"": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30}


class Refusal(click.ClickException):
    """One line on standard error and an exit status: 2 for what was typed, 3 for what the machine refuses."""

    def __init__(self, sentence: str, exit_code: int) -> None:
        super().__init__(" ".join(sentence.split()))
        # click declares it on the class, one status per kind of error.
        self.exit_code = exit_code  # type: ignore[misc]

    def show(self, file: Any = None) -> None:
        click.echo(f"trioecho: {self.message}", err=True)


def seconds(*, zero: str | None = None) -> Callable[[Any], float]:
    """A click type: a finite number of seconds, more than 0. `zero` tells what 0 means, if it is allowed.

    With ``zero="off"``, ``0`` and ``off`` become infinity; with any other text 0 stays 0.
    """

    def seconds(value: Any) -> float:
        try:
            number = 0.0 if zero == value == "off" else float(value)
        except ValueError:
            number = math.nan
        if number == 0 and zero is not None:
            return math.inf if zero == "off" else 0.0
        if not 0 < number < math.inf:
            or_zero = f", or 0 for {zero}" if zero else ""
            raise click.BadParameter(
                f"{value!r} is not a time in seconds: write a number such as 30 or 0.5{or_zero}"
            )
        return number

    return seconds


def whole_number(least: int, most: int | None = None) -> Callable[[Any], int]:
    """A click type: a whole number from `least` to `most`, both included; no `most`, no end."""

    def number(value: Any) -> int:
        text = str(value)
        found = int(text) if re.fullmatch(r"[0-9]{1,15}", text) else -1
        if found < least or (most is not None and found > most):
            accepted = f"of at least {least}" if most is None else f"from {least} to {most}"
            raise click.BadParameter(f"{text!r} does not fit: write a whole number {accepted}")
        return found

    return number


def size(value: Any) -> int:
    """A click type: a number of bytes, at least 1: ``65536``, or with a unit ``64KiB``, ``16MiB``."""
    written = re.fullmatch(r"([0-9]{1,15}) ?([KMG]iB)?", str(value), re.IGNORECASE)
    number = int(written[1]) * UNITS[(written[2] or "").lower()] if written else 0
    if number < 1:
        raise click.BadParameter(
            f"{value!r} is not a size in bytes: write a number such as 65536, 64KiB or 16MiB"
        )
    return number


def memory(value: Any) -> int | float | None:
    """A click type: a number of bytes as `size` takes it, a share, ``50%``, as a fraction, or ``off`` for None."""
    text = str(value)
    if text.lower() == "off":
        return None
    share = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,6})?) ?%", text)
    if share is not None and 0 < float(share[1]) <= 100:
        return float(share[1]) / 100
    try:
        return size(value)
    except click.BadParameter:
        raise click.BadParameter(
            f"{value!r} is no amount of memory: write a size such as 512MiB, a share such as 50%, or off"
        ) from None


def descriptor(value: Any) -> int | str:
    """A click type: the number of a descriptor, or a name that systemd knows a socket by."""
    text = str(value)
    if re.fullmatch(r"[0-9]{1,9}", text):
        return int(text)
    # systemd.socket(5): no control characters, no colon.
    if not re.fullmatch(r"[^\W\d][\w.@-]{0,254}", text, re.ASCII):
        raise click.BadParameter(
            f"{text!r} does not fit: write the number of a descriptor, such as 3, or the name of a socket"
        )
    return text


def permissions(value: Any) -> int:
    """A click type: permissions of a file as chmod takes them, in octal: ``660``."""
    if not re.fullmatch(r"(0o?)?[0-7]{3}", str(value)):
        raise click.BadParameter(f"{value!r} are no permissions: write three octal digits such as 660")
    return int(str(value).removeprefix("0o"), 8)


def address_limits(value: Any) -> AddressLimits | None:
    """A click type: ``on`` for the defaults, ``off``, or numbers for some: ``connections=20,in-progress=off``."""
    text = str(value)
    if text in ("on", "off"):
        return AddressLimits() if text == "on" else None
    numbers: dict[str, Any] = {}
    for part in text.split(","):
        name, _, number = part.strip().partition("=")
        field = name.replace("-", "_")
        if (
            field not in _LIMITS
            or field in numbers
            or not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?|off", number)
        ):
            raise click.BadParameter(
                f"{part.strip()!r} does not fit: write on, off, or numbers such as connections=20,in-progress=10; "
                f"there are {', '.join(each.replace('_', '-') for each in _LIMITS)}"
            )
        if number == "off":
            numbers[field] = None
        else:
            numbers[field] = (
                float(number) if field == "handshakes_per_second" or "." in number else int(number)
            )
    try:
        return AddressLimits(**numbers)
    except (TypeError, ValueError) as error:
        raise click.BadParameter(
            re.sub(r"[a-z]+(_[a-z]+)+", lambda name: name[0].replace("_", "-"), str(error))
        ) from None


def environment_name(name: str) -> str:
    """Return what an option is called in the environment: ``TRIOECHO_LOG_LEVEL`` for ``log_level``."""
    return f"{ENVIRONMENT_PREFIX}_{name.upper()}"


def is_address_of_kubernetes(name: str, value: str) -> bool:
    """Whether a variable is what Kubernetes sets for a service: ``TRIOECHO_PORT=tcp://10.0.0.1:5000``."""
    return name.endswith("_PORT") and re.fullmatch(r"(?:tcp|udp|sctp)://\S+:[0-9]+", value) is not None


class Option(click.Option):
    """An option that knows under which heading of ``--help`` it stands."""

    def __init__(self, *args: Any, section: str, secret: bool = False, **attributes: Any) -> None:
        super().__init__(*args, **{"show_default": True, **attributes})
        self.section = section
        self.secret = secret
        """Its value is not printed."""

    def consume_value(self, ctx: click.Context, opts: Any) -> tuple[Any, ParameterSource]:
        """As click does it, and keep the value as it was given."""
        value, source = super().consume_value(ctx, opts)
        ctx.meta.setdefault(_GIVEN, {})[self.name] = value
        return value, source

    def given(self, ctx: click.Context) -> Any:
        """The value as it was given, before it was made what it stands for."""
        return ctx.meta[_GIVEN].get(self.name)

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """As click does it, but for what Kubernetes tells of a service that is called as this program."""
        value = super().resolve_envvar_value(ctx)
        foreign = value is not None and is_address_of_kubernetes(environment_name(str(self.name)), value)
        return None if foreign else value


Declaration = Callable[[Callable[..., Any]], Callable[..., Any]]
"""What declares one option, or several, of the function below it."""


def stacked(*declarations: Declaration) -> Declaration:
    """Make one decorator of several, which stand in ``--help`` in this order."""

    def declare(command: Callable[..., Any]) -> Callable[..., Any]:
        for declaration in reversed(declarations):
            command = declaration(command)
        return command

    return declare


ARGUMENTS = "trioecho.arguments"
"""Where `click.Context.meta` has what was typed, for who starts the same program again."""


class Command(click.Command):
    """Help under headings, and mistakes as a `Refusal` with exit status 2."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[ARGUMENTS] = tuple(args)
        return super().parse_args(ctx, args)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        try:
            return super().make_context(*args, **extra)
        except click.UsageError as error:
            raise Refusal(_describe(error), 2) from None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            # The usage line has the arguments; newer versions of click have a row for them, too, which says no more.
            row = None if isinstance(param, click.Argument) else param.get_help_record(ctx)
            if row is not None:
                sections.setdefault(getattr(param, "section", "This program"), []).append(row)
        for heading, rows in sections.items():
            with formatter.section(heading):
                formatter.write_dl(rows)


def _describe(error: click.UsageError) -> str:
    if (
        not isinstance(error, click.BadParameter)
        or isinstance(error, click.MissingParameter)
        or error.param is None
        or error.ctx is None
    ):
        return f"{error.format_message()} (--help lists the options)"
    argument = isinstance(error.param, click.Argument)
    culprit = error.param.human_readable_name if argument else error.param.opts[0]
    match error.ctx.get_parameter_source(str(error.param.name)):
        case ParameterSource.ENVIRONMENT:
            culprit += f" (from {environment_name(str(error.param.name))})"
        case ParameterSource.DEFAULT_MAP:
            culprit += f" (from {error.ctx.meta[CONFIGURATION_FILE]})"
    return f"{culprit}: {error.message}"
