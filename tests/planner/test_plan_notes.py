"""What a plan warns of."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import orchestrator
from orchestrator.domain.policy import NullPolicy, Policy
from orchestrator.planner.plan_notes import policy_notes

PRICE = {"prices": {"gpt-4o-mini": {"input_usd": "1", "output_usd": "1"}}}


def notes(work: Path, texts: list[str | None], **fields: Any) -> str:
    given = {"model": "gpt-4o-mini", "provider": "openai", "prompt": "Mood of {text}", "work": work} | fields
    policy = {"null_policy": "empty", **fields.get("policy", {})}
    found = orchestrator.plan(pd.DataFrame({"text": texts}), provider_options=PRICE, **given | {"policy": policy})
    return "\n".join(found.notes)


def test_empty_values_of_the_prompts_columns_are_counted(tmp_path: Path) -> None:
    """Null, no letter, or spaces alone; a column that no prompt uses is nobody's business."""
    told = notes(tmp_path, ["good", "", None, "  ", "bad"])

    assert "column 'text' is empty in 3 of 5 rows" in told
    assert "is empty" not in notes(tmp_path, ["good", "bad"])


def test_requests_that_are_the_same_are_counted_with_what_they_cost(tmp_path: Path) -> None:
    told = notes(tmp_path, ["good", "bad", "good", "good"])

    assert "2 of 4 requests are the same as an earlier one, and paid for: about 0.00" in told
    assert "policy.dedupe = true sends each once" in told
    assert "the same" not in notes(tmp_path, ["good", "bad", "good", "good"], policy={"dedupe": True})
    assert "all 3 requests are the same" in notes(tmp_path, ["good"] * 3)
    assert "the same" not in notes(tmp_path, ["good", "bad"])


def test_a_prompt_over_the_models_context_is_told_before_it_fails(tmp_path: Path) -> None:
    """gpt-4o-mini takes 128,000 tokens."""
    assert "the model takes 128,000 with its answer" in notes(tmp_path, ["word " * 100_000])


@pytest.mark.parametrize(
    ("budget", "told"),
    [
        ("0.05", "0.05 USD is about 50 % of the expected 0.1000 USD: the job sends what fits"),
        ("0.15", "0.15 USD is less than the 0.2000 USD it may cost at most: it waits"),
        ("0.2", ""),
        (None, ""),
    ],
)
def test_a_budget_is_compared_with_what_the_job_will_and_may_cost(budget: str | None, told: str) -> None:
    policy = Policy(budget_usd=None if budget is None else Decimal(budget))
    found = list(policy_notes(policy, cost_usd_expected=Decimal("0.1"), cost_usd_max=Decimal("0.2"), can_be_null=True))

    assert told in "".join(found)
    assert len(found) == bool(told)


def test_a_null_policy_that_cannot_apply_says_how_it_would(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text('text\nfine\n""\n')
    for options, is_told in (({}, True), ({"null_values": ["NA"]}, False)):
        found = orchestrator.plan(
            tmp_path / "rows.csv",
            model="m",
            prompt="{text}",
            work=tmp_path,
            policy={"null_policy": NullPolicy.SKIP},
            dataset_options=options,
        )
        assert any("never applies" in note for note in found.notes) is is_told
