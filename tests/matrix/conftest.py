"""What the cells of a process share: the server, the ledger, a certificate that nobody vouches for."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from orchestrator.ledger.db.database import Database, open_sqlite
from tests.matrix.acts import Seen, run_cell
from tests.matrix.server import MatrixServer

Run = Callable[..., Seen]


@pytest.fixture(scope="session")
def server() -> Iterator[MatrixServer]:
    """A server on loopback."""
    server = MatrixServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def database() -> Iterator[Database]:
    """A ledger, emptied for each cell."""
    database = open_sqlite(None)
    yield database
    database.close()


@pytest.fixture(scope="session")
def context(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """A server's side of TLS, by a certificate of our own making."""
    if shutil.which("openssl") is None:
        if os.environ.get("CI"):
            pytest.fail("CI needs openssl to make a certificate")
        pytest.skip("needs openssl to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=test"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


@pytest.fixture(scope="session")
def run(database: Database, server: MatrixServer, context: ssl.SSLContext) -> Run:
    """Run a cell: a dialect, an endpoint, a fault."""
    return partial(run_cell, database=database, server=server, context=context)
