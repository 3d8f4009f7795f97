"""What is said of the whole dataset after a paid sample of it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

import orchestrator
from orchestrator.cli.text import rest_of_sample
from orchestrator.testing import fake_provider


def test_a_sample_that_was_all_rows_leaves_nothing_to_send(tmp_path: Path) -> None:
    with fake_provider(lambda _body: "yes") as fake:
        job = orchestrator.Job(
            dataset=pd.DataFrame({"text": ["a", "b"]}), prompt="{text}", model="any", work=tmp_path, **fake.options
        )
        before = rest_of_sample(orchestrator.plan(job), "mood.toml")
        orchestrator.run(job, limit=9)

        told = rest_of_sample(orchestrator.plan(job), "mood.toml")

    assert "sends 2 more" in before
    assert told == "  all rows    have an answer: `orchestrator run mood.toml` sends nothing"
