"""Encrypted connections and keys."""

import ipaddress
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from swiftkv_bench.access import Access
from swiftkv_bench.load.target import Target
from swiftkv_bench.schema.perf import STATUS
from tests.load.scripted import VOCABULARY, ScriptedServer, job, run
from tests.load.test_client import WHOLE


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PEM file with key and self-signed certificate for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(key.private_bytes(*plain) + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def server(certificate: Path) -> Iterator[ScriptedServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    pieces = [WHOLE[i : i + 50] for i in range(0, len(WHOLE), 50)]
    with ScriptedServer(lambda answering: answering.send(*pieces, apart_s=0), context) as running:
        yield running


@pytest.mark.parametrize("trust", ["authority", "environment", "anything"])
def test_requests_over_tls(
    server: ScriptedServer, certificate: Path, trust: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if trust == "environment":
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    authority = str(certificate) if trust == "authority" else None
    target = Target(server.url, "fake", VOCABULARY, access=Access(ca_file=authority, verify_tls=trust != "anything"))
    found = run(job(target, 3))
    assert [STATUS[code] for code in found.status] == ["ok"] * 3
    assert found.chunk_count.tolist() == [3] * 3
    assert server.connections == 1


def test_a_certificate_that_nobody_vouches_for_is_a_connect_error(server: ScriptedServer) -> None:
    found = run(job(server.url))
    assert STATUS[found.status[0]] == "connect-error"
    assert "certificate" in found.errors[0].lower()
    assert server.requests == []


def test_a_plain_request_to_a_tls_server_is_a_failure(server: ScriptedServer) -> None:
    found = run(job(server.url.replace("https", "http")))
    assert STATUS[found.status[0]] in ("reset", "malformed")


def test_the_key_is_sent_with_every_request_and_is_in_no_text() -> None:
    with ScriptedServer(lambda answering: answering.send(WHOLE)) as server:
        target = Target(server.url, "fake", VOCABULARY, access=Access("s3cret"))
        run(job(target, 2))
        heads = [request.partition(b"\r\n\r\n")[0].split(b"\r\n") for request in server.requests]
    assert all(b"Authorization: Bearer s3cret" in head for head in heads)
    assert "s3cret" not in repr(target)
