"""What follows a refusal: of a create or an upload, or of a whole batch before any of its requests ran.

Rule 1: in each of these cases nothing was created, or nothing of it ran: it has cost nothing, and counts as no try of
        any row.
Rule 2: no row is given up for what is not its own fault; and none on the word of a place alone. A refused request is
        cut out of its chunk and sent alone; it has failed when it is refused alone.
Rule 3: every wait has an end: after `SETBACKS_MAX` refusals in a row, about a day, the job stops for a person. So it
        does after each `SPLITS_MAX` chunks that were cut to find refused requests.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from orchestrator.domain.batch import BatchStatus
from orchestrator.domain.changes import AccountPaused, Change, JobMoved
from orchestrator.domain.errors import ProviderError, UploadUnusable
from orchestrator.domain.faults import CHECK_KEY, Fault, advice_of, known_phrase
from orchestrator.domain.lifecycle import FoundTooLarge, GaveUp, RowsRefused, SubmissionRefused
from orchestrator.domain.model import BatchId, Chunk, Job, JobState
from orchestrator.domain.reconcile import Answer
from orchestrator.domain.required import required
from orchestrator.domain.retry import backoff_s

ACCOUNT_PAUSE_S: Final = 300.0  # the first time; the ledger doubles it while the account is refused again
SETBACK_S_MIN: Final = 1.0
SETBACK_S_MAX: Final = 3_600.0
SETBACKS_MAX: Final = 36  # a second, doubled up to an hour, then hourly: about a day
UPLOADS_MAX: Final = 4  # of a file that the provider takes, but not as it was sent
QUEUE_TRIES_MAX: Final = 3  # of a chunk that is refused by a full queue although nothing else is in it
SPLITS_MAX: Final = 256  # chunks cut by a job until a person looks
SPLITS_UNPROVEN_MAX: Final = 8  # the same, while no batch of the job was ever accepted
PLACES_DEPTH_MAX: Final = 32  # a chunk that was cut so often by places is halved from then on: its name grows


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A refusal, whether it came as the answer to a call or as the end of a batch."""

    fault: Fault
    code: str
    error: str
    places: tuple[int, ...] = ()  # of the requests that it names, from 0
    tokens_max: int | None = None  # the limit of queued tokens that it names
    retry_after_s: float | None = None
    status: int | None = None
    tries_max: int | None = None  # after so many in a row the job stops
    names_no_file: bool = False  # it says that there is no such input file

    @classmethod
    def of_error(cls, error: ProviderError) -> Refusal:
        """Return the refusal of a call."""
        return cls(
            fault=error.fault,
            code=str(error.status or "refused"),
            error=str(error),
            places=error.places,
            tokens_max=error.tokens_max,
            retry_after_s=error.retry_after_s,
            status=error.status,
            tries_max=UPLOADS_MAX if isinstance(error, UploadUnusable) else None,
            names_no_file=error.names_no_file,
        )

    @classmethod
    def of_status(cls, status: BatchStatus) -> Refusal:
        """Return the refusal of a batch that was rejected."""
        error = status.error or "the batch failed before any of its requests ran, and the provider says not why"
        return cls(
            fault=required(status.rejected, "fault"),
            code=status.error_code or "batch_failed",
            error=error,
            places=status.places,
            tokens_max=status.tokens_max,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What the job and its account have seen so far."""

    ever_created: bool = True  # whether a batch of this job was ever accepted, and not rejected afterwards
    split_count: int = 0  # chunks of the job that were cut
    others_in_flight: int = 0  # other chunks of the account that are sent


@dataclass(frozen=True, slots=True, kw_only=True)
class AfterRefusal:
    """The next move of a chunk that was refused."""

    event: SubmissionRefused | FoundTooLarge | RowsRefused | GaveUp
    delay_s: float = 0.0
    pauses_account: bool = False
    stops_job: str = ""  # why; "" where it does not
    in_flight_max: int | None = None  # the account's queue holds no more batches than these


def setback_s(setbacks: int, *, draw: float) -> float:
    """Return how long to wait after setback number `setbacks` (1-based): doubling, up to an hour."""
    return min(SETBACK_S_MAX, SETBACK_S_MIN * 2.0 ** min(setbacks, 16)) * (0.5 + draw / 2)


def after_refusal(refusal: Refusal, *, chunk: Chunk, history: History, tries: int, draw: float) -> AfterRefusal:
    """Decide the next move after refusal number `tries` (1-based) of a chunk; `draw` is uniform in [0, 1)."""
    again = SubmissionRefused(refusal.code, refusal.error)
    match refusal.fault:
        case Fault.ACCOUNT:
            return AfterRefusal(event=again, pauses_account=True)
        case Fault.QUEUE:
            return _after_full_queue(refusal, chunk, history, tries, draw)
        case Fault.PLATFORM:
            return _after_setback(refusal, chunk, draw)
        case Fault.JOB:
            return AfterRefusal(event=again, stops_job=_job_at_fault(refusal.error, refusal.status))
        case Fault.SIZE if chunk.request_count > 1:
            return AfterRefusal(event=FoundTooLarge(refusal.error))
        case Fault.SIZE:
            return AfterRefusal(event=GaveUp(refusal.code, refusal.error))
        case Fault.ROW:
            return _after_refused_rows(refusal, chunk, history)
        case _ if refusal.tries_max is not None and tries >= refusal.tries_max:
            told = f"{tries} uploads in a row came to nothing: {refusal.error}; run the job again to try further"
            return AfterRefusal(event=again, stops_job=told)
        case _:
            delay_s = backoff_s(tries, draw=draw, floor_s=refusal.retry_after_s)
            return AfterRefusal(event=again, delay_s=delay_s)


def _after_setback(refusal: Refusal, chunk: Chunk, draw: float) -> AfterRefusal:
    setbacks = chunk.setbacks + 1
    wait_s = max(refusal.retry_after_s or 0.0, setback_s(setbacks, draw=draw))
    stops = ""
    if refusal.tries_max is not None and setbacks >= refusal.tries_max:
        stops = f"{refusal.error}, {setbacks} times in a row; run the job again to try further"
    elif setbacks >= SETBACKS_MAX:
        stops = (
            f"the provider has refused chunk {chunk.name} {setbacks} times, for about a day, and no row is at fault: "
            f"{refusal.error}. Ask the provider; then run the job again"
        )
    event = SubmissionRefused(refusal.code, refusal.error, setbacks)
    return AfterRefusal(event=event, delay_s=wait_s, stops_job=stops)


def _after_full_queue(refusal: Refusal, chunk: Chunk, history: History, tries: int, draw: float) -> AfterRefusal:
    """Wait for room and send fewer batches at a time; halve a chunk that does not fit an empty queue."""
    too_large = refusal.tokens_max is not None and chunk.tokens_in > refusal.tokens_max
    alone = history.others_in_flight == 0
    if chunk.request_count > 1 and (too_large or (alone and chunk.setbacks + 1 >= QUEUE_TRIES_MAX)):
        return AfterRefusal(event=FoundTooLarge(refusal.error))
    room = max(1, history.others_in_flight)
    if alone:
        after = _after_setback(refusal, chunk, draw)
        return AfterRefusal(event=after.event, delay_s=after.delay_s, stops_job=after.stops_job, in_flight_max=room)
    delay_s = backoff_s(tries, draw=draw, floor_s=refusal.retry_after_s)
    return AfterRefusal(event=SubmissionRefused(refusal.code, refusal.error), delay_s=delay_s, in_flight_max=room)


def _after_refused_rows(refusal: Refusal, chunk: Chunk, history: History) -> AfterRefusal:
    """Cut out the requests that are refused, or halve the chunk to find them."""
    places = tuple(sorted({place for place in refusal.places if 0 <= place < chunk.request_count}))
    is_all = chunk.request_count == 1 or len(places) == chunk.request_count
    was_told = chunk.setbacks > 0  # the job was stopped for it, and run again
    if not history.ever_created and (is_all or not places) and not was_told:
        return _stopped(refusal, _first_refused(refusal))
    if is_all:
        return AfterRefusal(event=GaveUp(refusal.code, refusal.error))
    splits_max = SPLITS_MAX if history.ever_created else SPLITS_UNPROVEN_MAX
    if history.split_count and history.split_count % splits_max == 0 and not was_told:
        return _stopped(refusal, _many_refused(refusal, history))
    depth = len(chunk.name) - len(chunk.name.rstrip("ab"))
    return AfterRefusal(event=RowsRefused(refusal.code, refusal.error, places if depth < PLACES_DEPTH_MAX else ()))


def _stopped(refusal: Refusal, why: str) -> AfterRefusal:
    # The setback marks the chunk: once the job is run again, its rows are tried one by one.
    return AfterRefusal(event=SubmissionRefused(refusal.code, refusal.error, 1), stops_job=why)


def _job_at_fault(error: str, status: int | None) -> str:
    advice = advice_of(Fault.JOB, error, status)
    return f"the provider refuses the job as a whole: {error}. No row has failed. Next: {advice}"


def _first_refused(refusal: Refusal) -> str:
    return (
        f"the provider refused the first batch: {refusal.error}. No row has failed. Change what it names; if a single "
        "row is at fault, run the job again: then the refused rows are found and left out"
    )


def _many_refused(refusal: Refusal, history: History) -> str:
    return (
        f"the provider refused requests in {history.split_count:,} chunks, which were sent again without them; the "
        f"last time: {refusal.error}. Nothing of this was charged. Check the job; run it again to go on"
    )


def account_paused(account: str, error: str, status: int | None = None, *, now: datetime) -> AccountPaused:
    """Return the pause of an account that the provider refuses, with the way out."""
    advice = advice_of(Fault.ACCOUNT, error, status)
    needs_person = advice == CHECK_KEY  # a running process cannot get another key
    way_out = f"Next: {advice}; then run the job again" if needs_person else f"Next: {advice}; it goes on by itself"
    until = now + timedelta(seconds=ACCOUNT_PAUSE_S)
    return AccountPaused(account=account, until=until, reason=f"{error}. {way_out}", needs_person=needs_person)


def after_refused_rows(
    job: Job, chunk: Chunk, refusal: Answer, *, batch_id: BatchId | None, now: datetime
) -> list[Change]:
    """Return what it means for the account and the job that rows of a batch were refused for their sake.

    Args:
        chunk: with this setback counted.
        refusal: the answer of one of the rows.
    """
    words = [refusal.error_code or "", known_phrase(refusal.error_message or "")]
    error = f"rows of batch {batch_id} were refused: {': '.join(filter(None, words))}"
    stops, changes = "", list[Change]()
    if refusal.fault is Fault.JOB:
        stops = _job_at_fault(error, None)
    else:
        changes.append(account_paused(job.account, error, now=now))
        if chunk.setbacks >= SETBACKS_MAX:
            stops = f"{error}, the {chunk.setbacks}th time in a row. Ask the provider; then run the job again"
    if stops and job.state is JobState.RUNNING:
        changes.append(JobMoved(before=job, after=replace(job, state=JobState.STOPPED, reason=stops), due_at=now))
    return changes
