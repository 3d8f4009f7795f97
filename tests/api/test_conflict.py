"""A new job of the name of one that is not finished is refused, says what differs, and runs where that is meant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pytest

import orchestrator
from orchestrator import Job, JobConflict
from orchestrator.api.commands import identify
from orchestrator.api.conflict import differences
from orchestrator.api.prepare import places, prepare
from orchestrator.domain.errors import LedgerBusy
from orchestrator.engine.locks import only_process
from orchestrator.engine.opening import opened_workspace
from orchestrator.engine.spec import Spec
from orchestrator.testing import Failure, FakeProvider, fake_provider

FRAME: Final = pd.DataFrame({"text": ["a secret row", "another"]})
LONG: Final = "You are the most careful reader of reviews there has ever been, and you answer with one word: "


@pytest.fixture
def fake() -> Iterator[FakeProvider]:
    with fake_provider(lambda _body: Failure(status=400)) as running:
        yield running


def spec(work: Path, **fields: Any) -> Spec:
    job = Job(**{"dataset": FRAME, "model": "m", "prompt": "{text}", "work": work} | fields)
    return prepare(job, *places(job)).spec


def ask(row: dict[str, Any]) -> dict[str, Any]:
    return {"prompt": row["text"]}


def ask_more(row: dict[str, Any]) -> dict[str, Any]:
    return {"prompt": row["text"] + "?"}


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (
            {"prompt": LONG + "{text}"},
            {"prompt": LONG + "Topic of {text}"},
            'request.messages[0].content: …h one word: {text}" -> …h one word: Topic of {text}"',
        ),
        (
            {"prompt": "Colour of {text}, and of all that it is next to?"},  # its quote is not cut off
            {"prompt": "Color of {text}, and of all that it is next to?"},
            'request.messages[0].content: "Colour of {text}, and of all that it is next to?" -> "Color',
        ),
        ({"max_tokens": 5}, {"max_tokens": 6}, "request.max_tokens: 5 -> 6"),
        ({}, {"temperature": 0.5}, "request.temperature: (none) -> 0.5"),
        ({}, {"model": "other"}, "request.model: m -> other"),
        ({}, {"dataset": FRAME[:1]}, "job.dataset: "),
        ({}, {"provider_options": {"base_url": "https://x/v1"}}, "provider.base_url: "),
        ({"prompt": None, "render": ask}, {"prompt": None, "render": ask_more}, "request.render: "),
        ({}, {"prompt": None, "render": ask}, "request: a template -> a function"),
    ],
)
def test_what_makes_it_another_job_is_named(
    tmp_path: Path, before: dict[str, Any], after: dict[str, Any], told: str
) -> None:
    [found] = differences(spec(tmp_path, **before), spec(tmp_path, **after))

    assert found.startswith(told)
    assert "secret" not in found


def test_an_edited_prompt_does_not_pay_again_for_a_job_that_is_under_way(tmp_path: Path, fake: FakeProvider) -> None:
    """The message has what the older one has in flight, and what to type; `alongside` is the way round it."""
    options: Any = {"model": "m", "work": tmp_path, **fake.options}
    older = orchestrator.submit(FRAME, prompt="Mood: {text}", **options)

    with pytest.raises(JobConflict) as raised:
        orchestrator.run(FRAME, prompt="Topic: {text}", **options)

    told = str(raised.value)
    assert '    request.messages[0].content: "Mood: {text}" -> "Topic: {text}"\n' in told
    assert "The older one is unattended: 0 of 0 rows done, nothing spent, nothing in flight.\n" in told
    assert f"orchestrator run {older.job_id} --work {tmp_path}" in told
    assert f"orchestrator cancel {older.job_id} --work {tmp_path}" in told
    older.pause()
    with pytest.raises(JobConflict, match=f"orchestrator resume {older.job_id}"):
        orchestrator.run(FRAME, prompt="Topic: {text}", **options)
    assert max(map(len, told.splitlines())) <= 80 + len(str(tmp_path))
    assert [handle.job_id for handle in orchestrator.jobs(work=tmp_path)] == [older.job_id]
    with pytest.raises(JobConflict):
        orchestrator.submit(FRAME, prompt="Topic: {text}", **options)
    beside = orchestrator.submit(FRAME, prompt="Topic: {text}", alongside=True, **options)
    assert len(orchestrator.jobs(work=tmp_path)) == 2
    orchestrator.submit(FRAME, prompt="Topic: {text}", **options)  # it is known by now: it resumes
    assert identify(replace(Job(dataset=FRAME, prompt="Topic: {text}", **options))) == beside.job_id


def test_an_edited_prompt_is_told_of_while_another_process_runs_the_older_job(
    tmp_path: Path, fake: FakeProvider
) -> None:
    """Rather than that the work folder is in use."""
    options: Any = {"model": "m", "work": tmp_path, **fake.options}
    orchestrator.submit(FRAME, prompt="Mood: {text}", **options)

    with opened_workspace(str(tmp_path)) as workspace, only_process(workspace.lock or tmp_path):
        with pytest.raises(JobConflict, match="Topic of"):
            orchestrator.run(FRAME, prompt="Topic of {text}", **options)
        with pytest.raises(LedgerBusy):
            orchestrator.run(FRAME, prompt="Topic of {text}", alongside=True, **options)


def test_a_job_that_has_ended_or_has_another_name_is_in_nobodys_way(tmp_path: Path, fake: FakeProvider) -> None:
    options: Any = {"model": "m", "work": tmp_path, **fake.options}
    orchestrator.submit(FRAME, prompt="Mood: {text}", **options).cancel()

    again = orchestrator.submit(FRAME, prompt="Topic: {text}", **options)
    orchestrator.submit(FRAME, prompt="Name: {text}", name="other", **options)

    assert len(orchestrator.jobs(work=tmp_path)) == 3
    assert again.job_id.startswith("job-")
