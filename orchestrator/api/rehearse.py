"""A rehearsal: a job's first rows against the gateway, in this process, under faults seen at real providers.

Rule 1: nothing leaves this machine, and nothing is kept: the server, the ledger and the output are in a folder of their
        own, which is deleted. The job itself is not touched.
Rule 2: the settings are the job's own, except what must differ: the address, the key, a `max_tokens` too small for the
        simulated answers, and the size of a chunk, so that a few thousand rows make several batches.
Rule 3: a minute is a second, for the program and for the server alike: waits of hours are over in minutes.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import secrets
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from orchestrator.api.outcome import outcome_of
from orchestrator.api.prepare import Prepared, enter, places, prepare
from orchestrator.api.status import status_of
from orchestrator.domain.errors import ConfigError, JobInterrupted, JobNotFinished
from orchestrator.domain.look import Activity
from orchestrator.engine.interrupts import signals_stop
from orchestrator.engine.local_runner import LocalRunner, running
from orchestrator.engine.opening import open_workspace
from orchestrator.gateway.bill import settled_bill
from orchestrator.gateway.faults import FaultPlanError
from orchestrator.gateway.in_thread import serving
from orchestrator.gateway.named_faults import NAMED, combined
from orchestrator.gateway.settings import GatewayConfig

if TYPE_CHECKING:
    from orchestrator.api.job import Job
    from orchestrator.api.status import Status
    from orchestrator.domain.look import Look, OnLook

SPEED: Final = 60.0
ROWS: Final = 2_000
BATCHES: Final = 5  # at least so many, where there are rows enough
BATCH_S: Final = 60.0  # how long the server takes for a batch, by the fast clock
TOKENS_MIN: Final = 64  # as many as a simulated answer has
KEY_VARIABLE: Final = "ORCHESTRATOR_REHEARSAL_KEY"
# They are for the real address: a proxy, its certificates, a header with a key.
_REAL_ONLY: Final = ("proxy", "ca_file", "headers", "headers_env", "query", "auth")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """The end of a rehearsal."""

    job: str
    faults: tuple[str, ...]
    rows: int
    is_sample: bool  # the dataset has more rows
    status: Status
    waits_for: str  # why it did not end; "" where it did
    needs_person: bool
    errors: Mapping[str, int] = field(default_factory=dict)  # failed rows by error code
    answers: int = 0  # what the server billed
    paid_twice: int = 0  # of those, not excused by the faults

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return {
            "job": self.job,
            "faults": list(self.faults),
            "rows": self.rows,
            "is_sample": self.is_sample,
            "waits_for": self.waits_for,
            "needs_person": self.needs_person,
            "errors": dict(self.errors),
            "answers": self.answers,
            "paid_twice": self.paid_twice,
        } | {"status": self.status.as_dict()}


class FastClock:
    """The time, `SPEED` times as fast: the clock of the program and of the server alike."""

    def __init__(self) -> None:
        self._began_s = time.time()

    def seconds(self) -> float:
        """Return unix seconds."""
        return self._began_s + (time.time() - self._began_s) * SPEED

    def now(self) -> datetime:
        """Return the time."""
        return datetime.fromtimestamp(self.seconds(), UTC)

    def draw(self) -> float:
        """Return a uniform number in [0, 1)."""
        return random.random()  # noqa: S311 - jitter, not a secret

    def token(self) -> str:
        """Return 32 random hexadecimal digits."""
        return secrets.token_hex(16)


@dataclass(frozen=True, slots=True)
class _ServerClock:
    """A FastClock as the gateway has it."""

    clock: FastClock

    def now(self) -> float:
        return self.clock.seconds()

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s / SPEED)


def rehearse(
    job: Job,
    *,
    faults: Sequence[str] = (),
    rows: int = ROWS,
    timeout_s: float = 120.0,
    progress: OnLook | None = None,
) -> Rehearsal:
    """Run the first rows of a job against a server of this machine, and return how it ended. Costs nothing.

    Args:
        faults: names of faults that the server shall have; `orchestrator rehearse --list` prints them.
        rows: how many rows of the dataset; 0: all of them.
        timeout_s: real seconds; what still waits then is told.

    Raises ConfigError, DatasetError: as `run` would.
    """
    try:
        plan = combined(faults)
    except FaultPlanError as error:
        raise ConfigError(f"--faults: {error}") from None
    clock = FastClock()
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as folder:
        config = GatewayConfig(
            state=Path(folder, "server"), api_key=secrets.token_hex(8), duration_s=BATCH_S, faults=plan
        )
        with serving(config, _ServerClock(clock)) as (url, app):
            prepared, is_sample = _prepared(job, f"{url}/v1", f"{folder}/work", rows)
            ended = _run(prepared, f"{folder}/work", config.api_key, clock, timeout_s, progress)
            bill = settled_bill(app.state.service, app.state.openai, app.state.anthropic)
    return replace(
        ended,
        faults=tuple(faults),
        is_sample=is_sample,
        answers=bill["answers"],
        paid_twice=bill["paid_twice"] - bill["excused"],
    )


def fault_names() -> dict[str, str]:
    """Return the names of all faults, and what the server does."""
    return {name: fault.what for name, fault in NAMED.items()}


def _prepared(job: Job, url: str, work: str, rows: int) -> tuple[Prepared, bool]:
    """Return the job as it is rehearsed, and whether it has fewer rows than the dataset."""
    settings, _ = places(job)
    own = {name: value for name, value in job.provider_options.items() if name not in _REAL_ONLY}
    there = replace(
        job,
        work=work,
        output=None,
        provider_options=own | {"base_url": url, "api_key_env": KEY_VARIABLE} | _neutral(job),
    )
    prepared = prepare(there, settings, work)
    table, is_sample = _first_rows(prepared, rows) if rows else (None, False)
    count = rows if table is None else table.num_rows
    policy = there.resolved_policy
    if count:
        policy = replace(policy, chunk_requests_max=min(policy.chunk_requests_max, -(-count // BATCHES)))
    there = replace(there, policy=policy)
    if there.max_tokens is not None:  # the simulated answers must not be cut off where the model's own would not be
        there = replace(there, max_tokens=max(there.max_tokens, TOKENS_MIN))
    if is_sample:
        there = replace(there, dataset=table, dataset_options={})
    return prepare(there, settings, work), is_sample


def _neutral(job: Job) -> dict[str, Any]:
    """Return empty values for the settings of the provider's table that are for the real address only."""
    table = job.provider_settings
    return {name: type(getattr(table, name))() for name in _REAL_ONLY if getattr(table, name)}


def _first_rows(prepared: Prepared, count: int) -> tuple[pa.Table, bool]:
    """Return the first rows of the dataset, and whether it has more."""
    batches, left, source = list[pa.RecordBatch](), count, prepared.source
    for shard in source.shards:
        for batch in source.batches(shard):
            if batch.num_rows and not left:
                return pa.Table.from_batches(batches, source.schema), True
            batches.append(batch.slice(0, left))
            if batch.num_rows > left:
                return pa.Table.from_batches(batches, source.schema), True
            left -= batch.num_rows
    return pa.Table.from_batches(batches, source.schema), False


def _run(
    prepared: Prepared, work: str, key: str, clock: FastClock, timeout_s: float, progress: OnLook | None
) -> Rehearsal:
    settings, _ = places(prepared.job)
    workspace = open_workspace(work, "", {**os.environ, KEY_VARIABLE: key})
    workspace.other_clock = clock
    job_id, stop, is_late = prepared.spec.job_id, threading.Event(), threading.Event()

    def end() -> None:
        is_late.set()
        stop.set()

    over = threading.Timer(timeout_s, end)
    over.daemon = True
    try:
        with running(workspace, job_id):
            enter(workspace, prepared, workspace.equip(prepared.spec, source=prepared.source, render=prepared.function))
            runner = LocalRunner(
                workspace=workspace,
                job_id=job_id,
                threads=settings.threads,
                lease_s=settings.lease_s * SPEED,
                stop=stop,
            )
            over.start()
            with signals_stop(stop):
                runner.run(None if progress is None else lambda now: progress(_readable(now, work)))
            errors, waits_for, needs_person = dict[str, int](), "", False
            try:
                errors = dict(outcome_of(workspace, job_id, stop).errors())
            except JobInterrupted:
                if not is_late.is_set():  # Ctrl-C
                    raise
                waits_for = _waiting(status_of(workspace, job_id), timeout_s, work)
            except JobNotFinished as error:
                waits_for, needs_person = _without_place(str(error), work), True
            status = status_of(workspace, job_id)
    finally:
        over.cancel()
        workspace.close()
    return Rehearsal(
        job=job_id,
        faults=(),
        rows=status.totals.rows,
        is_sample=False,
        status=status,
        waits_for=waits_for,
        needs_person=needs_person,
        errors=errors,
    )


def _readable(now: Look, work: str) -> Look:
    """Return a look without what is true in the rehearsal only: its files, and the times of its fast clock."""
    troubles = (replace(one, reason=_without_place(one.reason, work), since=None, next_at=None) for one in now.troubles)
    there = replace(now.at_provider, next_look_at=None)
    reason = _without_place(now.reason, work)
    # By the fast clock a process counts as gone after half a second, which a busy machine may take between two signs.
    activity = Activity.RUNNING if now.activity is Activity.UNATTENDED else now.activity
    return replace(now, activity=activity, reason=reason, troubles=tuple(troubles), at_provider=there, estimate=None)


def _without_place(text: str, work: str) -> str:
    """Return a message without what is true in the rehearsal only: its files, which are deleted, and its fast clock."""
    for gone in (
        rf" \([^()]*: {re.escape(work)}/[^)]*\)",
        rf"; all of it: {re.escape(work)}/\S+",
        r" \(next try: [^)]*\)",
    ):
        text = re.sub(gone, "", text)
    return text.replace(f" --work {work}", "").replace(f"{work}/", "")


def _waiting(status: Status, timeout_s: float, work: str) -> str:
    trouble = status.totals.trouble
    cause = status.pause_reason or ("the provider" if trouble is None else trouble.reason)
    hours = timeout_s * SPEED / 3_600
    return _without_place(f"after {hours:.1f} hours of a real run it still waits for: {cause}", work)
