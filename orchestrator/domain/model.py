"""The records of the ledger: jobs, shards, chunks, attempts, and claims.

Rule 1: immutable values only; nothing here reads a clock, a disk or a network.
Rule 2: `version` increases with every write of a unit, and every later write is compared with it; `token` (in a claim)
        increases whenever the unit is claimed. Correctness depends on the version; the token only saves work.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final, NewType
from urllib.parse import unquote

from orchestrator.domain.errors import IllegalTransition
from orchestrator.domain.policy import Policy

JobId = NewType("JobId", str)
ChunkId = NewType("ChunkId", str)  # "<job_id>/<name>", e.g. "sotu-9f86d081/c00000-00003"
BatchId = NewType("BatchId", str)  # the provider's
FileId = NewType("FileId", str)  # the provider's, where it has input files
AttemptToken = NewType("AttemptToken", str)  # ours, random, one per create
ID_BYTES_MAX: Final = 1_024


def is_usable_id(text: str) -> bool:
    """Return whether a provider's id can be kept and, percent-encoded, be one part of a path.

    Any printable text of up to 1,024 bytes is; not where a part of it is only dots: a server that decodes it early
    would take another path.
    """
    if not text.isprintable() or text != text.strip() or not text.strip("/\\") or len(text.encode()) > ID_BYTES_MAX:
        return False
    return all(part.strip(".") for part in re.split(r"[/\\]", unquote(text)) if part)


class JobState(StrEnum):
    """A job's state: RUNNING until it is FINISHED; STOPPED until a person acts. A job may run again from both.

    A job that is STOPPED with a `decision` goes on only once a person has approved it.
    """

    RUNNING = "running"
    STOPPED = "stopped"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    FINISHED = "finished"


ACTIVE_JOBS = frozenset({JobState.RUNNING, JobState.STOPPED, JobState.CANCELLING})
ENDED_JOBS = frozenset({JobState.FINISHED, JobState.CANCELLED})  # there is a result


class Canary(StrEnum):
    """How far a job's canary is: a few rows that are sent first. The rest is sent only once it has PASSED."""

    NONE = "none"
    WANTED = "wanted"  # its chunk is not planned yet
    OPEN = "open"  # nothing but its rows may be sent
    PASSED = "passed"  # by its answers, or approved by a person


class ShardState(StrEnum):
    """PLANNING until every row is in a chunk or refused; FINISHED when its output part is in place."""

    PLANNING = "planning"
    PLANNED = "planned"
    FINISHED = "finished"


class ChunkState(StrEnum):
    """See `lifecycle` for the transitions."""

    PLANNED = "planned"
    UPLOADED = "uploaded"
    SUBMITTING = "submitting"
    AMBIGUOUS = "ambiguous"
    UNRESOLVED = "unresolved"
    SUBMITTED = "submitted"
    ENDED = "ended"
    SPLITTING = "splitting"
    COLLECTED = "collected"
    REUSED = "reused"  # never sent: another job, or an equal request of this one, has the answers to its requests
    DUPLICATE = (
        "duplicate"  # never sent: equal requests of this job are, and it gets their answers once those are settled
    )
    SPLIT = "split"
    CANCELLED = "cancelled"
    FAILED = "failed"


TERMINAL = frozenset(
    {ChunkState.COLLECTED, ChunkState.REUSED, ChunkState.SPLIT, ChunkState.CANCELLED, ChunkState.FAILED}
)
NEVER_SENT = frozenset({ChunkState.DUPLICATE, ChunkState.REUSED})
ENDED = TERMINAL - {ChunkState.SPLIT}  # it has a part, or a reason why its rows have no answer
OVERDUE = "overdue"  # the error code of a SUBMITTED chunk whose batch should have ended long ago
UNSENT = frozenset({ChunkState.PLANNED, ChunkState.UPLOADED})  # no create of it has begun
HAS_BATCH = frozenset({ChunkState.SUBMITTED, ChunkState.ENDED, ChunkState.COLLECTED})
RECOVERABLE = frozenset({ChunkState.SUBMITTING, ChunkState.AMBIGUOUS, ChunkState.UNRESOLVED})  # a create to look up
IN_FLIGHT = frozenset({ChunkState.SUBMITTING, ChunkState.AMBIGUOUS, ChunkState.UNRESOLVED, ChunkState.SUBMITTED})


class Outcome(StrEnum):
    """How a batch ended, in our terms, independent of which rows it answered."""

    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class Step(StrEnum):
    """One short, repeatable unit of work."""

    PLAN = "plan"
    SUBMIT = "submit"
    RECOVER = "recover"
    POLL = "poll"
    CANCEL = "cancel"
    COLLECT = "collect"
    SPLIT = "split"
    FINISH = "finish"
    REVIEW = "review"
    RETRY = "retry"
    SEAL = "seal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job: its settings and its progress."""

    id: JobId
    name: str
    account: str
    spec: str  # JSON, as in job.json; holds no secret
    policy: Policy
    state: JobState = JobState.RUNNING
    due: Step = Step.REVIEW
    reason: str = ""  # why it is STOPPED
    decision: str = ""  # what a person must approve before it goes on, in one word; "": running it again is enough
    approved: str = ""  # the decisions that a person has approved, separated by spaces: they stop it no more
    revision: int = 1  # of the output; increases with every retry of an ended job
    canary: Canary = Canary.NONE
    rounds_max: int = 3  # how often a row may be sent
    retry_count: int = 0  # retry chunks made so far
    retrying: str = ""  # the kind of rows that this revision sends again; "" for the first
    changes: str = ""  # of their requests: a `RequestChanges`, JSON; "": they are sent as they were
    paused_at: datetime | None = None  # when a person paused it: while it is set, no create is begun
    version: int = 0


def provider_of(account: str, spec: str) -> str:
    """Return a job's account at its address, as one text: no two batches there have one id.

    A server at another address has ids of its own.
    """
    address: str = json.loads(spec).get("provider", {}).get("base_url", "")
    return f"{account} {address.rstrip('/')}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """A run of source rows: planned in slices, finished into output parts."""

    job_id: JobId
    shard_no: int
    state: ShardState = ShardState.PLANNING
    row_count: int = 0  # rows planned so far; all of them once PLANNED
    chunk_count: int = 0
    slice_count: int = 0
    refused_count: int = 0  # rows that could not become a request
    causes: str = ""  # of those: see `causes`
    settled_count: int = 0  # rows that have succeeded or failed permanently; the ledger adds to it as chunks settle
    finished_slice_count: int = 0
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The outcome of a chunk's requests: succeeded + standing + failed + waiting + resent, once it has ended.

    The rest counts its result files: lines = rows answered + duplicates + foreign + unreadable.
    """

    succeeded: int = 0
    failed: int = 0
    standing: int = 0  # failed here, and an earlier answer of the row stands: see `Chunk.improves`
    waiting: int = 0  # to be sent again
    resent: int = 0  # now in another chunk
    reopened: int = 0  # of the waiting and the resent: answered, and sent again because a person asked for it
    missing: int = 0  # of the failed: rows without a result line
    lines: int = 0
    duplicates: int = 0
    foreign: int = 0
    unreadable: int = 0
    truncated_answers: int = 0  # of the succeeded and the standing; see `row_kinds`
    empty_answers: int = 0
    refused_answers: int = 0
    unpriced: int = 0  # of the succeeded: what they cost is not known
    unreadable_rows: int = 0  # of the failed: rows whose answer is kept, and cannot be read
    unread_answers: int = 0  # of the standing: rows whose newer answer is kept, and cannot be read
    input_tokens: int = 0
    output_tokens: int = 0
    wasted_nano_usd: int = 0  # what rows without an answer cost, as far as it is known: billionths of a USD

    def with_answers(self, kind: str, more: int) -> Tally:
        """Return it with so many more answers of a kind. Whole ones are counted by no kind."""
        name = f"{kind}_answers"
        return replace(self, **{name: getattr(self, name) + more}) if name in self.__slots__ else self


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Requests that travel together; outlives its batches. Has a `batch_id` in HAS_BATCH states only."""

    id: ChunkId
    job_id: JobId
    shard_no: int | None  # None: a retry chunk, rows of any shard
    row_start: int  # first row of the range in the shard; 0 for a retry chunk
    row_end: int  # one past the last row of the range
    request_count: int
    request_bytes: int  # uncompressed, newlines included
    requests: str  # name of the request file
    round: int = 1  # how often its rows have been sent once this chunk is
    revision: int = 1  # of the output, for which it was planned
    tokens_in: int = 0  # estimated
    cost_usd_max: Decimal | None = None  # reserved at submit; None where no price is known
    state: ChunkState = ChunkState.PLANNED
    attempt: int = 0  # creates begun so far
    token: AttemptToken | None = None  # of the last create
    key_mark: str = ""  # of the credential that the last create was begun with; kept with its attempt; "": not known
    file_id: FileId | None = None
    sent_at: datetime | None = None  # of the last create; None while a file waits for its first one
    fenced_at: datetime | None = None
    batch_id: BatchId | None = None
    outcome: Outcome | None = None
    results: str = ""  # where the provider says the results are
    tries: int = 0  # failures of the present step in a row
    # Refusals in a row of its creates and batches that are the fault of no row and of no account; a person is asked
    # after `retry.SETBACKS_MAX`.
    setbacks: int = 0
    refused_places: str = ""  # while it is SPLITTING: the places of refused requests, from 0; "": cut it in two
    cancel_requested: bool = False
    cancel_sent: bool = False
    done_count: int = 0  # requests answered, by the provider's own count
    failed_count: int = 0  # requests failed, by the same
    looked_at: datetime | None = None  # when the provider last said how its batch is
    provider_status: str = ""  # the provider's own word for it
    ended_at: datetime | None = None  # when the provider was first known to have ended its last batch
    fees_usd: Decimal | None = None  # the cost of the batch, as the provider reports it
    error_code: str = ""
    error: str = ""
    failing_since: datetime | None = None  # since when its creates and calls have got nowhere
    part: str = ""  # name of the parsed results
    causes: str = ""  # of its failed rows: see `causes`
    changes: str = ""  # of its requests: a `RequestChanges`, JSON; "": they are as planned
    is_canary: bool = False  # one of the chunks that may be sent while the job's canary is OPEN
    regather: str = ""  # the kind of rows that a person asked to send again; "": only such as go by themselves
    improves: str = ""  # the kind of the answers that its rows have: where a row fails here, its answer stands
    improves_reused: bool = False  # those answers are copies, that this job has not paid for by the rows' own requests
    amends: str = ""  # why its requests are not as planned, but changed: see `amend`; "": they are as planned
    tally: Tally = field(default_factory=Tally)
    version: int = 0

    def __post_init__(self) -> None:
        if (self.batch_id is not None) != (self.state in HAS_BATCH):
            raise IllegalTransition(f"chunk {self.id} is {self.state} with batch {self.batch_id}")

    def own_answers(self, kind: str) -> int:
        """Return how many of its own answers are of a kind that is not whole, those that stand left out."""
        count: int = getattr(self.tally, f"{kind}_answers")
        return count - self.tally.standing if self.improves == kind else count

    def unread(self, kind: str) -> int:
        """Return how many rows of a kind have a newer answer that is kept and cannot be read."""
        return self.tally.unread_answers if self.improves == kind else 0

    @property
    def name(self) -> str:
        """The chunk's name within its job, as used in file names."""
        return self.id.rpartition("/")[2]


class AttemptState(StrEnum):
    """The outcome of one create. OPEN includes "not known yet"."""

    OPEN = "open"
    CREATED = "created"
    REFUSED = "refused"
    ABSENT = "absent"  # it created nothing: proved, or stated by a person
    ABANDONED = "abandoned"  # it may have made a batch; the policy accepts a duplicate


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One create: at most one POST is ever sent for it."""

    token: AttemptToken
    chunk_id: ChunkId
    number: int
    state: AttemptState
    reserved_usd: Decimal
    sent_at: datetime
    cost_usd: Decimal | None = None
    batch_id: BatchId | None = None
    digest: str = ""  # of the bytes sent
    key_mark: str = ""  # of the credential that it was sent with; "": not known


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """The unit that a step works on: a job, one of its shards, or one of its chunks."""

    job_id: JobId
    shard_no: int | None = None
    chunk_id: ChunkId | None = None

    def __str__(self) -> str:
        if self.chunk_id is not None:
            return self.chunk_id
        return self.job_id if self.shard_no is None else f"{self.job_id} shard {self.shard_no}"

    @property
    def name(self) -> str:
        """Its name within the job; "" for the job itself."""
        if self.chunk_id is not None:
            return self.chunk_id.rpartition("/")[2]
        return "" if self.shard_no is None else f"shard {self.shard_no}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right, for a limited time, to run one step on one unit."""

    unit: Unit
    step: Step
    token: int

    @property
    def fields(self) -> dict[str, str]:
        """The claim as fields of a log event."""
        return {"job": self.unit.job_id, "step": self.step.value, "unit": str(self.unit)}
