"""What people ask of jobs: open, resume, cancel, retry, resolve, look."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

import pytest
import sqlalchemy as sa

from orchestrator.domain.changes import (
    AccountPaused,
    AttemptOpened,
    ChunkMoved,
    JobMoved,
    Noted,
    ShardMoved,
)
from orchestrator.domain.errors import LeaseLost, LedgerError
from orchestrator.domain.model import (
    AttemptState,
    AttemptToken,
    BatchId,
    Chunk,
    ChunkState,
    JobId,
    JobState,
    Step,
)
from orchestrator.domain.recovery import OTHER_KEY
from orchestrator.ledger.db.schema import jobs
from tests.builders import ACCOUNT, JOB, NOW, a_chunk, a_job, a_shard, after, an_attempt, chunk_id
from tests.contract.ledger_harness import LedgerHarness, names

S = ChunkState
LATER = after(100)


def test_opening_a_job_again_gives_the_one_that_is_there_under_the_new_policy(harness: LedgerHarness) -> None:
    harness.open(a_job(spec="{}", attempts_max=3, rounds_max=3), shards=2)
    harness.add(a_chunk())
    harness.put_job(JobState.STOPPED)

    found = harness.admin.open(a_job(spec='{"newer": 1}', attempts_max=3, budget_usd=Decimal(9)), 2, now=LATER)

    assert found == harness.ledger.job(JOB)
    assert (found.state, found.spec, found.policy.budget_usd) == (JobState.STOPPED, '{"newer": 1}', Decimal(9))
    assert len(harness.ledger.shards(JOB)) == 2
    assert harness.ledger.chunk(a_chunk().id) == a_chunk()
    assert [event.name for _, event in harness.admin.events(JOB)].count("job.opened") == 1


@pytest.mark.parametrize(("attempts_max", "rounds_max"), [(5, 5), (3, 3), (1, 1)])
def test_a_new_limit_of_attempts_holds_from_then_on(harness: LedgerHarness, attempts_max: int, rounds_max: int) -> None:
    harness.open(a_job(attempts_max=3, rounds_max=3))

    harness.open(a_job(attempts_max=attempts_max, rounds_max=attempts_max))

    assert harness.ledger.job(JOB).rounds_max == rounds_max


def test_a_new_limit_of_attempts_counts_from_the_last_retry(harness: LedgerHarness) -> None:
    """A job that was retried after three rounds may send its rows in rounds 4 to 6; with five attempts up to 8."""
    harness.open(a_job(attempts_max=3, rounds_max=6))

    harness.open(a_job(attempts_max=5, rounds_max=5))

    assert harness.ledger.job(JOB).rounds_max == 8


def test_a_step_that_read_the_job_before_it_was_opened_again_writes_nothing(harness: LedgerHarness) -> None:
    job = harness.open()
    harness.open(a_job(attempts_max=5))

    with pytest.raises(LeaseLost):
        harness.write(JobMoved(before=job, after=job, due_at=NOW))


def test_a_step_leaves_a_policy_as_it_is_with_settings_of_a_later_version_in_it(harness: LedgerHarness) -> None:
    """Workers of two versions are at one job while it is upgraded: the older one reads what it knows, and keeps all."""
    harness.open(a_job())
    with harness.database.write() as transaction:
        known = json.loads(transaction.execute(sa.select(jobs.c.policy)).scalar_one())
        text = json.dumps({**known, "of_a_later_version": 7})
        transaction.execute(sa.update(jobs).values(policy=text))

    job = harness.ledger.job(JOB)
    harness.write(JobMoved(before=job, after=job, due_at=LATER))

    assert job.policy == a_job().policy
    with harness.database.read() as connection:
        assert connection.execute(sa.select(jobs.c.policy)).scalar_one() == text


def test_a_job_with_many_shards_has_every_one_of_them_due(harness: LedgerHarness) -> None:
    harness.open(a_job(chunks_ahead_max=20_000), shards=5_001)

    assert [shard.shard_no for shard in harness.ledger.shards(JOB)] == list(range(5_001))
    assert len(harness.claim(Step.PLAN, limit=10_000)) == 5_001


def test_jobs_are_listed_newest_first(harness: LedgerHarness) -> None:
    for n in range(3):
        harness.admin.open(a_job(JobId(f"job-{n}")), 1, now=after(n))

    assert [job.id for job in harness.admin.jobs()] == ["job-2", "job-1", "job-0"]


def test_refusals_of_several_creates_at_once_are_one_pause_and_one_event(harness: LedgerHarness) -> None:
    harness.open()
    for words in ("out of credits", "out of credits, too"):
        harness.write(AccountPaused(account=ACCOUNT, until=after(1_000), reason=words))
    harness.write(AccountPaused(account=ACCOUNT, until=after(9_000), reason="again"), now=after(8_000))

    told = [event.details["reason"] for _, event in harness.admin.events(JOB) if event.name == "account.paused"]
    assert told == ["out of credits", "again"]


def test_a_stopped_job_goes_on_and_its_account_sends_again(harness: LedgerHarness) -> None:
    harness.open()
    harness.write(AccountPaused(account=ACCOUNT, until=after(1_000), reason="out of credits"))
    harness.add(a_chunk())
    job = harness.ledger.job(JOB)
    stopped = replace(job, state=JobState.STOPPED, reason="the budget is used up", due=Step.SEAL)
    harness.write(JobMoved(before=job, after=stopped, due_at=None))

    harness.admin.resume(JOB, now=LATER)

    found = harness.ledger.job(JOB)
    assert (found.state, found.reason, found.due) == (JobState.RUNNING, "", Step.REVIEW)
    assert harness.admin.pause_reason(ACCOUNT, now=LATER) == ""
    assert {claim.step for claim in harness.claim(*Step, now=LATER)} == {Step.SUBMIT, Step.REVIEW, Step.PLAN}


@pytest.mark.parametrize("state", [JobState.RUNNING, JobState.CANCELLING, JobState.CANCELLED, JobState.FINISHED])
def test_resuming_what_is_not_stopped_changes_nothing(harness: LedgerHarness, state: JobState) -> None:
    harness.open()
    before = harness.put_job(state)

    harness.admin.resume(JOB, now=LATER)

    assert harness.ledger.job(JOB) == before


UNDISTURBED = {S.SUBMITTING, S.COLLECTED, S.REUSED, S.SPLIT, S.CANCELLED, S.FAILED}


@pytest.mark.parametrize("state", list(ChunkState))
def test_a_cancel_marks_every_live_chunk_and_disturbs_no_create_under_way(
    harness: LedgerHarness, state: ChunkState
) -> None:
    """What was decided before the cancel is stale, but for a create: its answer must still be taken."""
    harness.open()
    chunk = a_chunk(state=state)
    harness.add(chunk)

    job = harness.admin.cancel(JOB, now=LATER)

    found = harness.ledger.chunk(chunk.id)
    assert job == harness.ledger.job(JOB)
    assert job.state is JobState.CANCELLING
    assert found.cancel_requested == (state not in {S.COLLECTED, S.REUSED, S.SPLIT, S.CANCELLED, S.FAILED})
    assert found.version == (0 if state in UNDISTURBED else 1)


def test_the_answer_to_a_create_under_way_is_taken_after_a_cancel_and_the_batch_cancelled_next(
    harness: LedgerHarness,
) -> None:
    harness.open()
    harness.add(a_chunk())
    [claim] = harness.claim(Step.SUBMIT)
    begun = a_chunk(state=S.SUBMITTING, attempt=1, token=AttemptToken("token-1"), sent_at=NOW)
    harness.ledger.record(claim, ChunkMoved(before=a_chunk(), after=begun, due_at=LATER), now=NOW, keep=True)
    harness.admin.cancel(JOB, now=after(1))

    created = replace(begun, version=1, state=S.SUBMITTED, batch_id=BatchId("batch-1"))
    harness.ledger.record(
        claim, ChunkMoved(before=replace(begun, version=1), after=created, due_at=after(3)), now=after(2)
    )

    found = harness.ledger.chunk(begun.id)
    assert (found.state, found.batch_id, found.cancel_requested) == (S.SUBMITTED, "batch-1", True)
    assert names(harness.claim(Step.CANCEL, now=after(3))) == [begun.name]


def test_a_create_decided_on_before_the_cancel_is_never_sent(harness: LedgerHarness) -> None:
    """The intent is refused, and without it there is no POST."""
    harness.open()
    harness.add(a_chunk())
    [claim] = harness.claim(Step.SUBMIT)
    harness.admin.cancel(JOB, now=NOW)
    begun = ChunkMoved(before=a_chunk(), after=a_chunk(state=S.SUBMITTING), due_at=NOW)

    with pytest.raises(LeaseLost):
        harness.ledger.record(claim, begun, AttemptOpened(attempt=an_attempt(), budget_usd=None), now=NOW, keep=True)

    assert harness.admin.attempts(JOB) == []


def test_after_a_cancel_everything_of_the_job_is_due(harness: LedgerHarness) -> None:
    harness.open(shards=1)
    harness.add(a_chunk(), a_chunk("c00000-00001", state=S.SUBMITTED), due_at=after(10_000))
    shard, job = a_shard(), harness.ledger.job(JOB)
    harness.write(ShardMoved(before=shard, after=shard, due_at=after(10_000)))
    harness.write(JobMoved(before=job, after=replace(job, due=Step.RETRY), due_at=after(10_000)))

    harness.admin.cancel(JOB, now=LATER)

    steps = [claim.step for claim in harness.claim(*Step, now=LATER)]
    assert steps == [Step.CANCEL, Step.CANCEL, Step.REVIEW, Step.PLAN]


@pytest.mark.parametrize("state", [JobState.CANCELLING, JobState.CANCELLED, JobState.FINISHED])
def test_cancelling_twice_or_too_late_changes_nothing(harness: LedgerHarness, state: JobState) -> None:
    harness.open()
    harness.add(a_chunk())
    job = harness.put_job(state)

    assert harness.admin.cancel(JOB, now=LATER) == job
    assert harness.ledger.chunk(a_chunk().id) == a_chunk()


def test_another_job_is_not_cancelled_with_it(harness: LedgerHarness) -> None:
    other = JobId("other-deadbeef")
    harness.open()
    harness.open(a_job(other))
    harness.add(a_chunk(job_id=other))

    harness.admin.cancel(JOB, now=LATER)

    assert harness.ledger.job(other).state is JobState.RUNNING
    assert not harness.ledger.chunk(chunk_id("c00000-00000", other)).cancel_requested


def hold(harness: LedgerHarness, name: str = "c00000-00000", token: str = "token-1") -> Chunk:
    """Bring a chunk to HELD, with its one create open."""
    harness.add(
        a_chunk(name, state=S.UNRESOLVED, token=AttemptToken(token), sent_at=NOW, attempt=1, error="nobody can tell")
    )
    chunk = harness.ledger.chunk(chunk_id(name))
    harness.write(AttemptOpened(attempt=an_attempt(token, chunk, reserved_usd=Decimal(1)), budget_usd=None))
    return chunk


def test_unresolved_chunks_are_listed_with_the_create_whose_answer_was_lost(harness: LedgerHarness) -> None:
    harness.open()
    chunk = hold(harness)
    harness.add(a_chunk("c00000-00001", state=S.AMBIGUOUS))

    assert harness.admin.unresolved(JOB) == [(chunk, an_attempt("token-1", chunk, reserved_usd=Decimal(1)))]


def test_a_person_may_say_which_batch_an_unresolved_create_made(harness: LedgerHarness) -> None:
    harness.open()
    chunk = hold(harness)

    found = harness.admin.resolve(chunk.id, BatchId("batch-1"), now=LATER)

    assert found == harness.ledger.chunk(chunk.id)
    assert (found.state, found.batch_id, found.error) == (S.SUBMITTED, "batch-1", "")
    [attempt] = harness.admin.attempts(JOB)
    assert (attempt.state, attempt.batch_id) == (AttemptState.CREATED, "batch-1")
    assert names(harness.claim(Step.POLL, now=LATER)) == [chunk.name]
    assert harness.ledger.history(a_chunk("c00000-00001")).ever_created
    assert harness.admin.unresolved(JOB) == []


@pytest.mark.parametrize("typed", ["", "batch_1 ", "batch\n1", "../batches", "..", "b" * 1_025])
def test_what_cannot_be_the_id_of_a_batch_resolves_nothing(harness: LedgerHarness, typed: str) -> None:
    harness.open()
    chunk = hold(harness)

    with pytest.raises(LedgerError, match="cannot be the id of a batch"):
        harness.admin.resolve(chunk.id, BatchId(typed), now=LATER)

    assert [found.id for found, _ in harness.admin.unresolved(JOB)] == [chunk.id]


def test_a_person_may_say_that_an_unresolved_create_made_nothing(harness: LedgerHarness) -> None:
    harness.open()
    chunk = hold(harness)

    found = harness.admin.resolve(chunk.id, None, now=LATER)

    assert found == harness.ledger.chunk(chunk.id)
    assert (found.state, found.batch_id) == (S.PLANNED, None)
    [attempt] = harness.admin.attempts(JOB)
    assert (attempt.state, attempt.batch_id) == (AttemptState.ABSENT, None)
    assert names(harness.claim(Step.SUBMIT, now=LATER)) == [chunk.name]
    assert harness.ledger.totals(JOB).reserved_usd == 0


@pytest.mark.parametrize("state", [state for state in ChunkState if state is not S.UNRESOLVED])
def test_a_chunk_that_is_not_unresolved_cannot_be_resolved(harness: LedgerHarness, state: ChunkState) -> None:
    harness.open()
    harness.add(a_chunk(state=state))

    with pytest.raises(LedgerError, match="not unresolved"):
        harness.admin.resolve(a_chunk().id, None, now=LATER)

    assert harness.ledger.chunk(a_chunk().id) == a_chunk(state=state)


def test_what_does_not_exist_cannot_be_resolved_cancelled_resumed_or_retried(harness: LedgerHarness) -> None:
    nobody = JobId("nobody")
    with pytest.raises(LedgerError, match="knows no chunk"):
        harness.admin.resolve(a_chunk().id, None, now=NOW)
    for ask in (harness.admin.cancel, harness.admin.resume, harness.admin.retry):
        with pytest.raises(LedgerError, match="knows no job"):
            ask(nobody, now=NOW)


def test_an_unresolved_create_cannot_be_given_a_batch_that_is_another_chunks(harness: LedgerHarness) -> None:
    """Promise 4: its answers are of other rows. The message says whose it is, and nothing changes."""
    harness.open()
    first, second = hold(harness), hold(harness, "c00000-00001", "token-2")
    harness.admin.resolve(first.id, BatchId("batch-1"), now=LATER)

    with pytest.raises(LedgerError, match=r"batch-1 .*c00000-00000"):
        harness.admin.resolve(second.id, BatchId("batch-1"), now=LATER)

    assert harness.ledger.chunk(second.id) == second


@pytest.mark.parametrize("state", [JobState.RUNNING, JobState.FINISHED])
def test_an_unresolved_create_cannot_be_given_a_batch_of_another_job(harness: LedgerHarness, state: JobState) -> None:
    """The message says whose it is, and what may be said instead."""
    other = JobId("other-deadbeef")
    harness.open()
    harness.open(a_job(other))
    theirs = a_chunk(job_id=other)
    harness.add(theirs)
    made = an_attempt("theirs", theirs, state=AttemptState.CREATED, batch_id=BatchId("batch-1"))
    harness.write(AttemptOpened(attempt=made, budget_usd=None), job_id=other)
    harness.put_job(state, other)
    chunk = hold(harness)

    with pytest.raises(LedgerError, match=rf"batch-1 was made from chunk {theirs.id}: .*{chunk.id} .*--absent"):
        harness.admin.resolve(chunk.id, BatchId("batch-1"), now=LATER)

    assert harness.ledger.chunk(chunk.id) == chunk
    harness.admin.resolve(chunk.id, BatchId("batch-2"), now=LATER)
    assert harness.ledger.chunk(chunk.id).batch_id == "batch-2"


def test_a_timeline_tells_what_happened_in_order_and_can_be_read_on_from_any_point(harness: LedgerHarness) -> None:
    harness.open(shards=4)
    harness.write(Noted(name="batch.looked", details={"done": 3, "nothing": ""}), now=after(1))
    harness.add(a_chunk())
    harness.move(replace(a_chunk(), state=S.SUBMITTING, attempt=1), due_at=NOW)
    harness.admin.cancel(JOB, now=after(2))

    told = harness.admin.events(JOB)

    assert [(event.at, event.name, event.unit, event.details) for _, event in told] == [
        (NOW, "job.opened", "", {"shards": 4}),
        (after(1), "batch.looked", "", {"done": 3}),
        (NOW, "chunk.submitting", "c00000-00000", {"attempt": 1}),
        (after(2), "job.cancelling", "", {}),
    ]
    assert harness.admin.events(JOB, after=told[1][0]) == told[2:]
    assert harness.admin.events(JOB, limit=1) == told[:1]
    assert harness.admin.events(JobId("other-deadbeef")) == []


def held_for_its_key(harness: LedgerHarness, name: str, **fields: object) -> Chunk:
    """Enter a held chunk whose create bears the mark "key 1"; it is due long after NOW."""
    token = AttemptToken(f"token of {name}")
    chunk = a_chunk(
        name, state=S.UNRESOLVED, token=token, attempt=1, sent_at=NOW, **{"error_code": OTHER_KEY, **fields}
    )
    harness.add(chunk, due_at=after(1_000))
    harness.write(AttemptOpened(attempt=an_attempt(token, chunk, key_mark="key 1"), budget_usd=None))
    return harness.ledger.chunk(chunk.id)


def test_the_mark_of_the_key_is_kept_with_the_attempt_and_read_with_the_chunk(harness: LedgerHarness) -> None:
    harness.open(shards=0)
    marked = held_for_its_key(harness, "c00000-00000")
    plain = a_chunk("c00000-00001", state=S.UNRESOLVED, token=AttemptToken("no mark"), attempt=1, sent_at=NOW)
    harness.add(plain)
    harness.write(AttemptOpened(attempt=an_attempt(AttemptToken("no mark"), plain), budget_usd=None))

    assert [attempt.key_mark for attempt in harness.admin.attempts(JOB)] == ["", "key 1"]
    assert (marked.key_mark, harness.ledger.chunk(plain.id).key_mark) == ("key 1", "")


def test_running_a_job_again_looks_at_once_at_what_waits_for_a_key(harness: LedgerHarness) -> None:
    """The key may be back. What waits for a person's word waits on."""
    harness.open(shards=0)
    held_for_its_key(harness, "c00000-00000")
    held_for_its_key(harness, "c00000-00001", error_code="")

    harness.admin.resume(JOB, now=NOW)

    assert names(harness.claim(Step.RECOVER)) == ["c00000-00000"]


def test_a_person_may_say_that_a_new_key_is_of_the_same_account(harness: LedgerHarness) -> None:
    """From then on every create of the job counts as sent with the key that is in now."""
    harness.open(shards=0)
    chunk = held_for_its_key(harness, "c00000-00000")

    count = harness.admin.confirm_same_account(JOB, "key 2", now=NOW)

    assert count == 1
    assert harness.ledger.chunk(chunk.id).key_mark == "key 2"
    assert names(harness.claim(Step.RECOVER)) == ["c00000-00000"]
    assert harness.admin.events(JOB)[-1][1].name == "job.account_confirmed"


def test_a_word_for_a_key_says_nothing_of_creates_without_a_mark_or_of_other_jobs(harness: LedgerHarness) -> None:
    harness.open(shards=0)
    harness.open(a_job(id=JobId("other-deadbeef")), shards=0)
    held_for_its_key(harness, "c00000-00000")

    assert harness.admin.confirm_same_account(JobId("other-deadbeef"), "key 2", now=NOW) == 0
    assert [attempt.key_mark for attempt in harness.admin.attempts(JOB)] == ["key 1"]


def test_what_other_jobs_of_the_account_have_in_flight_is_counted_by_job_and_state(harness: LedgerHarness) -> None:
    """What is unsent or over takes no room, nor does what another account has."""
    other, stranger = JobId("other-deadbeef"), JobId("stranger-0badcafe")
    for job in (a_job(), a_job(other), a_job(stranger, account="onerouter/ANOTHER_KEY")):
        harness.open(job)
    harness.add(a_chunk("c00000-00000", state="submitted"))
    harness.add(
        a_chunk("c00000-00000", state="submitted", job_id=other),
        a_chunk("c00000-00001", state="submitted", job_id=other),
        a_chunk("c00000-00002", state="unresolved", job_id=other),
        a_chunk("c00000-00003", state="planned", job_id=other),
        a_chunk("c00000-00004", state="collected", job_id=other),
    )
    harness.add(a_chunk("c00000-00000", state="submitted", job_id=stranger))

    assert harness.admin.others_in_flight(JOB) == {other: {ChunkState.SUBMITTED: 2, ChunkState.UNRESOLVED: 1}}
    assert harness.admin.others_in_flight(other) == {JOB: {ChunkState.SUBMITTED: 1}}
    assert harness.admin.others_in_flight(stranger) == {}
