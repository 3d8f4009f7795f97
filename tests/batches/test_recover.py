"""One look into a lost create: what is asked, what is done, what is recorded; `test_recovery` has the decisions."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

import pytest

from orchestrator.batches.recover import recover
from orchestrator.domain.batch import Listed, Submission, Traits
from orchestrator.domain.changes import AttemptClosed, AttemptOpened
from orchestrator.domain.errors import (
    BadRequest,
    CreateAmbiguous,
    CreateRefused,
    LeaseLost,
    NotAuthorized,
    ProviderError,
    RateLimited,
    TooLarge,
    Unavailable,
    Unidentified,
)
from orchestrator.domain.model import AttemptState, AttemptToken, BatchId, Chunk, ChunkState, Claim, JobState
from orchestrator.domain.policy import OnAmbiguous, Policy
from orchestrator.domain.recovery import FORGOTTEN, UNASKED, Recovery
from orchestrator.job_files import create_journal
from orchestrator.job_files.create_journal import write_journal
from tests.batches.stage import BATCH, FILE, TOKEN, Stage
from tests.builders import JOB, NOW, a_chunk, a_job, added, after, an_attempt

A: Final = Traits(name="a", recovery=Recovery.KEYED, settle_s=100.0, key_s=1_000.0)
B1: Final = Traits(name="b1", recovery=Recovery.FENCED, settle_s=100.0, lag_s=60.0)
B2: Final = Traits(name="b2", recovery=Recovery.SETTLED, settle_s=100.0, lag_s=60.0, late_s=600.0)
C: Final = Traits(name="c", recovery=Recovery.UNKNOWABLE, settle_s=100.0)
NOT_FOUND_OUT: Final = "; whether it made a batch cannot be found out: "
FORBIDDEN: Final = NotAuthorized("HTTP 403, missing_scope", status=403)
NO_LIST: Final = BadRequest("HTTP 405", status=405)
DAY_AND_TWO_HOURS_S: Final = 93_600.0
TWIN: Final = BatchId("batch-2")


def run(stage: Stage, chunk: Chunk, claim: Claim | None = None) -> Chunk:
    harness = stage.harness
    recover(
        claim or stage.claim(chunk),
        ledger=harness.ledger,
        job_files=stage.job_files,
        provider=stage.provider,
        clock=stage.clock,
    )
    return stage.chunk(chunk)


def in_doubt(traits: Traits, *, at_s: float = 200.0, job: Any = None, state: str = "ambiguous", **fields: Any) -> Any:
    """Return a stage with a chunk whose create has lost its answer, and the intent of it in the work folder."""
    stage = Stage(traits, job or a_job())
    chunk = stage.put(state, file_id=FILE if traits.recovery is Recovery.FENCED else None, **fields)
    intent = create_journal.Intent(
        token=TOKEN,
        chunk=chunk.name,
        attempt=1,
        requests=chunk.requests,
        sent_at=NOW,
        reserved_usd=Decimal(0),
        file_id=chunk.file_id,
    )
    create_journal.write_intent(stage.job_files, intent)
    stage.after(at_s)
    return stage, chunk


def listed(*batches: tuple[BatchId, float]) -> list[Listed]:
    return [Listed(batch_id=batch_id, created_at=after(at_s)) for batch_id, at_s in batches]


def has_intent(stage: Stage) -> bool:
    return stage.job_files.exists(create_journal.intent_name(TOKEN))


@pytest.mark.parametrize("state", ["planned", "submitted", "ended", "splitting"])
def test_a_chunk_that_is_not_ambiguous_is_left_alone(state: str) -> None:
    stage = Stage(B1)
    before = stage.put(state)

    chunk = run(stage, before, stage.claim(before))

    assert chunk == before
    assert stage.provider.calls == []


@pytest.mark.parametrize(
    ("at_s", "state", "due_s"), [(99, ChunkState.SUBMITTING, 100), (100, ChunkState.AMBIGUOUS, 100)]
)
def test_a_running_create_is_ambiguous_once_its_time_is_up(at_s: float, state: ChunkState, due_s: float) -> None:
    """Nobody is asked about it before: whoever sends may still be sending."""
    stage, before = in_doubt(B1, at_s=at_s, state="submitting")

    chunk = run(stage, before)

    assert (chunk.state, stage.due_s(chunk), stage.provider.calls) == (state, due_s, [])
    if state is ChunkState.AMBIGUOUS:
        assert chunk.error == "no answer to the create was recorded in time"


@pytest.mark.parametrize("traits", [A, B1, B2, C], ids=lambda traits: traits.name)
@pytest.mark.parametrize("state", ["submitting", "ambiguous", "unresolved"])
def test_what_the_journal_says_is_taken_without_asking(traits: Traits, state: str) -> None:
    stage, before = in_doubt(traits, state=state)
    write_journal(stage.job_files, TOKEN, BATCH)

    chunk = run(stage, before)

    assert (chunk.state, chunk.batch_id, stage.due_s(chunk)) == (ChunkState.SUBMITTED, BATCH, 201)
    assert [(one.state, one.batch_id) for one in stage.attempts] == [(AttemptState.CREATED, BATCH)]
    assert (stage.provider.calls, has_intent(stage)) == ([], True)


@pytest.mark.parametrize("traits", [B1, B2], ids=lambda traits: traits.name)
def test_where_there_is_a_list_it_is_asked_for_the_token_and_the_file_from_a_day_before(traits: Traits) -> None:
    """A clock that was ahead when the create began must not hide its batch."""
    stage, before = in_doubt(traits)
    stage.provider.tell(listed((BATCH, 3)))

    chunk = run(stage, before)

    since = NOW - timedelta(seconds=DAY_AND_TWO_HOURS_S)
    assert stage.provider.calls == [("find", TOKEN, since, before.file_id)]
    assert (chunk.state, chunk.batch_id, stage.due_s(chunk)) == (ChunkState.SUBMITTED, BATCH, 201)
    assert json.loads(stage.job_files.files[create_journal.journal_name(TOKEN)]) == {"token": TOKEN, "batch_id": BATCH}
    assert [name for name, _ in events(stage)].count("batch.duplicated") == 0


def events(stage: Stage) -> list[tuple[str, Any]]:
    return [(event.name, dict(event.details)) for _, event in stage.harness.admin.events(JOB)]


def test_of_several_batches_the_oldest_is_adopted_and_the_others_are_cancelled() -> None:
    stage, before = in_doubt(B1)
    stage.provider.tell(listed((TWIN, 5), (BATCH, 4), (BatchId("batch-3"), 5)))

    chunk = run(stage, before)

    assert chunk.batch_id == BATCH
    assert stage.provider.calls[1:] == [("cancel", TWIN), ("cancel", "batch-3")]
    assert ("batch.duplicated", {"chunk": before.name, "duplicate_batches": 2}) in events(stage)


@pytest.mark.parametrize(
    ("traits", "state"), [(A, "ambiguous"), (C, "ambiguous"), (B1, "unresolved"), (B2, "unresolved")]
)
def test_a_list_is_read_only_where_there_is_one_and_while_the_create_is_ambiguous(traits: Traits, state: str) -> None:
    stage, before = in_doubt(traits, state=state)
    stage.provider.tell(CreateAmbiguous("again"))

    run(stage, before)

    assert "find" not in [name for name, *_ in stage.provider.calls]


def test_in_class_b1_what_is_not_listed_is_fenced_by_its_file() -> None:
    stage, before = in_doubt(B1)

    chunk = run(stage, before)

    assert stage.provider.calls[1:] == [("delete", FILE)]
    assert (chunk.state, chunk.fenced_at, stage.due_s(chunk)) == (ChunkState.AMBIGUOUS, after(200), 200)


def test_in_class_b1_an_absence_takes_two_looks_a_lag_apart() -> None:
    stage, before = in_doubt(B1, fenced_at=after(200))

    early = run(stage, before)
    assert (early.fenced_at, stage.due_s(early), early.tries) == (after(200), 260, 0)
    stage.after(260)
    looked = run(stage, early)
    assert (looked.state, looked.fenced_at, looked.tries, stage.due_s(looked)) == (
        *(ChunkState.AMBIGUOUS, after(260), 1, 260),
    )
    waits = run(stage, looked)
    assert stage.due_s(waits) == 320
    assert has_intent(stage)
    stage.after(320)
    absent = run(stage, waits)

    assert (absent.state, stage.due_s(absent), absent.file_id) == (ChunkState.PLANNED, 320, None)
    assert [one.state for one in stage.attempts] == [AttemptState.ABSENT]
    assert not has_intent(stage)
    assert {name for name, *_ in stage.provider.calls} == {"find"}


def test_in_class_b2_an_absence_takes_two_looks_an_hour_apart_and_nothing_is_fenced() -> None:
    stage, before = in_doubt(B2, at_s=599)

    early = run(stage, before)
    assert (early.fenced_at, stage.due_s(early)) == (None, 600)
    stage.after(600)
    looked = run(stage, early)
    assert (looked.fenced_at, looked.tries) == (after(600), 1)
    stage.after(1_260)
    absent = run(stage, looked)

    assert absent.state is ChunkState.PLANNED
    assert {name for name, *_ in stage.provider.calls} == {"find"}


def test_a_batch_that_will_never_tell_whose_it_is_needs_a_person_once_no_create_can_be_late() -> None:
    """Neither adopted nor taken for absent: both would be guesses."""
    stage, before = in_doubt(B2, at_s=599, error="HTTP 500")
    stage.provider.tell(Unidentified("batch x is of that time, and its results are gone"))
    waits = run(stage, before)
    assert (waits.state, waits.fenced_at) == (ChunkState.AMBIGUOUS, None)

    stage.after(700)
    stage.provider.tell(Unidentified("batch x is of that time, and its results are gone"))
    chunk = run(stage, waits)

    assert chunk.state is ChunkState.UNRESOLVED
    assert chunk.error == f"HTTP 500{NOT_FOUND_OUT}batch x is of that time, and its results are gone"
    assert has_intent(stage)


def test_what_tells_a_batch_without_a_mark_is_passed_on() -> None:
    """Its custom_ids, how many there are, and the batches of all other creates of that time."""
    stage, before = in_doubt(B2)
    stage.harness.write(AttemptOpened(attempt=an_attempt("other", a_chunk("c00000-00009")), budget_usd=None))
    stage.harness.write(AttemptClosed(token=AttemptToken("other"), state=AttemptState.CREATED, batch_id=TWIN))

    run(stage, before)

    [lost] = stage.provider.lost
    assert (lost.request_count, lost.until - lost.since) == (2, timedelta(seconds=2 * DAY_AND_TWO_HOURS_S))
    assert (lost.custom_ids(), lost.known()) == ({"9f86d081-0-0", "9f86d081-0-1"}, {TWIN})


def test_in_class_a_the_same_create_is_sent_again_and_its_answer_is_kept() -> None:
    stage, before = in_doubt(A)
    stage.provider.tell(BATCH)

    chunk = run(stage, before)

    [(name, submission)] = stage.provider.calls
    assert (name, submission.token, submission.request_count, submission.label) == ("create", TOKEN, 2, before.id)
    assert (chunk.state, chunk.batch_id, stage.due_s(chunk)) == (ChunkState.SUBMITTED, BATCH, 201)
    assert json.loads(stage.job_files.files[create_journal.journal_name(TOKEN)])["batch_id"] == BATCH
    assert len(stage.attempts) == 1


def test_in_class_a_a_create_that_was_never_sent_is_noted_in_the_work_folder_before_it_is() -> None:
    """Whoever was to send it died between the ledger and the folder: a lost ledger is rebuilt from the folder."""
    stage, before = in_doubt(A)
    stage.job_files.remove(create_journal.intent_name(TOKEN))
    seen = list[bool]()

    def look(_submission: Submission) -> BatchId:
        seen.append(has_intent(stage))
        return BATCH

    stage.provider.tell(look)
    run(stage, before)

    assert seen == [True]


def test_while_the_job_is_paused_the_same_create_is_not_sent_again() -> None:
    """It may be the one that makes a batch."""
    stage, before = in_doubt(A)
    stage.harness.admin.pause(JOB, now=stage.clock.at)

    chunk = run(stage, before)

    assert (chunk.state, stage.provider.calls, stage.due_s(chunk)) == (ChunkState.AMBIGUOUS, [], 260)


def test_in_class_a_the_answer_is_kept_before_the_ledger_hears_of_it() -> None:
    """A worker whose claim is gone leaves at least the journal."""
    stage, before = in_doubt(A)
    claim = stage.claim(before)
    stage.provider.tell(BATCH)

    with pytest.raises(LeaseLost):
        run(stage, before, replace(claim, token=claim.token - 1))

    assert stage.job_files.exists(create_journal.journal_name(TOKEN))


@pytest.mark.parametrize("error", [BadRequest("expired file", status=400), TooLarge("too many", status=413)])
def test_in_class_a_a_repeat_that_will_never_be_taken_holds_the_first(error: BadRequest | TooLarge) -> None:
    stage, before = in_doubt(A)
    stage.provider.tell(CreateRefused(error))

    chunk = run(stage, before)

    assert (chunk.state, stage.due_s(chunk)) == (ChunkState.UNRESOLVED, 260)
    assert chunk.error == f"the answer to the create was lost, and the same one is refused now: {error}"


@pytest.mark.parametrize("error", [CreateAmbiguous("again"), CreateRefused(RateLimited("slow", status=429))])
def test_in_class_a_a_repeat_that_fails_says_nothing_of_the_first_and_comes_again(error: Exception) -> None:
    stage, before = in_doubt(A)
    stage.provider.tell(error)

    chunk = run(stage, before)

    assert (chunk.state, chunk.token, stage.due_s(chunk)) == (ChunkState.AMBIGUOUS, before.token, 216.5)
    assert chunk.error == f"{NOT_FOUND_OUT}{error}"
    assert has_intent(stage)


def test_in_class_a_a_create_that_the_provider_may_have_forgotten_is_unresolved() -> None:
    stage, before = in_doubt(A, at_s=1_000)

    chunk = run(stage, before)

    assert (chunk.state, chunk.error, stage.due_s(chunk)) == (ChunkState.UNRESOLVED, FORGOTTEN, 1_060)
    assert stage.provider.calls == []


def test_a_provider_that_cannot_be_asked_at_present_is_asked_again_later() -> None:
    stage, before = in_doubt(B1)
    stage.provider.tell(Unavailable("away"))

    chunk = run(stage, before)

    assert (chunk.state, chunk.file_id, stage.due_s(chunk)) == (ChunkState.AMBIGUOUS, FILE, 216.5)
    assert (chunk.error, chunk.failing_since) == (f"{NOT_FOUND_OUT}away", after(200))


@pytest.mark.parametrize(("asked_s", "due_s"), [(None, 216.5), (300.0, 500.0), (900.0, 1_100.0), (86_400.0, 1_100.0)])
def test_a_provider_that_wants_to_be_left_alone_is_but_not_for_a_day(asked_s: float | None, due_s: float) -> None:
    stage, before = in_doubt(B1)
    stage.provider.tell(RateLimited("slow", status=429, retry_after_s=asked_s))

    chunk = run(stage, before)

    assert stage.due_s(chunk) == due_s


@pytest.mark.parametrize(("at_s", "wait_s"), [(200, 16.5), (1_000, 62.5), (3_600, 225.0), (90_000, 300.0)])
def test_the_older_an_ambiguous_create_the_rarer_it_is_looked_up(at_s: float, wait_s: float) -> None:
    """One that can only be settled once a batch has ended, a day later, is no reason to ask every quarter minute."""
    stage, before = in_doubt(B1, at_s=at_s)
    stage.provider.tell(Unavailable("a batch that may be the one is still at work"))

    chunk = run(stage, before)

    assert stage.due_s(chunk) == at_s + wait_s


@pytest.mark.parametrize(
    ("error", "limit_s"),
    [(FORBIDDEN, 900), (NO_LIST, 900), (Unavailable("no page", status=502), 172_800)],
)
@pytest.mark.parametrize("what", ["find", "delete"])
def test_a_question_that_is_not_answered_says_so_at_once_and_comes_before_a_person_in_time(
    what: str, error: ProviderError, limit_s: float
) -> None:
    """The list or the deletion of a file may be forbidden; what the create was answered with is kept beside it."""
    stage, chunk = in_doubt(B1, error="HTTP 500")
    answers = [[], error] if what == "delete" else [error]

    for at_s in (200.0, 300.0, 199.0 + limit_s):
        stage.provider.tell(*answers)
        stage.after(at_s)
        chunk = run(stage, chunk)
        assert (chunk.state, chunk.failing_since) == (ChunkState.AMBIGUOUS, after(200))
        assert chunk.error == f"HTTP 500{NOT_FOUND_OUT}{error}"
    stage.provider.tell(*answers)
    stage.after(900.0 + limit_s)
    chunk = run(stage, chunk)

    assert (chunk.state, chunk.error_code) == (ChunkState.UNRESOLVED, "lookup_failed")
    assert (chunk.error, chunk.file_id) == (f"HTTP 500{NOT_FOUND_OUT}{error}", FILE)
    [trouble] = stage.harness.ledger.totals(JOB).troubles
    assert (trouble.reason, trouble.chunks, trouble.is_unresolved, trouble.since) == (chunk.error, 1, True, after(200))


def test_a_question_that_a_person_has_made_possible_is_asked_again_and_the_job_goes_on() -> None:
    """The scope was added to the key: running the job again asks at once, and nothing need be resolved by hand."""
    stage, before = in_doubt(B1, state="unresolved", error_code="lookup_failed", error="HTTP 403")
    stage.provider.tell(FORBIDDEN)
    still = run(stage, before)
    assert (still.state, still.error_code) == (ChunkState.UNRESOLVED, "lookup_failed")

    stage.harness.admin.resume(JOB, now=stage.clock.at)
    still = stage.chunk(before)
    assert (still.failing_since, stage.due_s(still)) == (None, 200)
    stage.provider.tell(listed((BATCH, 3)))
    chunk = run(stage, still)

    assert (chunk.state, chunk.batch_id, chunk.error, chunk.error_code) == (ChunkState.SUBMITTED, BATCH, "", "")


def test_an_unresolved_create_that_can_be_asked_about_again_and_is_not_listed_is_fenced_as_ever() -> None:
    stage, before = in_doubt(B1, state="unresolved", error_code="lookup_failed", error="HTTP 403")

    chunk = run(stage, before)

    assert stage.provider.calls[1:] == [("delete", FILE)]
    assert (chunk.state, chunk.fenced_at, chunk.error_code) == (ChunkState.AMBIGUOUS, after(200), "")


@pytest.mark.parametrize("state", ["ambiguous", "unresolved"])
def test_an_answer_that_another_version_understands_settles_its_create_for_nothing(state: str) -> None:
    stage, before = in_doubt(C, state=state, error_code="not_understood", error="its fields: job")
    kept = b'HTTP 200 to POST https://x.example/batches\n\n{"job": {"id": "batch-1"}}'
    stage.job_files.files[f"provider_messages/create-{TOKEN}.txt"] = kept

    chunk = run(stage, before)

    assert (chunk.state, chunk.batch_id, stage.provider.calls) == (ChunkState.SUBMITTED, BATCH, [])
    assert stage.job_files.exists(create_journal.journal_name(TOKEN))


@pytest.mark.parametrize("is_absent", [True, False])
def test_where_no_list_tells_of_what_was_not_understood_the_job_stops_for_a_person(is_absent: bool) -> None:
    """Not to be found out, or proved to have made nothing: the next create would be answered alike."""
    fields = {"error_code": "not_understood", "error": "its fields: ok"}
    stage, before = in_doubt(B1, at_s=1_000, fenced_at=after(900), tries=1, failing_since=after(1), **fields)
    stage.provider.tell([] if is_absent else FORBIDDEN)

    chunk = run(stage, before)

    job = stage.harness.ledger.job(JOB)
    assert chunk.state is (ChunkState.PLANNED if is_absent else ChunkState.UNRESOLVED)
    assert (job.state, job.decision) == (JobState.STOPPED, "create")
    assert job.reason.startswith("its fields: ok; ")


@pytest.mark.parametrize("on_ambiguous", list(OnAmbiguous))
def test_what_was_answered_and_not_understood_is_never_sent_again_by_a_policy(on_ambiguous: OnAmbiguous) -> None:
    job = a_job(policy=Policy(on_ambiguous=on_ambiguous, max_duplicate_usd=Decimal(9)))
    stage, before = in_doubt(C, job=job, error_code="not_understood", error="its fields: ok", cost_usd_max=Decimal(1))
    stage.job_files.files[f"provider_messages/create-{TOKEN}.txt"] = b'HTTP 200\n\n{"ok": true}'

    chunk = run(stage, before)
    assert (chunk.state, chunk.error_code) == (ChunkState.UNRESOLVED, "not_understood")
    assert chunk.error.endswith("its fields: ok")
    stage.after(9_000)

    assert run(stage, chunk).state is ChunkState.UNRESOLVED


def absent(*, attempts: int, failing_s: float | None, at_s: float) -> tuple[Stage, Chunk]:
    """Return a chunk whose last create is proved to have made nothing, as one of several in a row."""
    since = None if failing_s is None else after(failing_s)
    stage, before = in_doubt(
        B1, at_s=at_s, attempts=attempts, error="HTTP 500", failing_since=since, fenced_at=after(at_s - 60), tries=1
    )
    return stage, run(stage, before)


@pytest.mark.parametrize(
    ("attempts", "failing_s", "wait_s"),
    [(1, 0, 0), (2, 0, 200), (3, -400, 600), (9, -1_400, 1_600), (12, -9_000, 1_800), (2, None, 200)],
)
def test_creates_that_make_nothing_follow_each_other_ever_more_slowly(
    attempts: int, failing_s: float | None, wait_s: float
) -> None:
    """A create that is always answered 500 took 46 uploads in two minutes; the first is made good at once."""
    stage, chunk = absent(attempts=attempts, failing_s=failing_s, at_s=200)

    assert (chunk.state, stage.due_s(chunk)) == (ChunkState.PLANNED, 200 + wait_s)
    assert chunk.error == "HTTP 500; the create made no batch"
    assert chunk.failing_since == after(failing_s or 0)
    assert stage.harness.ledger.job(JOB).state is JobState.RUNNING


def test_after_hours_of_creates_that_make_nothing_the_job_stops_and_says_why() -> None:
    stage, chunk = absent(attempts=14, failing_s=-10_700, at_s=200)

    job = stage.harness.ledger.job(JOB)
    assert (chunk.state, job.state, job.decision) == (ChunkState.PLANNED, JobState.STOPPED, "")
    assert "made nothing since 2026-11-22 09:01 UTC: HTTP 500. " in job.reason
    assert "run the job again" in job.reason


def test_in_class_c_it_is_unresolved_and_looked_up_again_in_a_minute() -> None:
    stage, before = in_doubt(C)

    chunk = run(stage, before)

    assert (chunk.state, chunk.error, stage.due_s(chunk)) == (ChunkState.UNRESOLVED, UNASKED, 260)
    assert (stage.provider.calls, has_intent(stage)) == ([], True)


def wagering(max_duplicate_usd: str) -> Any:
    return a_job(on_ambiguous=OnAmbiguous.RESUBMIT, max_duplicate_usd=Decimal(max_duplicate_usd))


def test_in_class_c_under_resubmit_the_attempt_is_abandoned_and_its_intent_stays() -> None:
    """It may exist: who rebuilds the ledger must know of it."""
    stage, before = in_doubt(C, job=wagering("0.50"), cost_usd_max=Decimal("0.50"))

    chunk = run(stage, before)

    assert (chunk.state, stage.due_s(chunk)) == (ChunkState.PLANNED, 200)
    assert [one.state for one in stage.attempts] == [AttemptState.ABANDONED]
    assert (stage.provider.calls, has_intent(stage)) == ([], True)


def test_in_class_c_earlier_possible_duplicates_count() -> None:
    stage = Stage(C, wagering("0.50"))
    earlier = stage.put("ambiguous", cost_usd_max=Decimal("0.30"))
    possibly_double_paid(stage, Decimal("0.30"))
    stage.after(200)

    chunk = run(stage, earlier)

    assert chunk.state is ChunkState.UNRESOLVED


def possibly_double_paid(stage: Stage, amount: Decimal) -> None:
    """Let the job have wagered so much on another chunk."""
    other = a_chunk("c00000-00008", state="planned")
    attempt = an_attempt("wagered", other, state=AttemptState.ABANDONED, reserved_usd=amount)
    stage.harness.write(added(other), AttemptOpened(attempt=attempt, budget_usd=None))
