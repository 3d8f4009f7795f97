"""What the cells of a process share: the server, the ledger, a certificate that nobody vouches for."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from orchestrator.ledger.db.database import Database, open_sqlite
from tests.matrix.acts import Seen, run_cell
from tests.matrix.server import MatrixServer
from tests.servers.certificates import self_signed, served_with

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
    return served_with(self_signed(tmp_path_factory.mktemp("tls")))


@pytest.fixture(scope="session")
def run(database: Database, server: MatrixServer, context: ssl.SSLContext) -> Run:
    """Run a cell: a dialect, an endpoint, a fault."""
    return partial(run_cell, database=database, server=server, context=context)
