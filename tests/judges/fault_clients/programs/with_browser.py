"""A browser's WebSocket: opens a page in the browser that the first argument names, headless, which does the visits."""

from __future__ import annotations

import http.server
import itertools
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

PAGE = b"""<!doctype html><meta charset="utf-8"><title>visits</title><script type="module">
import { visit } from "/whatwg.mjs";
let line;
while ((line = await (await fetch("/next")).text()) !== "") {
  const told = await visit(line);
  await fetch("/told", { method: "POST", body: JSON.stringify(told) });
}
await fetch("/over", { method: "POST" });
</script>"""

FIREFOX_SETTINGS = """
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("browser.aboutwelcome.enabled", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("toolkit.telemetry.enabled", false);
user_pref("app.update.auto", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("services.settings.server", "http://127.0.0.1:1");
user_pref("network.proxy.type", 0);
"""


def command(browser: str, profile: Path) -> list[str]:
    """How `browser`, a path, is started without a window."""
    if "firefox" in browser:
        (profile / "user.js").write_text(FIREFOX_SETTINGS)
        return [browser, "--headless", "--no-remote", "--profile", str(profile)]
    return [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--no-proxy-server",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={profile}",
    ]


class Page(http.server.BaseHTTPRequestHandler):
    """Hands out the page, its script and the jobs, and prints what comes back."""

    protocol_version = "HTTP/1.1"
    jobs = itertools.chain(map(str.strip, sys.stdin), itertools.repeat(""))
    over = threading.Event()

    def do_GET(self) -> None:
        if self.path == "/":
            self._answer(PAGE, "text/html; charset=utf-8")
        elif self.path == "/whatwg.mjs":
            self._answer(Path(__file__).with_name("whatwg.mjs").read_bytes(), "text/javascript")
        elif self.path == "/next":
            self._answer(next(self.jobs).encode(), "text/plain")
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0)).decode()
        if self.path == "/told":
            print(body, flush=True)
        self._answer(b"", "text/plain")
        if self.path == "/over":
            self.over.set()

    def _answer(self, body: bytes, content_type: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: what is printed are the answers."""


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = subprocess.Popen(
            [*command(sys.argv[1], Path(profile)), f"http://127.0.0.1:{server.server_port}/"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while not Page.over.wait(0.2) and browser.poll() is None:
                pass
        finally:
            browser.terminate()
            try:
                browser.wait(10)
            except subprocess.TimeoutExpired:
                browser.kill()


main()
