"""Who may work on an SQLite ledger beside whom: one process for each job, any number of jobs, no fleet beside them."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from orchestrator.domain.errors import JobBusy, LedgerBusy
from orchestrator.domain.model import JobId
from orchestrator.engine import locks
from orchestrator.engine.locks import beside_runs, one_of_fleet, only_process, run_of, runner_of

MOOD, TOPIC = JobId("mood-1"), JobId("topic-2")


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place of a ledger's locks; who is refused is refused soon."""
    monkeypatch.setattr(locks, "LOOKS", 2)
    monkeypatch.setattr(locks, "LOOK_S", 0.001)
    return tmp_path / "runner.lock"


def test_one_process_runs_a_job_and_others_run_others(lock: Path) -> None:
    assert runner_of(lock, MOOD) is None
    with run_of(lock, MOOD), run_of(lock, TOPIC), beside_runs(lock):
        assert (runner_of(lock, MOOD), runner_of(lock, TOPIC)) == (os.getpid(), os.getpid())
        with (
            pytest.raises(JobBusy, match=rf"mood-1 is run by another process \(pid {os.getpid()}\)"),
            run_of(lock, MOOD),
        ):
            pass
    assert runner_of(lock, MOOD) is None
    with run_of(lock, MOOD):
        pass


def test_a_fleet_and_runs_exclude_each_other(lock: Path) -> None:
    """A fleet of many processes; and who was refused holds nothing."""
    with run_of(lock, MOOD):
        for _ in range(2):
            with (
                pytest.raises(LedgerBusy, match=r"other processes run jobs in .* \(mood-1: pid \d+\)"),
                one_of_fleet(lock),
            ):
                pass
    with one_of_fleet(lock), one_of_fleet(lock):
        for taken in (run_of(lock, MOOD), beside_runs(lock), only_process(lock)):
            with pytest.raises(LedgerBusy, match="a fleet is running"), taken:
                pass
    with run_of(lock, MOOD):
        pass


@pytest.mark.parametrize("first", ["run", "fleet"])
def test_a_command_that_works_alone_is_alone(lock: Path, first: str) -> None:
    with ExitStack() as stack:
        stack.enter_context(run_of(lock, MOOD) if first == "run" else one_of_fleet(lock))
        with pytest.raises(LedgerBusy), only_process(lock):
            pass
    with only_process(lock):
        for taken in (run_of(lock, MOOD), one_of_fleet(lock), only_process(lock)):
            with pytest.raises(LedgerBusy), taken:
                pass
