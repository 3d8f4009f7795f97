"""The user's settings for how a job runs; they are not part of the job's identity.

Rule: every default is defined only here; sizes, counts and seconds have their unit in the name.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum


class OnAmbiguous(StrEnum):
    """What to do about an ambiguous create."""

    RECONCILE = "reconcile"  # ask the provider; if it cannot tell, a person decides
    HOLD = "hold"  # send nothing more for these rows until a person decides
    RESUBMIT = "resubmit"  # send again, up to `max_duplicate_usd` of possible double payment


class NullPolicy(StrEnum):
    """What to do about a row in which a column of the template is null."""

    ERROR = "error"
    EMPTY = "empty"
    SKIP = "skip"


class Reuse(StrEnum):
    """Whose answers to the same requests are taken instead of sending the requests."""

    NAME = "name"  # of jobs with the same name in the same work folder
    ALL = "all"  # of all jobs in the same work folder
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How a job is run. Changing it and running again resumes the same job under the new rules."""

    attempts_max: int = 3
    """How often a row is sent before it counts as failed; after `retry`, as many times more."""
    on_ambiguous: OnAmbiguous = OnAmbiguous.RECONCILE
    """What to do about a create that may or may not have made a batch. `"reconcile"`: ask the provider; where it cannot
    be asked, the chunk is unresolved. `"hold"`: send nothing more for these rows until you decide. `"resubmit"`:
    send again, up to `max_duplicate_usd`."""
    max_duplicate_usd: Decimal = Decimal(0)
    """With `"resubmit"`: how much may be paid twice, in all. A chunk that could exceed it, or has no known price, is
    unresolved."""
    budget_usd: Decimal | None = None
    """No create is sent that could take what is spent and reserved over this amount. The job waits until batches in
    flight have settled for less, and sends on; chunks that will never fit are cut, one at a time. It
    stops only (exit code 3) when nothing is in flight and the next request does not fit. Needs a price for the
    model."""
    confirm_usd: Decimal = Decimal(5)
    """On a terminal, `orchestrator run` shows what a new job would cost, and asks before one that may cost more than
    this (or than the budget, where that is lower). `--yes` does not ask. Without a terminal nothing is asked: set
    `budget_usd`."""
    null_policy: NullPolicy = NullPolicy.ERROR
    """A row in which a column of the template is null. `"error"`: the job stops and names rows and column. `"empty"`:
    the placeholder is replaced by nothing. `"skip"`: no request; the row has failed with the code `null_skipped`."""
    reuse: Reuse = Reuse.NAME
    """Whose answers to the same requests are [taken instead of sending them](docs/reuse.md). `"name"`: of jobs with
    this name in the work folder. `"all"`: of all its jobs. `"never"`: of none."""
    dedupe: bool = False
    """`true`: [equal requests](docs/reuse.md#equal-requests-of-one-job) of this job are sent once."""
    canary_rows: int = 20
    """A job of more than 1,000 rows sends its first rows, so many, as a [canary](docs/job-file.md#the-canary); the rest
    waits until they have come back well. `0`: no canary, also for a job whose canary is under way."""
    chunk_requests_max: int = 10_000
    """Requests in one batch."""
    chunk_bytes_max: int = 50_000_000
    """Bytes in one batch, uncompressed."""
    chunk_tokens_max: int | None = None
    """Estimated input tokens in one batch."""
    batches_in_flight_max: int = 20
    """Batches of the account in flight at a time."""
    chunks_ahead_max: int = 40
    """Chunks planned and not yet sent; planning waits at this number."""
    poll_s_min: float = 15.0
    """The least time between two polls of a batch, seconds."""
    poll_s_max: float = 300.0
    """The most; between the two, a twentieth of the batch's age."""
    polls_per_minute_max: int | None = None
    """Polls of the account in any minute, all jobs and processes together; of several jobs' limits the lowest counts.
    With many batches in flight each is polled less often. Not for the dialect `openai`, whose list answers for all
    batches at once."""
    creates_per_minute_max: int | None = None
    """Creates of the account in any minute; the upload of an input file counts as one more."""
    retry_gather_s: float = 600.0
    """How long failed rows wait to be gathered before they are sent again, unless nothing else is in flight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of one batch, all inclusive."""

    requests_max: int
    bytes_max: int
    tokens_max: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LongPrompt:
    """The prices of all tokens of a request whose prompt has more tokens than this."""

    over_tokens: int
    input_usd: Decimal
    output_usd: Decimal
    cached_usd: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """USD per million tokens, at the price of the batch API."""

    input_usd: Decimal
    output_usd: Decimal
    cached_usd: Decimal | None = None  # input that the provider has read before; None: as other input
    long: LongPrompt | None = None  # None: prompts of any length cost the same
    source: str = ""  # "": the user's own settings
    read: str = ""  # the day on which the source was read
    until: str = ""  # the day from which another price holds; "": none is known


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """The names of the result columns, and whether the provider's JSON is one of them."""

    prefix: str = "llm_"
    """The prefix of the result columns."""
    custom_id: str = "custom_id"
    """The name of the column that holds the row's id at the provider; it has no prefix."""
    raw: bool = False
    """Adds a column with the provider's own JSON for each answer."""
