"""A DAG that gives every review a mood, overnight: copy it into the folder of your DAGs."""

from __future__ import annotations

import pendulum
from airflow.sdk import DAG
from batch_orchestrator_airflow.operator import BatchOrchestratorOperator

with DAG("moods", schedule="@daily", start_date=pendulum.datetime(2026, 12, 1, tz="UTC"), catchup=False):
    BatchOrchestratorOperator(
        task_id="moods",
        job={
            "name": "moods-{{ ds_nodash }}",
            "dataset": "s3://bucket/reviews/{{ ds }}/",
            "prompt": "One word for the mood of: {text}",
            "model": "openai/gpt-6-luna-batch",
            "max_tokens": 8,
            "policy": {"budget_usd": "5.00"},
        },
        work="s3://bucket/work",
        on="fleet",
        deferrable=True,
        poll_interval=300,
        timeout=36 * 3600,
        conn_id=None,
    )
