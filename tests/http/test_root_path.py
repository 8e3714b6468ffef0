"""The path below which a proxy shows the server: taken away where it is, told where it has been taken away."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioecho._http.messages import Request
from trioecho._http.request_head import path_and_target
from trioecho._http.root_path import checked_root_path, take_root_path


def taken(target: str, root_path: str = "/a/b") -> tuple[str, str, bool]:
    """Path and target behind it, and whether it asked for more than the prefix."""
    path, target = path_and_target(target.encode())
    request = Request("GET", path, target, [("Host", "client.com")])
    whole = take_root_path(request, root_path)
    assert request.root_path == root_path
    return request.path, request.target, whole


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/a/b/ws?x=/a/b", ("/ws", "/ws?x=/a/b", True)),
        ("/a/b/", ("/", "/", True)),
        # Encoded by a client or a proxy that is careful.
        ("/%61/b/%C3%BC", ("/ü", "/%C3%BC", True)),
        ("/a/b/x%2Fy", ("/x%2Fy", "/x%2Fy", True)),
        # Once: what follows is the routes'.
        ("/a/b/a/b", ("/a/b", "/a/b", True)),
        # Taken away by the proxy, or only alike.
        ("/ws", ("/ws", "/ws", True)),
        ("/a/bc", ("/a/bc", "/a/bc", True)),
        ("/A/b/ws", ("/A/b/ws", "/A/b/ws", True)),
        ("/a%2Fb/ws", ("/a%2Fb/ws", "/a%2Fb/ws", True)),
        # The prefix itself.
        ("/a/b", ("/", "/", False)),
        ("/a/b?x=1", ("/", "/?x=1", False)),
    ],
)
def test_the_prefix_is_taken_away_where_it_is(target: str, expected: tuple[str, str, bool]) -> None:
    """From the decoded path, and as much from what was sent."""
    assert taken(target) == expected


@given(st.text(st.sampled_from("/ab%612f?."), max_size=20))
def test_path_and_target_stay_the_same_resource(rest: str) -> None:
    """Whatever follows, the target still decodes to the path."""
    for target in (f"/{rest}", f"/a/b{rest}", f"/a/b/{rest}"):
        try:
            path_and_target(target.encode())
        except Exception:
            continue
        path, short, _ = taken(target)
        assert path_and_target(short.encode())[0] == path


def test_the_url_has_it() -> None:
    """Whichever way the proxy handed the path on."""
    for target in ("/ws?x=1", "/a/b/ws?x=1"):
        request = Request("GET", target.partition("?")[0], target, [("Host", "client.com")])
        take_root_path(request, "/a/b")
        assert request.url == "http://client.com/a/b/ws?x=1"


@pytest.mark.parametrize(
    ("given", "expected"),
    [("", ""), ("/", ""), ("/echo", "/echo"), ("/echo/", "/echo"), ("/a/b~1", "/a/b~1")],
)
def test_a_slash_at_the_end_does_not_matter(given: str, expected: str) -> None:
    """A lone slash is no prefix."""
    assert checked_root_path(given) == expected


@pytest.mark.parametrize(
    ("wrong", "kind", "words"),
    [
        (None, TypeError, "you gave None"),
        ("echo", ValueError, "you gave 'echo': write '/echo'"),
        ("https://client.com/echo", ValueError, "write '/echo'"),
        ("/ü", ValueError, "you gave '/ü'"),
        ("/a//b", ValueError, "you gave '/a//b'"),
        ("/a/../b", ValueError, "you gave"),
        ("/a?b", ValueError, "you gave"),
        ("/a%20b", ValueError, "you gave"),
        ("/a\n", ValueError, "you gave"),
    ],
)
def test_what_is_no_prefix_is_refused(wrong: Any, kind: type[Exception], words: str) -> None:
    """With one sentence that shows one that is."""
    with pytest.raises(kind, match=r"root_path takes a .* such as '/echo'") as error:
        checked_root_path(wrong)
    assert words in str(error.value)
