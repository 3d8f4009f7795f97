"""A batch at the simulated provider, and how it comes to its end: what ran, what it cost, what is told of it."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from orchestrator.domain.model import AttemptToken, BatchId, FileId, Outcome
from tests.fakes import answers
from tests.fakes.faults import Rates

SUCCEEDED, RETRYABLE, PERMANENT = 200, 500, 400
PATIENCE = 8  # tries after which results that are not there may be given up


@dataclass(slots=True, kw_only=True)
class SimulatedBatch:
    """The truth about one batch."""

    id: BatchId
    token: AttemptToken
    requests: dict[str, bytes]  # custom_id -> body
    created_at: datetime
    visible_at: datetime  # in lists
    known_at: datetime  # to status
    ends_at: datetime
    outcome: Outcome
    executed_count: int
    file_id: FileId | None = None
    rejected: bool = False
    ended: bool = False
    statuses: dict[str, int] = field(default_factory=dict)  # of the requests that ran, once it has ended
    files: dict[str, list[bytes]] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)  # successes that a patient reader can find in the files
    fees_usd: Decimal = Decimal(0)
    gone_count: int = 0  # further tries that find no results
    cut_count: int = 0  # further tries that find short results

    @property
    def succeeded(self) -> list[str]:
        """The requests that were answered and charged."""
        return [name for name, status in self.statuses.items() if status == SUCCEEDED]

    def end(self, chance: random.Random, rates: Rates, *, takes_files: bool, others: list[str]) -> None:
        """Run what runs, charge for it, and write the result files with their flaws.

        Args:
            others: names that are no requests of this batch.
        """
        self.ended = True
        for name in list(self.requests)[: self.executed_count]:
            roll = chance.random()
            permanent = roll < rates.row_permanent
            retryable = roll < rates.row_permanent + rates.row_retryable
            self.statuses[name] = PERMANENT if permanent else RETRYABLE if retryable else SUCCEEDED
        self.fees_usd = sum((answers.fee_usd(self.requests[name]) for name in self.succeeded), Decimal(0))
        self._write(chance, rates, takes_files=takes_files, others=others)
        if chance.random() < rates.gone:
            self.gone_count = chance.randint(1, 9)
            if self.gone_count >= PATIENCE:
                self.told.clear()
        if chance.random() < rates.gone_for_good:
            self.gone_count = 1_000_000
            self.told.clear()
        if chance.random() < rates.cut:
            self.cut_count = chance.randint(1, 2)
        if chance.random() < rates.cut_for_good:
            self.cut_count = 1_000_000
            lasting = {name for lines in self.files.values() for name in map(_answered, short(lines))}
            self.told &= lasting

    def _write(self, chance: random.Random, rates: Rates, *, takes_files: bool, others: list[str]) -> None:
        for name, status in self.statuses.items():
            body = self.requests[name]
            line = answers.success(name, body) if status == SUCCEEDED else answers.failure(name, status)
            file = ("output" if status == SUCCEEDED else "error") if takes_files else "results"
            self.files.setdefault(file, []).extend(self._flawed(name, status, line, chance, rates))
        for lines in self.files.values():
            if chance.random() < rates.foreign and others:
                lines.append(answers.foreign(chance.choice(others)))
            if chance.random() < rates.unreadable:
                lines.append(b'\xff\xfe{"custom_id":')
            if chance.random() < rates.reordered:
                chance.shuffle(lines)

    def _flawed(self, name: str, status: int, line: bytes, chance: random.Random, rates: Rates) -> list[bytes]:
        if chance.random() < rates.missing:
            return []
        if chance.random() < rates.unreadable:
            return [line[: len(line) // 2]]
        self.told.add(name)
        if chance.random() < rates.duplicated:
            return [line, line]
        if chance.random() < rates.differing and status == SUCCEEDED:
            other = answers.failure(name, chance.choice((RETRYABLE, PERMANENT)))
            if chance.random() < 0.5:
                other = answers.success(name, self.requests[name], suffix=answers.AGAIN)
            pair = [line, other]
            chance.shuffle(pair)
            return pair
        return [line]


def short(lines: list[bytes]) -> list[bytes]:
    """Return what a cut file holds: at least two lines less, or nothing."""
    return lines[: max(0, len(lines) // 2 - 1)]


def _answered(line: bytes) -> str:
    """Return the name of the request that this line answers, or nothing."""
    try:
        read = json.loads(line)
    except ValueError:
        return ""
    return str(read["custom_id"]) if read["response"]["status_code"] == SUCCEEDED else ""
