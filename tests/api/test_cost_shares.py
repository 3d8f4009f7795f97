"""What a job has cost is in its rows, was replaced on request, or was paid for nothing: to the last billionth."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

import orchestrator
from orchestrator import Result
from orchestrator.cli.main import app
from orchestrator.testing import fake_provider

pytestmark = pytest.mark.slow

TYPED = {"mood": {"enum": ["good", "bad"]}}
PRICES = {"any": {"input_usd": "0.10", "output_usd": "0.40"}}


def sum_of_rows(result: Result) -> Decimal:
    return sum((Decimal(repr(usd)) for usd in result.to_arrow()["llm_cost_usd"].to_pylist() if usd), Decimal(0))


def adds_up(result: Result, work: Path) -> bool:
    shares = result.cost_shares()
    assert sum(shares.values(), Decimal(0)) == result.cost_usd
    assert abs(shares["rows"] - sum_of_rows(result)) < Decimal("1e-9")
    found = orchestrator.audit(result.job_id, work=work, deep=True)
    assert not found.differences, found.differences
    assert found.replaced_usd == shares["replaced"]
    assert found.answered_usd is not None
    return found.answered_usd + found.replaced_usd + found.wasted_usd == result.cost_usd


def test_what_was_replaced_on_request_is_a_share_of_its_own(tmp_path: Path) -> None:
    """Rows that failed and were charged, answers that were replaced, and a retry that failed in vain."""
    tries: Counter[str] = Counter()

    def answer(body: dict[str, Any]) -> str:
        name = next(word for word in body["messages"][0]["content"].split() if word.startswith("k"))
        tries[name] += 1
        good = {"k0": [1], "k1": [1, 2], "k2": [2], "k3": []}[name]
        return json.dumps({"mood": "good"}) if tries[name] in good else f"no JSON of {name}, at length"

    frame = pd.DataFrame({"name": ["k0", "k1", "k2", "k3"]})
    with fake_provider(answer) as fake:
        given: dict[str, Any] = {"prompt": "{name} ", "model": "any", "response": TYPED, **fake.options}
        given["provider_options"] |= {"prices": PRICES}
        first = orchestrator.run(frame, work=tmp_path, policy={"attempts_max": 1}, **given)
        assert first.cost_usd
        assert (first.cost_shares()["replaced"], adds_up(first, tmp_path)) == (0, True)
        handle = orchestrator.open_job(first.job_id, work=tmp_path)
        second = handle.retry(rows=["llm_mood = 'good'", "failed"])
        again = ["retry", second.job_id, "--work", str(tmp_path), "--rows", "refused", "--allow-failed"]
        done = CliRunner().invoke(app, again)

    shares = second.cost_shares()
    assert adds_up(second, tmp_path)
    assert shares["replaced"] > 0
    assert shares["nothing"] > 0
    manifest = json.loads(Path(f"{second.path}.manifest.json").read_text(encoding="utf-8"))
    assert Decimal(manifest["replaced_usd"]) == shares["replaced"]
    assert "of it: replaced on request" in done.stdout
    assert "of it: paid for nothing" in done.stdout
