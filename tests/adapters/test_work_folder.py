"""Where the work folder is, whatever folder a job is started in."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from orchestrator import ConfigError, read_job
from orchestrator.storage.work_folder import find_work, program_folder
from tests.gateway_process import ROOT

WORK = ".orchestrator"
JOB = '[job]\nname = "mood"\ndataset = "rows.csv"\n[request]\nmodel = "m"\nprompt = "{text}"\n'


def test_the_nearest_folder_above_is_taken_and_where_there_is_none_the_first(tmp_path: Path) -> None:
    inner = tmp_path / "project" / "jobs" / "old"
    inner.mkdir(parents=True)
    assert find_work(WORK, inner) == str(inner / WORK)

    (tmp_path / "project" / WORK).mkdir()
    assert find_work(WORK, inner) == str(tmp_path / "project" / WORK)
    (inner.parent / WORK).write_text("a file is no work folder")
    assert find_work(WORK, inner) == str(tmp_path / "project" / WORK)


def test_a_path_that_goes_up_is_followed_and_not_searched(tmp_path: Path) -> None:
    """Above `inner/../jobs` is not `inner`: a work folder in there is another project's."""
    inner = tmp_path / "inner"
    (inner / WORK).mkdir(parents=True)
    (tmp_path / WORK).mkdir()
    (tmp_path / "jobs").mkdir()

    assert find_work(WORK, inner / ".." / "jobs") == str(tmp_path / WORK)


@pytest.mark.parametrize("named", ["/a/place", "s3://bucket/place"])
def test_a_place_that_is_named_in_full_is_taken_as_it_is(tmp_path: Path, named: str) -> None:
    assert find_work(named, tmp_path) == named


def test_a_folder_of_another_user_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In /tmp anyone may make one; its ledger would be theirs."""
    inner = tmp_path / "project"
    inner.mkdir()
    (tmp_path / WORK).mkdir()
    monkeypatch.setattr(os, "getuid", lambda: 12_345_678)

    assert find_work(WORK, inner) == str(inner / WORK)


@pytest.mark.parametrize(("named", "place"), [(None, "project/.orchestrator"), ("elsewhere", "elsewhere")])
def test_a_job_file_is_the_same_job_from_every_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str | None, place: str
) -> None:
    """Its dataset and its work folder do not depend on the current folder; ORCHESTRATOR_WORK wins."""
    jobs = tmp_path / "project" / "jobs"
    jobs.mkdir(parents=True)
    (tmp_path / "project" / WORK).mkdir()
    (jobs / "mood.toml").write_text(JOB)
    monkeypatch.delenv("ORCHESTRATOR_WORK", raising=False)
    if named:
        monkeypatch.setenv("ORCHESTRATOR_WORK", str(tmp_path / named))
    found = []
    for folder, name in ((jobs, "mood.toml"), (tmp_path, "project/jobs/mood.toml")):
        monkeypatch.chdir(folder)
        job = read_job(Path(name))
        found.append((job.dataset, job.work))

    assert found == 2 * [(str(jobs / "rows.csv"), str(tmp_path / place))]


def test_a_dataset_beside_the_current_folder_is_told_how_to_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "rows.csv").write_text("text\n")
    (tmp_path / "jobs" / "mood.toml").write_text(JOB)
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ConfigError, match=r'Write dataset = "\.\./rows\.csv"'):
        read_job(Path("jobs/mood.toml"))


def test_a_script_is_the_same_run_from_every_folder_and_a_command_starts_in_the_current_one(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    tell = "from orchestrator.storage.work_folder import program_folder; print(program_folder())"
    (tmp_path / "bin" / "script.py").write_text(tell)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    def told(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout.strip()

    assert told("bin/script.py") == str(tmp_path / "bin")
    assert told("-c", tell) == str(tmp_path)


def test_a_command_that_is_linked_from_elsewhere_starts_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As pipx and uv link to one; and as one types ../venv/bin/orchestrator."""
    scripts, links, here = tmp_path / "venv/bin", tmp_path / "links", tmp_path / "here"
    for folder in (scripts, links, here):
        folder.mkdir(parents=True)
    (scripts / "orchestrator").touch()
    (links / "orchestrator").symlink_to(scripts / "orchestrator")
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(scripts))
    monkeypatch.chdir(here)

    for typed in (links / "orchestrator", Path("../venv/bin/orchestrator")):
        monkeypatch.setattr(sys.modules["__main__"], "__file__", str(typed), raising=False)
        assert program_folder() == here
