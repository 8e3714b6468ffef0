"""A server's certificate from files: it works, or one line says what is wrong with them."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme
from command_line import certificate as certificate
from cryptography.hazmat.primitives import serialization

from trioecho.cli.parameters import Refusal
from trioecho.cli.tls import tls_context


def agreed(server: ssl.SSLContext, client: ssl.SSLContext) -> str | None:
    """What the two agree on by ALPN, in a handshake in memory."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        server.wrap_bio(to_server, to_client, server_side=True),
        client.wrap_bio(to_client, to_server, server_hostname="127.0.0.1"),
    ]
    for _ in range(3):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
    return ends[1].selected_alpn_protocol()


@pytest.mark.parametrize("files", [("cert", "key"), ("both", None)])
def test_a_certificate_and_its_key_work(certificate: dict[str, Path], files: tuple[str, str | None]) -> None:
    """In two files or in one; only HTTP/1.1 is offered, since only that is spoken."""
    cert, key = files
    server = tls_context(certificate[cert], None if key is None else certificate[key])
    client = ssl.create_default_context(cafile=certificate["authority"])
    client.set_alpn_protocols(["h2", "http/1.1"])
    assert agreed(server, client) == "http/1.1"


@pytest.mark.parametrize(
    ("cert", "key", "hint"),
    [
        ("missing", None, "cannot read {missing}: No such file or directory"),
        ("directory", None, "cannot read {directory}: Is a directory"),
        ("nonsense", None, "cannot use {nonsense} for TLS: "),
        ("cert", None, "; if the private key is in a file of its own, name it with --tls-key"),
        ("cert", "missing", "cannot read {missing}: No such file or directory"),
        ("cert", "nonsense", "cannot use {cert} and {nonsense} for TLS: "),
        ("cert", "other", "cannot use {cert} and {other} for TLS: key values mismatch"),
        ("cert", "locked", "cannot use {cert} and {locked} for TLS: "),
    ],
)
def test_files_that_will_not_do_are_one_line(
    cert: str, key: str | None, hint: str, certificate: dict[str, Path], tmp_path: Path
) -> None:
    """Missing, a directory, nonsense, another's key, or one with a password, for which nobody is asked: status 3."""
    files = {**certificate, "directory": tmp_path}
    files |= {name: tmp_path / f"{name}.pem" for name in ("missing", "nonsense", "other", "locked")}
    files["nonsense"].write_text("certificate\n")
    trustme.CA().issue_cert("127.0.0.1").private_key_pem.write_to_path(str(files["other"]))
    private = serialization.load_pem_private_key(certificate["key"].read_bytes(), None)
    files["locked"].write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"password"),
        )
    )
    with pytest.raises(Refusal) as refused:
        tls_context(files[cert], None if key is None else files[key])
    assert hint.format(**files) in refused.value.message
    assert "\n" not in refused.value.message
    assert refused.value.exit_code == 3
