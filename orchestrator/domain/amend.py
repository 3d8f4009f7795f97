"""How a request is changed where its answer was no use: what is changed for which failure, and how much.

Rule 1: a row is sent with a changed request once. Where that answer is no use either, the row has failed.
Rule 2: an answer that was cut off gets a larger limit; one that was not of the schema is shown to the model, with what
        was wrong with it. A refusal is final.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from orchestrator.domain.row_kinds import INVALID_JSON, SCHEMA_MISMATCH, RowKind

LIMIT_SMALL: Final = 4_096  # tokens: a smaller limit grows fourfold, up to this; a larger one doubles
ANSWER_LENGTH_MAX: Final = 20_000  # of an answer that is shown again; a longer one is not worth its tokens


class Amends(StrEnum):
    """Why the requests of a chunk are changed."""

    TRUNCATED = "truncated"
    INVALID = "invalid"


AMENDED: Final = {
    RowKind.TRUNCATED.value: Amends.TRUNCATED,
    INVALID_JSON: Amends.INVALID,
    SCHEMA_MISMATCH: Amends.INVALID,
}


def raised(limit: int) -> int:
    """Return the limit of tokens for a row whose answer was cut at this one."""
    return max(2 * limit, min(4 * limit, LIMIT_SMALL))


def correction(problem: str) -> str:
    """Return what the model is told about an answer that was not of the schema."""
    return (
        f"This answer cannot be used: {problem}\n"
        "Answer again, with one JSON object that is valid against the JSON Schema, and nothing else."
    )
