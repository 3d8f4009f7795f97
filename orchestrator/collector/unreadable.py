"""Stops a job most of whose answers in a batch cannot be read, before more of them are bought.

Rule: the reason says what was expected and which fields came instead; it holds no value of a line.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from orchestrator.domain.changes import JobMoved
from orchestrator.domain.model import Chunk, Job, JobState
from orchestrator.domain.reconcile import UNREADABLE

if TYPE_CHECKING:
    from datetime import datetime

EXPECTED: Final = (
    "a JSON object a line with custom_id, and with response.body that holds choices, output, content or candidates"
)
FIELDS_MAX: Final = 12  # of an object
DEPTH_MAX: Final = 3
_FIELD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,30}")  # anything else may be a value


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstLine:
    """The first line of a batch that cannot be read."""

    file: str
    fields: str

    @classmethod
    def of(cls, file: str, line: bytes) -> FirstLine:
        """Return its file and the names of its fields."""
        return cls(file=file, fields=_fields(line))

    @classmethod
    def of_no_row(cls, file: str, line: bytes) -> FirstLine:
        """Return the same of a line whose id is not one that was sent."""
        return cls(file=file, fields=f"{_fields(line)}, and the id in it is of no row of this batch")


def stop(job: Job, chunk: Chunk, count: int, first: FirstLine, *, now: datetime) -> JobMoved:
    """Return the stop of the job. Batches in flight are collected all the same."""
    reason = (
        f"{count:,} of {chunk.request_count:,} rows of batch {chunk.batch_id} were answered, or may have been, in a "
        f"form that cannot be read. Expected: {EXPECTED}. The first line: {first.fields}. Nothing is lost: the answers "
        f"are in {first.file} in the job's folder"
    )
    stopped = replace(job, state=JobState.STOPPED, reason=reason, decision=UNREADABLE)
    return JobMoved(before=job, after=stopped, due_at=now)


def _fields(line: bytes) -> str:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return "no JSON"
    return _shape(content, DEPTH_MAX) if isinstance(content, dict) else f"no object, but {_kind(content)}"


def _shape(content: dict[str, Any], depth: int) -> str:
    names = [name for name in content if _FIELD.fullmatch(name)]
    shown = [name + _inner(content[name], depth - 1) for name in names[:FIELDS_MAX]]
    shown += ["…"] if len(shown) < len(content) else []
    return f"{{{', '.join(shown)}}}"


def _inner(value: Any, depth: int) -> str:
    if isinstance(value, dict) and depth:
        return f" {_shape(value, depth)}"
    if isinstance(value, list) and value and isinstance(value[0], dict) and depth:
        return f" [{_shape(value[0], depth)}]"
    return "" if isinstance(value, dict | list) else f" ({_kind(value)})"


def _kind(value: Any) -> str:
    kinds: dict[type, str] = {str: "text", bool: "a truth value", type(None): "null", list: "a list"}
    return kinds.get(type(value), "a number")
