"""A job with a budget: it waits for what is in flight and goes on, and stops only where nothing can be sent."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pytest

import orchestrator
from orchestrator import JobStopped, Look, Result
from orchestrator.engine import local_runner
from orchestrator.testing import FakeProvider, fake_provider

FRAME: Final = pd.DataFrame({"text": [f"row {number}" for number in range(12)]})
PRICE: Final = {"any": {"input_usd": "1", "output_usd": "1"}}
ONE_USD: Final = Decimal("0.00014")  # a request may cost so much, and costs next to nothing


@pytest.fixture
def fake() -> Iterator[FakeProvider]:
    with fake_provider(lambda _body: "good") as running:
        yield running


def run(fake: FakeProvider, work: Path, budget: Decimal, seen: list[Look] | None = None) -> Result:
    options: Any = fake.options
    options["provider_options"] = {**options["provider_options"], "prices": PRICE}
    policy = {"budget_usd": budget, "chunk_requests_max": 6}
    look = None if seen is None else seen.append
    return orchestrator.run(
        FRAME, prompt="{text}", model="any", max_tokens=100, work=work, policy=policy, progress=look, **options
    )


def test_a_budget_that_suffices_for_what_the_answers_cost_is_enough(
    fake: FakeProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is less than a third of what the whole job may cost: chunks are cut, and money that comes free is used."""
    for pause in ("REPORT_S", "REPORT_COST"):  # a look after each step, however quick the batches are
        monkeypatch.setattr(local_runner, pause, 0)
    seen = list[Look]()
    result = run(fake, tmp_path, 4 * ONE_USD, seen)

    assert result.counts == {"rows": 12, "succeeded": 12, "failed": 0}
    assert len(fake.requests) == 12
    assert any("is spent or reserved, by 1 batch in flight" in look.budget_wait for look in seen)
    found = orchestrator.audit(result.job_id, work=tmp_path, deep=True)
    assert (found.differences, [note for note in found.notes if "budget" in note]) == ([], [])

    run(fake, tmp_path, Decimal("0.000001"))  # it has ended, and now its budget is lower than what was spent
    [told] = [note for note in orchestrator.audit(result.job_id, work=tmp_path).notes if "budget" in note]
    assert "is spent or reserved, over policy.budget_usd 0.000001 USD" in told


@pytest.mark.slow
def test_a_budget_below_one_request_stops_the_job_and_a_larger_one_lets_it_go_on(
    fake: FakeProvider, tmp_path: Path
) -> None:
    with pytest.raises(JobStopped, match=r"nothing was spent, .* 0\.00007 USD\. .* end it and keep .*cancel job-"):
        run(fake, tmp_path, ONE_USD / 2)
    [handle] = orchestrator.jobs(work=tmp_path)
    assert handle.status().totals.in_flight_chunks == 0
    assert not fake.requests

    assert run(fake, tmp_path, Decimal(1)).counts["succeeded"] == 12
