"""Looks at made-up jobs, for tests of what is drawn of them."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from orchestrator.api.row_names import RowNames
from orchestrator.api.status import Status
from orchestrator.domain.causes import Cause
from orchestrator.domain.look import Activity, AtProvider, Decision, Estimate, Look, Money, Rows, Seen, look_at
from orchestrator.domain.model import ChunkState, JobId, JobState, Step
from orchestrator.domain.progress import Totals, Trouble
from orchestrator.domain.unit_costs import Planned
from orchestrator.domain.workers import Doing, Kind, WorkerProcess
from tests.builders import ACCOUNT, a_job, after

AT: Final = 40_341
RUNS: Final = WorkerProcess(
    id="r",
    host="lab-7",
    pid=4711,
    kind=Kind.RUN,
    job_id="reviews-mood-3f2a91c4",
    started_at=after(0),
    seen_at=after(AT),
)
ROWS: Final = Rows(
    total=1_204_318,
    all_read=True,
    answered=797_571,
    at_provider=189_982,
    to_send_again=1_920,
    waiting=204_301,
    failed=544,
    needs_decision=10_000,
)
LOOK: Final = Look(
    job_id="reviews-mood-3f2a91c4",
    name="reviews-mood",
    at=after(AT),
    state=JobState.RUNNING,
    activity=Activity.RUNNING,
    reason="",
    decision="",
    budget_wait="",
    began_at=after(0),
    ended_at=None,
    paused_at=None,
    worked_by=(RUNS,),
    account=ACCOUNT,
    revision=1,
    rows=ROWS,
    at_provider=AtProvider(
        answered=85_170,
        batches=19,
        oldest_sent_at=after(AT - 21_060),
        looked_at=after(AT - 2),
        next_look_at=after(AT + 9),
        words={"in_progress": 18, "finalizing": 1},
    ),
    chunks={ChunkState.SUBMITTED: 19, ChunkState.PLANNED: 21, ChunkState.UNRESOLVED: 1, ChunkState.COLLECTED: 81},
    in_flight_max=20,
    written=(0, 14),
    money=Money(
        spent=Decimal("15.05"),
        unpriced=0,
        reserved=Decimal("5.47"),
        budget=Decimal(30),
        expected=Decimal("22.571"),
    ),
    estimate=Estimate(soonest=after(AT + 4 * 3600), latest=after(AT + 7 * 3600), batches=81),
    causes=(Cause("content_filter", 423, 0, 117), Cause("null_skipped", 118, 0, 3), Cause("server_error", 3, 1, 4)),
    flaws={"truncated": 0, "empty": 0, "refused": 0},
    troubles=(
        Trouble(
            reason="onerouter answers 429: too many requests", chunks=14, since=after(AT - 980), next_at=after(AT + 38)
        ),
        Trouble(reason="lines are missing in the results", chunks=3, next_at=after(AT + 100)),
        Trouble(reason="the answer to its create was lost", chunks=1, is_unresolved=True),
    ),
    decisions=(
        Decision(
            chunk="c00004-00007",
            rows=10_000,
            usd_max=Decimal("0.273375"),
            sent_at=after(AT - 23_500),
            reason="the answer to its create was lost",
        ),
    ),
)
STOPPING: Final = replace(
    LOOK,
    activity=Activity.STOPPING,
    worked_by=(
        replace(
            RUNS,
            is_stopping=True,
            doing=(Doing(step=Step.SUBMIT, job_id=LOOK.job_id, unit="c00004-00007", since=after(AT - 4)),),
        ),
    ),
    rows=replace(ROWS, needs_decision=0),
    chunks={ChunkState.SUBMITTED: 19, ChunkState.PLANNED: 21},
    estimate=None,
    troubles=(),
    decisions=(),
)
PLANNING: Final = replace(
    LOOK,
    at=after(6),
    activity=Activity.PLANNING,
    rows=Rows(
        total=318_000,
        all_read=False,
        answered=0,
        at_provider=0,
        to_send_again=0,
        waiting=318_000,
        failed=0,
        needs_decision=0,
    ),
    at_provider=AtProvider(),
    chunks={ChunkState.PLANNED: 32},
    money=Money(spent=Decimal(0), unpriced=0, reserved=Decimal(0), budget=Decimal(30), expected=None),
    estimate=None,
    causes=(),
    troubles=(),
    decisions=(),
)
FINISHED: Final = replace(
    LOOK,
    activity=Activity.FINISHED,
    state=JobState.FINISHED,
    ended_at=after(62_520),
    at=after(90_000),
    worked_by=(),
    rows=replace(ROWS, answered=1_203_774, at_provider=0, to_send_again=0, waiting=0, needs_decision=0),
    at_provider=AtProvider(),
    chunks={ChunkState.COLLECTED: 125},
    estimate=None,
    troubles=(),
    decisions=(),
)

NO_NAMES = RowNames(job_id=JobId("job-1"), folder="", shard_rows=(), numbered_shards=0)


def a_status(state: JobState, totals: Totals, job_id: str = "job-1", **fields: Any) -> Status:
    """Return the status of a job that nothing works on, with a look at these totals."""
    seen = Seen(
        requests={chunk: 10 * count for chunk, count in totals.chunks.items()},
        at_provider=AtProvider(),
        causes=(),
        took=(),
        settled=(),
        unsettled=Planned(requests=0, tokens=0),
        decisions=(),
        pause="",
        needs_person=False,
        workers=(RUNS,),
        began_at=after(0),
        ended_at=None,
        written=(0, 1),
    )
    look = look_at(a_job(JobId(job_id), state=state), totals, seen, now=after(60))
    return Status(job_id=job_id, state=state, totals=totals, look=look, **({"reason": ""} | fields))


def a_look(**fields: Any) -> Look:
    return replace(LOOK, **fields)
