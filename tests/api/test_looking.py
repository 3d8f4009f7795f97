"""Finding a job by the beginning of its id, and looking at what it has done."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

import orchestrator
from orchestrator import ConfigError
from orchestrator.api import timeline
from orchestrator.cli.main import app
from orchestrator.domain.causes import Cause
from orchestrator.domain.errors import CommandRefused
from orchestrator.domain.look import Activity
from orchestrator.domain.model import JobId
from orchestrator.domain.pictures import Course
from orchestrator.domain.policy import NullPolicy
from orchestrator.domain.workers import Kind
from orchestrator.engine.local_runner import running
from orchestrator.engine.opening import opened_workspace
from orchestrator.testing import Failure, fake_provider

FRAME = pd.DataFrame({"text": ["fine", "bad", "so so", None]})


def answer(body: dict[str, object]) -> str | Failure:
    return Failure(code="content_filter", message="no") if "bad" in str(body["messages"]) else "yes"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder with two jobs, one of which has failed rows."""
    work = tmp_path_factory.mktemp("work")
    with fake_provider(answer) as fake:
        for name, frame in (("mood", FRAME), ("mood-short", FRAME[:1])):
            job = orchestrator.Job(
                dataset=frame,
                prompt="{text}",
                model="any",
                name=name,
                work=work,
                policy=orchestrator.Policy(null_policy=NullPolicy.SKIP),
                **fake.options,
            )
            orchestrator.run(job)
    return work


def test_a_job_is_found_by_the_beginning_of_its_id(place: Path) -> None:
    found = orchestrator.open_job("mood-s", work=place)

    assert found.job_id.startswith("mood-short-")
    assert orchestrator.open_job(found.job_id, work=place).job_id == found.job_id


def test_a_beginning_that_several_jobs_share_names_them(place: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"mood is the beginning of several jobs in .*: mood-[\w-]+, mood-[\w-]+; give more"
    ):
        orchestrator.open_job("mood", work=place)


@pytest.mark.parametrize("job_id", ["", "ood", "mood-short-00000000-"])
def test_what_begins_no_id_is_no_job(place: Path, job_id: str) -> None:
    with pytest.raises(ConfigError, match="has no job"):
        orchestrator.open_job(job_id, work=place)


def test_a_look_at_a_job_that_has_ended_adds_up(place: Path) -> None:
    [mood] = [one for one in orchestrator.jobs(work=place) if "short" not in one.job_id]

    look = timeline.look(mood)

    assert look.activity is Activity.FINISHED
    assert (look.rows.total, look.rows.answered, look.rows.failed, look.rows.placed) == (4, 2, 2, 4)
    assert set(look.causes) == {Cause("content_filter", 1, 0, 1), Cause("null_skipped", 1, 0, 3)}
    assert look.worked_by == ()
    [batch] = timeline.batches(mood)
    assert (batch.answered, batch.failed, batch.word) == (2, 1, "SUCCESS")


def test_what_happened_is_told_in_order_and_to_the_end(place: Path) -> None:
    [mood] = [one for one in orchestrator.jobs(work=place) if "short" not in one.job_id]

    told = list(timeline.events(mood))

    assert [one.name for one in told][:2] == ["job.opened", "shard.planned"]
    assert told[-1].name == "job.finished"
    assert list(timeline.events(mood, newest=1)) == told[-1:]
    assert list(timeline.follow(mood, threading.Event(), newest=2)) == told[-2:]


def test_a_run_that_has_died_is_not_named(tmp_path: Path) -> None:
    """What it has told stays for a while; its lock ends with it."""
    with fake_provider() as fake:
        job = orchestrator.submit(FRAME, prompt="{text}", model="any", work=tmp_path, **fake.options)
    with opened_workspace(str(tmp_path)) as workspace:
        with running(workspace, job.job_id):
            workspace.register(Kind.RUN, "lab-7", job_id=job.job_id)
            assert [one.host for one in job.status().look.worked_by] == ["lab-7"]
        look = job.status().look

    assert (look.worked_by, look.activity) == ((), Activity.UNATTENDED)
    with pytest.raises(CommandRefused, match="no process runs it"):
        job.stop()


def test_a_rebuilt_ledger_knows_when_answers_came_or_says_that_it_does_not(tmp_path: Path) -> None:
    """The records of the work folder have it; those of earlier versions had not."""
    with fake_provider(answer) as fake:
        result = orchestrator.run(
            FRAME[:3], prompt="{text}", model="any", work=tmp_path, progress=False, **fake.options
        )
    job_id = JobId(result.job_id)

    def course() -> Course:
        (tmp_path / "ledger.db").unlink()
        orchestrator.recover(work=tmp_path)
        with opened_workspace(str(tmp_path)) as workspace:
            found = workspace.views.course(job_id, now=workspace.clock.now())
        assert found is not None
        return found

    known = course()
    for record in (tmp_path / job_id / "collected").iterdir():
        content = json.loads(record.read_text())
        del content["collected_at"], content["ended_at"]
        record.write_text(json.dumps(content))
    unknown = course()

    assert (sum(known.answered), known.undated) == (2, 0)
    assert (sum(unknown.answered), unknown.undated) == (0, 2)
    shown = CliRunner().invoke(app, ["batches", job_id, "--work", str(tmp_path)]).stdout
    assert shown.splitlines()[-1].split()[-1] == "unknown"
