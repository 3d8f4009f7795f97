"""Jobs against gateways with fault plans.

Rule: each scene has a gateway, a work folder and a bill of its own, so none can excuse another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

import orchestrator
from orchestrator import JobNeedsDecision, JobUnresolved, Result, open_job
from tests.acceptance.datasets import MODEL, QUICK, check_audit, marked, read_output
from tests.acceptance.operator import resolve_all
from tests.gateway_process import GatewayProcess, running_gateway

ROWS: Final = 60
CHUNK: Final = 20
SOURCE: Final = marked(ROWS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A fault plan, and what a user then gets: how many rows are dead, of what."""

    name: str
    plan: Mapping[str, Any]
    failed: Mapping[str, int] = field(default_factory=dict)
    empty_count: int = 0
    was_made: bool | None = None  # of a scene whose first create is held: whether the provider has the batch
    flags: tuple[str, ...] = ()
    policy: Mapping[str, Any] = field(default_factory=dict)
    is_damaged: bool = False  # result lines cannot be read, and their rows are not sent again
    foreign_host: bool = False  # results lie on another host than the API, as the real ones do


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a scene ended."""

    output: pa.Table
    status: Mapping[str, Any]
    bill: Mapping[str, Any]
    said: str = ""  # when it was held
    done_meanwhile: int = 0
    resolved: Mapping[str, str | None] = field(default_factory=dict)


def play(scene: Scene, folder: Path) -> Outcome:
    """Run the scene's job to its end; where it is held, resolve it by what the gateway has, and run it again."""
    with running_gateway(folder / "gateway", "--duration-s", "0", *scene.flags) as gateway:
        if scene.foreign_host:
            _move_results(gateway)
        gateway.set_faults(scene.plan)
        work, held = folder / "work", {}
        if scene.was_made is not None:
            held = _until_held(scene, gateway, work)
        result = _run(scene, gateway, work)
        status = result.status.as_dict()
        check_audit(result.job_id, work)
        return Outcome(output=read_output(result.path), status=status, bill=gateway.bill(), **held)


def _run(scene: Scene, gateway: GatewayProcess, work: Path) -> Result:
    """Run it. Where most lines of a batch happen to be damaged, the job asks: go on."""
    try:
        return _run_once(scene, gateway, work)
    except JobNeedsDecision:
        if not scene.is_damaged:
            raise
        [job] = [open_job(path.name, work=work) for path in work.glob("job-*")]
        job.approve()
        return _run_once(scene, gateway, work)


def _run_once(scene: Scene, gateway: GatewayProcess, work: Path) -> Result:
    return orchestrator.run(
        SOURCE,
        prompt="{text}",
        model=MODEL,
        work=work,
        provider_options={"base_url": gateway.url, **QUICK},
        policy={"chunk_requests_max": CHUNK, "retry_gather_s": 0.2, **scene.policy},
    )


def _until_held(scene: Scene, gateway: GatewayProcess, work: Path) -> dict[str, Any]:
    try:
        _run(scene, gateway, work)
    except JobUnresolved as held:
        [job] = [open_job(path.name, work=work) for path in work.glob("job-*")]
        done = job.status().totals.succeeded
        return {"said": str(held), "done_meanwhile": done, "resolved": resolve_all(gateway, job)}
    raise AssertionError("the job was not held")


def _move_results(gateway: GatewayProcess) -> None:
    """Let result links name this machine differently than the API's address does."""
    port = gateway.base_url.rpartition(":")[2]
    gateway.stop()
    gateway.arguments += ("--results-url", f"http://localhost:{port}")
    gateway.restart()
