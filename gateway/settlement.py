"""The end of a batch: its result file and its bill, made once, from the request file and the plan it was created under.

Rule 1: an answer is billed when the model gave it, whatever then happens to its line.
Rule 2: a row that failed, or never ran, is not billed.
Rule 3: made again after a kill, it comes out the same, but for faults that count how often a custom_id ran.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
import xxhash

from gateway.damage import BOM, FILE_FAULTS, LINE_FAULTS, UNREADABLE, cut_file, damaged_line
from gateway.faults import FaultPlan, draw, has_any, next_fault, strikes
from gateway.intake import Row, read_rows
from gateway.lines import answer_line, expired_line, failure_line
from gateway.settings import LineShape
from gateway.simulated import Answer, Refusal, answer, price_nano_usd
from gateway.states import Fate
from gateway.store import DELIVERED, NOT_BILLED, WITHHELD, Batch, Settlement, put_in_place

SIGN_BIT: Final = 2**63  # SQLite's integers are signed


@dataclass(slots=True)
class _Tally:
    """The figures while they grow."""

    completed: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    fees_nano_usd: int = 0
    items: list[tuple[int, str, int, int]] = field(default_factory=list)

    def add(self, row_no: int, row: Row, said: Answer | Refusal, outcome: int) -> None:
        body = xxhash.xxh3_64_intdigest(memoryview(row.params)) - SIGN_BIT
        self.items.append((row_no, row.custom_id, body, outcome))
        if isinstance(said, Refusal):
            self.failed += 1
            return
        self.completed += 1
        self.input_tokens += said.input_tokens
        self.output_tokens += said.output_tokens
        self.fees_nano_usd += price_nano_usd(said.model, said.input_tokens, said.output_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settler:
    """Settles one batch. `times_run` says how often custom_ids ran in earlier batches."""

    batch: Batch
    plan: FaultPlan
    shape: LineShape
    times_run: Callable[[Iterable[str]], dict[str, int]]

    def settle(self, request_path: Path, result_path: Path) -> Settlement:
        """Write the result file, durably, and return the bill."""
        has_results = self.batch.fate != Fate.FAIL
        tally = _Tally()
        if has_results:
            temporary = result_path.with_suffix(".partial")
            rows = list(enumerate(read_rows(request_path)))
            self._write(rows, temporary, tally)
            put_in_place(temporary, result_path)
        tally.items.sort()
        return Settlement(
            completed=tally.completed,
            failed=tally.failed,
            input_tokens=tally.input_tokens,
            output_tokens=tally.output_tokens,
            fees_micro_usd=tally.fees_nano_usd // 1000,
            has_results=has_results,
            items=tally.items,
        )

    def _write(self, rows: list[tuple[int, Row]], path: Path, tally: _Tally) -> None:
        file_faults = self._file_faults()
        # Which rows ran is settled before the order of the file is: a cut-short batch did not run its first rows.
        rows.sort(key=lambda item: draw(self.plan.seed, "order", item[1].custom_id, item[0]))
        done_count = int(len(rows) * self.batch.done_share)
        done, unfinished = rows[:done_count], rows[done_count:]
        if "in_order" in file_faults:
            done.sort(key=lambda item: item[0])
        writer = _Writer(end=b"\r\n" if "crlf" in file_faults else b"\n")
        with path.open("wb") as file:
            if "bom" in file_faults:
                file.write(BOM)
            self._write_done(done, file, writer, tally, file_faults)
            if self.batch.fate == Fate.EXPIRE and self.plan.batch.expired_lines:
                for _, row in unfinished:
                    writer.write(file, [msgspec.json.encode(expired_line(self.shape, row.custom_id))])
        if {"cut_last", "cut_in_character"} & file_faults and writer.last_line_at is not None:
            cut_file(path, writer.last_line_at, in_character="cut_in_character" in file_faults)
            if writer.last_item is not None and tally.items[writer.last_item][3] == DELIVERED:
                tally.items[writer.last_item] = (*tally.items[writer.last_item][:3], WITHHELD)

    def _write_done(
        self, done: list[tuple[int, Row]], file: BinaryIO, writer: _Writer, tally: _Tally, file_faults: frozenset[str]
    ) -> None:
        line_faults = tuple(name for name in LINE_FAULTS if has_any(self.plan.lines, (name,)))
        counts_runs = bool(line_faults) or has_any(self.plan.rows, ("fail",))
        runs = self.times_run(row.custom_id for _, row in done) if counts_runs else {}
        for row_no, row in done:
            runs_before = runs.get(row.custom_id, 0)
            said = self._refusal(row_no, row, runs_before) or answer(row.params)
            request_id = str(uuid.UUID(bytes=xxhash.xxh3_128_digest(row.custom_id.encode() + bytes(row.params))))
            if isinstance(said, Refusal):
                tally.add(row_no, row, said, NOT_BILLED)
                if not self.plan.rows.no_line:
                    line = failure_line(self.shape, row.custom_id, said, request_id)
                    writer.write(file, [msgspec.json.encode(line)])
                continue
            struck = frozenset(name for name in line_faults if self._strikes_line(name, row_no, row, runs_before))
            tally.add(row_no, row, said, WITHHELD if struck & UNREADABLE else DELIVERED)
            if struck or file_faults:
                lines = damaged_line(self.shape, row.custom_id, said, request_id, struck | file_faults)
            else:
                lines = [msgspec.json.encode(answer_line(self.shape, row.custom_id, said, request_id))]
            writer.write(file, lines, item=len(tally.items) - 1)

    def _refusal(self, row_no: int, row: Row, runs_before: int) -> Refusal | None:
        faults, seed = self.plan.rows, self.plan.seed
        if strikes(faults.filtered, seed, "filtered", index=row_no, key=row.custom_id):
            message = "The response was filtered due to the prompt triggering the content management policy."
            return Refusal(status=400, code="content_filter", message=message)
        if faults.times and runs_before >= faults.times:
            return None
        fault = next_fault(faults, ("fail",), seed, index=row_no, key=row.custom_id)
        if fault is None:
            return None
        return Refusal(status=fault.status, code=str(fault.status), message=f"simulated failure {fault.status}")

    def _strikes_line(self, name: str, row_no: int, row: Row, runs_before: int) -> bool:
        faults = self.plan.lines
        if faults.times and runs_before >= faults.times:
            return False
        return strikes(getattr(faults, name), self.plan.seed, name, index=row_no, key=row.custom_id)

    def _file_faults(self) -> frozenset[str]:
        number, seed = self.batch.number, self.plan.seed
        faults = self.plan.lines
        return frozenset(
            name for name in FILE_FAULTS if strikes(getattr(faults, name), seed, name, index=number, key=str(number))
        )


@dataclass(slots=True, kw_only=True)
class _Writer:
    """Ends lines, and remembers where the last one starts and whose it is."""

    end: bytes
    last_line_at: int | None = None
    last_item: int | None = None  # index into the tally's items, if the line is a row's only one

    def write(self, file: BinaryIO, lines: list[bytes], item: int | None = None) -> None:
        for line in lines:
            if line:
                self.last_line_at = file.tell()
            file.write(line + self.end)
        if lines:
            self.last_item = item if sum(map(bool, lines)) == 1 else None
