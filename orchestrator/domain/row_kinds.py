"""The kinds of rows that a person may want to see or send again: failed ones, and answers that are not whole.

Rule 1: a row is counted by one kind at most. A failed row is `failed`, whatever its error code; it is found by its code
        as well, as where a typed answer was truncated.
Rule 2: an answer that is refused, truncated or empty has succeeded: it was paid for and is kept. Its kind is its error
        code, and it is counted by that name. An answer that is two of these is the first.
Rule 3: of several choices the worst decides.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class RowKind(StrEnum):
    """Rows that can be selected by name."""

    FAILED = "failed"
    REFUSED = "refused"  # the model or a filter refused: the finish reason says so
    TRUNCATED = "truncated"  # cut at a limit of tokens: the finish reason says so
    EMPTY = "empty"  # neither text nor tool calls, without such a reason


# Error codes of typed answers, which fail their rows; so do `truncated` and `refused` there. See `typed_answers`.
INVALID_JSON: Final = "invalid_json"
SCHEMA_MISMATCH: Final = "schema_mismatch"
INVALID_CODES: Final = frozenset({INVALID_JSON, SCHEMA_MISMATCH})
INVALID: Final = "invalid"  # a name for rows that have failed with either

# What a retry of failed rows sends again: `RowKind.FAILED`, but for rows whose answer is kept and cannot be read; or
# those too, which are paid for again.
ALL_FAILED: Final = "all_failed"
SENT_AS_FAILED: Final = (RowKind.FAILED.value, ALL_FAILED, INVALID)

FLAWED: Final = (RowKind.TRUNCATED, RowKind.EMPTY, RowKind.REFUSED)  # kinds of succeeded rows
KINDS: Final = (*(kind.value for kind in RowKind), INVALID)  # that a person may name

# Finish reasons by provider, from their reference pages and SDK types, read 2026-11.
FILTERED: Final = frozenset(
    {
        *("content_filter", "content_filtered", "guardrail_intervened"),  # OpenAI and Azure; Bedrock
        *("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE"),  # Gemini
        *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "MODEL_ARMOR"),  # Gemini, Vertex AI
        *("sensitive", "ERROR_TOXIC"),  # Zhipu, Cohere
    }
)
REFUSALS: Final = FILTERED | {"refusal"}  # Anthropic, and ours for the `refusal` of OpenAI's messages
TRUNCATIONS: Final = frozenset(
    {
        *("length", "max_tokens", "max_output_tokens"),  # OpenAI, Anthropic, the Responses API
        *("MAX_TOKENS", "model_length", "model_context_window_exceeded"),  # Gemini and Cohere, Mistral, Anthropic
    }
)
_BY_REASON: Final = dict.fromkeys(TRUNCATIONS, RowKind.TRUNCATED) | dict.fromkeys(REFUSALS, RowKind.REFUSED)


def flaw_of(finish_reason: str | None, *, is_empty: bool) -> RowKind | None:
    """Return the kind of a succeeded answer; None where it is whole."""
    kind = _BY_REASON.get(finish_reason or "")
    return RowKind.EMPTY if kind is None and is_empty else kind
