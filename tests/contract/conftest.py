"""What the contract suites run against: every ledger and every spool there is. Another kind is one more entry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from orchestrator.ledger.database import Database, open_sqlite
from orchestrator.ports import Spool
from orchestrator.storage.local import LocalSpool
from tests.contract.books import Books
from tests.fakes.spool import MemorySpool

LEDGERS: Final[dict[str, Callable[[Path], Database]]] = {
    "memory": lambda _folder: open_sqlite(None),
    "sqlite": lambda folder: open_sqlite(folder / "ledger.db"),
}
SPOOLS: Final[dict[str, Callable[[Path], Spool]]] = {
    "local": LocalSpool,
    "memory": lambda _folder: MemorySpool(),
}


@pytest.fixture(params=LEDGERS)
def books(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Books]:
    """An empty ledger, of every kind."""
    database = LEDGERS[request.param](tmp_path)
    yield Books(database)
    database.close()


@pytest.fixture(params=SPOOLS)
def spool(request: pytest.FixtureRequest, tmp_path: Path) -> Spool:
    """An empty spool, of every kind."""
    return SPOOLS[request.param](tmp_path / "spool")
