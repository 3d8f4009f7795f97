"""A code location with one asset: `dagster dev -f definitions.py`."""

from __future__ import annotations

import dagster as dg
from answers import answers_asset

import orchestrator


def job() -> orchestrator.Job:
    """Describe the job."""
    return orchestrator.Job(
        name="moods",
        dataset="s3://bucket/reviews/",
        prompt="One word for the mood of: {text}",
        model="openai/gpt-6-luna-batch",
        max_tokens=8,
        work="s3://bucket/work",
        policy={"budget_usd": "5.00"},
    )


definitions = dg.Definitions(assets=[answers_asset("moods", job)])
