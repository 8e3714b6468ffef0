"""The Content-Type of a file, by its name."""

from __future__ import annotations

import re

import pytest

from trioecho._http.content_types import CONTENT_TYPES, UNKNOWN, checked_content_types, content_type


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("index.html", "text/html; charset=utf-8"),
        ("a/b.c/INDEX.HTML", "text/html; charset=utf-8"),
        ("app.mjs", "text/javascript; charset=utf-8"),
        ("logo.svg", "image/svg+xml"),
        ("data.json", "application/json"),
        ("module.wasm", "application/wasm"),
        ("backup.tar.gz", "application/gzip"),
        ("README", UNKNOWN),
        ("a.html/README", UNKNOWN),
        ("program.exe", UNKNOWN),
        ("ends.", UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_the_last_ending_of_a_name_says_its_type(name: str, expected: str) -> None:
    """Case does not matter, and what is not known is bytes."""
    assert content_type(name) == expected


def test_the_table_is_in_order() -> None:
    """Endings are in lower case with one dot, types have no odd characters, and text is UTF-8."""
    for ending, kind in CONTENT_TYPES.items():
        assert re.fullmatch(r"\.[a-z0-9]+", ending)
        assert re.fullmatch(r"[a-z]+/[a-z0-9.+-]+(; charset=utf-8)?", kind)
        assert kind.startswith("text/") == kind.endswith("; charset=utf-8"), ending


def test_own_types_come_first() -> None:
    """A mapping adds endings and replaces the table's."""
    own = checked_content_types({".obj": "model/obj", ".MD": "text/plain"})
    assert content_type("teapot.obj", own) == "model/obj"
    assert content_type("README.md", own) == "text/plain"
    assert content_type("a.html", own) == "text/html; charset=utf-8"


@pytest.mark.parametrize(
    ("given", "error", "sentence"),
    [
        (".obj", TypeError, "content_types takes a mapping"),
        ({".obj": None}, TypeError, "content_types takes a mapping"),
        ({"obj": "model/obj"}, ValueError, "endings of one dot, such as '.obj'; you gave 'obj'"),
        ({".tar.gz": "application/gzip"}, ValueError, "the last dot of a file's name counts"),
        ({".obj": "model"}, ValueError, "a content type is such as 'model/obj'; you gave 'model' for '.obj'"),
        ({".obj": "model/obj\r\nX: y"}, ValueError, "printable characters"),
    ],
)
def test_types_that_are_none_are_refused(given: object, error: type[Exception], sentence: str) -> None:
    """At once, with one sentence."""
    with pytest.raises(error, match=re.escape(sentence)):
        checked_content_types(given)
