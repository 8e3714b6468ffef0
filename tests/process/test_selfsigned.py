"""A certificate for tests: clients that trust its authority connect, others do not, and no key is left anywhere."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import shutil
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from page.browser import ARGUMENTS, CHROMIUM
from playwright.sync_api import Error, sync_playwright
from websockets.sync.client import connect

import trioecho.testing
from trioecho._process.selfsigned import LOCAL, names_for, self_signed

PATIENCE = 20.0


@pytest.fixture
def server() -> Iterator[trioecho.testing.FaultServer]:
    """An echo and the faults by TLS."""
    with trioecho.testing.serve(tls=True) as server:
        yield server


@pytest.mark.parametrize("host", LOCAL)
def test_websockets_trusts_it(host: str, server: trioecho.testing.FaultServer) -> None:
    """By each of the names that it is always for; without the authority it does not connect."""
    url = server.at("/echo?id=it").replace("127.0.0.1", f"[{host}]" if ":" in host else host)
    assert url.startswith("wss://")
    with connect(url, sock=dial(server), ssl=server.client_context, proxy=None) as ws:
        ws.send("hello")
        assert ws.recv(PATIENCE) == "hello"
    assert server.seen("it", ended=True)["code_received"] == 1000
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(url, sock=dial(server), proxy=None)


def dial(server: trioecho.testing.FaultServer) -> socket.socket:
    """TCP to the one address at which the server listens."""
    return socket.create_connection(("127.0.0.1", server.live.server.port), PATIENCE)


def test_aiohttp_trusts_it(server: trioecho.testing.FaultServer) -> None:
    """And sees a reset as it does without TLS."""

    async def talk() -> tuple[str, aiohttp.WSMsgType]:
        trust = ssl.create_default_context(cafile=server.ca_file)
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(server.at("/reset?after=1"), ssl=trust) as ws,
        ):
            await ws.send_str("hello")
            first = await ws.receive()
            return first.data, (await ws.receive()).type

    text, ending = asyncio.run(asyncio.wait_for(talk(), PATIENCE))
    assert text == "hello"
    assert ending in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)


NODE = """
const WebSocket = require("ws");
const ws = new WebSocket(process.argv[1]);
ws.on("error", ({ code }) => { console.log(code); process.exit(0); });
ws.on("open", () => ws.send("hello"));
ws.on("message", (data) => { console.log(data.toString()); ws.close(4000); });
"""


def test_node_trusts_it(server: trioecho.testing.FaultServer) -> None:
    """By NODE_EXTRA_CA_CERTS, which names the file."""
    node, modules = shutil.which("node"), os.environ.get("NODE_PATH", "")
    if node is None or not (Path(modules) / "ws").is_dir():
        pytest.skip("needs Node.js and `npm install ws`, with NODE_PATH set to its node_modules")
    assert server.ca_file is not None
    told = [
        subprocess.run(
            [node, "-e", NODE, server.websocket_url],
            env={**os.environ, **more},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        ).stdout
        for more in ({"NODE_EXTRA_CA_CERTS": server.ca_file}, {})
    ]
    assert told[0] == "hello\n"
    assert told[1] in ("UNABLE_TO_VERIFY_LEAF_SIGNATURE\n", "SELF_SIGNED_CERT_IN_CHAIN\n")


@pytest.mark.keeps_open
def test_chromium_trusts_it(server: trioecho.testing.FaultServer) -> None:
    """By the hash of its key, since Chromium takes no file; without, it shows no page."""
    if CHROMIUM is None:
        if os.environ.get("CI") == "true":
            pytest.fail("no Chromium here (apt-get install chromium)")
        pytest.skip("no Chromium here (apt-get install chromium)")
    pem = ssl.get_server_certificate(("127.0.0.1", server.live.server.port), timeout=PATIENCE)
    key = x509.load_pem_x509_certificate(pem.encode()).public_key()
    spki = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    trusting = f"--ignore-certificate-errors-spki-list={base64.b64encode(spki).decode()}"
    script = """(url) => new Promise((done) => {
      const socket = new WebSocket(url);
      socket.onopen = () => socket.send("hello");
      socket.onmessage = ({ data }) => done(data);
      socket.onclose = ({ code }) => done(code);
    })"""
    with sync_playwright() as playwright:
        for more, told in (([trusting], "hello"), ([], None)):
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, *more])
            tab = browser.new_page()
            if told is None:
                with pytest.raises(Error, match="ERR_CERT_AUTHORITY_INVALID"):
                    tab.goto(f"{server.url}/faults")
            else:
                tab.goto(f"{server.url}/faults")
                # The page of faults lets no script connect; another of the same server does.
                tab.goto(f"{server.url}/seen")
                assert tab.evaluate(script, server.websocket_url) == told
            browser.close()


def test_the_file_is_for_this_user_and_goes_with_the_server() -> None:
    """It has a certificate and no key."""
    with self_signed() as made:
        path = Path(made.ca_file)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        text = path.read_text()
        assert text.count("BEGIN CERTIFICATE") == 1
        assert "PRIVATE KEY" not in text
        assert made.client_context().verify_mode == ssl.CERT_REQUIRED
    assert not path.exists()
    with self_signed() as made:
        # Whoever cleans up a folder of temporary files does no harm.
        os.unlink(made.ca_file)


def test_the_key_of_the_authority_is_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's own is for a moment, for OpenSSL reads it from a file; that is gone too."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with self_signed() as made:
        assert [str(file) for file in tmp_path.iterdir()] == [made.ca_file]
        certificate = x509.load_pem_x509_certificate(Path(made.ca_file).read_bytes())
        assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert list(tmp_path.iterdir()) == []


def test_names() -> None:
    """Those of this machine, those that are given, and for wildcards the addresses of the machine; each once."""
    assert names_for(()) == LOCAL
    assert names_for(("127.0.0.1", "my.test", "fe80::1%lo")) == (*LOCAL, "my.test", "fe80::1")
    assert set(names_for(("*",))) >= {*LOCAL}
    assert not {"*", "0.0.0.0", "::"} & set(names_for(("*", "0.0.0.0", "::")))
    with self_signed(("my.test",)) as made:
        assert made.names == (*LOCAL, "my.test")
    with (
        pytest.raises(ValueError, match=r"no certificate can be for all of .*, my_test: "),
        self_signed(["my_test"]),
    ):
        pass


def test_without_trustme_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of the server for tests."""
    monkeypatch.setitem(sys.modules, "trustme", None)
    sentence = r"a self-signed certificate needs trustme: pip install 'trioecho\[selfsigned\]'"
    with pytest.raises(ImportError, match=sentence), self_signed():
        pass
    with pytest.raises(ImportError, match=sentence), trioecho.testing.serve(tls=True):
        pass
