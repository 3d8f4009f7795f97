"""Rows whose answers were no use are sent again with a changed request: in chunks of their own, once."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

import pytest

from orchestrator.domain.amend import ANSWER_LENGTH_MAX, Amends
from orchestrator.domain.changes import ChunkAdded
from orchestrator.domain.model import Chunk, ChunkState, Claim, Job, Step, Tally, Unit
from orchestrator.domain.policy import Limits, Price
from orchestrator.domain.reconcile import Answer
from orchestrator.domain.request_changes import RequestChanges
from orchestrator.job_files import request_files
from orchestrator.job_files.result_parts import write_part
from orchestrator.planner.amended import Amending, Useless
from orchestrator.planner.cost import Costing
from orchestrator.planner.retry import Gathering, retry
from orchestrator.planner.split import split
from tests.builders import JOB, a_chunk, a_job
from tests.fakes.clock import VirtualClock
from tests.fakes.dialects import a_dialect
from tests.fakes.job_files import MemoryJobFiles

NONE: Final = RequestChanges()  # of a person
WIDE: Final = Limits(requests_max=100, bytes_max=100_000)
WRONG: Final = Useless(Amends.INVALID, '{"mood": 7}', "$.mood: 7 is not a string")
CUT: Final = Useless(Amends.TRUNCATED, '{"mo', "cut")


def line_of(name: str, body: dict[str, Any], custom_id: str = "9f86d081-0-1") -> bytes:
    """Return a request line as the dialect writes it."""
    envelope = a_dialect(name).envelope
    parts = (envelope.before_id, custom_id.encode(), envelope.before_body, json.dumps(body).encode())
    return b"".join((*parts, envelope.after_body, b"\n"))


def amended(name: str, body: dict[str, Any], answer: Useless) -> tuple[bytes, dict[str, Any]]:
    """Return what a line begins with, and its body, once it is changed."""
    dialect = a_dialect(name)
    line = Amending(dialect=dialect).line(line_of(name, body), answer)
    head, _, rest = line.partition(dialect.envelope.before_body)
    found: dict[str, Any] = json.loads(rest.removesuffix(dialect.envelope.after_body + b"\n"))
    return head, found


MESSAGES: Final = [{"role": "user", "content": "Mood?"}]


@pytest.mark.parametrize(
    ("name", "model", "limit"),
    [
        ("openai", "gpt-6-luna", "max_completion_tokens"),
        ("openai", "gpt-4o-mini", "max_tokens"),
        ("anthropic", "claude-haiku-5-5", "max_tokens"),
        ("onerouter", "m-batch", "max_tokens"),
    ],
)
def test_a_line_keeps_its_id_and_changes_as_its_dialect_has_it(name: str, model: str, limit: str) -> None:
    body = {"model": model, limit: 50, "messages": MESSAGES}

    head, wrong = amended(name, body, WRONG)
    _, cut = amended(name, body, CUT)

    assert head.endswith(b"9f86d081-0-1")
    assert wrong["messages"][:2] == [*MESSAGES, {"role": "assistant", "content": WRONG.text}]
    assert WRONG.problem in wrong["messages"][2]["content"]
    assert cut == body | {limit: 200}


def test_an_answer_of_blanks_or_without_end_is_not_shown_again() -> None:
    body = {"model": "gpt-6-luna", "messages": MESSAGES}

    for text in (" \n", "x" * (ANSWER_LENGTH_MAX + 1)):
        _, found = amended("openai", body, WRONG._replace(text=text))
        assert [one["role"] for one in found["messages"]] == ["user", "user"]


def test_a_request_without_a_limit_stays_as_it_is() -> None:
    body = {"model": "gpt-6-luna", "messages": MESSAGES}

    assert amended("openai", body, CUT)[1] == body


def test_a_larger_limit_is_reserved() -> None:
    costing = Costing(price=None, output_tokens_max=100)

    assert costing.for_chunk(NONE, "truncated").output_tokens_max == 400
    assert costing.for_chunk(NONE, "invalid") == costing
    assert costing.for_chunk(NONE, "") == costing


class RecordingLedger:
    """A ledger of one job, with the chunks that have waiting rows."""

    def __init__(self, *waiting: Chunk) -> None:
        self.changes: list[Any] = []
        self._job, self._waiting = a_job(due=Step.RETRY), list(waiting)

    def job(self, _job_id: str) -> Job:
        return self._job

    def chunk(self, _chunk_id: str) -> Chunk:
        return self._waiting[0]

    def waiting(self, _job_id: str, *, limit: int) -> list[Chunk]:
        return self._waiting[:limit]

    def record(self, _claim: Claim, *changes: Any, now: Any) -> None:
        assert now is not None
        self.changes += changes


def failed(code: str, text: str = "no") -> Answer:
    return Answer(succeeded=False, text=text, error_code=code, error_message=f"why: {code}", retryable=True)


def a_source(job_files: MemoryJobFiles, answers: list[Answer], **fields: Any) -> Chunk:
    """Return a collected chunk whose rows had these answers."""
    draft = request_files.LinesDraft()
    for row in range(len(answers)):
        body = {"model": "gpt-6-luna", "max_completion_tokens": 50, "messages": MESSAGES}
        draft.add(line_of("openai", body, f"9f86d081-0-{row:x}"), (0, row), bytes([row]) * 16)
    written = draft.write(job_files, "c00000-00000")
    part = "parts/c00000-00000.a1.parquet"
    with job_files.create(part) as file:
        rows = iter([((0, row), answer) for row, answer in enumerate(answers)])
        write_part(file, rows, batch_id="b", round=1, fees_usd=None, price=None)
    return replace(
        a_chunk("c00000-00000", state=ChunkState.COLLECTED, request_count=len(answers), requests=written.name),
        row_start=0,
        row_end=len(answers),
        part=part,
        tally=Tally(waiting=len(answers)),
        **fields,
    )


def made(job_files: MemoryJobFiles, source: Chunk, limits: Limits = WIDE) -> list[tuple[str, list[int], list[bytes]]]:
    """Run the step; return each new chunk's reason, rows, and lines."""
    ledger, costing = RecordingLedger(source), Costing(price=None, output_tokens_max=50)
    retry(
        Claim(unit=Unit(job_id=JOB), step=Step.RETRY, token=1),
        ledger=ledger,  # type: ignore[arg-type]
        job_files=job_files,
        gathering=Gathering(limits=limits, costing=costing, amending=Amending(dialect=a_dialect("openai"))),
        clock=VirtualClock(random.Random(1)),
    )
    added = [change.chunk for change in ledger.changes if isinstance(change, ChunkAdded)]
    found = []
    for chunk in added:
        requests = list(request_files.keyed_requests_of(job_files, chunk))
        assert [one.content_key for one in requests] == [bytes([one.key[1]]) * 16 for one in requests]
        found.append((chunk.amends, [one.key[1] for one in requests], [one.line for one in requests]))
    return found


def test_rows_are_in_chunks_by_what_is_changed() -> None:
    job_files = MemoryJobFiles()
    codes = ["500", "schema_mismatch", "truncated", "invalid_json", "missing"]

    found = {
        amends: (rows, lines) for amends, rows, lines in made(job_files, a_source(job_files, list(map(failed, codes))))
    }

    assert {amends: rows for amends, (rows, _) in found.items()} == {"": [0, 4], "invalid": [1, 3], "truncated": [2]}
    assert all(b"why" not in line for line in found[""][1])
    assert [b"why: schema_mismatch" in line for line in found["invalid"][1]] == [True, False]
    assert b'"max_completion_tokens":200' in found["truncated"][1][0].replace(b" ", b"")


def test_rows_of_a_changed_chunk_are_sent_again_as_they_were() -> None:
    job_files = MemoryJobFiles()

    [(amends, rows, lines)] = made(job_files, a_source(job_files, [failed("500")], amends="invalid"))

    assert (amends, rows) == ("invalid", [0])
    assert b"assistant" not in lines[0]  # it is not changed once more: this one was made without a change


def test_a_changed_request_that_is_too_large_is_sent_as_planned() -> None:
    job_files = MemoryJobFiles()
    source = a_source(job_files, [failed("invalid_json", "x" * 5_000), failed("invalid_json")])

    [(amends, _, lines)] = made(job_files, source, Limits(requests_max=100, bytes_max=2_000))

    assert amends == "invalid"
    assert [b"why" in line for line in lines] == [False, True]


def test_the_halves_of_a_chunk_are_changed_for_the_same_reason() -> None:
    job_files = MemoryJobFiles()
    source = replace(
        a_source(job_files, [failed("500")] * 2, amends="truncated"), state=ChunkState.SPLITTING, batch_id=None
    )
    ledger = RecordingLedger(source)

    split(
        Claim(unit=Unit(job_id=JOB, chunk_id=source.id), step=Step.SPLIT, token=1),
        ledger=ledger,  # type: ignore[arg-type]
        job_files=job_files,
        costing=Costing(price=Price(input_usd=Decimal(0), output_usd=Decimal(1_000_000)), output_tokens_max=50),
        clock=VirtualClock(random.Random(1)),
    )

    halves = [change.chunk for change in ledger.changes if isinstance(change, ChunkAdded)]
    assert [(half.amends, half.cost_usd_max) for half in halves] == [("truncated", Decimal(200))] * 2
