"""Runs without a terminal: a process of its own for one job, whose output goes into a log beside the ledger.

It is an ordinary run: it is in the ledger as one, takes the job's lock, and ends as one does. Where another process
runs the job, it follows that one and takes over.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orchestrator import settings as configuration
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.model import JobId
from orchestrator.engine.locks import RUNS
from orchestrator.engine.opening import SQLITE
from orchestrator.storage import permissions
from orchestrator.storage.location import is_url

LOGS_MAX: Final = 5  # of one job; older ones are removed when another run begins


@dataclass(frozen=True, slots=True)
class Detached:
    """A run that was begun."""

    process: subprocess.Popen[bytes]
    log: Path

    def said(self) -> str:
        """Return what it has printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")


def begin(job_id: JobId, work: str, arguments: Sequence[str]) -> Detached:
    """Begin a command of the command line in a session of its own, and return at once. Raises ConfigError, OSError."""
    folder = _folder(work)
    if folder is None:
        raise ConfigError(
            f"the work folder {work} is not on this machine, so there is no place for a log. Give the job to a fleet "
            "(orchestrator submit), or start it with nohup"
        )
    permissions.make_folder(folder)
    new = folder / f"{job_id}.{os.getpid()}.new"
    permissions.make_file(new)
    with new.open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - this program itself, with the words it was called with
            [sys.executable, "-P", "-m", "orchestrator", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # the terminal's Ctrl-C, and its end, do not reach it
        )
    path = folder / f"{job_id}.{process.pid}.log"
    new.replace(path)
    logs = sorted(folder.glob(f"{job_id}.*.log"), key=lambda one: one.stat().st_mtime_ns)
    for old in [one for one in logs if one != path][: -LOGS_MAX + 1]:
        old.unlink(missing_ok=True)
    return Detached(process, path)


def log_of(job_id: str, work: str, pid: int) -> Path | None:
    """Return the log of a run of this machine; None where it has a terminal, or is another machine's."""
    folder = _folder(work)
    path = None if folder is None else folder / f"{job_id}.{pid}.log"
    return path if path is not None and path.exists() else None


def _folder(work: str) -> Path | None:
    """Return the folder of runs, beside an SQLite ledger or in the work folder; None where it is on no local disk."""
    url = configuration.load(os.environ).ledger_url
    if url.startswith(SQLITE):
        return Path(url.removeprefix(SQLITE)).with_name(RUNS)
    return None if is_url(work) else Path(work) / RUNS
