"""A job without a job file."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.api.drafting import MODELS
from orchestrator.cli.direct import Request, described, typed
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.policy import Reuse
from orchestrator.planner.template import placeholders

NOTHING = Request(None, None, None, None, None)
ASKED = Request("Mood of {text}?", None, None, 8, None)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "My reviews.csv").write_text("id,text\n1,fine\n")
    (tmp_path / "mood.toml").write_text("[job]\n")
    return tmp_path


def test_a_table_and_a_prompt_are_a_job(folder: Path) -> None:
    job = described("My reviews.csv", None, ASKED)

    assert job is not None
    assert (job.name, job.model, job.max_tokens) == ("my-reviews", MODELS["onerouter"], 8)
    assert placeholders(job.body) == ("text",)
    assert Path(str(job.work)) == folder / ".orchestrator"
    fresh = described("My reviews.csv", "elsewhere", ASKED, fresh=True)
    assert fresh is not None
    assert Path(str(fresh.work)) == folder / "elsewhere"
    assert fresh.resolved_policy.reuse is Reuse.NEVER


def test_without_options_it_is_a_job_file_or_an_id() -> None:
    assert described("mood-3f2a91c4", None, NOTHING) is None
    with pytest.raises(ConfigError, match=r"mood.toml: \[job\] needs name"):
        described("mood.toml", None, NOTHING)


@pytest.mark.parametrize(
    ("job", "request_", "words"),
    [
        ("mood.toml", ASKED, "mood.toml says what is asked: --prompt and its options go with a table"),
        (
            "rows.csv",
            Request(None, None, "m", None, None),
            r"what is to be asked about each row of rows.csv\?",
        ),
        ("rows.csv", Request("x", None, None, None, "ours"), "name a model for provider 'ours': --model MODEL"),
    ],
)
def test_what_does_not_fit_together_is_said(job: str, request_: Request, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        described(job, None, request_)


def test_what_was_typed_can_be_pasted_again() -> None:
    assert typed("My reviews.csv", ASKED) == "'My reviews.csv' --prompt 'Mood of {text}?' --max-tokens 8"
    assert typed("mood.toml", NOTHING) == "mood.toml"
