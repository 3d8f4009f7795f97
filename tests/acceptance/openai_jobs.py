"""Whole jobs in OpenAI's dialect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

import orchestrator
from orchestrator import Result
from tests.acceptance.datasets import check_audit, marked, read_output
from tests.gateway_process import GatewayProcess, running_gateway

MODEL: Final = "gpt-4o-mini"
ROWS: Final = 60
CHUNK: Final = 20
SOURCE: Final = marked(ROWS)
PROVIDER: Final = {"poll_s_min": 0.2, "poll_s_max": 0.5, "create_s_max": 5, "list_lag_s": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A fault plan, and what a user then gets: how many rows are dead, of what."""

    name: str
    plan: Mapping[str, Any]
    failed: Mapping[str, int] = field(default_factory=dict)
    policy: Mapping[str, Any] = field(default_factory=dict)
    is_damaged: bool = False  # result lines cannot be read, and their rows are not sent again


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a scene ended."""

    result: Result
    output: pa.Table
    bill: Mapping[str, Any]


def run_job(gateway: GatewayProcess, work: Path, **policy: Any) -> Result:
    """Run a job of marked rows to its end."""
    return orchestrator.run(
        SOURCE,
        prompt="{text}",
        model=MODEL,
        work=work,
        provider="openai",
        provider_options={"base_url": gateway.url, **PROVIDER},
        policy={"chunk_requests_max": CHUNK, "retry_gather_s": 0.2, **policy},
    )


def play(scene: Scene, folder: Path) -> Outcome:
    """Run the scene's job to its end, at a gateway of its own."""
    with running_gateway(folder / "gateway", "--duration-s", "0.2") as gateway:
        gateway.set_faults(scene.plan)
        result = run_job(gateway, folder / "work", **scene.policy)
        check_audit(result.job_id, folder / "work")
        return Outcome(result=result, output=read_output(result.path), bill=gateway.bill())
