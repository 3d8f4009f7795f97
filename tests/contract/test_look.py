"""What a look at a job reads: each figure by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from orchestrator.domain.causes import Cause, Causes
from orchestrator.domain.changes import AccountPaused, ShardMoved
from orchestrator.domain.errors import LedgerError
from orchestrator.domain.look import BATCHES_MIN, Activity, AtProvider, Decision, Look, Rows
from orchestrator.domain.model import ChunkState, JobId, JobState, ShardState, Tally
from orchestrator.domain.workers import Kind, WorkerProcess
from orchestrator.ledger.snapshot import SqlSnapshot
from orchestrator.ledger.workers import SqlWorkers
from tests.builders import ACCOUNT, JOB, NOW, a_chunk, a_job, a_shard, after, chunk_id
from tests.contract.ledger_harness import LedgerHarness

S = ChunkState


def looked(harness: LedgerHarness, at_s: float = 0) -> Look:
    return SqlSnapshot(harness.database).look(JOB, now=after(at_s))


def a_run(**fields: object) -> WorkerProcess:
    values = {"id": "r", "host": "here", "pid": 7, "kind": Kind.RUN, "job_id": JOB, "started_at": NOW, "seen_at": NOW}
    return WorkerProcess(**values | fields)  # type: ignore[arg-type]


def causes_of(**counts: int) -> str:
    causes = Causes()
    causes.add_text(json.dumps({code: [count, 0, 3] for code, count in counts.items()}))
    return causes.text()


def test_every_row_is_in_one_of_six_places(harness: LedgerHarness) -> None:
    """Another job beside it counts nowhere."""
    other = JobId("other-deadbeef")
    harness.open(a_job(other))
    harness.open()
    harness.add(a_chunk(job_id=other, state=S.SUBMITTED, request_count=999))
    states = [
        S.PLANNED,
        S.UPLOADED,
        S.SUBMITTING,
        S.AMBIGUOUS,
        S.UNRESOLVED,
        S.SUBMITTED,
        S.ENDED,
        S.SPLITTING,
        S.SPLIT,
    ]
    for number, state in enumerate(states):
        harness.add(a_chunk(f"c00000-{number:05d}", state=state, request_count=2**number, sent_at=NOW))
    collected = a_chunk("c00000-00099", state=S.ENDED, request_count=30)
    harness.add(collected)
    harness.move(replace(collected, state=S.COLLECTED, tally=Tally(succeeded=19, standing=1, failed=7, waiting=3)))
    planned = replace(a_shard(), state=ShardState.PLANNED, row_count=289, refused_count=4, causes=causes_of(null=4))
    harness.write(ShardMoved(before=a_shard(), after=planned, due_at=None))

    rows = looked(harness).rows

    at_provider = 4 + 8 + 32 + 64
    assert rows == Rows(
        total=289,
        all_read=True,
        answered=20,
        at_provider=at_provider,
        to_send_again=3,
        waiting=1 + 2 + 128,
        failed=11,
        needs_decision=16,
    )
    assert rows.placed == rows.total


def test_the_causes_add_up_to_the_failed_rows(harness: LedgerHarness) -> None:
    """Of chunks with results, of chunks that were given up, of rows that were never sent, and of the rest."""
    harness.open()
    with_results = a_chunk("c00000-00000", state=S.ENDED)
    harness.add(with_results, a_chunk("c00000-00001", state=S.SUBMITTING))
    tally = Tally(succeeded=2, failed=8)
    harness.move(replace(with_results, state=S.COLLECTED, tally=tally, causes=causes_of(content_filter=4, timeout=1)))
    given_up = replace(a_chunk("c00000-00001"), state=S.FAILED, error_code="bad_model", tally=Tally(failed=10))
    harness.move(replace(given_up, version=harness.ledger.chunk(given_up.id).version))
    refused = replace(a_shard(), state=ShardState.PLANNED, row_count=21, refused_count=1, causes=causes_of(null=1))
    harness.write(ShardMoved(before=harness.ledger.shard(JOB, 0), after=refused, due_at=None))

    look = looked(harness)

    assert look.causes == (
        Cause("bad_model", 10),
        Cause("content_filter", 4, 0, 3),
        Cause("null", 1, 0, 3),
        Cause("timeout", 1, 0, 3),
        Cause("not_sent_again", 3),
    )
    assert sum(one.rows for one in look.causes) == look.rows.failed == 19


def test_batches_at_the_provider_are_told_by_its_own_words(harness: LedgerHarness) -> None:
    harness.open()
    for name, state, word, seconds in (
        ("c00000-00000", S.SUBMITTED, "in_progress", 10),
        ("c00000-00001", S.SUBMITTED, "in_progress", 30),
        ("c00000-00002", S.SUBMITTED, "finalizing", 20),
        ("c00000-00003", S.SUBMITTED, "", 40),
        ("c00000-00004", S.ENDED, "completed", 50),
    ):
        looked_at = None if not word else after(100 + seconds)
        harness.add(
            a_chunk(name, state=state, sent_at=after(seconds), done_count=2, provider_status=word, looked_at=looked_at),
            due_at=after(200 + seconds),
        )

    assert looked(harness).at_provider == AtProvider(
        answered=10,
        batches=5,
        oldest_sent_at=after(10),
        looked_at=after(150),
        next_look_at=after(210),
        words={"in_progress": 2, "finalizing": 1},
    )


def test_an_estimate_is_made_from_finished_batches_alone(harness: LedgerHarness) -> None:
    """They took 100, 200, 300 and 400 s; of two places, four more batches need two turns."""
    harness.open(a_job(batches_in_flight_max=2))
    SqlWorkers(harness.database).register(a_run(), NOW)
    planned = replace(a_shard(), state=ShardState.PLANNED, row_count=80)
    harness.write(ShardMoved(before=a_shard(), after=planned, due_at=None))
    for number in range(4):
        harness.add(a_chunk(f"c00000-{number:05d}", state=S.SUBMITTED, sent_at=NOW))
    for number in range(4):
        if number < BATCHES_MIN:
            assert looked(harness).estimate is None
        chunk = harness.ledger.chunk(chunk_id(f"c00000-{number:05d}"))
        harness.move(replace(chunk, state=S.ENDED), now=after(100 * (number + 1)))
    for number in range(4, 8):
        harness.add(a_chunk(f"c00000-{number:05d}"))
    SqlWorkers(harness.database).seen("r", after(1000))

    look = looked(harness, 1000)

    assert look.activity is Activity.RUNNING
    assert look.estimate is not None
    assert look.estimate.batches == 4
    assert look.estimate.soonest == after(1000) + timedelta(seconds=2 * 200)
    assert look.estimate.latest == after(1000) + timedelta(seconds=2 * 400)


def test_a_job_runs_only_where_a_process_was_seen_a_short_while_ago(harness: LedgerHarness) -> None:
    fleet = SqlWorkers(harness.database)
    harness.open()
    harness.add(a_chunk(state=S.SUBMITTED, sent_at=NOW), a_chunk("c00000-00001"))
    assert looked(harness).activity is Activity.UNATTENDED

    fleet.register(a_run(job_id="another-job"), NOW)
    fleet.register(a_run(id="b", kind=Kind.BEAT, job_id=""), NOW)
    assert looked(harness).activity is Activity.UNATTENDED
    assert looked(harness).worked_by == ()

    fleet.register(a_run(id="mine"), NOW)
    assert looked(harness).activity is Activity.RUNNING
    assert [one.id for one in looked(harness).worked_by] == ["mine"]
    assert looked(harness, 31).activity is Activity.UNATTENDED


def test_a_job_is_stopping_while_all_who_work_on_it_are(harness: LedgerHarness) -> None:
    """Another worker of a fleet goes on with it; and what needs a person, or was paused by one, is said first."""
    fleet = SqlWorkers(harness.database)
    harness.open()
    harness.add(a_chunk(state=S.SUBMITTED, sent_at=NOW), a_chunk("c00000-00001"))
    fleet.register(a_run(id="mine"), NOW)
    fleet.ask_to_stop(JOB, NOW)
    assert looked(harness).activity is Activity.STOPPING

    fleet.register(a_run(id="another", kind=Kind.WORKER, job_id=""), NOW)
    assert looked(harness).activity is Activity.RUNNING
    fleet.seen("another", NOW, is_stopping=True)
    assert looked(harness).activity is Activity.STOPPING
    harness.admin.pause(JOB, now=NOW)
    assert looked(harness).activity is Activity.PAUSED
    harness.admin.end_pause(JOB, now=NOW)
    harness.admin.cancel(JOB, now=NOW)
    assert looked(harness).activity is Activity.STOPPING
    for one in ("mine", "another"):
        fleet.leave(one)
    assert looked(harness).activity is Activity.UNATTENDED


def test_the_process_that_a_fleet_lacks_is_told(harness: LedgerHarness) -> None:
    """Beside a beat alone a run is refused, and without a beat workers get nothing to do."""
    fleet = SqlWorkers(harness.database)
    harness.open()
    assert looked(harness).lacks == ""

    fleet.register(a_run(id="b", kind=Kind.BEAT, job_id=""), NOW)
    assert looked(harness).lacks == "worker"

    fleet.register(a_run(id="w", kind=Kind.WORKER, job_id=""), after(20))
    assert [looked(harness, at_s).lacks for at_s in (20, 40)] == ["", "beat"]

    fleet.register(a_run(), after(40))
    assert looked(harness, 40).lacks == ""


def test_what_needs_a_person_is_said_with_what_it_is_about(harness: LedgerHarness) -> None:
    harness.open()
    error = "no answer within 300 s"
    harness.add(
        a_chunk(state=S.UNRESOLVED, sent_at=after(-5), cost_usd_max=Decimal("0.25"), error=error),
    )
    planned = replace(a_shard(), state=ShardState.PLANNED, row_count=10)
    harness.write(ShardMoved(before=a_shard(), after=planned, due_at=None))

    look = looked(harness)

    assert look.activity is Activity.NEEDS_YOU
    decision = Decision(chunk="c00000-00000", rows=10, usd_max=Decimal("0.25"), sent_at=after(-5), reason=error)
    assert look.decisions == (decision,)


def test_a_paused_account_is_said_while_it_is_paused(harness: LedgerHarness) -> None:
    harness.open()
    SqlWorkers(harness.database).register(a_run(), NOW)
    planned = replace(a_shard(), state=ShardState.PLANNED, row_count=10)
    harness.write(ShardMoved(before=a_shard(), after=planned, due_at=None))
    harness.add(a_chunk(error="HTTP 402"))
    harness.write(AccountPaused(account=ACCOUNT, until=after(20), reason="HTTP 402. Next: add credit"))

    look = looked(harness)
    assert look.activity is Activity.ACCOUNT
    assert look.reason.startswith("HTTP 402. Next: add credit (next try: ")
    assert look.troubles == ()  # the same once more, with the time at which its chunk is due
    assert looked(harness, 25).activity is Activity.RUNNING
    assert [one.reason for one in looked(harness, 25).troubles] == ["HTTP 402"]

    harness.write(AccountPaused(account=ACCOUNT, until=after(60), reason="wrong key", needs_person=True))
    assert looked(harness).activity is Activity.NEEDS_YOU


@pytest.mark.parametrize(
    ("state", "activity"),
    [
        (JobState.STOPPED, Activity.STOPPED),
        (JobState.FINISHED, Activity.FINISHED),
        (JobState.CANCELLED, Activity.CANCELLED),
    ],
)
def test_a_job_that_does_nothing_more_is_told_by_its_state(
    harness: LedgerHarness, state: JobState, activity: Activity
) -> None:
    harness.open()
    harness.put_job(state, now=after(60))

    look = looked(harness, 90)

    assert (look.activity, look.began_at, look.ended_at) == (activity, NOW, after(60))


@pytest.mark.parametrize(
    ("state", "command"),
    [(JobState.STOPPED, "resume"), (JobState.STOPPED, "cancel"), (JobState.FINISHED, "retry")],
)
def test_a_job_that_goes_on_has_not_ended(harness: LedgerHarness, state: JobState, command: str) -> None:
    """Its age counts on, and a program does not take it for done."""
    harness.open()
    harness.add(a_chunk())
    harness.move(replace(a_chunk(), state=S.FAILED, tally=Tally(failed=10)), due_at=None)
    harness.put_job(state, now=after(60))

    getattr(harness.admin, command)(JOB, now=after(70))

    assert looked(harness, 90).ended_at is None


def test_a_job_that_is_not_there_is_an_error(harness: LedgerHarness) -> None:
    with pytest.raises(LedgerError, match="sotu-9f86d081"):
        looked(harness)
