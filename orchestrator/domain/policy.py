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

    attempts_max: int = 3  # how often a row is sent before it counts as failed
    on_ambiguous: OnAmbiguous = OnAmbiguous.RECONCILE
    max_duplicate_usd: Decimal = Decimal(0)
    budget_usd: Decimal | None = None
    confirm_usd: Decimal = Decimal(5)  # `orchestrator run` on a terminal asks before a job that may cost more
    null_policy: NullPolicy = NullPolicy.ERROR
    reuse: Reuse = Reuse.NAME
    dedupe: bool = False  # equal requests of one job are sent once
    canary_rows: int = 20  # sent first, in a job of more than 1,000 rows; the rest waits for their verdict. 0: none
    chunk_requests_max: int = 10_000
    chunk_bytes_max: int = 50_000_000
    chunk_tokens_max: int | None = None
    batches_in_flight_max: int = 20
    chunks_ahead_max: int = 40  # planned and not yet sent: bounds the request files on disk
    poll_s_min: float = 15.0
    poll_s_max: float = 300.0
    polls_per_minute_max: int | None = None  # of the account; None: as many as are due
    creates_per_minute_max: int | None = None  # the same; an upload of an input file counts, too
    retry_gather_s: float = 600.0  # failed rows wait this long for others, unless nothing else is under way


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
    custom_id: str = "custom_id"
    raw: bool = False
