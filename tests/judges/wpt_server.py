"""Serves a directory of web platform tests with what they need: ``python -m judges.wpt_server DIRECTORY``.

The directory is one of https://github.com/web-platform-tests/wpt, or a part of it with ``common``, ``interfaces``,
``resources`` and ``websockets``. Two servers, without and with TLS, serve it together with the WebSocket endpoints of
`wpt_endpoints`. The first line of standard output is a JSON object with their ports; the browser has to take HOST and
ALTERNATIVE_HOST for this machine, and any certificate for good.
"""

from __future__ import annotations

import argparse
import functools
import json
import re
import ssl
from pathlib import Path
from string import Template
from urllib.parse import unquote

import trio
import trustme
from judges.wpt_endpoints import ENDPOINTS, OPTIONS

import trioecho

HOST = "web-platform.test"
ALTERNATIVE_HOST = "not-web-platform.test"

REPORT = """\
add_completion_callback((tests, harness) => {
  window.results = {
    harness: { status: harness.status, message: harness.message },
    tests: tests.map(({ name, status, message }) => ({ name, status, message })),
  };
});
"""
"""resources/testharnessreport.js, which testharness.js leaves to whoever runs the tests: leaves `window.results`."""

HARNESS = (
    '<script src="/resources/testharness.js"></script><script src="/resources/testharnessreport.js"></script>'
)

PAGES = {
    ".any.html": """<script>self.GLOBAL = $window;</script>
$harness<div id="log"></div>$scripts<script src="$script"></script>""",
    ".window.html": """$harness<div id="log"></div>$scripts<script src="$script"></script>""",
    ".worker.html": """$harness<div id="log"></div>
<script>fetch_tests_from_worker(new Worker("$script" + location.search));</script>""",
    ".any.worker.html": """$harness<div id="log"></div>
<script>fetch_tests_from_worker(new Worker("$worker" + location.search));</script>""",
    ".any.sharedworker.html": """$harness<div id="log"></div>
<script>fetch_tests_from_worker(new SharedWorker("$worker" + location.search));</script>""",
    ".any.serviceworker.html": """$harness<div id="log"></div>
<script>(async () => {
  const scope = "does/not/exist" + location.search;
  await (await navigator.serviceWorker.getRegistration(scope))?.unregister();
  const registration = await navigator.serviceWorker.register("$worker" + location.search, { scope });
  fetch_tests_from_worker(registration.installing);
})();</script>""",
}
"""The pages that are made of a script, by what their names end with; the longest ending counts."""

WORKER = """\
self.GLOBAL = $worker;
importScripts("/resources/testharness.js");
$imports
done();
"""

GLOBAL = {
    "window": "{ isWindow: () => true, isWorker: () => false, isShadowRealm: () => false }",
    "worker": "{ isWindow: () => false, isWorker: () => true, isShadowRealm: () => false }",
}
"""Where a test learns what it runs in."""


class Site:
    """The tests of a directory, as the endpoint of a route. `ports` are filled in when they are known."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()
        self.ports: dict[str, int] = {}
        # A test declares its encoding within; the type must not overrule it.
        self.files = trioecho.Files(self.directory, content_types={".html": "text/html"})
        self._stash: dict[str, str] = {}

    async def __call__(self, request: trioecho.Request) -> trioecho.Response:
        name = request.path
        if delay := re.search(r"pipe=trickle\(d(\d)\)", request.target):
            await trio.sleep(int(delay[1]))
        if name == "/resources/testharnessreport.js":
            return trioecho.Response(REPORT, content_type="text/javascript; charset=utf-8")
        if name.endswith(".py"):
            return self._program(request)
        if name.endswith(".any.worker.js"):
            return self._worker(name)
        for ending in sorted(PAGES, key=len, reverse=True):
            if name.endswith(ending) and not (self.directory / name[1:]).exists():
                return self._page(name.removesuffix(ending), ending)
        if ".sub." in name:
            return self._substituted(name)
        return await self.files(request)

    def _page(self, stem: str, ending: str) -> trioecho.Response:
        kind = re.match(r"\.[a-z]+", ending)
        assert kind is not None
        script = f"{stem}{kind[0]}.js"
        source = self._text(script)
        timeout = '<meta name="timeout" content="long">' if "long" in metadata(source, "timeout") else ""
        page = Template(PAGES[ending]).substitute(
            harness=HARNESS,
            window=GLOBAL["window"],
            scripts="".join(f'<script src="{each}"></script>' for each in metadata(source, "script")),
            script=script,
            worker=f"{stem}.any.worker.js",
        )
        return trioecho.Response(
            f'<!doctype html><meta charset="utf-8">{timeout}\n{page}\n', content_type="text/html"
        )

    def _worker(self, name: str) -> trioecho.Response:
        script = name.removesuffix(".worker.js") + ".js"
        imported = [*metadata(self._text(script), "script"), script]
        lines = "\n".join(f"importScripts({json.dumps(each)});" for each in imported)
        text = Template(WORKER).substitute(worker=GLOBAL["worker"], imports=lines)
        return trioecho.Response(text, content_type="text/javascript; charset=utf-8")

    def _substituted(self, name: str) -> trioecho.Response:
        text = self._text(name)
        values = {
            "host": HOST,
            "hosts[alt][]": ALTERNATIVE_HOST,
            "hosts[alt][www]": f"www.{ALTERNATIVE_HOST}",
        }
        for scheme, port in self.ports.items():
            values[f"ports[{scheme}][0]"] = str(port)
        # What is not served, such as HTTP/2, has no port.
        text = re.sub(r"\{\{([^}]+)\}\}", lambda found: values.get(found[1], "0"), text)
        kind = "text/javascript; charset=utf-8" if name.endswith(".js") else "text/html"
        return trioecho.Response(text, content_type=kind)

    def _text(self, name: str) -> str:
        file = (self.directory / name.lstrip("/")).resolve()
        if not file.is_relative_to(self.directory) or not file.is_file():
            raise trioecho.Refused(404, "No such test.")
        return file.read_text()

    def _program(self, request: trioecho.Request) -> trioecho.Response:
        """What the tests' Python programs answer, which wptserve would run."""
        name = request.path.rpartition("/")[2]
        if name == "check.py":
            return trioecho.Response("FAIL" if "sec-websocket-key" in request.headers else "PASS")
        if name == "redirect_response.py":
            raise trioecho.Refused(301, headers={"Location": "/echo"})
        if name == "set-cookie.py":
            cookie = unquote(request.target.partition("?")[2])
            return trioecho.Response(headers={"Set-Cookie": cookie}, content_type="text/plain")
        if name == "stash-put.py":
            self._stash[request.query["key"]] = request.query["value"]
            return trioecho.Response("done")
        if name == "stash-take.py":
            return trioecho.Response.json(self._stash.pop(request.query["key"], None))
        raise trioecho.Refused(404, "No such program.")


def metadata(source: str, key: str) -> list[str]:
    """Return what the lines ``// META: key=value`` at the top of a test script say."""
    values = []
    for line in source.splitlines():
        found = re.fullmatch(r"//\s*META:\s*(\w+)=(.*)", line)
        if found is None:
            break
        if found[1] == key:
            values.append(found[2].strip())
    # idlharness.js has moved its parser.
    return [
        value.replace("/resources/WebIDLParser.js", "/resources/webidl2/lib/webidl2.js") for value in values
    ]


async def main(directory: Path, http_port: int, https_port: int) -> None:
    site = Site(directory)
    routes: dict[str, trioecho.Route] = {**ENDPOINTS, "/{path:path}": trioecho.HttpRoute(site)}
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST, f"*.{HOST}", ALTERNATIVE_HOST, f"*.{ALTERNATIVE_HOST}").configure_cert(tls)
    serve = functools.partial(trioecho.serve, routes, options=OPTIONS)
    async with trio.open_nursery() as nursery:
        plain = await nursery.start(functools.partial(serve, port=http_port))
        secure = await nursery.start(functools.partial(serve, port=https_port, ssl_context=tls))
        site.ports = {"http": plain.port, "ws": plain.port, "https": secure.port, "wss": secure.port}
        print(json.dumps(site.ports), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serve web platform tests for WebSockets.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--http-port", type=int, default=0)
    parser.add_argument("--https-port", type=int, default=0)
    arguments = parser.parse_args()
    trio.run(main, arguments.directory, arguments.http_port, arguments.https_port)
