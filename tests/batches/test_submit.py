"""One submit of one chunk: what is kept before the POST, what the POST bears, and what follows each answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any, BinaryIO, Final

import pytest

from orchestrator.batches.submit import submit
from orchestrator.domain import lifecycle
from orchestrator.domain.batch import Submission, Traits
from orchestrator.domain.changes import AccountPaused, AttemptOpened, ChunkMoved
from orchestrator.domain.errors import (
    BadRequest,
    CreateAmbiguous,
    CreateRefused,
    LeaseLost,
    NotAuthorized,
    ProviderError,
    RateLimited,
    StorageError,
    TooLarge,
)
from orchestrator.domain.lifecycle import AnswerLost
from orchestrator.domain.model import AttemptState, AttemptToken, BatchId, Chunk, ChunkState, Claim, JobState
from orchestrator.domain.policy import OnAmbiguous, Policy
from orchestrator.domain.recovery import Recovery
from orchestrator.job_files import create_journal, records, request_files
from orchestrator.job_files.create_journal import read_journal, write_journal
from tests.batches.stage import BATCH, FILE, LINE, TOKEN, Stage, an_accepted_batch
from tests.builders import ACCOUNT, JOB, NOW, a_chunk, a_job, added, after, an_attempt
from tests.contract.ledger_harness import LEASE_S as BOOKS_LEASE_S
from tests.fakes.job_files import MemoryJobFiles

FIRST: Final = AttemptToken(f"{1:032x}")
WITH_FILES: Final = Traits(name="told", recovery=Recovery.FENCED, settle_s=77.0)
WITHOUT: Final = Traits(name="told", recovery=Recovery.UNKNOWABLE, settle_s=77.0)
BYTES: Final = b"".join(LINE % number for number in range(2))


def run(stage: Stage, chunk: Chunk, claim: Claim | None = None) -> Chunk:
    harness = stage.harness
    submit(
        claim or stage.claim(chunk),
        ledger=harness.ledger,
        job_files=stage.job_files,
        provider=stage.provider,
        clock=stage.clock,
    )
    return stage.chunk(chunk)


@pytest.mark.parametrize(
    "policy", [{}, {"on_ambiguous": OnAmbiguous.RESUBMIT, "max_duplicate_usd": Decimal(9)}], ids=["ask", "resubmit"]
)
def test_after_a_success_that_is_not_understood_nothing_more_is_created_before_a_person_says_so(
    policy: dict[str, Any],
) -> None:
    """There most likely is a batch, and it is never sent again by a policy."""
    stage = Stage(WITHOUT, a_job(policy=Policy(**policy)))
    before = stage.put("planned", token=FIRST, cost_usd_max=Decimal(1))
    stage.provider.tell(CreateAmbiguous("POST https://x.example/batches: its fields: ticket", answer=b"all of it"))

    chunk = run(stage, before)

    job = stage.harness.ledger.job(JOB)
    assert (chunk.state, chunk.error_code) == (ChunkState.UNRESOLVED, "not_understood")
    assert (job.state, job.decision) == (JobState.STOPPED, "create")
    assert job.reason == chunk.error == "POST https://x.example/batches: its fields: ticket"
    assert [one.state for one in stage.attempts] == [AttemptState.OPEN]
    assert create_journal.read_intent(stage.job_files, create_journal.intent_name(chunk.token or FIRST))


def test_where_the_provider_has_a_list_nothing_more_is_created_while_the_batch_is_looked_up() -> None:
    """The list may tell, and the job needs no person; an answer that was cut may come whole the next time."""
    for is_cut, pause_s in ((False, 120.0), (True, None)):
        stage = Stage(replace(WITH_FILES, lag_s=60.0))
        stage.provider.tell(CreateAmbiguous("its fields: ticket", answer=b"all of it", is_cut=is_cut))

        chunk = run(stage, stage.put("uploaded", token=FIRST))

        assert (chunk.state, chunk.error) == (ChunkState.AMBIGUOUS, "its fields: ticket")
        assert stage.paused_until_s() == pause_s
        assert stage.harness.ledger.job(JOB).state is JobState.RUNNING


def test_after_a_lost_answer_the_job_goes_on() -> None:
    stage = Stage(WITHOUT)
    stage.provider.tell(CreateAmbiguous("HTTP 500"))

    chunk = run(stage, stage.put("planned"))

    assert (chunk.state, chunk.error_code, chunk.failing_since) == (ChunkState.AMBIGUOUS, "", NOW)
    assert stage.harness.ledger.job(JOB).state is JobState.RUNNING


def test_before_the_post_the_intent_stands_in_the_ledger_and_in_the_work_folder() -> None:
    """Rules 1 and 4: whatever dies during the POST, both know of it."""
    stage = Stage(WITHOUT)
    stage.after(5)
    before = stage.put("planned", cost_usd_max=Decimal("0.25"), tries=2)
    seen: dict[str, Any] = {}

    def look(submission: Submission) -> BatchId:
        seen["chunk"], seen["due_s"] = stage.chunk(before), stage.due_s(before)
        seen["leased_until_s"] = stage.leased_until_s(before)
        [seen["attempt"]] = stage.attempts
        seen["intent"] = create_journal.read_intent(stage.job_files, create_journal.intent_name(submission.token))
        return BATCH

    stage.provider.tell(look)
    run(stage, before)

    chunk, attempt, intent = seen["chunk"], seen["attempt"], seen["intent"]
    assert (chunk.state, chunk.token, chunk.attempt, chunk.sent_at) == (ChunkState.SUBMITTING, FIRST, 1, after(5))
    assert (seen["due_s"], seen["leased_until_s"]) == (5 + 77, 5 + BOOKS_LEASE_S)
    assert (attempt.token, attempt.number, attempt.state) == (FIRST, 1, AttemptState.OPEN)
    assert (attempt.reserved_usd, attempt.sent_at) == (Decimal("0.25"), after(5))
    assert attempt.digest == request_files.content_digest(before.requests)
    assert (intent.token, intent.chunk, intent.attempt, intent.requests) == (FIRST, before.name, 1, before.requests)
    assert (intent.sent_at, intent.reserved_usd, intent.file_id) == (after(5), Decimal("0.25"), None)


def test_a_chunk_without_a_price_reserves_nothing() -> None:
    stage = Stage(WITHOUT)
    stage.provider.tell(BATCH)

    run(stage, stage.put("planned"))

    [attempt] = stage.attempts
    assert attempt.reserved_usd == 0
    assert create_journal.read_intent(stage.job_files, create_journal.intent_name(FIRST)).reserved_usd == 0


def test_the_post_bears_the_planned_bytes_the_token_and_the_chunks_name() -> None:
    stage = Stage(WITHOUT)
    stage.provider.tell(BATCH)
    before = stage.put("planned")

    run(stage, before)

    [(_, sent)] = stage.provider.calls
    assert (sent.token, sent.request_count, sent.size_bytes) == (FIRST, 2, len(BYTES))
    assert (sent.file_id, sent.label, b"".join(sent.blocks())) == (None, before.id, BYTES)
    assert b"".join(sent.blocks()) == BYTES


def test_a_batch_that_was_made_is_kept_in_the_journal_and_asked_about_a_second_later() -> None:
    stage = Stage(WITHOUT)
    stage.provider.tell(BATCH)

    chunk = run(stage, stage.put("planned"))

    assert (chunk.state, chunk.batch_id, stage.due_s(chunk)) == (ChunkState.SUBMITTED, BATCH, 1)
    assert [(one.state, one.batch_id) for one in stage.attempts] == [(AttemptState.CREATED, BATCH)]
    assert json.loads(stage.job_files.files[create_journal.journal_name(FIRST)]) == {"token": FIRST, "batch_id": BATCH}
    assert stage.job_files.exists(create_journal.intent_name(FIRST))


def test_what_was_submitted_already_is_not_sent_again() -> None:
    """A message that is delivered twice, or late, sends nothing."""
    stage = Stage(WITHOUT)
    before = stage.put("submitted")

    chunk = run(stage, before, stage.claim(before))

    assert chunk == before
    assert stage.provider.calls == []


def test_a_lost_answer_leaves_the_chunk_ambiguous_and_is_looked_up_at_once() -> None:
    stage = Stage(WITHOUT)
    stage.provider.tell(CreateAmbiguous("timed out"))

    chunk = run(stage, stage.put("planned"))

    assert (chunk.state, chunk.token, chunk.error) == (ChunkState.AMBIGUOUS, FIRST, "timed out")
    assert (stage.due_s(chunk), stage.attempts[0].state) == (0, AttemptState.OPEN)
    assert stage.job_files.exists(create_journal.intent_name(FIRST))
    assert len(stage.provider.calls) == 1


def test_a_create_that_is_refused_for_now_is_tried_again_later_under_a_new_token() -> None:
    stage = Stage(WITHOUT)
    stage.provider.tell(CreateRefused(RateLimited("slow", status=429, retry_after_s=40.0)), BATCH)

    before = stage.put("planned")
    chunk = run(stage, before)
    assert (chunk.state, chunk.error_code, chunk.error, stage.due_s(chunk)) == (ChunkState.PLANNED, "429", "slow", 40)
    assert not stage.job_files.exists(create_journal.intent_name(FIRST))
    stage.after(40)
    run(stage, chunk)

    assert [(one.number, one.state) for one in stage.attempts] == [
        (1, AttemptState.REFUSED),
        (2, AttemptState.CREATED),
    ]
    assert stage.attempts[0].token != stage.attempts[1].token


def test_a_refusal_that_comes_late_leaves_the_intent_of_a_create_that_was_sent_again() -> None:
    """Where another worker has repeated it meanwhile, there may be a batch."""
    stage = Stage(WITHOUT)
    before = stage.put("planned")

    def late(_submission: Submission) -> BatchId:
        present = stage.chunk(before)
        lost = lifecycle.advance(present, AnswerLost("lost"))
        stage.harness.write(ChunkMoved(before=present, after=lost, due_at=NOW))
        raise CreateRefused(RateLimited("slow", status=429))

    stage.provider.tell(late)
    with pytest.raises(LeaseLost):
        run(stage, before)

    assert stage.job_files.exists(create_journal.intent_name(FIRST))


def test_the_second_refusal_waits_longer_than_the_first() -> None:
    stage = Stage(WITHOUT)
    stage.provider.tell(CreateRefused(RateLimited("slow", status=429)))

    chunk = run(stage, stage.put("planned", attempt=1))

    assert stage.due_s(chunk) == 2.5


@pytest.mark.parametrize("accepted", [False, True])
def test_a_credential_that_is_refused_pauses_the_account_and_not_the_job(accepted: bool) -> None:
    stage = Stage(WITHOUT)
    if accepted:
        an_accepted_batch(stage)
    stage.provider.tell(CreateRefused(NotAuthorized("no credit", status=402)))

    chunk = run(stage, stage.put("planned"))

    assert (chunk.state, chunk.error_code, stage.due_s(chunk)) == (ChunkState.PLANNED, "402", 0)
    assert stage.paused_until_s() == 300
    assert stage.harness.admin.pause_reason(ACCOUNT, now=NOW).startswith("no credit. Next: add credit")
    assert stage.harness.ledger.job(JOB).state is JobState.RUNNING


def test_a_first_batch_that_is_refused_stops_the_job_in_the_providers_words() -> None:
    """A mistake in the job, to be corrected before the rest is sent."""
    stage = Stage(WITHOUT)
    stage.provider.tell(CreateRefused(BadRequest("no such model", status=400)))

    chunk = run(stage, stage.put("planned"))

    job = stage.harness.ledger.job(JOB)
    assert (chunk.state, job.state) == (ChunkState.PLANNED, JobState.STOPPED)
    assert job.reason.startswith("the provider refused the first batch: no such model. No row has failed.")
    assert stage.paused_until_s() is None


def test_a_job_that_is_being_cancelled_is_not_stopped() -> None:
    stage = Stage(WITHOUT)
    before = stage.put("planned")
    stage.provider.tell(cancelling(stage))

    run(stage, before)

    assert stage.harness.ledger.job(JOB).state is JobState.CANCELLING


def cancelling(stage: Stage) -> Any:
    """Refuse a create, after a person has cancelled the job during it."""

    def answer(_submission: Submission) -> BatchId:
        stage.harness.admin.cancel(JOB, now=NOW)
        raise CreateRefused(BadRequest("no such model", status=400))

    return answer


def test_a_later_batch_that_is_refused_for_good_is_halved_until_the_request_is_found() -> None:
    """The provider names no request: one of the two is at fault."""
    stage = Stage(WITHOUT)
    an_accepted_batch(stage)
    stage.provider.tell(CreateRefused(BadRequest("malformed", status=400)))

    chunk = run(stage, stage.put("planned"))

    assert (chunk.state, chunk.refused_places, stage.due_s(chunk)) == (ChunkState.SPLITTING, "", 0)
    assert [one.state for one in stage.attempts if one.chunk_id == chunk.id] == [AttemptState.REFUSED]


def test_a_request_that_the_provider_names_is_cut_out() -> None:
    stage = Stage(WITHOUT)
    an_accepted_batch(stage)
    refused = BadRequest("requests.1: malformed", status=400)
    refused.places = (1,)
    stage.provider.tell(CreateRefused(refused))

    chunk = run(stage, stage.put("planned"))

    assert (chunk.state, chunk.refused_places) == (ChunkState.SPLITTING, "1")


def test_a_request_that_is_refused_alone_is_given_up_and_the_folder_says_so() -> None:
    stage = Stage(WITHOUT)
    an_accepted_batch(stage)
    stage.provider.tell(CreateRefused(BadRequest("malformed", status=400)))

    chunk = run(stage, stage.put("planned", request_count=1, row_end=1))

    assert (chunk.state, chunk.error_code, chunk.tally.failed) == (ChunkState.FAILED, "400", 1)
    given_up = records.read_given_up(stage.job_files, chunk.name)
    assert given_up is not None
    assert (given_up.error_code, given_up.error) == ("400", "malformed")
    assert stage.harness.ledger.job(JOB).state is JobState.RUNNING


def test_a_batch_that_is_too_large_is_cut_in_two_and_nothing_is_given_up() -> None:
    stage = Stage(WITHOUT)
    stage.provider.tell(CreateRefused(TooLarge("too many", status=413)))

    chunk = run(stage, stage.put("planned"))

    assert (chunk.state, chunk.error, stage.due_s(chunk)) == (ChunkState.SPLITTING, "too many", 0)
    assert records.read_given_up(stage.job_files, chunk.name) is None
    assert [one.state for one in stage.attempts] == [AttemptState.REFUSED]


@pytest.mark.parametrize("traits", [WITHOUT, WITH_FILES], ids=["inline", "files"])
def test_a_chunk_that_never_fits_the_budget_is_cut_before_anything_is_sent(traits: Traits) -> None:
    """Not even its input file is uploaded."""
    stage = Stage(traits, a_job(budget_usd=Decimal("0.10")))

    chunk = run(stage, stage.put("planned", cost_usd_max=Decimal("0.11")))

    assert (chunk.state, stage.due_s(chunk), stage.provider.calls) == (ChunkState.SPLITTING, 0, [])
    assert stage.harness.ledger.job(JOB).state is JobState.RUNNING


def test_a_single_request_that_never_fits_stops_the_job_and_says_what_would_fit() -> None:
    stage = Stage(WITHOUT, a_job(budget_usd=Decimal("0.10")))
    before = stage.put("planned", cost_usd_max=Decimal("0.11"), request_count=1)

    chunk = run(stage, before)

    job = stage.harness.ledger.job(JOB)
    assert chunk == before
    assert (job.state, stage.provider.calls, stage.attempts) == (JobState.STOPPED, [], [])
    assert job.reason == (
        "the budget is too small: nothing was spent, and one request may cost 0.11 USD, more than 0.10 USD. To go on, "
        "raise policy.budget_usd to 0.11 USD or more and run it again"
    )


def test_a_chunk_whose_money_another_took_meanwhile_waits_unchanged() -> None:
    """Both fitted when they were handed out; it is handed out again once the other has settled."""
    stage = Stage(WITHOUT, a_job(budget_usd=Decimal("0.10")))
    before = stage.put("planned", cost_usd_max=Decimal("0.06"))
    claim = stage.claim(before)
    other = a_chunk("c00000-00009", state="submitted", batch_id="other")
    attempt = an_attempt("other", other, reserved_usd=Decimal("0.05"))
    stage.harness.write(added(other), AttemptOpened(attempt=attempt, budget_usd=None))

    chunk = run(stage, before, claim)

    assert (chunk, stage.provider.calls) == (before, [])
    assert stage.harness.ledger.job(JOB).state is JobState.RUNNING


class FullJobFiles(MemoryJobFiles):
    """Takes no intents."""

    @contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        """Refuse an intent."""
        if name.startswith(create_journal.INTENTS):
            raise StorageError("the disk is full")
        with super().create(name) as file:
            yield file


def test_where_the_intent_cannot_be_kept_nothing_is_sent_and_the_chunk_waits() -> None:
    stage = Stage(WITHOUT)
    stage.job_files = FullJobFiles()
    before = stage.put("planned")

    with pytest.raises(StorageError, match="the disk is full"):
        run(stage, before)

    chunk = stage.chunk(before)
    assert stage.provider.calls == []
    assert (chunk.state, chunk.error_code, chunk.error) == (ChunkState.PLANNED, "storage", "the disk is full")
    assert (stage.due_s(chunk), [one.state for one in stage.attempts]) == (1.5, [AttemptState.REFUSED])


def test_where_the_provider_takes_files_a_fresh_one_goes_up_first_and_nothing_is_created() -> None:
    stage = Stage(WITH_FILES)
    stage.after(3)
    stage.provider.tell(FILE)

    chunk = run(stage, stage.put("planned", tries=2))

    [(name, submission, content)] = stage.provider.calls
    assert (name, submission.token, content) == ("upload", FIRST, BYTES)
    assert (chunk.state, chunk.token, chunk.file_id) == (ChunkState.UPLOADED, FIRST, FILE)
    assert (stage.due_s(chunk), stage.attempts) == (3, [])


def test_the_create_that_follows_bears_the_file_and_its_token() -> None:
    stage = Stage(WITH_FILES)
    stage.provider.tell(BATCH)

    chunk = run(stage, stage.put("uploaded", token=TOKEN, file_id=FILE))

    [(name, submission)] = stage.provider.calls
    assert (name, submission.token, submission.file_id) == ("create", TOKEN, FILE)
    assert (chunk.state, [one.token for one in stage.attempts]) == (ChunkState.SUBMITTED, [TOKEN])
    assert create_journal.read_intent(stage.job_files, create_journal.intent_name(TOKEN)).file_id == FILE


@pytest.mark.parametrize(
    ("error", "wait_s", "paused_s"),
    [(RateLimited("slow", retry_after_s=40.0), 40, None), (NotAuthorized("no credit"), 0, 300)],
)
def test_a_file_that_is_not_taken_is_sent_again_later(
    error: ProviderError, wait_s: float, paused_s: float | None
) -> None:
    """Nothing has begun: no attempt is opened, and none is closed."""
    stage = Stage(WITH_FILES)
    stage.provider.tell(error)

    chunk = run(stage, stage.put("planned", tries=1))

    assert (chunk.state, chunk.tries, chunk.error) == (ChunkState.PLANNED, 2, str(error))
    assert (stage.due_s(chunk), stage.paused_until_s(), stage.attempts) == (wait_s, paused_s, [])


def test_files_that_fail_again_and_again_are_sent_later_and_later() -> None:
    stage = Stage(WITH_FILES)
    stage.provider.tell(RateLimited("slow"))

    assert stage.due_s(run(stage, stage.put("planned", tries=2))) == 4.5


def test_a_file_that_is_refused_is_handled_like_a_create_that_is() -> None:
    """No attempt has begun: nothing is closed."""
    stage = Stage(WITH_FILES)
    an_accepted_batch(stage)
    refused = BadRequest("malformed", status=400)
    refused.places = (0,)
    stage.provider.tell(refused)

    chunk = run(stage, stage.put("planned"))

    assert (chunk.state, chunk.refused_places) == (ChunkState.SPLITTING, "0")
    assert not [one for one in stage.attempts if one.chunk_id == chunk.id]


def test_a_file_that_will_never_be_taken_gives_its_chunk_up() -> None:
    stage = Stage(WITH_FILES)
    an_accepted_batch(stage)
    stage.provider.tell(BadRequest("malformed", status=400))

    chunk = run(stage, stage.put("planned", request_count=1, row_end=1))

    assert (chunk.state, chunk.error_code) == (ChunkState.FAILED, "400")
    given_up = records.read_given_up(stage.job_files, chunk.name)
    assert given_up is not None
    assert (given_up.error_code, given_up.error) == ("400", "malformed")


def test_the_journal_gives_back_what_it_was_given() -> None:
    job_files = MemoryJobFiles()
    assert read_journal(job_files, TOKEN) is None

    write_journal(job_files, TOKEN, BATCH)

    assert read_journal(job_files, TOKEN) == BATCH


@pytest.mark.parametrize("traits", [WITH_FILES, WITHOUT])
def test_a_step_that_was_claimed_before_a_pause_sends_nothing(traits: Traits) -> None:
    """Another thread's create was refused meanwhile. The chunk is as it was, and nobody has it."""
    stage = Stage(traits)
    before = stage.put("planned")
    claim = stage.claim(before)
    stage.harness.write(AccountPaused(account=ACCOUNT, until=after(60), reason="no credit"))

    chunk = run(stage, before, claim)

    assert stage.provider.calls == []
    assert chunk == before
    assert (stage.leased_until_s(chunk) or 0.0) <= 0
