"""Whether a row whose answer was no use may be sent again: at most once by itself, and with another request.

Rule: it reads the requests as the provider had them, and what the provider knows of its answers.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from orchestrator.domain.row_kinds import INVALID_CODES, RowKind
from tests.fakes.answers import TYPED
from tests.simulation.choosing import LIMIT_SET
from tests.simulation.plan import OUTPUT_TOKENS_MAX

if TYPE_CHECKING:
    from tests.fakes.batches import SimulatedBatch

RESENT: Final = frozenset({RowKind.TRUNCATED.value, *INVALID_CODES})
FAILING: Final = RESENT | {RowKind.REFUSED.value}  # what fails a row of typed answers


def read(batch: SimulatedBatch, name: str) -> dict[str, Any]:
    """Return the body of a request."""
    body: dict[str, Any] = json.loads(batch.requests[name])
    return body


def is_amended(body: dict[str, Any]) -> bool:
    """Return whether a request is not as it was planned, nor as a person has set it."""
    return len(body["messages"]) > 1 or body.get("max_tokens", 0) not in (0, OUTPUT_TOKENS_MAX, LIMIT_SET)


def is_failure(batch: SimulatedBatch, name: str) -> bool:
    """Return whether an answer of a batch fails its row."""
    return name in batch.flaws and TYPED in read(batch, name)


def problem(name: str, earlier: SimulatedBatch, batch: SimulatedBatch) -> str:
    """Return what is wrong with sending a row in `batch`, which `earlier` has answered; "" for nothing."""
    before, flaw = read(earlier, name), earlier.flaws.get(name)
    if TYPED not in before or flaw not in RESENT:
        return "has answered"
    if is_amended(before):
        return f"has answered ({flaw}), with a request that was changed for it"
    now = read(batch, name)
    if flaw == RowKind.TRUNCATED and now["max_tokens"] <= before["max_tokens"]:
        return f"has answered ({flaw}), with the same limit"
    if flaw in INVALID_CODES and len(now["messages"]) <= len(before["messages"]):
        return f"has answered ({flaw}), and is not told of it"
    return ""
