"""An Airflow operator that runs a job of batch-orchestrator.

Airflow calls `provider_info` while it reads its own configuration: so this module imports nothing of it.
"""

from __future__ import annotations


def provider_info() -> dict[str, object]:
    """Return what `airflow providers list` shows."""
    return {
        "package-name": "batch-orchestrator-airflow",
        "name": "Batch orchestrator",
        "description": "A language model's answer beside every row of a table, through Batch APIs.",
    }
