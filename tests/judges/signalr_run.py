"""Runs Microsoft's functional suite of SignalR's client against trioecho: ``python -m judges.signalr_run DIRECTORY``.

README.md says what the directory is. Prints the specs that fail, and the sums, of each row; with names of rows behind
the directory, of those. ``--redis URL`` runs it over a Redis, ``--stateful`` with stateful reconnect.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import trio
import trustme
from judges.signalr_server import routes
from page.browser import ARGUMENTS, CHROMIUM
from playwright.sync_api import sync_playwright

import trioecho
from trioecho import LiveServer

LONGEST = 300
"""Seconds for one row; each takes a few."""

ROWS = ("node", "node-https", "chromium", "chromium-cross-origin")

SCRIPTS = {
    "/suite.js": "ft-browser.js",
    "/jasmine.js": "node_modules/jasmine-core/lib/jasmine-core/jasmine.js",
    "/lib/signalr-webworker/signalr.js": "node_modules/@microsoft/signalr/dist/webworker/signalr.js",
}

PAGE = Template("""<!doctype html>
<script src="/jasmine.js"></script>
<script>
  window.process = { platform: "linux", env: {} };
  if ($server) window.__karma__ = { config: { args: ["--server", ";" + $server] } };
  const environment = jasmine.getEnv();
  environment.configure({ random: false, forbidDuplicateNames: false });
  const found = { passed: 0, pending: 0, failed: [] };
  environment.addReporter({
    specDone({ status, fullName, failedExpectations }) {
      if (status === "failed") found.failed.push([fullName, failedExpectations[0].message]);
      else found[status === "passed" ? "passed" : "pending"] += 1;
    },
    jasmineDone() { window.results = found; },
  });
</script>
<script src="/suite.js"></script>
<script>onload = () => environment.execute();</script>
""")


@dataclass
class Found:
    """How many specs of a row have passed or are left out by the suite, and those that failed with their reason."""

    passed: int
    pending: int
    failed: list[tuple[str, str]]


def scripts(directory: Path) -> dict[str, trioecho.Route]:
    """What the browser loads."""

    def script(name: str) -> trioecho.HttpRoute:
        text = (directory / name).read_bytes()

        async def show(request: trioecho.Request) -> trioecho.Response:
            return trioecho.Response(text, content_type="text/javascript; charset=utf-8")

        return trioecho.HttpRoute(show)

    return {path: script(name) for path, name in SCRIPTS.items()}


def page(server: str | None = None) -> trioecho.HttpRoute:
    """The page that runs the suite against the server that it comes from, or another."""
    text = PAGE.substitute(server=json.dumps(server))

    async def show(request: trioecho.Request) -> trioecho.Response:
        return trioecho.Response(text, content_type="text/html; charset=utf-8")

    return trioecho.HttpRoute(show)


def on_node(directory: Path, https: str, http: str) -> Found:
    """Run the suite in Node against two servers, or one without TLS."""
    node = shutil.which("node")
    assert node is not None, "needs Node.js"
    run = subprocess.run(
        [node, "node_modules/jasmine/bin/jasmine.js", "--config=jasmine.json"],
        cwd=directory,
        env=os.environ | {"SERVER_URL": f"{https};{http}", "NODE_TLS_REJECT_UNAUTHORIZED": "0"},
        capture_output=True,
        text=True,
        timeout=LONGEST,
    )
    sums = re.search(r"^(\d+) specs?, (\d+) failures?(?:, (\d+) pending)?", run.stdout, re.MULTILINE)
    assert sums is not None, run.stdout + run.stderr
    specs, failures, pending = (int(each or 0) for each in sums.groups())
    failed = re.findall(r"^\d+\) (.*)\n  Message:\n((?:    .*\n)+)", run.stdout, re.MULTILINE)
    assert len(failed) == failures, run.stdout
    return Found(specs - failures - pending, pending, failed)


def in_chromium(url: str) -> Found:
    """Run the suite in Chromium, from the page at `url`."""
    assert CHROMIUM is not None, "needs Chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        tab = browser.new_page()
        tab.goto(url)
        tab.wait_for_function("window.results", timeout=LONGEST * 1000, polling=100)
        results: dict[str, Any] = tab.evaluate("window.results")
        browser.close()
    return Found(**results)


@dataclass(frozen=True)
class Suite:
    """The suite, and how the server is that it is run against."""

    directory: Path
    redis: str | None = None
    stateful: bool = False

    @contextlib.contextmanager
    def serving(
        self, *origins: str, ssl_context: ssl.SSLContext | None = None, **more: trioecho.Route
    ) -> Iterator[str]:
        """The server that the suite wants, for pages of `origins`; its URL."""
        served = routes(origins, stateful=self.stateful, redis=self.redis) | more
        with LiveServer(served, port=0, ssl_context=ssl_context) as server:
            yield server.url


def run(suite: Suite, row: str) -> Found:
    """Run one row."""
    directory, serving = suite.directory, suite.serving
    if row == "node":
        with serving() as http:
            return on_node(directory, "", http)
    if row == "node-https":
        certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(certificate)
        with serving() as http, serving(ssl_context=certificate) as https:
            return on_node(directory, https, http)
    if row == "chromium":
        with serving(**scripts(directory), **{"/": page()}) as http:
            return in_chromium(http)
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(socket.create_server(("127.0.0.1", 0))))
    origin = "http://{}:{}".format(*listener.socket.getsockname())
    with serving(origin, **scripts(directory)) as http:
        pages = scripts(directory) | {"/": page(http)}
        with LiveServer(pages, listeners=[listener]):
            return in_chromium(origin)


def main(suite: Suite, rows: list[str]) -> bool:
    good = True
    for row in rows or ROWS:
        found = run(suite, row)
        for name, reason in found.failed:
            print(f"    {name}: {reason.strip()}")
        print(
            f"{row}: {found.passed} passed, {len(found.failed)} failed, {found.pending} left out", flush=True
        )
        good = good and not found.failed
    return good


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description="Run the functional suite of SignalR's client against trioecho."
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("rows", nargs="*", choices=[[], *ROWS], help="all, if none is given")
    parser.add_argument("--redis", metavar="URL", help="run it over this Redis")
    parser.add_argument("--stateful", action="store_true", help="with stateful reconnect")
    arguments = parser.parse_args()
    suite = Suite(arguments.directory.resolve(), arguments.redis, arguments.stateful)
    sys.exit(0 if main(suite, arguments.rows) else 1)
