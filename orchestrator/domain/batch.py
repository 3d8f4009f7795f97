"""The values that pass between a step and a provider."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from orchestrator.domain.model import AttemptToken, BatchId, FileId, Outcome
from orchestrator.domain.recovery import Recovery
from orchestrator.domain.results_at import ResultsAt


@dataclass(frozen=True, slots=True, kw_only=True)
class LineEnvelope:
    """How a request line is written around its `custom_id` and its body, without the newline that ends it."""

    before_id: bytes = b'{"custom_id":"'
    before_body: bytes = b'","params":'
    after_body: bytes = b"}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What a provider is like, as far as the steps must know. A dialect knows all of it but the mark of the key."""

    name: str
    recovery: Recovery
    key_mark: str = ""  # of the credential: tells keys apart, and cannot be turned back into one; "": not known
    settle_s: float = 120.0  # the total deadline of a create, and a margin
    lag_s: float = 0.0  # how long a new batch may be missing from the list
    window_s: float = 86_400.0  # within which a batch is over, by the provider's own word
    late_s: float = 3_600.0  # class B2: how long after it was begun a create may still make its batch
    key_s: float = 0.0  # class A: how long the provider surely knows a create's token again


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """The requests of one attempt: JSON objects, one a line, each line ended by a newline byte."""

    token: AttemptToken
    request_count: int
    size_bytes: int  # of all lines, newlines included
    blocks: Callable[[], Iterator[bytes]]  # the lines' bytes, from the start, in blocks of any size
    file_id: FileId | None = None
    label: str = ""  # the chunk's id, for people who look at the provider's own pages


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchStatus:
    """How a batch stands; `outcome` is None while it runs."""

    outcome: Outcome | None
    results: ResultsAt | None = None  # where the results are; None where there are none
    done_count: int = 0
    failed_count: int = 0
    fees_usd: Decimal | None = None
    error: str = ""  # what the provider says for machines; quotes no row
    provider_message: str = field(default="", repr=False)  # its message for people: it may quote one
    rejected: bool = False  # ended before any request ran, because a queue was full: may be sent again as it is

    @property
    def is_running(self) -> bool:
        """Whether the provider may still do work on the batch."""
        return self.outcome is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A batch found by its mark."""

    batch_id: BatchId
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultFile:
    """One file of results, as the provider gives it: bytes, from the start, in blocks of any size."""

    name: str  # part of the archived file's name; ALL_RESULTS where the batch has no other file
    blocks: Iterator[bytes]
    line_count: int | None = None  # how many lines it must have, where the provider said so
