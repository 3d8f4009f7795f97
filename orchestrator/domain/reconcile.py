"""Joins result lines to their rows by `custom_id` alone, in whatever order the lines come.

Rule 1: every expected row gets exactly one answer; a row without a line gets the failure given for it.
Rule 2: a success takes precedence over an answer that cannot be read, and that over any other failure; of two of a kind
        the one with the smaller digest is kept, so that the output does not depend on the order of the lines.
Rule 3: everything else is counted: lines = rows answered + duplicates + foreign + unreadable.
Rule 4: a row that may have been answered in a line that cannot be read fails as `unreadable`, and is not sent again by
        itself: the answer may have been paid for. It is the row that the line names; else the one row of the chunk
        whose id stands in the line's bytes (an id found so never gives a row an answer); else every row without a line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from enum import StrEnum
from typing import Any, NamedTuple, cast

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


UNREADABLE = "unreadable"
UNREADABLE_MESSAGE = (
    "the row was answered, or may have been, in a shape that cannot be read; the answer is kept in the raw results: "
    "`orchestrator reread` reads it again"
)


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


def unreadable(**known: Any) -> Answer:
    """Return the failure of a row whose answer cannot be read; `known` is what could be read of the line."""
    return Answer(
        succeeded=False, error_code=UNREADABLE, error_message=UNREADABLE_MESSAGE, fault=Fault.UNREADABLE, **known
    )


def _rank(answer: Answer) -> tuple[int, int]:
    return (0 if answer.succeeded else 1 if answer.fault is Fault.UNREADABLE else 2), answer.digest


class Reconciliation:
    """The rows of one chunk, being answered."""

    def __init__(self, expected: Iterable[RowKey], job_digest: str, *, is_canary: bool = False) -> None:
        self._is_canary = is_canary
        self.refused: Answer | None = None  # once closed: see `_refusal`
        self._answers: dict[RowKey, Answer | None] = dict.fromkeys(expected)
        self._keys = {custom_id.custom_id(job_digest, *key): key for key in self._answers}
        self._kept = self._duplicates = self._foreign = self._unreadable = 0
        self._suspected = set[RowKey]()  # rows that are named somewhere in a line that cannot be read
        self._has_unnamed = False  # a line may be the answer of any row
        self.is_mostly_unreadable = False  # once it is closed: fewer rows were answered readably than not

    def place(self, name: str, answer: Answer) -> Placed:
        """Assign `answer` to the row that `name` names."""
        key = self._keys.get(name)
        if key is None:
            key = self._keys.get(custom_id.respelled(name))
        if key is None:
            self._foreign += 1
            return Placed.FOREIGN
        answer = named(answer)
        present = self._answers[key]
        if present is None:
            self._answers[key] = answer
            self._kept += 1
            return Placed.KEPT
        self._duplicates += 1
        if _rank(answer) < _rank(present):
            self._answers[key] = answer
        return Placed.DUPLICATE

    def names_row(self, name: str) -> bool:
        """Return whether `name` names a row of this chunk."""
        return name in self._keys or custom_id.respelled(name) in self._keys

    def unreadable(self, line: bytes = b"", *, is_cut: bool = False) -> None:
        """Count a line that names no row.

        Args:
            is_cut: the file ends within the line: it is no answer of a row that it does not name.
        """
        self._unreadable += 1
        self.suspect(line, is_cut=is_cut)

    def suspect(self, line: bytes, *, is_cut: bool = False) -> None:
        """Remember whose answer a line that was not used may be: see rule 4."""
        named = [key for name in custom_id.found_in(line) if (key := self._keys.get(name)) is not None]
        if len(named) == 1:
            self._suspected.add(named[0])
        elif not is_cut:
            self._has_unnamed = True

    def _settle_others(self, absent: Answer) -> tuple[int, int]:
        """Give every row without a line its failure; return how many there are, and how many may not be answered."""
        for key in self._suspected:
            present = self._answers[key]
            if present is not None and present.retryable and not present.succeeded:
                self._answers[key] = unreadable(digest=present.digest)
        without = [key for key, answer in self._answers.items() if answer is None]
        for key in without:
            self._answers[key] = unreadable() if self._has_unnamed or key in self._suspected else absent
        return len(without), sum(self._answers[key] is absent for key in without)

    def _refusal(self) -> Answer | None:
        """Return the answer that shows that not the rows are at fault: they are sent again, and it counts as no try.

        One row that fails for the account's sake is enough; for the job's sake, all must. The rows of a canary are few,
        and the verdict on the job is the canary's.
        """
        answers = [answer for answer in self._answers.values() if answer is not None]
        for answer in answers:
            if not answer.succeeded and answer.fault is Fault.ACCOUNT:
                return answer
        alike = bool(answers) and all(answer.fault is Fault.JOB for answer in answers)
        return answers[0] if alike and not self._is_canary else None

    def close(
        self, absent: Answer, *, may_send_again: bool, improves: str = ""
    ) -> tuple[Tally, Iterator[tuple[RowKey, Answer]]]:
        """Return the counts, and every row with its answer in (shard_no, row) order; `absent` is for rows without one.

        Args:
            may_send_again: False once rows of this chunk have been sent as often as the policy allows; then failures
                are permanent, except those of `refused`.
            improves: the kind of the answers that the rows have already; "": none. Such an answer stands if its row
                fails here.
        """
        self.refused = self._refusal()  # of the lines alone, before rows without one get their failure
        uncounted = None if self.refused is None else self.refused.fault

        def settled(answer: Answer) -> Answer:
            again = not answer.succeeded and (
                (answer.retryable and may_send_again) or (uncounted is not None and answer.fault is uncounted)
            )
            return answer if answer.retryable == again else answer._replace(retryable=again)

        missing, unanswered_rows = self._settle_others(absent)
        answers = cast("dict[RowKey, Answer]", self._answers)
        tally = replace(_counted(answers.values(), settled), missing=missing, **self._lines())
        self._check(tally, len(answers))
        self.is_mostly_unreadable = 2 * tally.unreadable_rows > len(answers) - unanswered_rows
        if improves:
            tally = _with_standing(tally, improves)
        return tally, ((key, settled(answers[key])) for key in sorted(answers))

    def _lines(self) -> dict[str, int]:
        """Return the counts of lines, as a tally names them."""
        unused = {"duplicates": self._duplicates, "foreign": self._foreign, "unreadable": self._unreadable}
        return unused | {"lines": self._kept + sum(unused.values())}

    def _check(self, tally: Tally, row_count: int) -> None:
        if not tally.succeeded + tally.failed + tally.waiting == row_count == self._kept + tally.missing:
            raise OutputError(
                f"row counts are inconsistent: {row_count} rows, {tally.succeeded} succeeded, {tally.failed} failed, "
                f"{tally.waiting} waiting, {tally.missing} missing, {self._kept} answered"
            )


def _counted(answers: Iterable[Answer], settled: Callable[[Answer], Answer]) -> Tally:
    """Return the counts of answers; a failure that is `retryable` once it is settled waits to be sent again."""
    succeeded = failed = waiting = unreadable_rows = 0
    flaws = dict.fromkeys(FLAWED, 0)
    for answer in answers:
        if answer.succeeded:
            succeeded += 1
            if answer.error_code is not None:
                flaws[RowKind(answer.error_code)] += 1
            continue
        again = settled(answer).retryable
        waiting += again
        failed += not again
        unreadable_rows += answer.fault is Fault.UNREADABLE
    return Tally(
        succeeded=succeeded,
        failed=failed,
        waiting=waiting,
        unreadable_rows=unreadable_rows,
        **{f"{kind}_answers": count for kind, count in flaws.items()},
    )


def _with_standing(tally: Tally, kind: str) -> Tally:
    """Return the counts where earlier answers stand: a row that has failed here keeps the answer it had.

    An answer that cannot be read is kept beside it, until it can be.
    """
    stand = replace(tally, failed=0, standing=tally.failed, unreadable_rows=0, unread_answers=tally.unreadable_rows)
    return stand.with_answers(kind, tally.failed)
