"""Opening a work folder: its ledger, whether it is the folder that all see, whether its store can be relied on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from orchestrator import permissions
from orchestrator.domain.errors import ConfigError
from orchestrator.ledger.database import open_ledger
from orchestrator.location import is_url, join, parent_and_name
from orchestrator.ports import Spool
from orchestrator.storage.places import check_place, open_spool
from orchestrator.wiring.bench import Workbench
from orchestrator.wiring.tools import JobTools

LEDGER: Final = "ledger.db"
LOCK: Final = "runner.lock"
MARK: Final = "_ledger"  # in a work folder: which ledger's files it holds
WORK_MARK: Final = "work_mark"
SQLITE: Final = "sqlite:///"


def open_workbench(work: str, ledger_url: str, environment: Mapping[str, str]) -> Workbench:
    """Open, or make, a work folder and its ledger. Raises LedgerError or ConfigError."""
    if not is_url(work):
        _make_folder(Path(work))
    if not ledger_url and is_url(work):
        raise ConfigError(
            f"the work folder {work} is in an object store, so the ledger needs a place of its own: set "
            "ORCHESTRATOR_LEDGER_URL to postgresql://…, or, where one machine does all the work, to sqlite:////a/file"
        )
    database = open_ledger(ledger_url or f"{SQLITE}{join(work, LEDGER)}")
    path = None if database.is_shared else Path(ledger_url.removeprefix(SQLITE) or join(work, LEDGER))
    bench = Workbench(work=work, database=database, environment=environment, lock=path and path.with_name(LOCK))
    if ledger_url:
        _bind(bench)
    return bench


def _bind(bench: Workbench) -> None:
    """Make sure that the work folder is the one that this ledger's files are in. Raises ConfigError.

    A ledger that lies elsewhere could be opened with any folder: an empty one, or one that only this machine sees.
    """
    spool, candidate = work_files(bench.work), bench.clock.token()
    with spool.create(MARK) as file:
        file.write(candidate.encode())
    with spool.open(MARK) as file:
        found = file.read().decode()
    known = bench.fleet.remember(WORK_MARK, found)
    if found == known:
        return
    if found == candidate:
        spool.remove(MARK)
    bench.close()
    raise ConfigError(
        f"the work folder {bench.work} is not the one that the ledger's files are in, as far as this machine sees: "
        "all machines of a fleet need one folder that they share, or one in an object store (ORCHESTRATOR_WORK)"
    )


def work_files(work: str) -> Spool:
    """Return the files of a work folder, once it is known that its store can be relied on. Raises ConfigError."""
    check_place(work)
    return open_spool(work)


def files_at(location: str) -> Spool:
    """Return the files of a location, to be read."""
    return open_spool(location)


def check_places(tools: JobTools) -> None:
    """Raise ConfigError where the store of the work folder or of the output cannot be relied on."""
    for location in sorted({tools.work, parent_and_name(tools.output_folder)[0]}):
        check_place(location)


def _make_folder(folder: Path) -> None:
    try:
        permissions.make_folder(folder)
    except OSError as error:
        raise ConfigError(f"the work folder {folder} cannot be made: {error.strerror}") from None
