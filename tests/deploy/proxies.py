"""nginx, HAProxy, Caddy and Apache, each with the file that the package has for it; ports and paths are the test's."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
import trustme
from server_process import PATIENCE

import trioecho
from trioecho.testing import RawClient

FOLDER = Path(trioecho.__file__).parent / "deploy"
NAME = "localhost"
CLIENT = "127.0.0.2"
"""Where clients come from, so that they are not the proxy."""

NGINX_AROUND_IT = """\
pid {folder}/nginx.pid;
error_log {folder}/error.log;
{user}
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{server}
}}
"""

CADDY_BEFORE_IT = """\
{
	admin off
	auto_https disable_redirects
}
"""

APACHE_BEFORE_IT = """\
ServerRoot {folder}
DefaultRuntimeDir {folder}
PidFile {folder}/apache.pid
ErrorLog {folder}/error.log
ServerName localhost
Listen 127.0.0.1:{port}
StartServers 1
ThreadsPerChild 32
MaxRequestWorkers 32
"""
APACHE_MODULES = Path("/usr/lib/apache2/modules")
APACHE_LOADS = [
    "mpm_event",
    "authz_core",
    "headers",
    "http2",
    "proxy",
    "proxy_http",
    "proxy_balancer",
    "lbmethod_bybusyness",
    "slotmem_shm",
    "socache_shmcb",
    "ssl",
]


def found(program: str) -> str:
    """Where a proxy is; the test is skipped where it is not."""
    path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
    if path is None:
        pytest.skip(f"no {program} on this machine")
    return path


def replaced(text: str, *pairs: tuple[str, str]) -> str:
    """The text with each first replaced by its second, which must be there."""
    for old, new in pairs:
        assert old in text, f"no {old!r} in\n{text}"
        text = text.replace(old, new)
    return text


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@dataclass(frozen=True)
class Site:
    """A running proxy, at https://localhost/ on this port."""

    port: int
    trust: ssl.SSLContext

    @contextlib.asynccontextmanager
    async def connect(
        self, path: str = "/ws", *, tls: bool = True, headers: str = ""
    ) -> AsyncIterator[RawClient]:
        """A WebSocket by HTTP/1.1, from an address that is not the proxy's. One that is refused raises
        AssertionError with the answer."""
        stream: trio.abc.Stream = await trio.open_tcp_stream("127.0.0.1", self.port, local_address=CLIENT)
        if tls:
            # Not `websockets.sync`, whose two threads use one TLS object: with a ticket behind the handshake, bytes
            # are lost now and then.
            stream = trio.SSLStream(stream, self.trust, server_hostname=NAME, https_compatible=True)
        client = RawClient(stream)
        try:
            with trio.fail_after(PATIENCE):
                await client.handshake(path, headers=headers)
            yield client
        finally:
            await trio.aclose_forcefully(stream)


Configure = Callable[[Path, int, Sequence[int]], list[str]]
"""Writes a proxy's file to a folder, for its own port and those of the servers; returns the command that runs it."""


def _certified(folder: Path) -> tuple[str, str]:
    return "/etc/ssl/trioecho/", f"{folder}/"


def _upstreams(ports: Sequence[int]) -> list[tuple[str, str]]:
    return [(f"127.0.0.1:{5000 + i}", f"127.0.0.1:{port}") for i, port in enumerate(ports)]


def nginx(folder: Path, port: int, ports: Sequence[int], *changed: tuple[str, str]) -> list[str]:
    program = found("nginx")
    server = replaced(
        _settings("nginx.conf"),
        ("listen 443", f"listen 127.0.0.1:{port}"),
        _certified(folder),
        *_upstreams(ports),
        *changed,
    )
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(NGINX_AROUND_IT.format(folder=folder, user=user, server=server))
    return [program, "-c", f"{folder}/nginx.conf", "-e", f"{folder}/error.log", "-g", "daemon off;"]


def haproxy(folder: Path, port: int, ports: Sequence[int], *changed: tuple[str, str]) -> list[str]:
    program = found("haproxy")
    text = replaced(
        _settings("haproxy.cfg"),
        ("bind :443", f"bind 127.0.0.1:{port}"),
        _certified(folder),
        *_upstreams(ports),
        *changed,
    )
    (folder / "haproxy.cfg").write_text(text)
    return [program, "-db", "-f", f"{folder}/haproxy.cfg"]


def caddy(folder: Path, port: int, ports: Sequence[int], *changed: tuple[str, str]) -> list[str]:
    program = found("caddy")
    text = replaced(
        _settings("Caddyfile"),
        ("client.com {", f"https://{NAME}:{port} {{\n\tbind 127.0.0.1"),
        _certified(folder),
        *_upstreams(ports),
        *changed,
    )
    (folder / "Caddyfile").write_text(CADDY_BEFORE_IT + text)
    return [program, "run", "--adapter", "caddyfile", "--config", f"{folder}/Caddyfile"]


def apache(folder: Path, port: int, ports: Sequence[int], *changed: tuple[str, str]) -> list[str]:
    program = found("apache2")
    if not all((APACHE_MODULES / f"mod_{name}.so").is_file() for name in APACHE_LOADS):
        pytest.skip("this machine's Apache lacks modules")
    text = replaced(
        _settings("apache.conf"),
        ("*:443", f"127.0.0.1:{port}"),
        _certified(folder),
        *_upstreams(ports),
        *changed,
    )
    lines = [f"LoadModule {name}_module {APACHE_MODULES}/mod_{name}.so" for name in APACHE_LOADS]
    if os.geteuid() == 0:
        lines += ["User daemon", "Group daemon"]
    before = APACHE_BEFORE_IT.format(folder=folder, port=port)
    (folder / "apache.conf").write_text("\n".join([*lines, before, text]))
    return [program, "-DFOREGROUND", "-f", f"{folder}/apache.conf"]


PROXIES: dict[str, Callable[..., list[str]]] = {
    "nginx": nginx,
    "haproxy": haproxy,
    "caddy": caddy,
    "apache": apache,
}


def _settings(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


@contextlib.contextmanager
def proxy(name: str, folder: Path, ports: Sequence[int], *changed: tuple[str, str]) -> Iterator[Site]:
    """Run a proxy before servers at `ports`; `changed` is replaced in its file."""
    port = free_port()
    command = PROXIES[name](folder, port, ports, *changed)
    authority = trustme.CA()
    issued = authority.issue_cert(NAME, "127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(folder / "fullchain.pem")
    issued.private_key_pem.write_to_path(folder / "privkey.pem")
    issued.private_key_and_cert_chain_pem.write_to_path(folder / "both.pem")
    authority.cert_pem.write_to_path(folder / "authority.pem")
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ
            | {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            stdout=output,
            stderr=output,
        )
    try:
        _await_port(process, port, folder)
        yield Site(port, trust)
    finally:
        process.terminate()
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            # With its children: Apache waits ten seconds for those that still see a connection.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(PATIENCE)


def _await_port(process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            said = (folder / "output").read_text(errors="replace")
            assert process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.02)
        else:
            return
