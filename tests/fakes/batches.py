"""A batch at the simulated provider, and how it comes to its end: what ran, what it cost, what is told of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from orchestrator.domain import custom_id
from orchestrator.domain.faults import Fault
from orchestrator.domain.model import AttemptToken, BatchId, FileId, Outcome
from orchestrator.domain.results_at import ALL_RESULTS, Files, ResultRef
from tests.fakes import answers
from tests.fakes.faults import Temper

SUCCEEDED, RETRYABLE, PERMANENT, UNPAID = 200, 500, 400, 402
HOME = "home"  # the account that the jobs are meant for, and the mark of its key


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
    account: str = HOME
    rejected: Fault | None = None
    ended: bool = False
    statuses: dict[str, int] = field(default_factory=dict)  # of the requests that ran, once it has ended
    files: dict[str, list[bytes]] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)  # successes that a patient reader can find in the files
    flaws: dict[str, str] = field(default_factory=dict)  # successes whose answers are no use, and why
    texts: dict[str, set[str]] = field(default_factory=dict)  # of the answers to requests
    unread: set[str] = field(default_factory=set)  # successes that can be read once there is a reader
    is_hidden: bool = False  # its create was answered with another batch's id
    asked_after: bool = False  # its status: so the ledger has it
    fees_usd: Decimal = Decimal(0)
    fee_usd: dict[str, Decimal] = field(default_factory=dict)  # of it, by request
    gone_count: int = 0  # further tries that find no results
    cut_count: int = 0  # further tries that find short results
    cancel_asked: bool = False
    twin_of: BatchId | None = None  # the provider made both of one POST

    @property
    def job(self) -> str:
        """Whose requests these are: how their names begin."""
        return next(iter(self.requests))[: custom_id.DIGEST_LENGTH]

    @property
    def succeeded(self) -> list[str]:
        """The requests that were answered and charged."""
        return [name for name, status in self.statuses.items() if status == SUCCEEDED]

    @property
    def results(self) -> Files:
        """The result files, with as many lines promised as requests were run."""
        done_count = len(self.succeeded)
        failed_count = len(self.statuses) - done_count
        counts = {"output": done_count, "error": failed_count, ALL_RESULTS: done_count + failed_count}
        refs = (ResultRef(name=name, at=str(self.id), line_count=counts[name] or None) for name in self.files)
        return Files(refs=tuple(refs))

    def end(self, temper: Temper, *, takes_files: bool, others: list[str]) -> None:
        """Run what runs, charge for it, and write the result files with their flaws.

        Args:
            others: names that are no requests of this batch.
        """
        self.ended = True
        for name in list(self.requests)[: self.executed_count]:
            permanent = temper.is_so("row_permanent")
            retryable = temper.is_so("row_retryable")
            status = PERMANENT if permanent else RETRYABLE if retryable else SUCCEEDED
            self.statuses[name] = UNPAID if status == SUCCEEDED and temper.is_reported("unpaid") else status
        self.fees_usd = Decimal(0)
        self._write(temper, takes_files=takes_files, others=others)
        if temper.is_reported("unknown_shape"):
            self.files = {
                name: [answers.in_unknown_shape(line) for line in lines] for name, lines in self.files.items()
            }
            self.unread = self.told.intersection(self.succeeded)
            self.told -= self.unread
        if temper.is_so("gone"):
            self.gone_count = temper.dice.shape().randint(1, 9)
        if temper.is_so("gone_for_good"):
            self.gone_count = 1_000_000
            self.told.clear()
            self.unread.clear()
        if temper.is_so("cut"):
            self.cut_count = temper.dice.shape().randint(1, 2)
        if temper.is_so("cut_for_good"):
            self.cut_count = 1_000_000
            lasting = {name for lines in self.files.values() for name in map(_answered, short(lines))}
            self.told &= lasting
            self.unread &= lasting

    def _write(self, temper: Temper, *, takes_files: bool, others: list[str]) -> None:
        for name, status in self.statuses.items():
            body = self.requests[name]
            line = self._answer(name, body, temper) if status == SUCCEEDED else answers.failure(name, status)
            file = ("output" if status == SUCCEEDED else "error") if takes_files else "results"
            self.files.setdefault(file, []).extend(self._flawed(name, status, line, temper))
        for lines in self.files.values():
            if others and temper.is_so("foreign"):
                lines.append(answers.foreign(temper.dice.shape().choice(others)))
            if temper.is_so("unreadable"):
                lines.append(b'\xff\xfe{"custom_id":')
            if temper.is_so("reordered"):
                temper.dice.shape().shuffle(lines)

    def _answer(self, name: str, body: bytes, temper: Temper) -> bytes:
        kinds = answers.FLAWS if answers.is_typed(body) else answers.FLAWS[:2]
        flaw = next((kind for kind in kinds if temper.is_reported(kind)), "")
        if flaw:
            self.flaws[name] = flaw
        self.texts[name] = {answers.text_of(body, flaw=flaw)}
        self.fee_usd[name] = answers.fee_usd(body, flaw)
        self.fees_usd += self.fee_usd[name]
        return answers.success(name, body, flaw=flaw)

    def _flawed(self, name: str, status: int, line: bytes, temper: Temper) -> list[bytes]:
        if temper.is_so("missing"):
            return []
        if temper.is_so("unreadable"):
            return [line[: len(line) // 2]]
        self.told.add(name)
        if temper.is_so("duplicated"):
            return [line, line]
        has_failed = name in self.flaws and answers.is_typed(self.requests[name])  # whatever another line says
        if status == SUCCEEDED and not has_failed and temper.is_so("differing"):
            chance = temper.dice.shape()
            other = answers.failure(name, chance.choice((RETRYABLE, PERMANENT)))
            if chance.random() < 0.5:
                other = answers.success(name, self.requests[name], suffix=answers.AGAIN)
                self.texts[name].add(answers.text_of(self.requests[name], suffix=answers.AGAIN))
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
