"""Joins result lines to their rows by `custom_id` alone, in whatever order the lines come.

Rule 1: every expected row gets exactly one answer; a row without a line gets the failure given for it.
Rule 2: a success takes precedence over a failure; of two of a kind the one with the smaller digest is kept, so that the
        output does not depend on the order of the lines.
Rule 3: everything else is counted: lines = rows answered + duplicates + foreign + unreadable.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from enum import StrEnum
from typing import NamedTuple

from orchestrator.domain import custom_id
from orchestrator.domain.errors import OutputError
from orchestrator.domain.faults import Fault
from orchestrator.domain.model import Outcome, Tally
from orchestrator.domain.row_kinds import FLAWED, RowKind, flaw_of

RowKey = tuple[int, int]  # (shard_no, row)


class Choice(NamedTuple):
    """One of several choices."""

    response: str | None
    finish_reason: str | None
    tool_calls: str | None
    reasoning: str | None


class Answer(NamedTuple):
    """The answer of one line to one row.

    A named tuple, because making a frozen dataclass takes five times as long and there is one for every row.
    """

    succeeded: bool
    text: str | None = None
    finish_reason: str | None = None
    tool_calls: str | None = None  # JSON: a list of {id, name, arguments}
    reasoning: str | None = None
    choices: tuple[Choice, ...] | None = None  # all of them, where there are several; the others fields are the first's
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None  # of the input
    reasoning_tokens: int | None = None  # of the output
    request_id: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    retryable: bool = False
    fault: Fault | None = None  # whose failure it is
    digest: int = 0  # of the line; settles which of two lines is kept
    raw: str | None = None  # the body, where the job asks for it
    embedding: bytes | None = None  # a vector: little-endian 32-bit floats


def named(answer: Answer) -> Answer:
    """Return the answer with its kind as the error code, where it has succeeded and is not whole."""
    if not answer.succeeded:
        return answer
    if answer.choices is not None:
        found = {flaw_of(one.finish_reason, is_empty=_is_empty(one.response, one.tool_calls)) for one in answer.choices}
        kind = next((kind for kind in RowKind if kind in found), None)
    else:
        is_empty = answer.embedding is None and _is_empty(answer.text, answer.tool_calls)
        kind = flaw_of(answer.finish_reason, is_empty=is_empty)
    code = None if kind is None else kind.value
    return answer if answer.error_code == code else answer._replace(error_code=code)


def _is_empty(text: str | None, tool_calls: str | None) -> bool:
    return (not text or text.isspace()) and tool_calls is None


class Placed(StrEnum):
    """The result of joining a line."""

    KEPT = "kept"
    DUPLICATE = "duplicate"
    FOREIGN = "foreign"


UNANSWERED = {
    Outcome.COMPLETED: ("missing", "the result file has no line for this row"),
    Outcome.FAILED: ("batch_failed", "the batch failed before this row was answered"),
    Outcome.EXPIRED: ("expired", "the batch expired before this row was answered"),
    Outcome.CANCELLED: ("cancelled", "the batch was cancelled before this row was answered"),
}


def unanswered(outcome: Outcome, detail: str = "") -> Answer:
    """Return the failure of a row without a line in a batch with this outcome; it may be sent again."""
    code, message = UNANSWERED[outcome]
    return Answer(
        succeeded=False,
        retryable=True,
        fault=Fault.TRANSIENT,
        error_code=code,
        error_message=f"{message}: {detail}" if detail else message,
    )


class Reconciliation:
    """The rows of one chunk, being answered."""

    def __init__(self, expected: Iterable[RowKey], job_digest: str) -> None:
        self._answers: dict[RowKey, Answer | None] = dict.fromkeys(expected)
        self._keys = {custom_id.custom_id(job_digest, *key): key for key in self._answers}
        self._kept = self._duplicates = self._foreign = self._unreadable = 0

    def place(self, name: str, answer: Answer) -> Placed:
        """Assign `answer` to the row that `name` names."""
        key = self._keys.get(name)
        answer = named(answer)
        if key is None:
            self._foreign += 1
            return Placed.FOREIGN
        present = self._answers[key]
        if present is None:
            self._answers[key] = answer
            self._kept += 1
            return Placed.KEPT
        self._duplicates += 1
        if (not answer.succeeded, answer.digest) < (not present.succeeded, present.digest):
            self._answers[key] = answer
        return Placed.DUPLICATE

    def unreadable(self) -> None:
        """Count a line that names no row."""
        self._unreadable += 1

    def close(
        self, absent: Answer, *, may_send_again: bool, improves: str = ""
    ) -> tuple[Tally, Iterator[tuple[RowKey, Answer]]]:
        """Return the counts, and every row with its answer in (shard_no, row) order; `absent` is for rows without one.

        Args:
            may_send_again: False once rows of this chunk have been sent as often as the policy allows; then failures
                are permanent.
            improves: the kind of the answers that the rows have already; "": none. Such an answer stands if its row
                fails here.
        """
        succeeded = failed = waiting = missing = 0
        flaws = dict.fromkeys(FLAWED, 0)
        for answer in self._answers.values():
            missing += answer is None
            answer = answer or absent
            succeeded += answer.succeeded
            if answer.succeeded and answer.error_code is not None:
                flaws[RowKind(answer.error_code)] += 1
            again = not answer.succeeded and answer.retryable and may_send_again
            waiting += again
            failed += not answer.succeeded and not again
        lines = self._kept + self._duplicates + self._foreign + self._unreadable
        if not succeeded + failed + waiting == len(self._answers) == self._kept + missing:
            raise OutputError(
                f"row counts are inconsistent: {len(self._answers)} rows, {succeeded} succeeded, {failed} failed, "
                f"{waiting} waiting, {missing} missing, {self._kept} answered"
            )
        tally = Tally(
            succeeded=succeeded,
            failed=failed,
            waiting=waiting,
            missing=missing,
            lines=lines,
            duplicates=self._duplicates,
            foreign=self._foreign,
            unreadable=self._unreadable,
            **{f"{kind}_answers": count for kind, count in flaws.items()},
        )
        if improves:
            name = f"{improves}_answers"
            tally = replace(tally, failed=0, standing=failed, **{name: getattr(tally, name) + failed})
        rows = ((key, self._answers[key] or absent) for key in sorted(self._answers))
        return tally, (
            (key, answer if may_send_again or answer.succeeded else answer._replace(retryable=False))
            for key, answer in rows
        )
