"""Whoever cannot prove who they are is told nothing: provider and broker alike (S10, S15)."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Final

import pytest
import redis.exceptions
from kombu.exceptions import OperationalError

from orchestrator import settings
from orchestrator.domain.errors import CreateRefused
from orchestrator.fleet.app import make_app
from orchestrator.fleet.broker import Broker
from orchestrator.providers.http.client import HttpClient
from orchestrator.providers.http.connection import Connection
from orchestrator.providers.http.exchange import Timeouts
from orchestrator.providers.http.secret import Secret
from tests.adapters.wire import answer, saying, serving
from tests.servers.postgres import must_skip

KEY: Final = "sk-canary-77e01c5d"
PATIENT: Final = Timeouts(connect_s=15.0, read_s=15.0, write_s=15.0, call_s=20.0, create_s=20.0, download_s=20.0)
# not before, not after, the address it is for; all but the last are of a CA that the client trusts.
CERTIFICATES: Final = {
    "good": ("20200101000000Z", "20990101000000Z", "127.0.0.1"),
    "expired": ("20200101000000Z", "20210101000000Z", "127.0.0.1"),
    "not valid yet": ("20980101000000Z", "20990101000000Z", "127.0.0.1"),
    "for another host": ("20200101000000Z", "20990101000000Z", "127.0.0.2"),
    "of nobody": ("20200101000000Z", "20990101000000Z", "127.0.0.1"),
}
BAD: Final = [name for name in CERTIFICATES if name != "good"]
AUTHORITY: Final = """
[ca]
default_ca = ours
[ours]
database = {folder}/index
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
copy_extensions = copy
[any]
commonName = supplied
[authority]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
"""


def openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA (`ca.pem`) and its certificates, each with its key in a file of its name; and one of another CA."""
    if shutil.which("openssl") is None:
        must_skip("needs openssl to make certificates")
    folder = tmp_path_factory.mktemp("tls")
    (folder / "index").touch()
    configuration = folder / "ca.conf"
    configuration.write_text(AUTHORITY.format(folder=folder))
    for name in ("ca", "stranger"):
        files = ["-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem"]
        made = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "7", "-subj", f"/CN={name}"]
        openssl("req", *made, "-config", configuration, "-extensions", "authority", *files)
    openssl("genpkey", "-algorithm", "RSA", "-out", folder / "key")
    for name, (since, until, address) in CERTIFICATES.items():
        request, issued = folder / "request", folder / "issued"
        names = ["-subj", "/CN=test", "-addext", f"subjectAltName=IP:{address}"]
        openssl("req", "-new", "-key", folder / "key", "-out", request, *names)
        issuer = "stranger" if name == "of nobody" else "ca"
        signed = [
            "-cert",
            folder / f"{issuer}.pem",
            "-keyfile",
            folder / f"{issuer}.key",
            "-in",
            request,
            "-out",
            issued,
        ]
        openssl("ca", "-batch", "-notext", "-config", configuration, *signed, "-startdate", since, "-enddate", until)
        (folder / name).write_text((folder / "key").read_text() + issued.read_text())
    return folder


def context_of(certificates: Path, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / name)
    return context


def test_a_good_certificate_is_taken(certificates: Path) -> None:
    """Else the refusals below would prove nothing."""
    with serving(saying(answer(200, b"{}")), context=context_of(certificates, "good")) as server:
        client = HttpClient(
            f"{server.url}/v1",
            Secret(KEY),
            connection=Connection(ca_file=str(certificates / "ca.pem")),
            timeouts=PATIENT,
        )
        assert client.create("/batches", iter([b"{}"]), size_bytes=2).body == b"{}"
        client.close()


@pytest.mark.parametrize("name", BAD)
def test_a_provider_with_a_bad_certificate_is_told_nothing(name: str, certificates: Path) -> None:
    """Neither the key nor a row: the create is refused before a byte of it is sent."""
    with serving(saying(answer(200, b"{}")), context=context_of(certificates, name)) as server:
        client = HttpClient(
            f"{server.url}/v1",
            Secret(KEY),
            connection=Connection(ca_file=str(certificates / "ca.pem")),
            timeouts=PATIENT,
        )
        with pytest.raises(CreateRefused, match="CERTIFICATE_VERIFY_FAILED"):
            client.create("/batches", iter([b"{}"]), size_bytes=2)
        client.close()

        assert server.requests == []


def test_no_library_reads_the_environment_behind_our_back(certificates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Certificates and proxies of the environment come in by `Connection.of` alone, which checks and names them."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with serving(saying(answer(200, b"{}")), context=context_of(certificates, "good")) as server:
        client = HttpClient(f"{server.url}/v1", Secret(KEY), timeouts=PATIENT)
        with pytest.raises(CreateRefused, match="CERTIFICATE_VERIFY_FAILED"):
            client.create("/batches", iter([b"{}"]), size_bytes=2)
        client.close()

        assert server.requests == []


def test_nothing_older_than_tls_1_2_is_spoken() -> None:
    client = HttpClient("https://api.example/v1", Secret(KEY))

    assert client._ssl_context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert client._ssl_context.verify_mode is ssl.CERT_REQUIRED
    assert client._ssl_context.check_hostname is True


@pytest.mark.parametrize("name", BAD)
def test_a_broker_with_a_bad_certificate_is_not_given_the_password(
    name: str, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By neither of the two ways there: Celery's, and our own beside it."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
    context = context_of(certificates, name)
    with serving(saying(b"+OK\r\n"), context=context, reads_body=False) as server:
        url = f"rediss://:canary-password@127.0.0.1:{server.port}/0"
        line = Broker(url)
        with pytest.raises(redis.exceptions.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
            line.mark("ledger", "here")
        line.close()
        app = make_app(settings.load({"ORCHESTRATOR_BROKER_URL": url}))
        with (
            app.connection_for_write() as connection,
            pytest.raises((OperationalError, redis.exceptions.ConnectionError)),
        ):
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=20)

        assert server.connection_count >= 2
        assert server.requests == []


def test_a_broker_with_a_good_certificate_is_greeted(certificates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The certificates of the system are asked; this is how the refusals above came about, and not by a setting."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
    context = context_of(certificates, "good")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        line = Broker(f"rediss://:canary-password@127.0.0.1:{listener.getsockname()[1]}/0")
        line._client.connection_pool.connection_kwargs["socket_timeout"] = 1
        with pytest.raises(redis.exceptions.RedisError):
            _greeted(line, listener, context)
        line.close()


def _greeted(line: Broker, listener: socket.socket, context: ssl.SSLContext) -> None:
    import threading

    heard: list[bytes] = []

    def serve() -> None:
        sock, _ = listener.accept()
        with context.wrap_socket(sock, server_side=True) as wrapped:
            heard.append(wrapped.recv(1 << 12))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        line.mark("ledger", "here")
    finally:
        thread.join(20)
        assert b"canary-password" in heard[0]
