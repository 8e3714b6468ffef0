"""The table of faults as a page: plain HTML with its own style, no script, nothing from elsewhere."""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import re

from trioecho._http.messages import Response
from trioecho.faults.parameters import Choice, Parameter
from trioecho.faults.table import FAULTS, SEEN_PATHS, WORDS, Fault

STYLE = """
:root {
  color-scheme: light dark;
  --ink: light-dark(#1d2529, #e3e8ea); --soft: light-dark(#56646c, #9aa8b0);
  --paper: light-dark(#fdfdfc, #14191c); --line: light-dark(#dfe4e6, #2b3439);
  --accent: light-dark(#00695f, #5ec9bb); --tint: light-dark(#eef4f3, #1b2427);
}
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink); font: 1rem/1.6 system-ui, sans-serif;
  overflow-wrap: anywhere }
main { max-width: 62rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .75rem; letter-spacing: -.01em }
h2 { font-size: 1.25rem; margin: 3rem 0 .5rem }
h3 { font-size: 1rem; margin: 1.75rem 0 .25rem }
p { max-width: 42rem; margin: 0 0 .75rem }
a { color: var(--accent) }
code { font: .9em/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace }
pre { background: var(--tint); border-radius: .5rem; padding: .8rem 1rem; white-space: pre-wrap; margin: 1rem 0 }
article { border-top: 1px solid var(--line); padding: 1.1rem 0;
  display: grid; grid-template-columns: minmax(0, 19rem) minmax(0, 1fr); gap: .25rem 2rem }
article h3 { margin: 0; font-weight: 600 }
article h3 code { color: var(--accent) }
.example { color: var(--soft); font-size: .85rem; margin: .2rem 0 0 }
article p { margin: 0 0 .35rem }
.expect { color: var(--soft) }
dl { display: grid; grid-template-columns: minmax(0, 19rem) minmax(0, 1fr); gap: .3rem 2rem; margin: .5rem 0 }
article dl { grid-template-columns: minmax(0, 8rem) minmax(0, 1fr); gap: .1rem 1rem; font-size: .9rem }
dt { font-weight: 400 } dd { margin: 0; color: var(--soft) }
@media (max-width: 44rem) {
  main { padding-top: 1.5rem }
  article, dl, article dl { grid-template-columns: minmax(0, 1fr) }
  dd { margin-bottom: .4rem }
}
"""

_POLICY = (
    "default-src 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def fault_page() -> Response:
    """The page."""
    return Response(
        _page(),
        content_type="text/html; charset=utf-8",
        headers={
            "Content-Security-Policy": _POLICY,
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-cache",
        },
    )


@functools.cache
def _page() -> str:
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Faults on request · trioecho</title>
<style>{STYLE}</style>
<main>
<h1>Faults on request</h1>
<p>A server for tests of WebSocket clients. Connect to a path, and it misbehaves in one way; everything else it does
right. Each path takes <code>?id=</code>, a name by which <a href="seen">/seen</a>/name tells what the server saw.</p>
<pre><code>new WebSocket(location.origin.replace("http", "ws") +
  "/close/4001?reason=bye&amp;after=1&amp;id=mine")</code></pre>
<p>A parameter that does not fit is answered with 400 and one sentence. A fault ends after 300 seconds. Programs get
this table as JSON: <code>Accept: application/json</code>.</p>
<h2 id="faults">Paths</h2>
{"".join(_article(fault) for fault in FAULTS)}
<h2 id="told">What was seen</h2>
<dl>{_definitions(dict(SEEN_PATHS))}</dl>
<h2 id="words">Words</h2>
{"".join(_words(*words) for words in WORDS)}
</main>
</html>
"""


def _article(fault: Fault) -> str:
    parameters = {
        each.name: f"{each.meaning}: {_accepted(each)}{_default(each.default)}"
        for each in (*fault.in_path, *fault.in_query)
    }
    listing = f"<dl>{_definitions(parameters)}</dl>" if parameters else ""
    # No second time where there is nothing to add to the path.
    example = (
        ""
        if fault.example == fault.path
        else f'<p class="example"><code>{_breaking(fault.example)}</code></p>'
    )
    return (
        f'<article id="{_anchor(fault.path)}"><div><h3><code>{_breaking(fault.path)}</code></h3>{example}</div><div>'
        f"<p>{html.escape(fault.does[0].upper() + fault.does[1:])}.</p>"
        f'<p class="expect">A client should show: {html.escape(fault.expect)}.</p>{_on_its_way(fault)}{listing}</div>'
        "</article>\n"
    )


def _on_its_way(fault: Fault) -> str:
    ways = {"Over TLS": fault.over_tls, "Behind a proxy": fault.proxied}
    return "".join(
        f'<p class="expect">{way}: {html.escape(becomes).replace("`", "")}.</p>'
        for way, becomes in ways.items()
        if becomes != "the same"
    )


def _words(path: str, name: str, meanings: dict[str, str]) -> str:
    return f"<h3><code>{_breaking(path)}</code>, {name}</h3><dl>{_definitions(meanings)}</dl>\n"


def _definitions(pairs: dict[str, str]) -> str:
    return "".join(
        f"<dt><code>{html.escape(name)}</code></dt><dd>{html.escape(text)}</dd>"
        for name, text in pairs.items()
    )


def _accepted(parameter: Parameter) -> str:
    return (
        "a word of the list below"
        if isinstance(parameter, Choice) and parameter.name != "key"
        else parameter.accepted
    )


def _default(value: object) -> str:
    if value in (None, "") or isinstance(value, bool):
        return ""
    return f"; default {value:g}" if isinstance(value, float) else f"; default {value}"


def _breaking(path: str) -> str:
    """A path that may break where its parts begin."""
    return re.sub(r"([/?]|&amp;)", r"\1<wbr>", html.escape(path))


def _anchor(path: str) -> str:
    return re.sub(r"\W+", "-", path).strip("-")
