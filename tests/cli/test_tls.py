"""A server's certificate from files: it works, or one line says what is wrong with them."""

from __future__ import annotations

import ssl
import sys
from pathlib import Path

import pytest
import trustme
from command_line import certificate as certificate
from cryptography.hazmat.primitives import serialization

from trioecho.cli.parameters import Refusal
from trioecho.cli.tls import chosen_tls, tls_context


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
        ("nonsense", None, "cannot use {nonsense} for TLS: no certificate, or no private key "),
        ("cert", None, "; if the private key is in a file of its own, name it with --tls-key"),
        ("cert", "missing", "cannot read {missing}: No such file or directory"),
        ("cert", "nonsense", "cannot use {cert} and {nonsense} for TLS: no certificate, or no private key "),
        ("cert", "other", "cannot use {cert} and {other} for TLS: key values mismatch"),
        ("cert", "locked", "for TLS: no certificate, or no private key without a password, "),
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


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"key": "key"}, "--tls-key needs --tls-cert, the certificate that the key belongs to"),
        (
            {"cert": "both", "selfsigned": True},
            "--tls-selfsigned makes a certificate of its own; leave out it or --tls-cert",
        ),
    ],
)
def test_options_that_do_not_go_together_are_told(
    options: dict[str, str | bool], sentence: str, certificate: dict[str, Path]
) -> None:
    """Before anything is made: status 2."""
    given = {name: certificate.get(str(value), value) for name, value in options.items()}
    with pytest.raises(Refusal) as refused:
        chosen_tls(**{"cert": None, "key": None, "selfsigned": False, "hosts": (), **given})  # type: ignore[arg-type]
    assert (refused.value.message, refused.value.exit_code) == (sentence, 2)


def test_a_certificate_is_made_where_that_is_asked_for() -> None:
    """For the hosts, with the file of whom to trust; without anything there is no TLS."""
    with chosen_tls(None, None, True, ("my.test",)) as (server, ca_file):
        assert server is not None
        client = ssl.create_default_context(cafile=ca_file)
        client.set_alpn_protocols(["h2", "http/1.1"])
        assert agreed(server, client) == "http/1.1"
    with chosen_tls(None, None, False, ()) as nothing:
        assert nothing == (None, None)


@pytest.mark.parametrize(
    ("hosts", "error", "status", "words"),
    [
        ((), "no module", 2, "--tls-selfsigned: a self-signed certificate needs trustme: pip install"),
        (("my_test",), None, 2, "--tls-selfsigned: no certificate can be for all of "),
        ((), "no folder", 3, "--tls-selfsigned: cannot write a temporary file: No such file or directory"),
    ],
)
def test_a_certificate_that_cannot_be_made_is_one_line(
    hosts: tuple[str, ...], error: str | None, status: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """trustme is not there, a name cannot stand in one, or there is no room for the file."""
    if error == "no module":
        monkeypatch.setitem(sys.modules, "trustme", None)
    if error == "no folder":
        monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    with pytest.raises(Refusal) as refused, chosen_tls(None, None, True, hosts):
        pass
    assert refused.value.message.startswith(words)
    assert "\n" not in refused.value.message
    assert refused.value.exit_code == status
