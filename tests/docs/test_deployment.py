"""What the chat's notebook writes into nginx and systemd works as it stands there."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
import trustme
from deploy.proxies import NGINX_AROUND_IT, found, free_port, replaced
from server_process import PATIENCE

from trioecho import WebSocketOptions
from trioecho.client import HandshakeRefused, connect

ROOT = Path(__file__).parents[2]
NOTEBOOK = nbformat.read(ROOT / "notebooks" / "06_chat.ipynb", as_version=4)
TEXT = "\n".join(cell.source for cell in NOTEBOOK.cells if cell.cell_type == "markdown")
ORIGIN = "https://chat.example"

AS_NUMBER_3 = """\
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.execv(sys.executable, [sys.executable, sys.argv[2]])
"""


def block(language: str, beginning: str = "") -> str:
    """The block of code in the notebook's text that begins so, without the folded answer's."""
    text = TEXT.partition("<details>")[0]
    blocks = re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    (found,) = [each for each in blocks if each.startswith(beginning)]
    return found


def program() -> str:
    """chat.py, put together as the notebook says."""
    first, *_ = [cell.source for cell in NOTEBOOK.cells if cell.cell_type == "code"]
    imports = "\n".join(line for line in first.splitlines() if re.match("import|from", line))
    cells = [cell.source for cell in NOTEBOOK.cells if re.match("tokens|PAGE", cell.source)]
    assert len(cells) == 2
    return "\n\n".join([imports, *cells, block("python")])


@dataclass(frozen=True)
class Site:
    """The chat behind nginx, on this machine."""

    port: int
    trust: ssl.SSLContext

    async def call(self, token: str, origin: str) -> str | bytes:
        """What is heard after a hello, or the refusal's status."""
        headers = {"Host": "chat.example", "Authorization": f"Bearer {token}"}
        url = f"wss://127.0.0.1:{self.port}/chat"
        try:
            async with connect(url, origin=origin, headers=headers, ssl_context=self.trust) as ws:
                await ws.send("hello")
                return await ws.receive()
        except HandshakeRefused as refused:
            return str(refused.status)

    def page(self) -> bytes:
        """All that nginx answers to a GET of the page."""
        request = b"GET / HTTP/1.1\r\nHost: chat.example\r\nConnection: close\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as tcp:
            with self.trust.wrap_socket(tcp, server_hostname="127.0.0.1") as tls:
                tls.sendall(request)
                return b"".join(iter(lambda: tls.recv(65_536), b""))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """The notebook's program, started as systemd does, and nginx with the notebook's configuration."""
    nginx = found("nginx")
    authority = trustme.CA()
    certificate = authority.issue_cert("chat.example", "127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "fullchain.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "privkey.pem")
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    port = free_port()
    server = replaced(
        block("nginx"),
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/ssl/chat/", f"{tmp_path}/"),
        ("/run/chat.sock", f"{tmp_path}/chat.sock"),
    )
    user = "user root;" if os.geteuid() == 0 else ""
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(NGINX_AROUND_IT.format(folder=tmp_path, user=user, server=server))
    (tmp_path / "chat.py").write_text(program())
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "chat.sock"))
        listening.listen()
        chat = subprocess.Popen(
            [sys.executable, "-c", AS_NUMBER_3, str(listening.fileno()), str(tmp_path / "chat.py")],
            pass_fds=[listening.fileno()],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
        )
    command = [nginx, "-c", str(configuration), "-e", str(tmp_path / "error.log")]
    try:
        # It listens when it goes into the background.
        subprocess.run(command, check=True, timeout=PATIENCE)
        yield Site(port, trust)
    finally:
        subprocess.run([*command, "-s", "stop"], check=False, timeout=PATIENCE)
        chat.send_signal(signal.SIGTERM)
        status = chat.wait(PATIENCE)
    assert status == 0, "SIGTERM is how systemd stops it"


async def test_nginx_passes_the_page_and_the_websocket_on(site: Site) -> None:
    """The page is served, its WebSocket opens; a foreign page and a wrong token are refused by the program behind."""
    assert await site.call("tea-at-four", ORIGIN) == "Alice: hello"
    assert await site.call("tea-at-four", "https://evil.example") == "403"
    assert await site.call("guess", ORIGIN) == "401"
    head, _, body = site.page().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"<title>Chat</title>" in body


def test_nginx_waits_longer_than_keep_alive_is_silent() -> None:
    """A client that only listens gets a Ping before nginx gives it up."""
    timeout = re.search(r"proxy_read_timeout (\d+)s;", block("nginx"))
    assert timeout
    options = WebSocketOptions()
    assert int(timeout[1]) > options.keep_alive_interval + options.keep_alive_timeout


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """Neither a word that systemd does not know, nor one in the wrong section."""
    if (analyze := shutil.which("systemd-analyze")) is None:
        pytest.skip("no systemd on this machine")
    parts = re.split(r"^# /etc/systemd/system/(.*)\n", block("ini"), flags=re.MULTILINE)
    units = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert list(units) == ["chat.socket", "chat.service"]
    units["chat.service"] = replaced(units["chat.service"], ("/srv/chat/.venv/bin/python", sys.executable))
    for name, text in units.items():
        (tmp_path / name).write_text(text)
    said = subprocess.run(
        [analyze, "verify", *(str(tmp_path / name) for name in units)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")
