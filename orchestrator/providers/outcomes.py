"""The words with which a status object says that its batch has ended, for all dialects that have no fixed list.

Rule: a word that is not here means that the batch runs: its results would be waited for until its window is over. A
      word that ought not to be here costs less: a batch that has ended without results is looked at for hours.

Sources: OpenAI and Azure (completed, failed, expired, cancelled), Anthropic (ended), new-api (SUCCESS, FAILURE),
Mistral (SUCCESS, TIMEOUT_EXCEEDED), Gemini and Vertex (JOB_STATE_SUCCEEDED, JOB_STATE_PARTIALLY_SUCCEEDED,
BATCH_STATE_SUCCEEDED), Bedrock (Completed, PartiallyCompleted, Stopped).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from orchestrator.domain.model import Outcome

_WORDS: Final[Mapping[Outcome, str]] = {
    Outcome.COMPLETED: "completed complete succeeded success ended done finished partially_succeeded"
    " partiallycompleted",
    Outcome.FAILED: "failed failure errored",
    Outcome.EXPIRED: "expired timeout_exceeded",
    Outcome.CANCELLED: "cancelled canceled stopped",
}
_OUTCOMES: Final = {word: outcome for outcome, words in _WORDS.items() for word in words.split()}
_PREFIX: Final = re.compile(r"(?:job|batch)_state_")
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z_ -]{0,39}")


def outcome_of(word: str) -> Outcome | None:
    """Return how a batch ended, by the word for it in any case; None where it runs, or the word is unknown."""
    return _OUTCOMES.get(_PREFIX.sub("", word.strip().lower(), count=1))


def status_word(value: object) -> str:
    """Return a provider's word for a batch's status, for people; "" where it is no word: it might quote anything."""
    return value if isinstance(value, str) and _WORD.fullmatch(value) else ""
