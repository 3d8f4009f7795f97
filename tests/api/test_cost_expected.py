"""The expected cost of a table that is sorted by the length of its prompts."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import orchestrator
from orchestrator import Progress
from orchestrator.testing import fake_provider

LENGTHS = [5 + row * row // 400 for row in range(400)]  # words of the prompts, the short ones first
PRICES = {"any": {"input_usd": "1", "output_usd": "4"}}


def test_a_sample_and_a_canary_of_the_shortest_rows_tell_what_all_rows_cost(tmp_path: Path) -> None:
    """Answers here are as long as their prompts: by the row, the twenty shortest are a twentieth of the cost."""
    looks: list[Progress] = []
    with fake_provider(lambda body: body["messages"][-1]["content"]) as fake:
        options = fake.options["provider_options"] | {"prices": PRICES}
        given: dict[str, Any] = {"prompt": "{text}", "model": "any", "max_tokens": 1_000, "name": "sorted"}
        table = {"text": [f"{row} " + "word " * words for row, words in enumerate(LENGTHS)]}
        job = orchestrator.Job(
            dataset=table, work=tmp_path, policy={"canary_rows": 20, "reuse": "never"}, **given,
            provider=fake.options["provider"], provider_options=options,
        )  # fmt: skip
        cost = orchestrator.run(job, progress=looks.append).cost_usd
        reusing = orchestrator.Job(
            dataset=table, work=tmp_path / "other", **given,
            provider=fake.options["provider"], provider_options=options,
        )  # fmt: skip
        sample = orchestrator.run(reusing, limit=20)
        planned = orchestrator.plan(reusing)

    assert cost is not None and sample.cost_usd is not None and planned.cost_usd_expected is not None
    expected = [look.money.expected for look in looks if look.money.expected is not None]
    assert float(min(expected) / cost) == pytest.approx(1, abs=0.15)
    assert sample.cost_usd / cost < Decimal("0.01")
    assert planned.judged_by == 20
    assert float((sample.cost_usd + planned.cost_usd_expected) / cost) == pytest.approx(1, abs=0.15)
