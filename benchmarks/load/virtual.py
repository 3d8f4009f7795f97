"""T13 and T15: a month of batches, and ten thousand at once under a provider's rate limit, in virtual time.

Rule 1: the steps, the ledger's schema and the job files are real; the clock and the provider are made up.
Rule 2: the provider keeps its own account: how often each row was paid for, how long each batch was left unasked.
Rule 3: what is compared between the first days and the last is counted, not timed: objects, and resident memory.
"""

from __future__ import annotations

import gc
import math
import os
import random
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.load.provider import MadeUpProvider, Nature
from orchestrator.collector.finish import Finishing
from orchestrator.collector.settle import Collecting
from orchestrator.domain import custom_id
from orchestrator.domain.batch import LineEnvelope
from orchestrator.domain.errors import LeaseLost
from orchestrator.domain.model import TERMINAL, ChunkState, Job, JobId, JobState, Step
from orchestrator.domain.policy import Limits, OutputOptions, Policy
from orchestrator.engine.steps import STEPS
from orchestrator.ledger.admin import SqlAdmin
from orchestrator.ledger.db.database import Database, open_sqlite
from orchestrator.ledger.steps import SqlLedger
from orchestrator.planner.cost import Costing
from orchestrator.planner.plan import Planning
from orchestrator.planner.render import TemplateRenderer
from orchestrator.planner.retry import Gathering
from orchestrator.planner.template import compile_body
from orchestrator.providers.onerouter.dialect import READER
from orchestrator.storage.local import LocalJobFiles
from tests.fakes.clock import VirtualClock
from tests.fakes.source import MemorySource

DIGEST: Final = "10ad10ad"
JOB: Final = JobId(f"load-{DIGEST}")
BODY: Final = {"model": "m", "messages": [{"role": "user", "content": "Say {text}"}]}
SHARD_ROWS: Final = 2_000
BUSY: Final = frozenset(Step) - {Step.REVIEW}  # a review is due all the time: asked for once in a tick
NEXT_DUE: Final = tuple(
    f"select min(due_at) from chunks where state = '{state}' and due_at > ?"
    for state in sorted(set(ChunkState) - TERMINAL)
)
WAITS_FOR_A_TURN: Final = "select 1 from chunks where state = 'submitted' and due_at <= ? limit 1"
MEMORY_DISK: Final = Path("/dev/shm")
DAY_S: Final = 86_400.0


@dataclass(slots=True)
class Rig:
    """One job, its ledger in memory, its files in a folder, and time that jumps from tick to tick."""

    database: Database
    clock: VirtualClock
    provider: MadeUpProvider
    context: dict[str, Any]
    tick_s: float
    steps_done: int = 0
    ledger: SqlLedger = field(init=False)

    def __post_init__(self) -> None:
        self.ledger = SqlLedger(self.database)

    @property
    def state(self) -> JobState:
        """How the job stands."""
        return self.ledger.job(JOB).state

    def tick(self, until_s: float = math.inf) -> None:
        """Do all that is due, then let time pass: a tick, or until the next chunk is due, whichever is longer."""
        self._perform([Step.REVIEW, *BUSY])
        while self._perform(BUSY):
            pass
        now_s = self.clock.now().timestamp()
        self.clock.advance(max(self.tick_s, min(self._next_due_s(now_s), until_s) - now_s))

    def _next_due_s(self, now_s: float) -> float:
        with self.database.read() as connection:
            now_us = round(now_s * 1_000_000)
            if connection.exec_driver_sql(WAITS_FOR_A_TURN, (now_us,)).first() is not None:
                return now_s
            found = [connection.exec_driver_sql(query, (now_us,)).scalar_one() for query in NEXT_DUE]
        return min((due / 1e6 for due in found if due is not None), default=now_s)

    def _perform(self, steps: Any) -> int:
        claims = self.ledger.claim(steps, limit=500, now=self.clock.now(), lease_s=600.0)
        for claim in claims:
            step, names = STEPS[claim.step]
            try:
                step(claim, **{name: self.context[name] for name in names})
            except LeaseLost:
                continue
        self.steps_done += len(claims)
        return len(claims)


def _rig(folder: Path, nature: Nature, policy: Policy, row_count: int, *, seed: int, tick_s: float) -> Rig:
    clock = VirtualClock(random.Random(f"clock/{seed}"))
    provider = MadeUpProvider(nature, clock, random.Random(f"provider/{seed}"), row_count)
    database = open_sqlite(None)
    starts = range(0, row_count, SHARD_ROWS)
    tables = [
        pa.table({"text": [f"row {row}" for row in range(start, min(start + SHARD_ROWS, row_count))]})
        for start in starts
    ]
    source = MemorySource(tables, batch_rows=SHARD_ROWS)
    SqlAdmin(database).open(
        Job(id=JOB, name="load", account="one", spec="{}", policy=policy, rounds_max=policy.attempts_max),
        len(source.shards),
        now=clock.now(),
    )
    context = _kit(folder, database, clock, provider, source, policy)
    return Rig(database=database, clock=clock, provider=provider, context=context, tick_s=tick_s)


def _kit(
    folder: Path,
    database: Database,
    clock: VirtualClock,
    provider: MadeUpProvider,
    source: MemorySource,
    policy: Policy,
) -> dict[str, Any]:
    """Return what the steps take, as `tests/simulation/context.py` does."""
    costing = Costing(price=None, output_tokens_max=16)
    limits = Limits(requests_max=policy.chunk_requests_max, bytes_max=policy.chunk_bytes_max)

    def renderer(shard_no: int) -> TemplateRenderer:
        return TemplateRenderer(
            compiled=compile_body(BODY, source.schema),
            envelope=LineEnvelope(),
            id_prefix=custom_id.prefix(DIGEST, shard_no).encode(),
            null_policy=policy.null_policy.value,
        )

    return {
        "ledger": SqlLedger(database),
        "job_files": LocalJobFiles(folder / "job"),
        "provider": provider,
        "clock": clock,
        "planning": Planning(source=source, renderer=renderer, limits=limits, costing=costing),
        "gathering": Gathering(limits=limits, costing=costing),
        "collecting": Collecting(job_digest=DIGEST, price=None, read_line=READER),
        "finishing": Finishing(
            source=source,
            fingerprint=source.fingerprint,
            options=OutputOptions(),
            job_digest=DIGEST,
            slice_rows=SHARD_ROWS,
            output=LocalJobFiles(folder / "output"),
            folder="output",
        ),
        "costing": costing,
    }


def soak(days: int, in_flight_count: int, *, seed: int) -> dict[str, Any]:
    """Keep so many batches in flight for so many days, with faults; see whether anything grows, and whether all ends.

    A batch takes two to four days and holds two rows; it is asked about once a day.
    """
    row_count = 2 * in_flight_count * days // 3
    policy = Policy(
        chunk_requests_max=2,
        batches_in_flight_max=in_flight_count,
        chunks_ahead_max=in_flight_count,
        poll_s_min=DAY_S,
        poll_s_max=DAY_S,
        retry_gather_s=3_600.0,
        attempts_max=8,
    )
    with tempfile.TemporaryDirectory(prefix="load-soak-", dir=MEMORY_DISK if MEMORY_DISK.is_dir() else None) as folder:
        rig = _rig(Path(folder), Nature.faulty(), policy, row_count, seed=seed, tick_s=600.0)
        began, marks, most = time.monotonic(), list[tuple[int, float]](), 0
        warm_at, next_at = rig.clock.now().timestamp() + DAY_S * max(1, days // 4), 0.0
        while rig.state is not JobState.FINISHED:
            rig.tick(rig.clock.now().timestamp() + 3_600)
            most = max(most, rig.provider.running_count)
            now = rig.clock.now().timestamp()
            still_fed = rig.provider.running_count >= 0.9 * in_flight_count  # the tail of the job is no soak
            if now >= max(warm_at, next_at) and still_fed:
                marks.append(_mark())
                next_at = now + DAY_S / 2
        virtual_days = (rig.clock.now().timestamp() - rig.provider.began_at) / DAY_S
        wrong = _wrong(Path(folder) / "output", row_count)
        account = rig.provider.account()
        rig.database.close()
    first, last = (marks[0], marks[-1]) if marks else ((0, 0.0), (0, 0.0))
    return {
        "days": round(virtual_days, 1),
        "in_flight_most": most,
        "rows": row_count,
        "wrong_rows": wrong,
        "paid_twice": account["paid_twice"],
        "batches": account["batches"],
        "lost_answers": account["lost_answers"],
        "failed_calls": account["failed_calls"],
        "steps": rig.steps_done,
        "objects_first": first[0],
        "objects_last": last[0],
        "rss_mb_first": round(first[1]),
        "rss_mb_last": round(last[1]),
        "seconds": round(time.monotonic() - began, 1),
        "cpu_s": round(time.process_time(), 1),
    }


def in_flight(batch_count: int, *, seed: int) -> dict[str, Any]:
    """Keep batches that do not end in flight for a day, under a limit of calls a minute; see who is asked when.

    The provider has no list. Its limit is a call a minute for 167 batches, 60 for ten thousand. The job may use
    two thirds of it for polls, a third for creates. The interval is what that comes to for each batch: ten thousand
    at 40 polls a minute are asked about every 250 minutes.
    """
    calls_a_minute = max(3, round(batch_count * 60 / 10_000))
    polls_a_minute = calls_a_minute * 2 // 3
    interval_s = 60.0 * batch_count / polls_a_minute
    policy = Policy(
        chunk_requests_max=1,
        batches_in_flight_max=batch_count,
        chunks_ahead_max=40,
        polls_per_minute_max=polls_a_minute,
        creates_per_minute_max=calls_a_minute - polls_a_minute,
    )
    with tempfile.TemporaryDirectory(prefix="load-flight-", dir=MEMORY_DISK if MEMORY_DISK.is_dir() else None) as place:
        nature = Nature.limited(calls_a_minute)
        rig = _rig(Path(place), nature, policy, batch_count, seed=seed, tick_s=max(5.0, 30.0 / polls_a_minute))
        began = time.monotonic()
        created_s = None
        while (elapsed_s := rig.clock.now().timestamp() - rig.provider.began_at) < DAY_S:
            rig.tick(rig.provider.began_at + DAY_S)
            if created_s is None and rig.provider.running_count == batch_count:
                created_s = elapsed_s
        account = rig.provider.account()
        rig.database.close()
    return {
        "batches": batch_count,
        "created": account["batches"],
        "created_h": None if created_s is None else round(created_s / 3_600, 1),
        "calls_a_minute": calls_a_minute,
        "polls_a_minute": polls_a_minute,
        "interval_s": round(interval_s),
        "calls": account["calls"],
        "refused_calls": account["refused_calls"],
        "refused_share": round(account["refused_calls"] / account["calls"], 3),
        "stale_s_most": round(account["stale_s_most"]),
        "stale_intervals": round(account["stale_s_most"] / interval_s, 2),
        "rss_mb": round(_rss_mb()),
        "seconds": round(time.monotonic() - began, 1),
        "cpu_s": round(time.process_time(), 1),
    }


def _mark() -> tuple[int, float]:
    gc.collect()
    return len(gc.get_objects()), _rss_mb()


def _rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1_000_000


def _wrong(output: Path, row_count: int) -> int:
    """Return how many rows are missing, out of place, without an answer, or bear another's."""
    at = wrong = 0
    for part in sorted(output.rglob("part-*.parquet")):
        table = pq.read_table(part, columns=["text", "llm_status", "llm_response"])
        for text, status, answer in zip(*(column.to_pylist() for column in table.columns), strict=True):
            wrong += (text, status, answer) != (f"row {at}", "succeeded", f"answer to row {at}")
            at += 1
    return wrong + abs(row_count - at)


def told_soak(figures: dict[str, Any]) -> None:
    """Print the figures as a sentence."""
    sys.stdout.write(
        "{days} days, up to {in_flight_most:,} batches in flight, {batches:,} in all; {lost_answers:,} answers lost, "
        "{failed_calls:,} calls failed; {rows:,} rows, {wrong_rows} wrong, {paid_twice} paid twice; objects "
        "{objects_first:,} -> {objects_last:,}, memory {rss_mb_first} -> {rss_mb_last} MB; {seconds} s, {cpu_s} s of "
        "processor time\n".format(**figures)
    )


def told_in_flight(figures: dict[str, Any]) -> None:
    """Print the figures as a sentence."""
    sys.stdout.write(
        "{created:,} of {batches:,} batches in flight for a day, {calls_a_minute} calls a minute allowed: {calls:,} "
        "calls, {refused_calls:,} refused; a batch was left unasked for {stale_s_most:,} s at most, "
        "{stale_intervals} intervals; {rss_mb} MB; {seconds} s, {cpu_s} s of processor time\n".format(**figures)
    )
