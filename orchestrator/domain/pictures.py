"""What the pictures of a job are drawn from: its map, its course over time, and what it came to. All are bounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

SQUARES_MAX: Final = 400
RETRY_SQUARES_MAX: Final = 60  # of them, for chunks of rows that are sent again
BINS_MAX: Final = 60
_S: Final = (1, 2, 5, 10, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200)
_DAYS: Final = (1, 2, 7)
WIDTHS: Final = (*(timedelta(seconds=one) for one in _S), *(timedelta(days=one) for one in _DAYS))  # of a bin


@dataclass(frozen=True, slots=True, kw_only=True)
class Square:
    """One or more chunks that are beside each other: how many of their rows are where."""

    first: str  # the names of its first and last chunk
    last: str
    chunks: int
    rows: int
    answered: int
    failed: int
    at_provider: int  # rows of chunks that the provider has
    answered_there: int  # of them, by its own count
    to_send_again: int
    moved: int  # rows that were sent again, in other chunks
    unresolved: int  # chunks
    given_up: int  # chunks


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkMap:
    """The chunks of a job in the order of its rows, and those of rows that were sent again."""

    planned: Sequence[Square]
    again: Sequence[Square]


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How a job went, in bins of one width."""

    begun_at: datetime
    width: timedelta
    answered: Sequence[int]  # rows, by when they came back
    spent: Sequence[Decimal]  # USD at the end of each bin
    reserved: Sequence[Decimal]
    now: datetime  # within the last bin
    undated: int = 0  # answered rows of which it is not known when they came back: the ledger was rebuilt


@dataclass(frozen=True, slots=True, kw_only=True)
class Durations:
    """How long batches took, or have taken so far, in bins of one width from 0 on."""

    width: timedelta
    finished: Sequence[int]  # batches by bin
    in_flight: Sequence[int]
    fastest: timedelta | None
    middle: timedelta | None  # half of the finished ones took no longer, to a bin's width
    slowest: timedelta | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a job used."""

    sent: int  # rows, each as often as it was sent
    batches: int  # with results
    input_tokens: int
    output_tokens: int
    wasted_usd: Decimal  # for rows without an answer
    possibly_double_paid_usd: Decimal
    reused: int
    by_round: Sequence[tuple[int, int]]  # rows that were sent for the n-th time


def width_for(span: timedelta, bins: int = BINS_MAX) -> timedelta:
    """Return the least width with which a span of time needs no more than so many bins."""
    return next((one for one in WIDTHS if span / one < bins), max(WIDTHS[-1], span / bins))
