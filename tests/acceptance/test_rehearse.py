"""`orchestrator rehearse`: the job as it is, a server of this machine, and nothing left behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import orchestrator
from orchestrator import ConfigError
from orchestrator.api.rehearse import rehearse
from orchestrator.cli.main import app
from orchestrator.domain.look import Look
from tests.tiers import sampled

JOB = """
[job]
name = "moods"
dataset = "rows.csv"
provider = "{provider}"
[request]
model = "gpt-4o-mini"
prompt = "Mood of: {{text}}"
[provider]
api_key_env = "NOT_SET_ANYWHERE"
headers = {{ X-Team = "research" }}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text("text\n" + "".join(f"row {number}\n" for number in range(60)))
    return tmp_path


def a_job(**fields: object) -> orchestrator.Job:
    return orchestrator.Job(dataset="rows.csv", model="gpt-4o-mini", prompt="Mood of: {text}", **fields)  # type: ignore[arg-type]


def test_a_rehearsal_needs_no_key_runs_the_first_rows_and_keeps_nothing(folder: Path) -> None:
    (folder / "job.toml").write_text(JOB.format(provider="onerouter"))
    before = sorted(folder.iterdir())

    ended = CliRunner().invoke(app, ["rehearse", "job.toml", "--rows", "20", "--json"])
    found = json.loads(ended.stdout)

    assert ended.exit_code == 0, ended.stderr
    assert (found["rows"], found["is_sample"], found["answers"], found["paid_twice"]) == (20, True, 20, 0)
    assert found["status"]["rows"]["answered"] == 20
    assert sorted(folder.iterdir()) == before


@pytest.mark.slow
def test_a_lost_create_is_found_again_where_the_provider_has_a_list(folder: Path) -> None:  # noqa: ARG001
    """The program's waits run on the server's fast clock: minutes take seconds."""
    found = rehearse(a_job(provider="openai"), faults=["lost-create"], rows=0)

    assert (found.waits_for, found.is_sample) == ("", False)
    assert found.status.totals.succeeded == found.answers == 60
    assert found.paid_twice == 0


def test_a_lost_create_needs_a_person_where_there_is_no_list(folder: Path) -> None:  # noqa: ARG001
    found = rehearse(a_job(), faults=["lost-create"], rows=10)

    assert found.needs_person
    assert "unresolved" in found.waits_for
    assert "/rehearsal-" not in found.waits_for
    assert found.paid_twice == 0


@pytest.mark.slow
def test_what_is_still_waited_for_at_the_end_is_told(folder: Path) -> None:  # noqa: ARG001
    found = rehearse(a_job(), faults=["late-results"], rows=5, timeout_s=1.0)

    assert found.waits_for.startswith("after 0.0 hours of a real run it still waits for: ")
    assert not found.needs_person


def test_an_unknown_fault_is_refused_with_the_names_there_are(folder: Path) -> None:  # noqa: ARG001
    with pytest.raises(ConfigError, match="there is no fault 'lost'; choose from rate-limit, lost-create"):
        rehearse(a_job(), faults=["lost"])


@pytest.mark.slow
@pytest.mark.parametrize("provider", sampled(["onerouter", "openai"], quick={"onerouter"}))
def test_a_model_that_takes_no_batches_stops_the_job_and_fails_no_row(folder: Path, provider: str) -> None:  # noqa: ARG001
    """All batches fail alike before anything ran, in the words of either dialect."""
    found = rehearse(a_job(provider=provider), faults=["wrong-model"], rows=20)

    assert found.needs_person
    assert "refuses the job as a whole" in found.waits_for
    assert (found.status.totals.failed, found.answers) == (0, 0)


def reasons(now: Look) -> list[str]:
    return [now.reason, *(one.reason for one in now.troubles)]


@pytest.mark.slow
def test_progress_of_a_rehearsal_names_no_file_that_is_deleted_and_no_time_of_its_fast_clock(folder: Path) -> None:  # noqa: ARG001
    """The pause of an account names the next try, and a refusal the file with the provider's message."""
    told = list[str]()

    found = rehearse(a_job(), faults=["spend-limit"], progress=lambda now: told.extend(reasons(now)))

    assert found.waits_for == ""
    assert any("hard limit has been reached" in text.lower() for text in told)
    assert [text for text in told if "rehearsal-" in text or "next try" in text] == []


@pytest.mark.slow
def test_a_rehearsal_that_runs_is_not_said_to_be_unattended(folder: Path) -> None:  # noqa: ARG001
    """The process counts as gone by the fast clock, thirty seconds of which pass in half a second."""
    done = list[str]()

    rehearse(a_job(), faults=["expired"], rows=0, progress=lambda now: done.append(now.activity.value))

    assert done[-1] == "finished"
    assert "unattended" not in done
