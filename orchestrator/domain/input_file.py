"""What a refused create means for the input file that it named.

Rule 1: a refused create has made nothing, so the next one is sent with the same file. Requests are uploaded again only
        where the provider could not process the file, or has said again and again that the file does not exist.
Rule 2: a file that the provider still works on is nobody's fault, whatever the words of the refusal.
Rule 3: what a file's status says decides only after a create was refused: it keeps no create back.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from orchestrator.domain.faults import Fault
from orchestrator.domain.model import Chunk
from orchestrator.domain.refusal import UPLOADS_MAX, Refusal

MISSING_MAX: Final = 10  # setbacks in a row until a file that does not exist is uploaded again: a quarter of an hour
STORED_MAX: Final = timedelta(minutes=1)  # after which "uploaded" counts as "processed": some providers have no other


class InputState(StrEnum):
    """What the provider says of an input file."""

    UNKNOWN = "unknown"
    PENDING = "pending"  # it is being processed
    STORED = "stored"  # it was uploaded; whether it is processed is not said
    READY = "ready"
    BROKEN = "broken"  # it could not be processed
    MISSING = "missing"


# Refusals that may have been caused by the file.
_MAYBE_FILE: Final = frozenset({Fault.ROW, Fault.JOB, Fault.PLATFORM})


def may_be_input(refusal: Refusal) -> bool:
    """Return whether a create may have been refused for its input file, so that the file's status is worth a call."""
    return refusal.fault in _MAYBE_FILE and not refusal.places


def judged(refusal: Refusal, state: InputState, chunk: Chunk, *, now: datetime) -> Refusal:
    """Return the refusal of a create, with what is known of the chunk's input file."""
    if state is InputState.BROKEN:
        what = "the provider could not process the uploaded file"
    elif state is InputState.PENDING:
        what = "the provider is still processing the uploaded file"
    elif state is InputState.STORED and refusal.fault is Fault.ROW:
        is_new = now < (chunk.failing_since or now) + STORED_MAX
        return replace(refusal, fault=Fault.TRANSIENT) if is_new else refusal
    elif refusal.fault is Fault.PLATFORM and (state is InputState.MISSING or refusal.names_no_file):
        what = "the provider does not find the uploaded file"
    elif refusal.fault is Fault.PLATFORM:
        what = "the provider cannot use the uploaded file yet"
    else:
        return refusal
    return replace(
        refusal,
        fault=Fault.PLATFORM,
        error=f"{what} ({refusal.error})",
        tries_max=UPLOADS_MAX if state is InputState.BROKEN else None,
    )


def serves_again(refusal: Refusal, state: InputState, *, setbacks: int) -> bool:
    """Return whether the next create is sent with the same input file; `setbacks` has this refusal counted."""
    if state is InputState.BROKEN:
        return False
    is_gone = state is InputState.MISSING or (refusal.names_no_file and state is InputState.UNKNOWN)
    return refusal.fault is not Fault.PLATFORM or not is_gone or setbacks % MISSING_MAX != 0
