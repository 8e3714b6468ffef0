"""Options from a file, all of them printed with where each comes from, and what the environment has that is none.

What is typed wins over the environment, that over the file, and the file over the defaults.
"""

from __future__ import annotations

import difflib
import functools
import json
import logging
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from trioecho._process.run import COULD_NOT_START
from trioecho._protocol.counted import counted
from trioecho.cli.parameters import (
    CONFIGURATION_FILE,
    ENVIRONMENT_PREFIX,
    Declaration,
    Option,
    Refusal,
    environment_name,
    is_address_of_kubernetes,
    stacked,
)

logger = logging.getLogger("trioecho")

configuring = functools.partial(click.option, cls=Option, section="Options from elsewhere")

_SERVICE = re.compile(
    rf"{ENVIRONMENT_PREFIX}_(?:[A-Z0-9_]+_)?"
    r"(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)"
)
"""What Kubernetes sets in every container for a service whose name begins with trioecho."""

_NUMBER = re.compile(r"(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,9})?")


def _read(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    """Let the file's values stand where neither the command line nor the environment says anything."""
    if path is None:
        return
    options = {param.opts[0].removeprefix("--"): param for param in _told(context.command.params)}
    context.meta[CONFIGURATION_FILE] = str(path)
    context.default_map = {
        str(options[name].name): _value(path, name, given, options[name])
        for name, given in _file(path).items()
        if _is_known(path, name, given, options)
    }


configuration_options: Declaration = stacked(
    configuring(
        "--config",
        type=click.Path(path_type=Path),
        metavar="FILE",
        is_eager=True,
        expose_value=False,
        callback=_read,
        show_default="none",
        help="Options from a TOML file, by these names, such as port = 8080. What is typed wins, then "
        "the environment, then the file.",
    ),
    configuring(
        "--print-config",
        is_flag=True,
        allow_from_autoenv=False,
        help="Print all options in such a file's form, each with where it comes from, and exit.",
    ),
)


def configuration(context: click.Context) -> str:
    """Return the options that hold, as a file for ``--config``, with where each comes from as comments.

    Those that nobody gave are comments, too: some mean something else when they are given.
    """
    lines = ["# What holds, and where it comes from."]
    for param in _told(context.command.params):
        shown = _as_toml(param, context)
        line = param.opts[0].removeprefix("--") + ("" if shown is None else f" = {shown}")
        origin = _origin(context, param)
        if origin is not None and param.secret:
            lines.append(
                f"# {param.opts[0].removeprefix('--')}  # {origin}; not shown: it may hold a password"
            )
            continue
        lines.append(f"{line}  # {origin}" if origin is not None else f"# {line}  # {_default(param)}")
    return "\n".join(lines)


def warn_of_strangers(context: click.Context) -> None:
    """Say in the log what the environment has that looks like an option of this program and is none."""
    for sentence in strangers(os.environ, context.command.params):
        logger.warning("%s", sentence)


def strangers(environment: Mapping[str, str], params: Iterable[click.Parameter]) -> list[str]:
    """Return one sentence for the variables that Kubernetes has set for a service, and for each that is no option's."""
    start = f"{ENVIRONMENT_PREFIX}_"
    # Without what all have in common, which would make all alike.
    known = {environment_name(str(each.name)).removeprefix(start) for each in _told(params)}
    known.add("CONFIG")
    services, sentences = [], []
    for name, value in sorted(environment.items()):
        own = name.removeprefix(start)
        if own == name or not value:
            continue
        if own in known:
            if is_address_of_kubernetes(name, value):
                services.append(name)
        elif _SERVICE.fullmatch(name):
            services.append(name)
        else:
            near = difflib.get_close_matches(own, known, 1)
            advice = f"did you mean {start}{near[0]}?" if near else "--help lists the options"
            sentences.append(f"{name} in the environment is no option and is ignored: {advice}")
    if services:
        more = f" and {counted(len(services) - 1, 'variable')} more" if len(services) > 1 else ""
        sentences.insert(
            0,
            f"ignoring {services[0]}{more} in the environment, as Kubernetes sets them for a service: these are no "
            "options; enableServiceLinks: false in the pod leaves them out",
        )
    return sentences


def _told(params: Iterable[click.Parameter]) -> list[Option]:
    """The options that a file may have."""
    return [
        param
        for param in params
        if isinstance(param, Option) and param.name not in ("config", "print_config")
    ]


def _file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise Refusal(f"cannot read {path}: {error.strerror or error}", COULD_NOT_START) from None
    except ValueError as error:
        raise Refusal(f"--config: {path} is no TOML: {error}", 2) from None


def _is_known(path: Path, name: str, given: object, options: Mapping[str, Option]) -> bool:
    if name in options:
        return True
    if isinstance(given, dict):
        raise Refusal(
            f"--config: {path} has a table [{name}]; options stand at its top, such as port = 8080", 2
        )
    near = difflib.get_close_matches(name.replace("_", "-"), options, 1)
    advice = f"did you mean {near[0]}?" if near else "--help lists the options"
    raise Refusal(f"--config: {path} has {name!r}, which is no option: {advice}", 2)


def _value(path: Path, name: str, given: object, option: Option) -> bool | str | list[str]:
    """What the file says of an option, as it would be typed."""
    if option.is_flag:
        if isinstance(given, bool):
            return given
        kind = "true or false"
    elif option.multiple:
        several = given if isinstance(given, list) else [given]
        if all(_is_scalar(each) for each in several):
            return [str(each) for each in several]
        kind = 'a string or an array of them, ["a", "b"]'
    else:
        if _is_scalar(given):
            return str(given)
        kind = "a string or a number"
    raise Refusal(f"--config: {path} has {name} = {given!r}; write {kind}", 2)


def _is_scalar(given: object) -> bool:
    return isinstance(given, (str, int, float)) and not isinstance(given, bool)


def _as_toml(param: Option, context: click.Context) -> str | None:
    """The value as it was given, in TOML; None where there is none."""
    if param.is_flag:
        return "true" if context.params.get(str(param.name)) else "false"
    given = param.given(context)
    if param.multiple:
        return f"[{', '.join(_scalar(each) for each in given)}]" if isinstance(given, (list, tuple)) else "[]"
    return _scalar(given) if isinstance(given, (str, int, float)) else None


def _scalar(value: object) -> str:
    text = str(value)
    return (
        text if _NUMBER.fullmatch(text) else json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
    )


def _default(param: Option) -> str:
    return f"default: {param.show_default}" if isinstance(param.show_default, str) else "default"


def _origin(context: click.Context, param: Option) -> str | None:
    """Where the value comes from; None for a default."""
    match context.get_parameter_source(str(param.name)):
        case ParameterSource.COMMANDLINE:
            return "command line"
        case ParameterSource.ENVIRONMENT:
            return environment_name(str(param.name))
        case ParameterSource.DEFAULT_MAP:
            # A line break in its name would leave the comment.
            return json.dumps(context.meta[CONFIGURATION_FILE])
        case _:
            return None
