"""Typed answers that are no use: which rows are sent again, how, and how often."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pytest

import orchestrator
from orchestrator import Result
from orchestrator.testing import Failure, FakeProvider, fake_provider
from tests.acceptance.test_typed_answers import FIELDS, MODELS, errors_of

GOOD: Final = '{"mood": "good"}'
DOWN: Final = Failure(status=500, code="server_error", message="try again")
ANTHROPIC_AND_ONEROUTER: Final = [pytest.param(name, marks=pytest.mark.slow) for name in ("onerouter", "anthropic")]


class Model:
    """Answers by the first word of the user, and counts how often it is asked for each."""

    def __init__(self) -> None:
        self.asked = Counter[str]()

    def __call__(self, body: dict[str, Any]) -> str | Failure:
        given = body.get("messages") or body["input"]
        messages = [{"role": "user", "content": given}] if isinstance(given, str) else given
        name = next(one["content"] for one in messages if one["role"] == "user").split()[0]
        self.asked[name] += 1
        count = self.asked[name]
        match name:
            case "wrong-once" | "prose-once":
                return GOOD if count > 1 else '{"mood": "mixed"}' if name == "wrong-once" else "It is good."
            case "wrong-always":
                return '{"mood": "mixed"}'
            case "wrong-then-down":
                return '{"mood": "mixed"}' if count == 1 else DOWN if count == 2 else GOOD
            case "down-then-wrong":
                return DOWN if count == 1 else '{"mood": "mixed"}' if count == 2 else GOOD
        return GOOD


def run(fake: FakeProvider, work: Path, texts: list[str], **fields: Any) -> Result:
    fields = {"model": MODELS[fake.dialect], "response": FIELDS, "max_tokens": 200} | fields
    options = {"provider_options": {**fake.options["provider_options"], **fields.pop("provider_options", {})}}
    return orchestrator.run(
        pd.DataFrame({"text": texts}), prompt="{text} it is", work=work, **fields, **fake.options | options
    )


@pytest.mark.parametrize("dialect", ["openai", *ANTHROPIC_AND_ONEROUTER])
def test_an_answer_that_is_no_use_is_shown_to_the_model_once(tmp_path: Path, dialect: str) -> None:
    texts = ["fine", "wrong-once", "prose-once", "wrong-always", "wrong-then-down", "down-then-wrong"]
    model = Model()
    with fake_provider(model, dialect=dialect) as fake:
        result = run(fake, tmp_path, texts, policy={"attempts_max": 4})
        audit = orchestrator.audit(result.job_id, work=tmp_path, deep=True)

    assert model.asked == {
        "fine": 1, "wrong-once": 2, "prose-once": 2, "wrong-always": 2, "wrong-then-down": 3, "down-then-wrong": 3
    }  # fmt: skip
    assert errors_of(result) == [None, None, None, "schema_mismatch", None, None]
    assert result.to_arrow()["llm_attempts"].to_pylist() == [1, 2, 2, 2, 3, 3]
    assert audit.differences == []
    again = [body for body in fake.requests if body["messages"][-1]["content"].startswith("This answer")]
    assert len(again) == 6  # one of them twice: the platform failed it
    shown = [body["messages"][-2:] for body in again if "prose-once" in str(body)]
    assert shown == [
        [
            {"role": "assistant", "content": "It is good."},
            {"role": "user", "content": shown[0][1]["content"]},
        ]
    ]
    assert "the answer holds no JSON object" in shown[0][1]["content"]


@pytest.mark.slow
def test_the_responses_api_gets_a_conversation(tmp_path: Path) -> None:
    with fake_provider(Model(), dialect="openai") as fake:
        result = run(fake, tmp_path, ["wrong-once"], provider_options={"endpoint": "/v1/responses"})

    assert errors_of(result) == [None]
    assert [one["role"] for one in fake.requests[1]["input"]] == ["user", "assistant", "user"]
    assert fake.requests[1]["text"] == fake.requests[0]["text"]


@pytest.mark.parametrize(
    ("dialect", "name"),
    [
        ("openai", "max_completion_tokens"),
        pytest.param("anthropic", "max_tokens", marks=pytest.mark.slow),
        pytest.param("onerouter", "max_tokens", marks=pytest.mark.slow),
    ],
)
def test_an_answer_that_was_cut_off_gets_a_larger_limit_once(tmp_path: Path, dialect: str, name: str) -> None:
    with fake_provider(dialect=dialect) as fake:
        result = run(fake, tmp_path, ["one", "two " + "and more " * 20], max_tokens=2, response={"note": "string"})

    assert errors_of(result) == [None, "truncated"]
    assert sorted(body[name] for body in fake.requests) == [2, 2, 8, 8]
    table = result.to_arrow()
    assert table["llm_note"].null_count == 1
    assert table["llm_response"].null_count == 0


def test_one_attempt_is_one_attempt(tmp_path: Path) -> None:
    with fake_provider(Model()) as fake:
        result = run(fake, tmp_path, ["wrong-once", "fine"], policy={"attempts_max": 1})

    assert errors_of(result) == ["schema_mismatch", None]
    assert len(fake.requests) == 2


@pytest.mark.slow
def test_a_person_may_send_failed_rows_again(tmp_path: Path) -> None:
    """They are sent as planned, or as they were changed, and the typed columns are those of the new answers."""
    model = Model()
    with fake_provider(model) as fake:
        first = run(fake, tmp_path, ["wrong-always", "fine"])
        model.asked.clear()
        again = orchestrator.open_job(first.job_id, work=tmp_path).retry()

        assert orchestrator.audit(first.job_id, work=tmp_path, deep=True).is_clean
    assert model.asked == {"wrong-always": 1}
    assert again.to_arrow()["llm_mood"].to_pylist() == [None, "good"]
    assert again.path != first.path


@pytest.mark.slow
def test_rows_that_were_cut_off_are_sent_again_as_failed_ones(tmp_path: Path) -> None:
    with fake_provider(dialect="openai") as fake:
        first = run(fake, tmp_path, ["one", "two " + "and more " * 20], max_tokens=2, response={"note": "string"})
        handle = orchestrator.open_job(first.job_id, work=tmp_path)
        again = handle.retry(rows="truncated", parameters={"max_tokens": 200})
        assert orchestrator.audit(first.job_id, work=tmp_path, deep=True).differences == []

    assert again.counts == {"rows": 2, "succeeded": 2, "failed": 0}
    assert [body["max_completion_tokens"] for body in fake.requests[-1:]] == [200]


@pytest.mark.slow
def test_a_ledger_that_was_lost_knows_that_requests_were_changed(tmp_path: Path) -> None:
    with fake_provider(Model()) as fake:
        result = run(fake, tmp_path, ["wrong-always", "fine"])
        for file in tmp_path.glob("ledger.db*"):
            file.unlink()
        [found] = orchestrator.recover(work=tmp_path)

        assert found.state == "finished"
        assert orchestrator.audit(result.job_id, work=tmp_path, deep=True).differences == []


@pytest.mark.slow
def test_an_answer_of_a_second_try_is_reused_for_the_request_as_planned(tmp_path: Path) -> None:
    model = Model()
    with fake_provider(model) as fake:
        run(fake, tmp_path, ["wrong-once", "fine"])
        grown = run(fake, tmp_path, ["wrong-once", "fine", "new"])

    assert model.asked == {"wrong-once": 2, "fine": 1, "new": 1}
    assert grown.to_arrow()["llm_mood"].to_pylist() == ["good"] * 3


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["not-json", "wrong-values", "cut-answers", "fenced-answers"])
def test_a_rehearsal_has_answers_that_are_no_use(tmp_path: Path, fault: str) -> None:
    from orchestrator.api.rehearse import rehearse

    job = orchestrator.Job(
        dataset=pd.DataFrame({"text": [f"row {number}" for number in range(200)]}),
        prompt="{text}", model="m-batch", response=FIELDS, max_tokens=100, work=tmp_path,
    )  # fmt: skip

    found = rehearse(job, faults=[fault])

    assert (found.waits_for, found.errors, found.status.totals.succeeded) == ("", {}, 200)
    assert found.paid_twice == 0
    assert (found.answers == 200) is (fault == "fenced-answers")
