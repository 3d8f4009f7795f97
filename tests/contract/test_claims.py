"""Handing out work: to one caller only, what is due only, as much as there is room for."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.domain.changes import AccountPaused, AccountProved, JobMoved, QueueLearned, ShardMoved
from orchestrator.domain.errors import LeaseLost
from orchestrator.domain.model import ChunkState, JobId, JobState, ShardState, Step, Unit
from tests.builders import ACCOUNT, JOB, NOW, a_chunk, a_job, a_shard, added, after, chunk_id
from tests.contract.ledger_harness import LEASE_S, LedgerHarness, names

OTHER = JobId("other-deadbeef")
MICROSECOND = timedelta(microseconds=1)


def test_a_due_unit_goes_to_one_caller_only(harness: LedgerHarness) -> None:
    harness.open()
    harness.add(a_chunk())

    [claim] = harness.claim(Step.SUBMIT)

    assert claim.unit == Unit(job_id=JOB, chunk_id=chunk_id("c00000-00000"))
    assert claim.step is Step.SUBMIT
    assert harness.claim(*Step, now=NOW, job_id=OTHER) == []
    assert harness.claim(Step.SUBMIT) == []


def test_a_lease_ends_at_its_time_and_not_before(harness: LedgerHarness) -> None:
    harness.open()
    harness.add(a_chunk())
    harness.claim(Step.SUBMIT)

    assert harness.claim(Step.SUBMIT, now=after(LEASE_S) - MICROSECOND) == []
    assert len(harness.claim(Step.SUBMIT, now=after(LEASE_S))) == 1


def test_every_hand_out_raises_the_token(harness: LedgerHarness) -> None:
    harness.open()
    harness.add(a_chunk())

    tokens = [harness.claim(Step.SUBMIT, now=after(turn * LEASE_S))[0].token for turn in range(3)]

    assert tokens == [1, 2, 3]


def test_renewed_claims_last_longer_whatever_they_are_on(harness: LedgerHarness) -> None:
    """A job, a shard and a chunk, in one call."""
    harness.open(shards=1)
    harness.add(a_chunk())
    claims = harness.claim(Step.SUBMIT, Step.PLAN, Step.REVIEW)
    assert len(claims) == 3

    assert harness.ledger.renew(dict.fromkeys(claims, after(LEASE_S * 1.5))) == set(claims)

    assert harness.claim(*Step, now=after(LEASE_S * 1.5) - MICROSECOND) == []
    assert len(harness.claim(*Step, now=after(LEASE_S * 1.5))) == 3


def test_renewing_never_shortens_a_lease(harness: LedgerHarness) -> None:
    """A clock may be set back, and a lease may have been made longer when its step began."""
    harness.open()
    harness.add(a_chunk())
    [claim] = harness.claim(Step.SUBMIT)

    assert harness.ledger.renew({claim: after(1)}) == {claim}

    assert harness.claim(Step.SUBMIT, now=after(LEASE_S) - MICROSECOND) == []


def test_of_many_claims_those_that_still_stand_are_renewed_and_the_others_named_by_their_absence(
    harness: LedgerHarness,
) -> None:
    harness.open()
    harness.add(a_chunk("c00000-00000"), a_chunk("c00000-00001", state=ChunkState.SUBMITTED))
    [stale] = harness.claim(Step.SUBMIT)
    [present] = harness.claim(Step.SUBMIT, now=after(LEASE_S))
    [other] = harness.claim(Step.POLL, now=after(LEASE_S))

    assert harness.ledger.renew(dict.fromkeys((stale, present, other), after(LEASE_S * 2))) == {present, other}

    with pytest.raises(LeaseLost):
        harness.ledger.record(stale, now=after(LEASE_S))
    assert harness.claim(Step.SUBMIT, Step.POLL, now=after(LEASE_S * 2) - MICROSECOND) == []


def test_a_claim_that_was_let_go_of_is_not_renewed(harness: LedgerHarness) -> None:
    """A heartbeat that comes just after the record must not keep the unit from its next step."""
    harness.open()
    harness.add(a_chunk())
    [claim] = harness.claim(Step.SUBMIT)
    harness.ledger.record(claim, now=NOW)

    assert harness.ledger.renew({claim: after(LEASE_S)}) == frozenset()

    assert len(harness.claim(Step.SUBMIT)) == 1


def test_nothing_to_renew_is_nothing_to_write(harness: LedgerHarness) -> None:
    assert harness.ledger.renew({}) == frozenset()


def test_nothing_is_handed_out_before_it_is_due(harness: LedgerHarness) -> None:
    harness.open()
    harness.add(a_chunk(), due_at=after(10))

    assert harness.claim(Step.SUBMIT, now=after(10) - MICROSECOND) == []
    assert len(harness.claim(Step.SUBMIT, now=after(10))) == 1


def test_what_is_never_due_by_itself_is_never_handed_out(harness: LedgerHarness) -> None:
    harness.open()
    harness.add(a_chunk(state="submitted"))
    harness.move(a_chunk(state="submitted"), due_at=None)

    assert harness.claim(Step.POLL, now=after(10**9)) == []


def test_work_is_handed_out_longest_due_first_and_by_name_within_a_moment(harness: LedgerHarness) -> None:
    harness.open()
    harness.add(a_chunk("c00000-00002"), a_chunk("c00000-00001"), due_at=after(-10))
    harness.add(a_chunk("c00000-00003"), due_at=after(-20))

    assert names(harness.claim(Step.SUBMIT)) == ["c00000-00003", "c00000-00001", "c00000-00002"]


def test_no_more_is_handed_out_than_asked_for(harness: LedgerHarness) -> None:
    harness.open(shards=3)
    harness.add(*(a_chunk(f"c00000-0000{n}") for n in range(3)))

    assert names(harness.claim(*Step, limit=2)) == ["c00000-00000", "c00000-00001"]
    assert names(harness.claim(*Step, limit=2)) == ["c00000-00002", JOB]
    assert names(harness.claim(*Step, limit=2)) == ["shard 0", "shard 1"]
    assert harness.claim(*Step, limit=0) == []


def test_what_brings_results_home_comes_before_what_sends_more(harness: LedgerHarness) -> None:
    """A whole job at once: every step there is, in the order of their urgency."""
    harness.open(shards=2)
    shard = a_shard(0)
    harness.write(ShardMoved(before=shard, after=replace(shard, state=ShardState.PLANNED), due_at=NOW))
    states = ["ended", "ambiguous", "submitted", "splitting", "planned"]
    harness.add(*(a_chunk(f"c00000-0000{n}", state=state) for n, state in enumerate(reversed(states))))

    steps = [claim.step for claim in harness.claim(*Step)]

    assert steps == ["collect", "recover", "poll", "split", "submit", "review", "finish", "plan"]


def test_a_claim_can_be_for_one_job_only(harness: LedgerHarness) -> None:
    harness.open()
    harness.open(a_job(OTHER))
    harness.add(a_chunk(), a_chunk(job_id=OTHER))

    claims = harness.claim(*Step, job_id=OTHER)

    assert {claim.unit.job_id for claim in claims} == {OTHER}
    assert {claim.step for claim in claims} == {Step.SUBMIT, Step.REVIEW, Step.PLAN}
    assert {claim.unit.job_id for claim in harness.claim(*Step)} == {JOB}


def test_a_look_finds_what_is_due_and_free_in_one_job_or_in_any(harness: LedgerHarness) -> None:
    harness.open(shards=0)
    harness.open(a_job(OTHER), shards=0)
    harness.add(a_chunk(), due_at=after(5))
    harness.add(a_chunk(job_id=OTHER, state="submitted"))

    assert harness.ledger.due(now=NOW) == {Step.POLL, Step.REVIEW}
    assert harness.ledger.due(now=NOW, job_id=JOB) == {Step.REVIEW}
    assert harness.ledger.due(now=after(5), job_id=JOB) == {Step.SUBMIT, Step.REVIEW}
    harness.claim(Step.POLL, lease_s=7)
    assert harness.ledger.due(now=after(7) - MICROSECOND, job_id=OTHER) == {Step.REVIEW}
    assert harness.ledger.due(now=after(7), job_id=OTHER) == {Step.POLL, Step.REVIEW}


def test_only_the_steps_asked_for_are_handed_out(harness: LedgerHarness) -> None:
    harness.open()
    harness.add(a_chunk(), a_chunk("c00000-00001", state="submitted"))

    assert [claim.step for claim in harness.claim(Step.POLL, Step.PLAN)] == [Step.POLL, Step.PLAN]


@pytest.mark.parametrize(
    ("state", "marks", "step"),
    [
        ("planned", {}, Step.SUBMIT),
        ("uploaded", {}, Step.SUBMIT),
        ("submitting", {}, Step.RECOVER),
        ("ambiguous", {}, Step.RECOVER),
        ("unresolved", {}, Step.RECOVER),
        ("submitted", {}, Step.POLL),
        ("ended", {}, Step.COLLECT),
        ("splitting", {}, Step.SPLIT),
        ("collected", {}, None),
        ("split", {}, None),
        ("cancelled", {}, None),
        ("failed", {}, None),
        # while the job is being cancelled
        ("planned", {"cancel_requested": True}, Step.CANCEL),
        ("uploaded", {"cancel_requested": True}, Step.CANCEL),
        ("splitting", {"cancel_requested": True}, Step.CANCEL),
        ("unresolved", {"cancel_requested": True}, Step.RECOVER),  # only a person can tell what was paid for
        ("submitted", {"cancel_requested": True}, Step.CANCEL),
        ("submitted", {"cancel_requested": True, "cancel_sent": True}, Step.POLL),
        ("submitting", {"cancel_requested": True}, Step.RECOVER),
        ("ambiguous", {"cancel_requested": True}, Step.RECOVER),
        ("ended", {"cancel_requested": True}, Step.COLLECT),
        ("collected", {"cancel_requested": True}, None),
    ],
)
def test_a_chunk_in_this_state_needs_this_one_step(
    harness: LedgerHarness, state: str, marks: dict[str, Any], step: Step | None
) -> None:
    """Exactly one kind of step is ever due for a chunk."""
    harness.open()
    if marks:
        harness.admin.cancel(JOB, now=NOW)
    harness.add(a_chunk(state=state, cancel_sent=marks.get("cancel_sent", False)))

    due = harness.ledger.due(now=NOW)
    claims = [claim for claim in harness.claim(*Step) if claim.unit.chunk_id is not None]

    assert [claim.step for claim in claims] == ([] if step is None else [step])
    assert due - {Step.REVIEW, Step.PLAN} == {claim.step for claim in claims}


ALL = {"collect", "recover", "poll", "split", "submit", "plan", "finish", "review"}
STATES = ["ended", "ambiguous", "submitted", "splitting", "planned"]


@pytest.mark.parametrize(
    ("state", "steps"),
    [
        (JobState.RUNNING, ALL),
        (JobState.STOPPED, {"collect", "recover", "poll"}),
        (JobState.CANCELLING, {"collect", "recover", "poll", "plan", "finish", "review"}),
        (JobState.CANCELLED, set()),
        (JobState.FINISHED, set()),
    ],
)
def test_a_job_in_this_state_is_given_these_steps(harness: LedgerHarness, state: JobState, steps: set[str]) -> None:
    """A stopped job brings home what is paid for and sends nothing; one being cancelled also comes to its end."""
    harness.open(shards=2)
    shard = a_shard(0)
    harness.write(ShardMoved(before=shard, after=replace(shard, state=ShardState.PLANNED), due_at=NOW))
    harness.add(*(a_chunk(f"c00000-0000{n}", state=found) for n, found in enumerate(STATES)))
    harness.put_job(state)

    assert harness.ledger.due(now=NOW) == steps
    assert {claim.step for claim in harness.claim(*Step)} == steps


@pytest.mark.parametrize("due", [Step.REVIEW, Step.RETRY, Step.SEAL])
def test_a_job_is_handed_out_for_the_step_that_is_due_and_no_other(harness: LedgerHarness, due: Step) -> None:
    job = harness.open(shards=0)
    harness.write(JobMoved(before=job, after=replace(job, due=due), due_at=NOW))

    assert harness.ledger.due(now=NOW) == {due}
    assert [claim.step for claim in harness.claim(*Step)] == [due]


@pytest.mark.parametrize(("settled", "finish"), [(9, False), (10, True)])
def test_a_shard_is_finished_once_all_its_rows_are_settled(
    harness: LedgerHarness, settled: int, *, finish: bool
) -> None:
    harness.open()
    shard = a_shard()
    planned = replace(shard, state=ShardState.PLANNED, row_count=10, refused_count=settled)
    harness.write(ShardMoved(before=shard, after=planned, due_at=NOW))

    assert len(harness.claim(Step.FINISH)) == finish


def test_a_shard_that_is_still_being_planned_is_not_finished(harness: LedgerHarness) -> None:
    harness.open()

    assert harness.claim(Step.FINISH) == []


def test_nothing_is_sent_on_an_account_while_it_is_paused(harness: LedgerHarness) -> None:
    harness.open()
    harness.add(a_chunk(), a_chunk("c00000-00001", state="submitted"))
    harness.write(AccountPaused(account=ACCOUNT, until=after(30), reason="out of credits"))

    assert [claim.step for claim in harness.claim(Step.SUBMIT, Step.POLL)] == [Step.POLL]
    assert harness.claim(Step.SUBMIT, now=after(30) - MICROSECOND) == []
    assert len(harness.claim(Step.SUBMIT, now=after(30))) == 1


@pytest.mark.parametrize("state", ["submitting", "ambiguous", "unresolved", "submitted"])
def test_what_may_be_a_batch_takes_room(harness: LedgerHarness, state: str) -> None:
    harness.open(a_job(batches_in_flight_max=2))
    harness.add(a_chunk("c00000-00000", state=state), *(a_chunk(f"c00000-0000{n}") for n in (1, 2)))

    assert names(harness.claim(Step.SUBMIT)) == ["c00000-00001"]


@pytest.mark.parametrize("state", ["ended", "collected", "splitting", "split", "cancelled", "failed"])
def test_what_is_no_batch_any_more_takes_no_room(harness: LedgerHarness, state: str) -> None:
    harness.open(a_job(batches_in_flight_max=1))
    harness.add(a_chunk("c00000-00000", state=state), a_chunk("c00000-00001"))

    assert names(harness.claim(Step.SUBMIT)) == ["c00000-00001"]


def test_creates_already_handed_out_take_room_until_their_lease_ends(harness: LedgerHarness) -> None:
    harness.open(a_job(batches_in_flight_max=2))
    harness.add(*(a_chunk(f"c00000-0000{n}") for n in range(4)))

    assert names(harness.claim(Step.SUBMIT, limit=1)) == ["c00000-00000"]
    assert names(harness.claim(Step.SUBMIT)) == ["c00000-00001"]
    assert harness.claim(Step.SUBMIT) == []
    assert len(harness.claim(Step.SUBMIT, now=after(LEASE_S))) == 2


def test_two_jobs_on_one_account_share_its_room(harness: LedgerHarness) -> None:
    harness.open(a_job(batches_in_flight_max=2))
    harness.open(a_job(OTHER, batches_in_flight_max=2))
    harness.add(*(a_chunk(f"c00000-0000{n}", job_id=job_id) for n in range(2) for job_id in (JOB, OTHER)))

    assert len(harness.claim(Step.SUBMIT)) == 2


def test_a_full_or_paused_account_does_not_stand_in_the_way_of_another(harness: LedgerHarness) -> None:
    """However many chunks of the one are due first, and however few are asked for."""
    harness.open(a_job(batches_in_flight_max=1))
    harness.open(a_job(OTHER, account="another"))
    harness.add(*(a_chunk(f"c00000-0000{n}") for n in range(6)), due_at=after(-100))
    harness.add(a_chunk("c00000-00009", job_id=OTHER))

    assert names(harness.claim(Step.SUBMIT, limit=1)) == ["c00000-00000"]
    assert names(harness.claim(Step.SUBMIT, limit=1)) == ["c00000-00009"]
    assert harness.claim(Step.SUBMIT, limit=1) == []


@pytest.mark.parametrize(("backlog", "plans"), [(0, 2), (1, 1), (2, 0), (3, 0)])
def test_planning_stays_a_bounded_way_ahead_of_sending(harness: LedgerHarness, backlog: int, plans: int) -> None:
    harness.open(a_job(chunks_ahead_max=2), shards=5)
    harness.add(a_chunk("c00000-00009", state="submitted"))
    harness.write(*(added(a_chunk(f"c00000-0000{n}")) for n in range(backlog)))

    assert len(harness.claim(Step.PLAN)) == plans


def test_a_job_that_is_far_enough_ahead_does_not_stand_in_the_way_of_another(harness: LedgerHarness) -> None:
    harness.open(a_job(chunks_ahead_max=1), shards=6)
    harness.add(a_chunk())
    harness.open(a_job(OTHER))

    [claim] = harness.claim(Step.PLAN, limit=1)

    assert claim.unit.job_id == OTHER


def test_a_job_being_cancelled_is_accounted_for_whatever_waits_to_be_sent(harness: LedgerHarness) -> None:
    """Its rest is set aside, not sent: there is nothing to stay ahead of."""
    harness.open(a_job(chunks_ahead_max=1), shards=3)
    harness.add(a_chunk())
    harness.admin.cancel(JOB, now=NOW)

    assert len(harness.claim(Step.PLAN)) == 3


def test_a_shard_and_a_chunk_of_a_job_are_claimed_apart(harness: LedgerHarness) -> None:
    """A claim on the job, a shard or a chunk stands in the way of no other unit."""
    harness.open(shards=2)
    harness.add(a_chunk())
    harness.claim(Step.REVIEW)

    assert names(harness.claim(*Step)) == ["c00000-00000", "shard 0", "shard 1"]


def test_breaking_leases_makes_everything_due_that_a_process_that_died_had(harness: LedgerHarness) -> None:
    harness.open()
    harness.add(a_chunk(), a_chunk("c00000-00001", state=ChunkState.SUBMITTING), due_at=after(-1))
    harness.move(a_chunk("c00000-00001", state=ChunkState.SUBMITTING), due_at=after(500))
    claims = harness.claim(*Step)

    harness.admin.break_leases(JOB, now=NOW)

    again = harness.claim(*Step)
    assert names(again) == ["c00000-00001", *names(claims)]
    assert [claim.token for claim in again] == [1, *(claim.token + 1 for claim in claims)]


def paused(harness: LedgerHarness, *chunks: str) -> None:
    """Pause the account for a minute, with chunks in these states."""
    harness.open()
    harness.add(*(a_chunk(f"c00000-0000{n}", state=state) for n, state in enumerate(chunks)))
    harness.write(AccountPaused(account=ACCOUNT, until=after(60), reason="out of credits"))


def test_after_a_pause_one_step_at_a_time_may_send_until_a_create_has_succeeded(harness: LedgerHarness) -> None:
    paused(harness, "planned", "planned", "planned")

    assert names(harness.claim(Step.SUBMIT, now=after(60))) == ["c00000-00000"]
    assert harness.claim(Step.SUBMIT, now=after(60)) == []  # its outcome is waited for
    assert names(harness.claim(Step.SUBMIT, now=after(60 + LEASE_S))) == ["c00000-00000"]  # its worker has died
    harness.write(AccountProved(account=ACCOUNT, sent_at=after(60)), now=after(61))
    assert len(harness.claim(Step.SUBMIT, now=after(60 + LEASE_S))) == 2


def test_a_create_that_was_sent_before_the_pause_proves_nothing(harness: LedgerHarness) -> None:
    paused(harness, "planned", "planned")

    harness.write(AccountProved(account=ACCOUNT, sent_at=after(59)), now=after(61))

    assert len(harness.claim(Step.SUBMIT, now=after(61))) == 1


def test_what_is_uploaded_is_tried_before_anything_else_is_uploaded(harness: LedgerHarness) -> None:
    """An upload does not tell whether the account may create."""
    paused(harness, "planned", "planned", "uploaded")

    assert names(harness.claim(Step.SUBMIT, now=after(60))) == ["c00000-00002"]


@pytest.mark.parametrize(("state", "count"), [("submitting", 1), ("ambiguous", 1), ("submitted", 1)])
def test_only_a_create_that_somebody_works_on_is_waited_for(harness: LedgerHarness, state: str, count: int) -> None:
    paused(harness, state, "planned")

    assert len(harness.claim(Step.SUBMIT, now=after(60))) == count


def test_one_account_that_is_tried_does_not_hold_another_back(harness: LedgerHarness) -> None:
    paused(harness, "planned", "planned")
    harness.open(a_job(OTHER, account="another"))
    harness.add(*(a_chunk(f"c00000-0000{n}", job_id=OTHER) for n in range(3)))

    assert len(harness.claim(Step.SUBMIT, now=after(60))) == 4


def test_what_was_claimed_before_a_pause_or_a_stop_learns_of_it(harness: LedgerHarness) -> None:
    paused(harness, "planned")

    assert not harness.ledger.may_send(JOB, now=after(59))
    assert harness.ledger.may_send(JOB, now=after(60))
    job = harness.ledger.job(JOB)
    harness.write(JobMoved(before=job, after=replace(job, state=JobState.STOPPED), due_at=None))
    assert not harness.ledger.may_send(JOB, now=after(60))


def test_an_account_that_is_refused_again_soon_is_paused_for_longer_up_to_an_hour(harness: LedgerHarness) -> None:
    """Several creates may be refused at once: that is one pause. One that ended hours ago is forgotten."""
    harness.open()

    def refused(at_s: float) -> float:
        """Pause the account for five minutes; return how long it is paused."""
        now = after(at_s)
        harness.write(AccountPaused(account=ACCOUNT, until=now + timedelta(seconds=300), reason="no"), now=now)
        ends = range(0, 4_000, 10)
        return ends[bisect_left(ends, True, key=lambda s: not harness.admin.pause_reason(ACCOUNT, now=after(at_s + s)))]

    assert refused(0) == 300
    assert refused(10) == 300
    assert [refused(1_000), refused(2_000), refused(4_000), refused(7_000)] == [600, 1_200, 2_400, 3_600]
    assert refused(7_000 + 3_600 + 7_201) == 300


def test_a_queue_that_is_full_bounds_the_creates_and_is_tried_with_one_more_every_ten_minutes(
    harness: LedgerHarness,
) -> None:
    harness.open()
    harness.add(*(a_chunk(f"c00000-{number:05d}") for number in range(6)))
    harness.write(QueueLearned(account=ACCOUNT, in_flight_max=4))
    harness.write(QueueLearned(account=ACCOUNT, in_flight_max=2))

    # Each claim has run out when the next is made.
    claimed = [len(harness.claim(Step.SUBMIT, now=after(at_s))) for at_s in (0, 599, 1_199, 1_799)]

    assert claimed == [2, 2, 3, 4]


def test_shards_of_a_job_that_sends_equal_requests_once_are_planned_in_order(harness: LedgerHarness) -> None:
    """Only the first that is not planned is handed out, even if it is not due; no other job waits for that."""
    harness.open(a_job(dedupe=True), shards=3)
    harness.open(a_job(OTHER), shards=2)
    assert names(harness.claim(Step.PLAN, job_id=JOB)) == ["shard 0"]
    assert names(harness.claim(Step.PLAN)) == ["shard 0", "shard 1"]  # of the other

    first = harness.ledger.shard(JOB, 0)
    harness.write(ShardMoved(before=first, after=first, due_at=after(5)))
    assert harness.claim(Step.PLAN) == []
    first = harness.ledger.shard(JOB, 0)
    harness.write(ShardMoved(before=first, after=replace(first, state=ShardState.PLANNED), due_at=None))

    assert names(harness.claim(Step.PLAN)) == ["shard 1"]


def test_a_cancel_sets_the_rows_of_all_shards_aside_at_once(harness: LedgerHarness) -> None:
    harness.open(a_job(dedupe=True), shards=3)
    harness.put_job(JobState.CANCELLING)

    assert names(harness.claim(Step.PLAN)) == ["shard 0", "shard 1", "shard 2"]
