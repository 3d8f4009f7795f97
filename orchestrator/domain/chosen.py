"""Rows that a person has chosen to be sent again, whatever they are: how a chunk counts them, and what they are called.

Rule 1: which rows are chosen is in files (`job_files.selections`); a chunk and a job have the selection's name, and the
        kinds of the chunk's rows that still wait: `chosen:2-1f9a63c0:failed+whole`.
Rule 2: a row with an answer keeps it until another one is there: where it fails, its answer stands. A new answer takes
        the place of a whole one, whatever it is worth.
Rule 3: a row of which nothing is known to be wrong is of the kind `whole`; one that has failed since its answer was not
        of the schema is `invalid`: its request is sent with what was wrong with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from orchestrator.domain.model import Chunk, ChunkId, Tally
from orchestrator.domain.row_kinds import FLAWED, INVALID, RowKind

CHOSEN: Final = "chosen:"
WHOLE: Final = "whole"
FAILED_KINDS: Final = (RowKind.FAILED.value, INVALID)
CHOSEN_KINDS: Final = (*FAILED_KINDS, *(kind.value for kind in FLAWED), WHOLE)


@dataclass(frozen=True, slots=True)
class Choice:
    """A selection, and kinds of rows of it."""

    selection: str  # its name
    kinds: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return it as the ledger has it."""
        return f"{CHOSEN}{self.selection}:{'+'.join(self.kinds)}"

    @property
    def rest(self) -> str:
        """What is left once the rows of the first kind are gathered; "" for nothing."""
        return str(Choice(self.selection, self.kinds[1:])) if self.kinds[1:] else ""


def choice_in(text: str) -> Choice | None:
    """Return the selection that a chunk's `regather` or a job's `retrying` names; None where it names a kind."""
    if not text.startswith(CHOSEN):
        return None
    _, selection, kinds = text.split(":")
    return Choice(selection, tuple(kinds.split("+")) if kinds else ())


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenRows:
    """The chosen rows of one chunk."""

    chunk_id: ChunkId
    counts: Mapping[str, int]  # by kind
    own: int = 0  # of those that have an answer: it is of this chunk. The answers of the others stand in it
    by_shard: Mapping[int, int] = field(default_factory=dict)
    failed_by_shard: Mapping[int, int] = field(default_factory=dict)
    causes: str = ""  # of the failed rows that are left: see `causes`

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.counts.values())

    @property
    def failed(self) -> int:
        """Those that have failed."""
        return sum(self.counts.get(kind, 0) for kind in FAILED_KINDS)

    def of(self, kinds: tuple[str, ...]) -> dict[str, int]:
        """Return how many there are of these kinds."""
        return {kind: self.counts[kind] for kind in kinds if self.counts.get(kind)}


def waiting_again(chunk: Chunk, rows: ChosenRows) -> Chunk:
    """Return the chunk once its chosen rows wait to be sent again, without the name of the selection."""
    tally, standing = chunk.tally, rows.total - rows.failed - rows.own
    flaws = {f"{kind}_answers": _flaws(tally, kind) - rows.counts.get(kind, 0) for kind in FLAWED}
    after = replace(
        tally,
        succeeded=tally.succeeded - rows.own,
        reopened=tally.reopened + rows.own,
        standing=tally.standing - standing,
        failed=tally.failed - rows.failed,
        waiting=tally.waiting + rows.total,
        **flaws,
    )
    return replace(chunk, tally=after, causes=rows.causes)


def given_back(tally: Tally, rows: ChosenRows) -> Tally:
    """Return the tally of a chunk whose chosen rows are not sent again after all, because the job is cancelled."""
    standing = rows.total - rows.failed - rows.own
    flaws = {f"{kind}_answers": _flaws(tally, kind) + rows.counts.get(kind, 0) for kind in FLAWED}
    return replace(
        tally,
        succeeded=tally.succeeded + rows.own,
        reopened=tally.reopened - rows.own,
        standing=tally.standing + standing,
        failed=tally.failed + rows.failed,
        waiting=tally.waiting - rows.total,
        **flaws,
    )


def _flaws(tally: Tally, kind: str) -> int:
    count: int = getattr(tally, f"{kind}_answers")
    return count


def has_impossible_count(tally: Tally) -> bool:
    """Return whether more rows were taken than there are."""
    counts = (tally.succeeded, tally.standing, tally.failed, *(_flaws(tally, kind) for kind in FLAWED))
    return min(counts) < 0
