"""Who may work on an SQLite ledger: many runs, each with jobs of its own, or the processes of a fleet, or one command.

    runs/<job>.lock   held by the one process that runs the job
    runner.lock       shared by all runs; held alone by a command that needs the whole ledger
    fleet.lock        shared by the processes of a fleet

Rule 1: a lock is the kernel's (flock): it ends with its process, whatever ends that.
Rule 2: runs and a fleet exclude each other: a fleet takes steps of any job. Each takes its own lock first and then
        looks at the other's, so that of two that begin at once none, or one, goes on.
Rule 3: the files stay where they are: one that was deleted could be locked twice.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TextIO

from orchestrator.domain.errors import JobBusy, LedgerBusy, StorageError
from orchestrator.domain.model import JobId
from orchestrator.storage import permissions
from orchestrator.storage.disk_errors import why_unwritten

RUNS: Final = "runs"  # a folder beside the ledger: locks and logs of runs
FLEET: Final = "fleet.lock"
LOOKS: Final = 20  # another process that looks holds a lock for a moment
LOOKS_AT_RUN: Final = 5
LOOK_S: Final = 0.05


@contextmanager
def run_of(lock: Path, job_id: JobId) -> Iterator[None]:
    """Lock one job for this process. Raises JobBusy where another process runs it, LedgerBusy beside a fleet."""
    with beside_runs(lock), _open(file_of(lock, job_id)) as file:
        if not _is_locked_soon(file, fcntl.LOCK_EX, looks=LOOKS_AT_RUN):
            raise JobBusy(f"job {job_id} is run by another process (pid {_pid(file) or 'unknown'})")
        with _writing(file.name):
            file.truncate(0)
            os.write(file.fileno(), str(os.getpid()).encode())
        yield


@contextmanager
def beside_runs(lock: Path) -> Iterator[None]:
    """Lock an SQLite ledger together with other runs. Raises LedgerBusy beside a fleet or a command that is alone."""
    with _open(lock) as file, _open(lock.with_name(FLEET)) as fleet:
        if not _is_locked_soon(file, fcntl.LOCK_SH):
            raise LedgerBusy(f"a command works alone on the ledger in {lock.parent}: wait until it has ended")
        _refuse_fleet(fleet, lock)
        yield


@contextmanager
def only_process(lock: Path) -> Iterator[None]:
    """Lock an SQLite ledger for this process alone. Raises LedgerBusy."""
    with _open(lock) as file, _open(lock.with_name(FLEET)) as fleet:
        if not _is_locked_soon(file, fcntl.LOCK_EX):
            raise LedgerBusy(_of_runs(lock))
        _refuse_fleet(fleet, lock)
        yield


@contextmanager
def one_of_fleet(lock: Path) -> Iterator[None]:
    """Lock an SQLite ledger together with the other processes of a fleet. Raises LedgerBusy beside runs."""
    with _open(lock.with_name(FLEET)) as fleet, _open(lock) as file:
        if not _is_locked_soon(fleet, fcntl.LOCK_SH) or not _is_locked_soon(file, fcntl.LOCK_EX):
            raise LedgerBusy(_of_runs(lock))
        fcntl.flock(file, fcntl.LOCK_UN)
        yield


def runner_of(lock: Path, job_id: JobId) -> int | None:
    """Return the pid of the process of this machine that runs the job; None where there is none, 0 where unknown."""
    path = file_of(lock, job_id)
    if not path.exists():
        return None
    with _open(path) as file:
        return None if _is_locked(file, fcntl.LOCK_SH) else _pid(file)


def file_of(lock: Path, job_id: JobId) -> Path:
    """Return the file that is locked by the process that runs the job."""
    return lock.with_name(RUNS) / f"{job_id}.lock"


def _refuse_fleet(fleet: TextIO, lock: Path) -> None:
    if not _is_locked_soon(fleet, fcntl.LOCK_EX):
        raise LedgerBusy(
            f"a fleet is running in {lock.parent}: give it the job (orchestrator submit), stop it, "
            "or use another work folder (--work)"
        )
    fcntl.flock(fleet, fcntl.LOCK_UN)


def _of_runs(lock: Path) -> str:
    jobs = [path.stem for path in sorted(lock.with_name(RUNS).glob("*.lock"))]
    busy = [f"{job}: pid {pid}" for job in jobs if (pid := runner_of(lock, JobId(job)))]
    named = f" ({', '.join(busy)})" if busy else ""
    return (
        f"other processes run jobs in {lock.parent}{named}: wait for them, or stop them "
        "(`orchestrator status` shows how far they are)"
    )


def _open(path: Path) -> TextIO:
    with _writing(path):
        permissions.make_folder(path.parent)
        permissions.make_file(path)
        return path.open("a+")


@contextmanager
def _writing(path: Path | str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {why_unwritten(error)}") from error


def _is_locked(file: TextIO, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_locked_soon(file: TextIO, kind: int, *, looks: int = LOOKS) -> bool:
    """Lock a file, unless another process holds on to it."""
    for _ in range(looks):
        if _is_locked(file, kind):
            return True
        time.sleep(LOOK_S)
    return False


def _pid(file: TextIO) -> int:
    file.seek(0)
    with suppress(ValueError):
        return int(file.read())
    return 0
