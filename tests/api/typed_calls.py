"""Calls that a type checker must accept or refuse; `make lint` runs mypy over this file, and nothing runs it.

A `type: ignore` that is not needed is an error, so each line that bears one is a call that mypy refuses.
"""

from __future__ import annotations

import threading
from decimal import Decimal
from pathlib import Path

import pandas as pd
import polars as pl

import orchestrator
from orchestrator import Estimate, Job, JobHandle, Look, OutputOptions, Policy, Result
from orchestrator.testing import fake_provider


def look(now: Look) -> None:
    """Take what a callback is given."""


def accepted(frame: pd.DataFrame, job: Job) -> tuple[Estimate, Result, JobHandle]:
    """Say what is right: a Job, or a dataset with the Job's fields."""
    orchestrator.run(frame, prompt="{text}", model="m")
    orchestrator.run("rows.csv", prompt="{text}", model="m", policy=Policy(budget_usd=Decimal(1)), progress=look)
    orchestrator.run(Path("rows.csv"), prompt="{text}", model="m", output_options=OutputOptions(raw=True))
    orchestrator.run(pl.DataFrame({"text": ["a"]}), prompt="{text}", model="m")
    orchestrator.run([{"text": "a"}], prompt="{text}", model="m")
    orchestrator.run({"text": ["a"]}, prompt="{text}", model="m")
    orchestrator.run(({"text": str(number)} for number in range(9)), prompt="{text}", model="m")
    orchestrator.run(job, progress=look, stop=threading.Event())
    orchestrator.run(job, progress=False)
    with fake_provider() as fake:
        orchestrator.run(frame, prompt="{text}", model="m", **fake.options)
    return orchestrator.plan(job), orchestrator.run(job), orchestrator.submit(frame, prompt="{text}", model="m")


def refused(frame: pd.DataFrame, job: Job, handle: JobHandle) -> None:
    """Say what is wrong."""
    orchestrator.run(frame, promt="{text}", model="m")  # type: ignore[call-overload]
    orchestrator.run(frame, prompt="{text}")  # type: ignore[call-overload]
    orchestrator.plan(frame, prompt=5, model="m")  # type: ignore[call-overload]
    orchestrator.submit(frame, prompt="{text}", model="m", max_tokens="64")  # type: ignore[call-overload]
    orchestrator.submit(job, progress=look)  # type: ignore[call-overload]
    handle.resolve_created("c00000-00001", None)  # type: ignore[arg-type]
