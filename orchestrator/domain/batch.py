"""The values that pass between a step and a provider."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from orchestrator.domain.faults import Fault
from orchestrator.domain.model import AttemptToken, BatchId, FileId, Outcome
from orchestrator.domain.recovery import Recovery
from orchestrator.domain.results_at import ResultsAt


@dataclass(frozen=True, slots=True, kw_only=True)
class LineEnvelope:
    """The constant parts of a request line, around its `custom_id` and its body, without the final newline."""

    before_id: bytes = b'{"custom_id":"'
    before_body: bytes = b'","params":'
    after_body: bytes = b"}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """The properties of a provider that steps depend on. A dialect knows all of them except the mark of the key."""

    name: str
    recovery: Recovery
    key_mark: str = ""  # a fingerprint of the credential, not reversible; "": not known
    settle_s: float = 120.0  # the total deadline of a create, and a margin
    lag_s: float = 0.0  # how long a new batch may be missing from the list
    window_s: float = 86_400.0  # within which the provider promises to end a batch
    late_s: float = 3_600.0  # class B2: how long after its start a create may still make its batch
    key_s: float = 0.0  # class A: how long the provider is sure to recognise a create's token


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """The requests of one attempt: JSON objects, one a line, each line ended by a newline byte."""

    token: AttemptToken
    request_count: int
    size_bytes: int  # of all lines, newlines included
    blocks: Callable[[], Iterator[bytes]]  # the lines' bytes, from the start, in blocks of any size
    file_id: FileId | None = None
    label: str = ""  # the chunk's id, shown on the provider's own pages


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchStatus:
    """The status of a batch; `outcome` is None while it runs."""

    outcome: Outcome | None
    word: str = ""  # the provider's own, for people
    results: ResultsAt | None = None  # where the results are; None where there are none
    done_count: int = 0
    failed_count: int = 0
    fees_usd: Decimal | None = None
    error: str = ""  # the machine-readable error; quotes no row
    provider_message: str = field(default="", repr=False)  # its message for people: it may quote one
    # Whose fault it is that the batch has ended before any request ran; None where one may have run.
    rejected: Fault | None = None
    error_code: str = ""
    places: tuple[int, ...] = ()  # of the requests that it was rejected for, from 0
    tokens_max: int | None = None  # the limit of queued tokens that it was rejected for

    @property
    def is_running(self) -> bool:
        """Whether the provider may still do work on the batch."""
        return self.outcome is None


@dataclass(frozen=True, slots=True, kw_only=True)
class LostCreate:
    """A create whose answer was lost, with all by which a provider's list may show its batch.

    `custom_ids` and `known` are called only by a provider whose list shows no marks: they read files and the ledger.
    """

    token: AttemptToken  # the mark that the create put on its batch, where the provider takes one
    since: datetime  # older batches need not be listed
    until: datetime  # nor do later ones
    file_id: FileId | None = None  # its input file: a second mark, where a provider drops the first
    is_other_key: bool = False  # it was sent with another key than the present one
    request_count: int = 0
    custom_ids: Callable[[], Collection[str]] = frozenset  # of its requests
    known: Callable[[], Collection[BatchId]] = frozenset  # the batches of other creates


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A batch found to be a lost create's."""

    batch_id: BatchId
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultFile:
    """One file of results, as the provider gives it: bytes, from the start, in blocks of any size."""

    name: str  # part of the archived file's name; ALL_RESULTS where the batch has no other file
    blocks: Iterator[bytes]
    line_count: int | None = None  # how many lines it must have, where the provider said so
