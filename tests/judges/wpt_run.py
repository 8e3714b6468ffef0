"""Runs the web platform tests for WebSockets in Chromium against trioecho: ``python -m judges.wpt_run DIRECTORY``.

`wpt_server` says what the directory is. Prints a line for each page with its failures, and the sums. With words behind
the directory, only pages that have one of them in their address are run. The variants for HTTP/2 are left out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from judges.wpt_server import ALTERNATIVE_HOST, HOST, metadata
from page.browser import ARGUMENTS, CHROMIUM
from playwright.async_api import BrowserContext, async_playwright
from playwright.async_api import Error as PlaywrightError

TABS = 4
"""Pages that are run at the same time."""

LONGEST = 75.0
"""Seconds for a page. testharness.js gives up by itself, after 10 s or, where a test says that it is long, 60 s."""

STATUS = ("PASS", "FAIL", "TIMEOUT", "NOTRUN", "PRECONDITION_FAILED")
HARNESS_STATUS = ("OK", "ERROR", "TIMEOUT", "PRECONDITION_FAILED")

GLOBALS = {
    "window": (".any.html",),
    "dedicatedworker": (".any.worker.html",),
    "sharedworker": (".any.sharedworker.html",),
    "serviceworker": (".any.serviceworker.html",),
    "worker": (".any.worker.html", ".any.sharedworker.html", ".any.serviceworker.html"),
}
"""Pages that a script with ``META: global=`` is run in."""


@dataclass(frozen=True)
class TestPage:
    """One page to be opened: its path with the variant, and why it cannot be run, or ""."""

    address: str
    secure: bool
    lacking: str = ""

    __test__ = False


def pages_of(directory: Path) -> Iterator[TestPage]:
    """Every page of the tests in ``websockets/`` of `directory`, by name."""
    for file in sorted((directory / "websockets").rglob("*")):
        name = f"/{file.relative_to(directory)}"
        if file.suffix == ".html":
            source = file.read_text(errors="replace")
            if "testharness.js" not in source:
                continue
            paths = [name]
            variants = re.findall(r'name="?variant"? content="([^"]*)"', source)
            scripts = []
        elif script := re.search(r"\.(any|window|worker)\.js$", name):
            source = file.read_text()
            stem = name.removesuffix(script[0])
            if script[1] == "any":
                globals_ = ",".join(metadata(source, "global")) or "window,dedicatedworker"
                paths = [f"{stem}{ending}" for each in globals_.split(",") for ending in GLOBALS[each]]
            else:
                paths = [f"{stem}.{script[1]}.html"]
            variants = metadata(source, "variant")
            scripts = metadata(source, "script")
        else:
            continue
        lacking = [each for each in scripts if not _there(directory, file, each)]
        for path in paths:
            for variant in variants or [""]:
                flags = variant.partition("wpt_flags=")[2]
                secure = flags == "https" or ".https." in path or ".serviceworker." in path
                reason = "HTTP/2" if flags == "h2" else f"needs {lacking[0]}" if lacking else ""
                yield TestPage(path + variant, secure, reason)


def _there(directory: Path, file: Path, script: str) -> bool:
    return (directory / script[1:] if script.startswith("/") else file.parent / script).exists()


async def run_page(browser: BrowserContext, url: str) -> dict[str, Any]:
    """Open a page, and return what testharness.js says, or what else happened."""
    page = await browser.new_page()
    try:
        response = await page.goto(url)
        if response is None or not response.ok:
            return {"harness": {"status": 1, "message": "the page is not there"}, "tests": []}
        await page.wait_for_function("window.results", timeout=LONGEST * 1000, polling=100)
        results: dict[str, Any] = await page.evaluate("window.results")
        return results
    except PlaywrightError as error:
        return {"harness": {"status": 1, "message": str(error).splitlines()[0]}, "tests": []}
    finally:
        await page.close()


def prepare(profile: Path) -> None:
    """Make an empty directory a profile of Chromium that lets third parties have their cookies.

    Playwright's usual contexts will not do: they are incognito, and there a third party, such as wss from a page
    without TLS, gets neither cookies nor a password.
    """
    (profile / "Default").mkdir()
    preferences = {"profile": {"block_third_party_cookies": False, "cookie_controls_mode": 0}}
    (profile / "Default" / "Preferences").write_text(json.dumps(preferences))


async def run(pages: list[TestPage], ports: dict[str, int], profile: Path) -> dict[str, dict[str, Any]]:
    """Run `pages` and print a line for each, with its failures. Returns the results by address."""
    results: dict[str, dict[str, Any]] = {}
    waiting = iter(pages)

    async def tab(browser: BrowserContext) -> None:
        for each in waiting:
            scheme = "https" if each.secure else "http"
            started = time.monotonic()
            found = await run_page(browser, f"{scheme}://{HOST}:{ports[scheme]}{each.address}")
            results[each.address] = found
            show(each.address, found, time.monotonic() - started)

    hosts = ", ".join(
        f"MAP {name} 127.0.0.1" for host in (HOST, ALTERNATIVE_HOST) for name in (host, f"*.{host}")
    )
    flags = ("--ignore-certificate-errors", f"--host-resolver-rules={hosts}")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch_persistent_context(
            profile, executable_path=CHROMIUM, args=[*ARGUMENTS, *flags]
        )
        await asyncio.gather(*[tab(browser) for _ in range(TABS)])
        await browser.close()
    return results


def show(address: str, found: dict[str, Any], seconds: float) -> None:
    """Print one page's line, and one for each of its tests that has not passed."""
    counted = Counter(STATUS[test["status"]] for test in found["tests"])
    sums = ", ".join(f"{number} {status}" for status, number in counted.items()) or "nothing"
    harness = found["harness"]
    trouble = (
        "" if harness["status"] == 0 else f" [{HARNESS_STATUS[harness['status']]}: {harness['message']}]"
    )
    print(f"{address}: {sums} ({seconds:.1f} s){trouble}", flush=True)
    for test in found["tests"]:
        if test["status"] != 0:
            print(f"    {STATUS[test['status']]} {test['name']!r}: {test['message']}", flush=True)


def main(directory: Path, words: list[str]) -> bool:
    every = list(pages_of(directory))
    pages = [each for each in every if not words or any(word in each.address for word in words)]
    command = [sys.executable, "-m", "judges.wpt_server", str(directory)]
    with (
        tempfile.TemporaryDirectory() as profile,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server,
    ):
        try:
            assert server.stdout is not None
            ports = json.loads(server.stdout.readline())
            prepare(Path(profile))
            results = asyncio.run(run([each for each in pages if not each.lacking], ports, Path(profile)))
        finally:
            server.terminate()
    counted = Counter(STATUS[test["status"]] for found in results.values() for test in found["tests"])
    unwell = [address for address, found in results.items() if found["harness"]["status"] != 0]
    print(f"\n{len(results)} pages with {counted.total()} tests: ", end="")
    print(", ".join(f"{number} {status}" for status, number in counted.most_common()))
    if unwell:
        print(f"{len(unwell)} pages did not come to their end: {', '.join(unwell)}")
    for reason, number in Counter(each.lacking for each in pages if each.lacking).items():
        print(f"{number} pages left out: {reason}")
    return not unwell and set(counted) <= {"PASS"}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Run web platform tests for WebSockets against trioecho.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("words", nargs="*", help="parts of the addresses to run; all, if none is given")
    arguments = parser.parse_args()
    sys.exit(0 if main(arguments.directory.resolve(), arguments.words) else 1)
