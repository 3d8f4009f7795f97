"""Which rows a person wants to see of a job that runs or has ended: see `api.row_pages`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from orchestrator.domain.errors import ConfigError
from orchestrator.domain.model import ChunkState

if TYPE_CHECKING:
    from orchestrator.domain.model import Chunk


class Shown(StrEnum):
    """What the rows have in common."""

    ALL = "all"
    ANSWERED = "answered"
    FAILED = "failed"
    TRUNCATED = "truncated"
    EMPTY = "empty"
    REFUSED = "refused"
    REUSED = "reused"


class Where(StrEnum):
    """Where a text is looked for."""

    ANSWER = "answer"
    REQUEST = "request"
    BOTH = "both"


FLAWS: Final = (Shown.TRUNCATED, Shown.EMPTY, Shown.REFUSED)  # the words for kinds of answers, and counts of a tally
TEXT_LENGTH_MAX: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFilter:
    """The rows that are wanted: all that is given must hold."""

    shown: Shown = Shown.ALL
    cause: str = ""  # an error code: failed rows that have it
    text: str = ""  # found without regard to case
    where: Where = Where.BOTH
    chunk: str = ""  # the name of a chunk that they are in

    def may_hold(self, chunk: Chunk) -> bool:
        """Return whether rows whose answer or error is from this chunk may be among them, by its counts."""
        tally = chunk.tally
        match self.shown:
            case Shown.ANSWERED:
                return tally.succeeded + tally.standing > 0
            case Shown.FAILED:
                codes = chunk.causes if chunk.part else f'"{chunk.error_code}"'
                return tally.failed > 0 and (not self.cause or f'"{self.cause}"' in codes)
            case Shown.REUSED:
                stands = chunk.improves_reused and tally.standing > 0
                return stands or (chunk.state is ChunkState.REUSED and tally.succeeded > 0)
            case Shown.TRUNCATED | Shown.EMPTY | Shown.REFUSED:
                count: int = getattr(tally, f"{self.shown}_answers")
                return count > 0
        return True


def row_filter(*, shown: str = "", cause: str = "", text: str = "", where: str = "", chunk: str = "") -> RowFilter:
    """Return the filter of these words. Raises ConfigError for a word that there is not."""
    try:
        kind, place = Shown(shown or Shown.ALL), Where(where or Where.BOTH)
    except ValueError:
        raise ConfigError(
            f"there is no such filter of rows: show is one of {', '.join(Shown)}, where one of {', '.join(Where)}"
        ) from None
    if cause:
        kind = Shown.FAILED
    return RowFilter(shown=kind, cause=cause[:TEXT_LENGTH_MAX], text=text[:TEXT_LENGTH_MAX], where=place, chunk=chunk)
