"""The life of a chunk: every state, every event, and all transitions.

Rule 1: a chunk's state changes here and nowhere else.
Rule 2: this module uses no clock, network or disk; its input is an event.
Rule 3: a chunk goes from SUBMITTING back to PLANNED or UPLOADED only on an event that proves that nothing was created.

    PLANNED --begun--> SUBMITTING --created--> SUBMITTED --ended--> ENDED --collected--> COLLECTED

`TRANSITIONS` holds every transition; a test compares the table in `docs/glossary.md` with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Final

from orchestrator.domain.errors import IllegalTransition
from orchestrator.domain.model import AttemptToken, BatchId, Chunk, ChunkState, FileId, Outcome, Tally

S = ChunkState
RESULTS_LOST: Final = "results_lost"  # the error code of a chunk, and of its rows, whose results a person has given up


@dataclass(frozen=True, slots=True)
class InputUploaded:
    """The provider holds the requests as a file; nothing has been created from it yet."""

    token: AttemptToken
    file_id: FileId


@dataclass(frozen=True, slots=True)
class SubmissionBegun:
    """The intent is in the ledger; the one POST of this attempt may now be sent."""

    token: AttemptToken
    at: datetime
    key_mark: str = ""


@dataclass(frozen=True, slots=True)
class BatchCreated:
    """The provider has the batch, by its answer, by its list, or by a person's statement."""

    batch_id: BatchId


@dataclass(frozen=True, slots=True)
class SubmissionRefused:
    """Certainly nothing was created; the same chunk may be sent again."""

    error_code: str
    error: str
    setbacks: int = 0  # see `Chunk`


@dataclass(frozen=True, slots=True)
class InputKept:
    """Certainly nothing was created, and the next create may be sent with the same input file."""

    error_code: str
    error: str
    setbacks: int = 0  # see `Chunk`


@dataclass(frozen=True, slots=True)
class InputDropped:
    """The input file belongs to another key's account: the requests are uploaded again."""


@dataclass(frozen=True, slots=True)
class FoundTooLarge:
    """Nothing was created because the batch, or its input file, is larger than the provider allows."""

    error: str


@dataclass(frozen=True, slots=True)
class BeyondBudget:
    """Nothing was sent: together, its requests may cost more than the job's budget will ever leave for them."""


@dataclass(frozen=True, slots=True)
class RowsRefused:
    """Nothing was created, or nothing of the batch has run, because of the requests at these places (from 0).

    Without places: because of one that is still to be found.
    """

    error_code: str
    error: str
    places: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class AnswerLost:
    """It is not known whether a batch was created."""

    error: str
    error_code: str = ""


@dataclass(frozen=True, slots=True)
class ProvedAbsent:
    """This attempt made no batch: proved, stated by a person, or assumed under a policy that accepts a duplicate.

    `error` is what was answered to it, where the next create may be answered alike.
    """

    error: str = ""


@dataclass(frozen=True, slots=True)
class BecameUnresolved:
    """A person must find out the outcome of the create, or of the batch, and decide."""

    error: str
    error_code: str = ""


@dataclass(frozen=True, slots=True)
class Reopened:
    """It was unresolved because the provider could not be asked; now it can be: the right key or permission is set."""


@dataclass(frozen=True, slots=True)
class Fenced:
    """No batch was found at this time, and a create in flight can no longer succeed: its input file is deleted, or
    too much time has passed.
    """

    at: datetime


@dataclass(frozen=True, slots=True)
class BatchEnded:
    """The provider will do no more work on the batch."""

    outcome: Outcome
    results: str
    error: str


@dataclass(frozen=True, slots=True)
class BatchRejected:
    """The provider accepted the batch and then rejected all of it before any request ran."""

    error: str
    setbacks: int = 0  # see `Chunk`


@dataclass(frozen=True, slots=True)
class ResultsCollected:
    """Raw results are archived, parsed and counted."""

    part: str
    tally: Tally


@dataclass(frozen=True, slots=True)
class AnswersCopied:
    """What equal requests of the job came to is copied for this chunk, and counted."""

    part: str
    tally: Tally


@dataclass(frozen=True, slots=True)
class ResultsGivenUp:
    """A person gives up the results of this batch, which the provider made and does not hand out: what is archived is
    collected, and the rows without an answer have failed.
    """

    batch_id: BatchId


@dataclass(frozen=True, slots=True)
class Divided:
    """The requests are now in two smaller chunks."""


@dataclass(frozen=True, slots=True)
class CancelledUnsent:
    """A cancel reached the chunk while no batch of it existed."""


@dataclass(frozen=True, slots=True)
class GaveUp:
    """No more tries are possible; its rows have failed."""

    error_code: str
    error: str


Event = (
    InputUploaded
    | SubmissionBegun
    | BatchCreated
    | SubmissionRefused
    | InputKept
    | InputDropped
    | FoundTooLarge
    | BeyondBudget
    | RowsRefused
    | AnswerLost
    | ProvedAbsent
    | BecameUnresolved
    | Reopened
    | Fenced
    | BatchEnded
    | BatchRejected
    | ResultsCollected
    | AnswersCopied
    | ResultsGivenUp
    | Divided
    | CancelledUnsent
    | GaveUp
)

TRANSITIONS: Final[Mapping[tuple[ChunkState, type[Event]], ChunkState]] = MappingProxyType(
    {
        (S.PLANNED, InputUploaded): S.UPLOADED,
        (S.PLANNED, SubmissionBegun): S.SUBMITTING,
        (S.PLANNED, FoundTooLarge): S.SPLITTING,
        (S.PLANNED, BeyondBudget): S.SPLITTING,
        (S.PLANNED, RowsRefused): S.SPLITTING,
        (S.PLANNED, CancelledUnsent): S.CANCELLED,
        (S.PLANNED, GaveUp): S.FAILED,
        (S.UPLOADED, SubmissionBegun): S.SUBMITTING,
        (S.UPLOADED, InputDropped): S.PLANNED,
        (S.UPLOADED, BeyondBudget): S.SPLITTING,
        (S.UPLOADED, CancelledUnsent): S.CANCELLED,
        (S.SUBMITTING, BatchCreated): S.SUBMITTED,
        (S.SUBMITTING, SubmissionRefused): S.PLANNED,
        (S.SUBMITTING, InputKept): S.UPLOADED,
        (S.SUBMITTING, FoundTooLarge): S.SPLITTING,
        (S.SUBMITTING, RowsRefused): S.SPLITTING,
        (S.SUBMITTING, AnswerLost): S.AMBIGUOUS,
        (S.SUBMITTING, GaveUp): S.FAILED,
        (S.AMBIGUOUS, BatchCreated): S.SUBMITTED,
        (S.AMBIGUOUS, Fenced): S.AMBIGUOUS,
        (S.AMBIGUOUS, ProvedAbsent): S.PLANNED,
        (S.AMBIGUOUS, BecameUnresolved): S.UNRESOLVED,
        (S.UNRESOLVED, BatchCreated): S.SUBMITTED,
        (S.UNRESOLVED, ProvedAbsent): S.PLANNED,
        (S.UNRESOLVED, Reopened): S.AMBIGUOUS,
        (S.UNRESOLVED, ResultsGivenUp): S.ENDED,
        (S.SUBMITTED, BatchEnded): S.ENDED,
        (S.SUBMITTED, BatchRejected): S.PLANNED,
        (S.SUBMITTED, FoundTooLarge): S.SPLITTING,
        (S.SUBMITTED, RowsRefused): S.SPLITTING,
        (S.SUBMITTED, GaveUp): S.FAILED,
        (S.SUBMITTED, BecameUnresolved): S.UNRESOLVED,
        (S.ENDED, ResultsCollected): S.COLLECTED,
        (S.ENDED, BecameUnresolved): S.UNRESOLVED,
        (S.DUPLICATE, AnswersCopied): S.REUSED,
        (S.SPLITTING, Divided): S.SPLIT,
        (S.SPLITTING, CancelledUnsent): S.CANCELLED,
        (S.SPLITTING, GaveUp): S.FAILED,
    }
)


def advance(chunk: Chunk, event: Event) -> Chunk:
    """Return `chunk` after `event`; raise IllegalTransition where the table has no such transition."""
    state = TRANSITIONS.get((chunk.state, type(event)))
    if state is None:
        raise IllegalTransition(f"{chunk.id}: {type(event).__name__} while {chunk.state}")
    moved = _after(chunk, event, state)
    return moved if state is chunk.state else replace(moved, tries=0)


def failing(chunk: Chunk, error: str, *, now: datetime) -> Chunk:
    """Return `chunk` with why its present call failed. Since when it has got nowhere is kept until a batch answers.

    A time that is still to come was written by a clock that was ahead, and would make every wait short.
    """
    return replace(chunk, error=error, failing_since=min(chunk.failing_since or now, now))


def _after(chunk: Chunk, event: Event, state: ChunkState) -> Chunk:
    match event:
        case InputUploaded(token, file_id):
            return replace(chunk, state=state, token=token, file_id=file_id, sent_at=None)
        case SubmissionBegun(token, at, key_mark):
            begun = replace(chunk, state=state, token=token, key_mark=key_mark, sent_at=at, attempt=chunk.attempt + 1)
            return replace(begun, fenced_at=None, error_code="", error="")
        case BatchCreated(batch_id):
            return replace(chunk, state=state, batch_id=batch_id, error_code="", error="", failing_since=None)
        case InputKept(error_code, error, setbacks):
            return replace(chunk, state=state, error_code=error_code, error=error, setbacks=setbacks)
        case InputDropped():
            return replace(chunk, state=state, file_id=None)
        case BatchEnded(outcome, results, error):
            ended = replace(chunk, state=state, outcome=outcome, results=results, error=error)
            return replace(ended, failing_since=None)
        case ResultsCollected(part, tally) | AnswersCopied(part, tally):
            return replace(chunk, state=state, part=part, tally=tally, setbacks=0)
        case ResultsGivenUp(batch_id):
            given_up = replace(chunk, state=state, batch_id=batch_id, outcome=chunk.outcome or Outcome.FAILED)
            return replace(given_up, error_code=RESULTS_LOST, error="", failing_since=None)
        case Fenced(at):
            return replace(chunk, state=state, fenced_at=at)
        case Divided():
            return replace(chunk, state=state)
        case GaveUp() | CancelledUnsent():
            return _given_up(chunk, event, state)
        case _:
            return _without_batch(chunk, event, state)


def given_up(rows: int, improves: str) -> Tally:
    """Return the tally of a chunk whose rows have no answer from it; those that had one before keep it."""
    if improves:
        return Tally(standing=rows).with_answers(improves, rows)
    return Tally(failed=rows)


def _given_up(chunk: Chunk, event: GaveUp | CancelledUnsent, state: ChunkState) -> Chunk:
    chunk, failed = replace(chunk, batch_id=None, state=state), given_up(chunk.request_count, chunk.improves)
    if isinstance(event, GaveUp):
        return replace(chunk, error_code=event.error_code, error=event.error, tally=failed)
    return replace(chunk, error_code="cancelled", error="the job was cancelled", tally=failed)


def _without_batch(
    chunk: Chunk,
    event: SubmissionRefused
    | FoundTooLarge
    | BeyondBudget
    | RowsRefused
    | AnswerLost
    | BecameUnresolved
    | Reopened
    | BatchRejected
    | ProvedAbsent,
    state: ChunkState,
) -> Chunk:
    error = "" if isinstance(event, Reopened | BeyondBudget) else event.error
    error_code = chunk.error_code
    if isinstance(event, SubmissionRefused | RowsRefused | BecameUnresolved | AnswerLost):
        error_code = event.error_code
    elif isinstance(event, Reopened | ProvedAbsent | BeyondBudget):
        error_code = ""
    setbacks = event.setbacks if isinstance(event, SubmissionRefused | BatchRejected) else 0
    places = " ".join(map(str, event.places)) if isinstance(event, RowsRefused) else ""
    # An input file belongs to one attempt. While the create is ambiguous the file can still be deleted to fence it, and
    # an unresolved chunk may become ambiguous again.
    is_kept = state is S.AMBIGUOUS or (chunk.state is S.AMBIGUOUS and state is S.UNRESOLVED)
    file_id = chunk.file_id if is_kept else None
    without = replace(chunk, state=state, batch_id=None, file_id=file_id, error_code=error_code, error=error)
    return replace(without, setbacks=setbacks, refused_places=places)
