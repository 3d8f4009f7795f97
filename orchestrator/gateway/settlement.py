"""Settling a batch that has ended: its result files and its bill, made once from its requests and its fault plan.

Rule 1: an answer is billed once the model gave it, whatever happens to its line afterwards.
Rule 2: a row that failed or never ran is not billed.
Rule 3: settling again after a kill gives the same files, except for faults that count how often a custom_id ran.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import msgspec
import xxhash

from orchestrator.gateway.faults import FaultPlan, draw, has_any, next_fault, strikes
from orchestrator.gateway.intake import Row
from orchestrator.gateway.lines import NEVER_RUN_MESSAGES, Line, LineForm
from orchestrator.gateway.openai_bodies import Refusal
from orchestrator.gateway.openai_wire import error_type
from orchestrator.gateway.result_file import FILE_FAULTS, LINE_FAULTS, UNREADABLE, ResultFile, damaged_line, spoiled
from orchestrator.gateway.simulated import Answer, price_nano_usd
from orchestrator.gateway.store import DELIVERED, NEVER_RUN, NOT_BILLED, WITHHELD, Batch, Fate, Settlement

SIGN_BIT: Final = 2**63  # SQLite's integers are signed
NEVER_RUN_CODES: Final[dict[str, str]] = {Fate.EXPIRE: "batch_expired", Fate.CANCEL: "batch_cancelled"}


@dataclass(slots=True)
class _Tally:
    """The running totals."""

    completed: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    fees_nano_usd: int = 0
    never_run: int = 0
    items: list[tuple[int, str, int, int]] = field(default_factory=list)

    def add(self, row_no: int, row: Row, result: Answer | Refusal, outcome: int) -> None:
        body = xxhash.xxh3_64_intdigest(memoryview(row.params)) - SIGN_BIT
        self.items.append((row_no, row.custom_id, body, outcome))
        if isinstance(result, Refusal):
            self.failed += 1
            return
        self.completed += 1
        self.input_tokens += result.input_tokens
        self.output_tokens += result.output_tokens
        self.fees_nano_usd += price_nano_usd(result.model, result.input_tokens, result.output_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settler:
    """Settles one batch. `times_run` returns how often custom_ids ran in earlier batches."""

    batch: Batch
    plan: FaultPlan
    form: LineForm
    answer: Callable[[msgspec.Raw], Answer | Refusal]
    times_run: Callable[[Iterable[str]], dict[str, int]]

    def settle(self, rows: Callable[[], Sequence[Row]], result_path: Path, error_path: Path | None) -> Settlement:
        """Write the results, durably, and return the bill.

        With an `error_path`, rows without an answer are written there, including those that never ran, and an empty
        file is left out. Without one there is always exactly one file, with the rows that the plan asks for.
        """
        tally = _Tally()
        has_results = has_errors = False
        if self.batch.fate not in NEVER_RUN:
            faults = self._file_faults()
            answers = ResultFile(result_path, faults)
            failures = answers if error_path is None else ResultFile(error_path, faults)
            self._write(rows(), answers, failures, tally, faults)
            has_results = error_path is None or tally.completed > 0
            struck = answers.finish(is_kept=has_results)
            if struck is not None and tally.items[struck][3] == DELIVERED:
                tally.items[struck] = (*tally.items[struck][:3], WITHHELD)
            if failures is not answers:
                has_errors = tally.failed + tally.never_run > 0
                failures.finish(is_kept=has_errors)
        tally.items.sort()
        return Settlement(
            completed=tally.completed,
            failed=tally.failed,
            input_tokens=tally.input_tokens,
            output_tokens=tally.output_tokens,
            fees_micro_usd=tally.fees_nano_usd // 1000,
            has_results=has_results,
            has_errors=has_errors,
            items=tally.items,
        )

    def _write(
        self,
        rows: Sequence[Row],
        answers: ResultFile,
        failures: ResultFile,
        tally: _Tally,
        file_faults: frozenset[str],
    ) -> None:
        # Which rows ran is decided before their order in the file: those of a cut-short batch are not simply the first.
        numbered = sorted(enumerate(rows), key=lambda item: draw(self.plan.seed, "order", item[1].custom_id, item[0]))
        done_count = int(len(numbered) * self.batch.done_share)
        done, unfinished = numbered[:done_count], numbered[done_count:]
        if "in_order" in file_faults:
            done.sort(key=lambda item: item[0])
            unfinished.sort(key=lambda item: item[0])
        is_apart = failures is not answers
        lines = _LineWriter(self, file_faults, self._runs_of([*done, *unfinished] if is_apart else done))
        for row_no, row in done:
            result = self._refusal(row_no, row, lines.runs_before(row)) or self.answer(row.params)
            if isinstance(result, Answer):
                struck = lines.strikes(row_no, row)
                tally.add(row_no, row, result, WITHHELD if struck & UNREADABLE else DELIVERED)
                answers.write(lines.answered(row, spoiled(result, struck), struck), row=len(tally.items) - 1)
                continue
            tally.add(row_no, row, result, NOT_BILLED)
            if self.form.is_complete or not self.plan.rows.no_line:
                failures.write(lines.failed(row, result, lines.strikes(row_no, row) if is_apart else None))
        code = NEVER_RUN_CODES.get(self.batch.fate)
        has_lines = is_apart or self.form.is_complete
        if code is None or not (has_lines or (self.batch.fate == Fate.EXPIRE and self.plan.batch.expired_lines)):
            return
        tally.never_run = len(unfinished)
        for row_no, row in unfinished:
            failures.write(lines.never_run(row, code, lines.strikes(row_no, row) if is_apart else None))

    def strikes_line(self, name: str, row_no: int, row: Row, runs_before: int) -> bool:
        """Return whether a fault of [lines] strikes a row's line."""
        faults = self.plan.lines
        if faults.times and runs_before >= faults.times:
            return False
        return strikes(getattr(faults, name), self.plan.seed, name, index=row_no, key=row.custom_id)

    def _runs_of(self, rows: list[tuple[int, Row]]) -> dict[str, int]:
        counts_runs = has_any(self.plan.lines, LINE_FAULTS) or has_any(self.plan.rows, ("fail",))
        return self.times_run(row.custom_id for _, row in rows) if counts_runs else {}

    def _refusal(self, row_no: int, row: Row, runs_before: int) -> Refusal | None:
        faults, seed = self.plan.rows, self.plan.seed
        if strikes(faults.filtered, seed, "filtered", index=row_no, key=row.custom_id):
            message = "The response was filtered due to the prompt triggering the content management policy."
            return Refusal(status=400, code="content_filter", param="prompt", message=message)
        if faults.times and runs_before >= faults.times:
            return None
        fault = next_fault(faults, ("fail",), seed, index=row_no, key=row.custom_id)
        if fault is None:
            return None
        code, message = faults.code or str(fault.status), faults.message or f"simulated failure {fault.status}"
        return Refusal(status=fault.status, code=code, type=error_type(fault.status), message=message)

    def _file_faults(self) -> frozenset[str]:
        number, seed = self.batch.number, self.plan.seed
        faults = self.plan.lines
        return frozenset(
            name for name in FILE_FAULTS if strikes(getattr(faults, name), seed, name, index=number, key=str(number))
        )


class _LineWriter:
    """Makes the lines of one batch, damaged where the plan says so."""

    def __init__(self, settler: Settler, file_faults: frozenset[str], runs: dict[str, int]) -> None:
        self._settler = settler
        self._form = settler.form
        self._file_faults = file_faults
        self._line_faults = tuple(name for name in LINE_FAULTS if has_any(settler.plan.lines, (name,)))
        self._runs = runs

    def runs_before(self, row: Row) -> int:
        return self._runs.get(row.custom_id, 0)

    def strikes(self, row_no: int, row: Row) -> frozenset[str]:
        """Return the faults that strike a row's line."""
        runs = self.runs_before(row)
        return frozenset(name for name in self._line_faults if self._settler.strikes_line(name, row_no, row, runs))

    def answered(self, row: Row, result: Answer, struck: frozenset[str]) -> list[bytes]:
        request_id = _request_id(row)

        def write(custom_id: str | None, text: str) -> Line:
            return self._form.answer(custom_id, replace(result, text=text), request_id)

        return self._lines(write, row, result.text, struck)

    def failed(self, row: Row, result: Refusal, struck: frozenset[str] | None) -> list[bytes]:
        request_id = _request_id(row)

        def write(custom_id: str | None, text: str) -> Line:
            return self._form.failure(custom_id, replace(result, message=text), request_id)

        return self._lines(write, row, result.message, struck)

    def never_run(self, row: Row, code: str, struck: frozenset[str] | None) -> list[bytes]:
        def write(custom_id: str | None, text: str) -> Line:
            return self._form.never_run(custom_id, code, text)

        return self._lines(write, row, NEVER_RUN_MESSAGES[code], struck)

    def _lines(
        self, write: Callable[[str | None, str], Line], row: Row, text: str, struck: frozenset[str] | None
    ) -> list[bytes]:
        """Return the lines; with `struck` None they are undamaged, whatever faults the file has."""
        if struck is None or not (struck or self._file_faults):
            return [msgspec.json.encode(write(row.custom_id, text))]
        return damaged_line(write, row.custom_id, text, struck | self._file_faults)


def _request_id(row: Row) -> str:
    return str(uuid.UUID(bytes=xxhash.xxh3_128_digest(row.custom_id.encode() + bytes(row.params))))
