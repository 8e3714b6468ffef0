"""What a fault may be told, in its path or its query: numbers within limits, times, texts, choices.

Whatever does not fit is refused with 400 and one sentence, before anything else happens: a mistyped name, or a number
that is silently cut, would make a test pass that tests nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trioecho._http.messages import Request
from trioecho._http.refusals import Refused, listed, quoted
from trioecho._protocol.counted import counted
from trioecho._protocol.tokens import TOKEN

ID = "id"
"""The parameter that every fault takes: a name for the connection, by which `/seen/{id}` finds it."""

LONGEST_ID = 64
_ID = re.compile(r"[A-Za-z0-9._~-]{1,64}")
_PRINTABLE = re.compile(r"[\x20-\x7e\x80-\xff]*")
_YES = {"": True, "1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter. `meaning` is what it decides, `default` what counts where it is left out."""

    name: str
    meaning: str
    default: Any = None

    @property
    def accepted(self) -> str:
        """What would be right, as it stands at the end of a sentence."""
        raise NotImplementedError

    def read(self, text: str) -> Any:
        """Return the value that `text` stands for. Raises ValueError for what does not fit."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Count(Parameter):
    """A whole number from `least` to `most`, both included, of `unit`."""

    least: int = 0
    most: int = 0
    unit: str = ""

    @property
    def accepted(self) -> str:
        unit = f" ({self.unit})" if self.unit else ""
        return f"a whole number from {self.least} to {self.most}{unit}"

    def read(self, text: str) -> int:
        if re.fullmatch(r"[0-9]{1,15}", text) is None or not self.least <= int(text) <= self.most:
            raise ValueError
        return int(text)


@dataclass(frozen=True, slots=True)
class Seconds(Parameter):
    """A time from 0 to `most` seconds."""

    most: float = 60.0
    least: float = 0.0

    @property
    def accepted(self) -> str:
        return f"seconds from {self.least:g} to {self.most:g}, such as 2 or 0.5"

    def read(self, text: str) -> float:
        number = (
            float(text) if re.fullmatch(r"[0-9]{0,9}\.?[0-9]{0,9}", text) and text.strip(".") else math.nan
        )
        if not self.least <= number <= self.most:
            raise ValueError
        return number


@dataclass(frozen=True, slots=True)
class Flag(Parameter):
    """Yes or no; the bare name is yes."""

    default: Any = False

    @property
    def accepted(self) -> str:
        return "1 or 0"

    def read(self, text: str) -> bool:
        if text not in _YES:
            raise ValueError
        return _YES[text]


@dataclass(frozen=True, slots=True)
class Choice(Parameter):
    """One of several words."""

    choices: Sequence[str] = ()

    @property
    def accepted(self) -> str:
        return f"one of {', '.join(self.choices)}"

    def read(self, text: str) -> str:
        if text not in self.choices:
            raise ValueError
        return text


@dataclass(frozen=True, slots=True)
class Text(Parameter):
    """Text of at most `most` bytes of UTF-8; with `header`, only what the value of a header can hold; with `token`, a
    token of HTTP (RFC 9110 §5.6.2)."""

    most: int = 100
    header: bool = False
    token: bool = False

    @property
    def accepted(self) -> str:
        kind = "a token" if self.token else "printable text of Latin-1" if self.header else "text"
        return f"{kind} of at most {counted(self.most, 'byte')}"

    def read(self, text: str) -> str:
        if len(text.encode(errors="replace")) > self.most or re.search("[\ud800-\udfff]", text):
            raise ValueError
        if (self.header and _PRINTABLE.fullmatch(text) is None) or (
            self.token and TOKEN.fullmatch(text) is None
        ):
            raise ValueError
        return text


@dataclass(frozen=True, slots=True)
class Pairs(Parameter):
    """Pairs of a token and a text, ``name:value``, one for each time that the parameter is given, at most `most`."""

    most: int = 10

    @property
    def accepted(self) -> str:
        return f"name:value, printable, at most {counted(self.most, 'time')}"

    def read_all(self, texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
        """Return all pairs. Raises ValueError for what does not fit."""
        pairs = []
        for text in texts:
            name, colon, value = text.partition(":")
            if not colon or TOKEN.fullmatch(name) is None or _PRINTABLE.fullmatch(value) is None:
                raise ValueError(text)
            pairs.append((name, value.strip(" ")))
        if len(pairs) > self.most or sum(map(len, texts)) > 4096:
            raise ValueError(texts[-1])
        return tuple(pairs)


def read_parameters(
    request: Request, in_path: Sequence[Parameter], in_query: Sequence[Parameter]
) -> dict[str, Any]:
    """Return the values of all parameters by name, the defaults of those that are left out.

    Raises `Refused` (400) for a parameter that there is not, that is given twice, or whose value does not fit.
    """
    query = request.query
    names = [each.name for each in in_query]
    for name in query:
        if name != ID and name not in names:
            takes = listed([*names, ID])
            raise Refused(400, f"This path takes the parameters {takes}; received {quoted(name)}.")
    values: dict[str, Any] = {each.name: _read(each, request.path_params[each.name]) for each in in_path}
    for parameter in in_query:
        given = query.get_all(parameter.name)
        if isinstance(parameter, Pairs):
            try:
                values[parameter.name] = parameter.read_all(given)
            except ValueError as error:
                raise _does_not_fit(parameter, error.args[0]) from None
        elif len(given) > 1:
            raise Refused(400, f"{parameter.name} is given once; received {counted(len(given), 'time')}.")
        else:
            values[parameter.name] = _read(parameter, given[0]) if given else parameter.default
    return values


def read_id(query: Mapping[str, str]) -> str | None:
    """Return the name that the client gives its connection; None where it gives none. Raises `Refused` (400)."""
    given = query.get(ID)
    if given is not None and _ID.fullmatch(given) is None:
        raise Refused(
            400,
            f"id takes letters, digits and -._~, at most {counted(LONGEST_ID, 'character')}; received {quoted(given)}.",
        )
    return given


def _read(parameter: Parameter, text: str) -> Any:
    try:
        return parameter.read(text)
    except ValueError:
        raise _does_not_fit(parameter, text) from None


def _does_not_fit(parameter: Parameter, text: str) -> Refused:
    return Refused(400, f"{parameter.name} takes {parameter.accepted}; received {quoted(text)}.")
