"""Opens a work folder: its ledger, and the checks that all machines see the same folder and that its store is safe."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator import settings as configuration
from orchestrator.domain.errors import ConfigError, JobUnknown
from orchestrator.engine.workspace import Workspace
from orchestrator.ledger.db.database import open_ledger
from orchestrator.ports import JobFiles
from orchestrator.storage import permissions
from orchestrator.storage.location import is_url, join, parent_and_name
from orchestrator.storage.open import check_place, open_job_files

if TYPE_CHECKING:
    from orchestrator.engine.job_context import JobContext

LEDGER: Final = "ledger.db"
LOCK: Final = "runner.lock"
SPEC: Final = "job.json"  # in the folder of each job
MARK: Final = "_ledger"  # a file in the work folder: the id of its ledger
WORK_MARK: Final = "work_mark"
SQLITE: Final = "sqlite:///"
NAMED_MAX: Final = 5  # jobs in a message


def open_workspace(work: str, ledger_url: str, environment: Mapping[str, str]) -> Workspace:
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
    workspace = Workspace(work=work, database=database, environment=environment, lock=path and path.with_name(LOCK))
    if ledger_url:
        _bind(workspace)
    return workspace


def _bind(workspace: Workspace) -> None:
    """Check that the work folder is the one with this ledger's files. Raises ConfigError.

    A ledger outside of the folder could be opened with a wrong one: an empty one, or one that only this machine sees.
    """
    job_files, candidate = work_files(workspace.work), workspace.clock.token()
    with job_files.create(MARK) as file:
        file.write(candidate.encode())
    with job_files.open(MARK) as file:
        found = file.read().decode()
    known = workspace.workers.remember(WORK_MARK, found)
    if found == known:
        return
    if found == candidate:
        job_files.remove(MARK)
    workspace.close()
    raise ConfigError(
        f"the work folder {workspace.work} is not the one that the ledger's files are in, as far as this machine sees: "
        "all machines of a fleet need one folder that they share, or one in an object store (ORCHESTRATOR_WORK)"
    )


def work_files(work: str) -> JobFiles:
    """Return the files of a work folder after a check that its store is safe. Raises ConfigError."""
    check_place(work)
    return open_job_files(work)


def files_at(location: str) -> JobFiles:
    """Return the files of a location, for reading."""
    return open_job_files(location)


def check_places(context: JobContext) -> None:
    """Raise ConfigError where the store of the work folder or of the output is not safe to use."""
    for location in sorted({context.work, parent_and_name(context.output_folder)[0]}):
        check_place(location)


def _make_folder(folder: Path) -> None:
    try:
        permissions.make_folder(folder)
    except OSError as error:
        raise ConfigError(f"the work folder {folder} cannot be made: {error.strerror}") from None


@contextmanager
def opened_workspace(work: str, *, must_exist: bool = False, recovers: bool = False) -> Iterator[Workspace]:
    """Open a work folder and its ledger for the length of a block.

    Args:
        must_exist: for who only looks: raise ConfigError where there is nothing to look at, and make nothing.
        recovers: the ledger may be lost: it is made anew.
    """
    settings = configuration.load(os.environ)
    if must_exist and not is_url(work) and not settings.ledger_url:
        _refuse_absent(Path(work), recovers=recovers)
    workspace = open_workspace(work, settings.ledger_url, os.environ)
    try:
        yield workspace
    finally:
        workspace.close()


def _refuse_absent(work: Path, *, recovers: bool) -> None:
    """Raise ConfigError where the work folder or its ledger is not there."""
    if not work.is_dir():
        raise JobUnknown(f"there is no work folder {work}: run a job first, or name the folder with --work")
    if (work / LEDGER).exists():
        return
    lost = sorted(path.parent.name for path in work.glob(f"*/{SPEC}"))
    if not lost:
        raise ConfigError(f"the work folder {work} holds no job: run a job first, or name the folder with --work")
    if not recovers:
        named = ", ".join(lost[:NAMED_MAX]) + (", …" if len(lost) > NAMED_MAX else "")
        raise ConfigError(
            f"the ledger {work / LEDGER} is gone, and the work folder holds jobs that it knew ({named}). "
            f"Type `orchestrator recover --work {shlex.quote(str(work))}`: it sends nothing"
        )
