"""A job's canary is planned first, small and alone; what is sent again for it stays small; its answers are judged."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from orchestrator.dataset.dataset import open_dataset
from orchestrator.domain import custom_id
from orchestrator.domain.batch import LineEnvelope
from orchestrator.domain.canary import CanaryRow, Passed, Stop
from orchestrator.domain.changes import ChunkMoved, JobMoved
from orchestrator.domain.model import BatchId, Canary, Chunk, ChunkId, ChunkState, JobState, Step, Tally
from orchestrator.domain.policy import Limits
from orchestrator.domain.reconcile import Answer
from orchestrator.job_files import request_files, result_parts
from orchestrator.ledger.db.database import open_sqlite
from orchestrator.planner.canary import returned, verdict_on, wants_canary
from orchestrator.planner.cost import Costing
from orchestrator.planner.plan import Planning, plan
from orchestrator.planner.render import TemplateRenderer
from orchestrator.planner.retry import Gathering, retry
from orchestrator.planner.review import review
from orchestrator.planner.template import body_of, compile_body
from tests.builders import JOB, NOW, a_chunk, a_job, after, chunk_id
from tests.contract.ledger_harness import LedgerHarness, names
from tests.fakes.clock import VirtualClock
from tests.fakes.job_files import MemoryJobFiles
from tests.fakes.source import MemorySource


@dataclass
class Planned:
    """A dataset of these tables, one a shard, planned to its end."""

    tables: list[list[str | None]]
    canary_rows: int = 4
    limits: Limits = field(default_factory=lambda: Limits(requests_max=6, bytes_max=100_000))
    harness: LedgerHarness = field(default_factory=lambda: LedgerHarness(open_sqlite(None)))
    job_files: MemoryJobFiles = field(default_factory=MemoryJobFiles)

    def __post_init__(self) -> None:
        tables = tuple(pa.table({"text": pa.array(texts, pa.string())}) for texts in self.tables)
        source = MemorySource(tables, knows_counts=True)
        body = body_of(model="m", prompt="{text}", system=None, messages=None, parameters={})
        compiled = compile_body(body, source.schema)

        def renderer(shard_no: int) -> TemplateRenderer:
            prefix = custom_id.prefix("9f86d081", shard_no).encode()
            return TemplateRenderer(compiled=compiled, envelope=LineEnvelope(), id_prefix=prefix, null_policy="skip")

        costing = Costing(price=None, output_tokens_max=5)
        planning = Planning(source=source, renderer=renderer, limits=self.limits, costing=costing, slice_rows=8)
        self.harness.open(a_job(canary=Canary.WANTED, canary_rows=self.canary_rows), shards=len(tables))
        clock = VirtualClock(random.Random(7))
        while claims := self.harness.claim(Step.PLAN):
            for claim in claims:
                plan(claim, ledger=self.harness.ledger, job_files=self.job_files, planning=planning, clock=clock)

    def chunks(self) -> list[tuple[str, int, int, bool]]:
        """Return (name, first row, one past the last, is canary) of every chunk, in the order of names."""
        found = self.harness.database
        with found.read() as connection:
            names = connection.exec_driver_sql("select id from chunks order by id").scalars().all()
        chunks = [self.harness.ledger.chunk(ChunkId(name)) for name in names]
        return [(chunk.name, chunk.row_start, chunk.row_end, chunk.is_canary) for chunk in chunks]


def test_the_first_rows_are_a_chunk_of_their_own_and_the_rest_is_cut_as_ever() -> None:
    """The second slice ends where it would end without a canary."""
    assert Planned([["x"] * 20]).chunks() == [
        ("c00000-00000", 0, 4, True),
        ("c00000-00001", 4, 8, False),
        ("c00000-00002", 8, 14, False),
        ("c00000-00003", 14, 16, False),
        ("c00000-00004", 16, 20, False),
    ]


def test_rows_that_are_no_request_give_no_canary_and_what_follows_them_does() -> None:
    """A dataset may begin with nulls, or with an empty file; the canary is still small."""
    planned = Planned([[], [None] * 9, [None, None, "x", "x", *["x"] * 10]])

    assert planned.chunks() == [
        ("c00002-00000", 2, 4, True),
        ("c00002-00001", 4, 8, False),
        ("c00002-00002", 8, 14, False),
    ]
    assert planned.harness.ledger.job(JOB).canary is Canary.OPEN


def test_a_canary_that_does_not_fit_into_one_batch_is_several() -> None:
    planned = Planned([["x"] * 12], canary_rows=7, limits=Limits(requests_max=3, bytes_max=100_000))

    assert [is_canary for *_, is_canary in planned.chunks()] == [True, True, True, False, False, False]


def a_dataset(folder: Path, rows: int, suffix: str) -> Any:
    path = folder / f"d.{suffix}"
    if suffix == "csv":
        path.write_text("text\n" + "x\n" * rows)
    else:
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"text": ["x"] * rows}), path)
    return open_dataset(path, shard_rows=300, shard_bytes=1_000)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("rows", "canary_rows", "wanted"), [(1_000, 20, False), (1_001, 20, True), (1_001, 0, False), (1_500, 1_500, False)]
)
def test_jobs_above_a_thousand_rows_have_a_canary(
    tmp_path: Path, suffix: str, rows: int, canary_rows: int, *, wanted: bool
) -> None:
    """Whether or not their number is known before they are read; never where the canary would be the whole job."""
    assert wants_canary(a_dataset(tmp_path, rows, suffix), canary_rows) is wanted


class Unread(MemorySource):
    """A source that tells how many rows were read of it."""

    rows_read = 0

    def batches(self, *given: Any, **named: Any) -> Iterator[pa.RecordBatch]:
        """Count, and read."""
        for batch in super().batches(*given, **named):
            self.rows_read += batch.num_rows
            yield batch


@pytest.mark.parametrize(("knows_counts", "most"), [(True, 0), (False, 2_000)])
def test_no_more_rows_are_read_to_know_it_than_are_needed(knows_counts: bool, most: int) -> None:
    source = Unread(tuple(pa.table({"text": ["x"] * 1_000}) for _ in range(5)), knows_counts=knows_counts)

    assert wants_canary(source, 20)
    assert source.rows_read <= most


def a_part(job_files: MemoryJobFiles, chunk: Chunk, rows: dict[int, Answer], **fields: Any) -> Chunk:
    """Return the chunk as collected, with these answers in its part."""
    part = f"parts/{chunk.name}.parquet"
    with job_files.create(part) as file:
        found = (((0, row), answer) for row, answer in sorted(rows.items()))
        result_parts.write_part(
            file, found, batch_id="b", round=chunk.round, fees_usd=fields.pop("fees_usd", None), price=None
        )
    return a_chunk(
        chunk.name, state="collected", part=part, is_canary=True, request_count=len(rows), round=chunk.round, **fields
    )


OK = Answer(succeeded=True, text="fine", finish_reason="stop")
NO = Answer(succeeded=False, error_code="no_such_model", error_message="there is no model m")
AGAIN = Answer(succeeded=False, error_code="expired", retryable=True)


def test_of_a_row_that_was_sent_again_the_last_answer_counts() -> None:
    job_files = MemoryJobFiles()
    first = a_part(job_files, a_chunk("c0"), {0: AGAIN, 1: NO}, tally=Tally(failed=1, resent=1))
    second = a_part(job_files, a_chunk("r1", round=2), {0: OK}, tally=Tally(succeeded=1))

    assert [(one.key, one.row.kind.value) for one in returned([first, second], job_files)] == [
        ((0, 0), "good"),
        ((0, 1), "failed"),
    ]
    assert verdict_on([first, second], job_files) == Passed()


def test_rows_that_wait_are_waited_for_and_rows_of_a_chunk_that_was_refused_have_failed() -> None:
    """A chunk that was cut in two has no rows of its own left."""
    job_files = MemoryJobFiles()
    waiting = a_part(job_files, a_chunk("c0"), {0: AGAIN, 1: NO}, tally=Tally(failed=1, waiting=1))
    refused = a_chunk(
        "c0b", state="failed", is_canary=True, row_end=3, request_count=3, error_code="too_large", tally=Tally(failed=3)
    )
    cut = a_chunk("c0", state="split", is_canary=True)

    assert verdict_on([waiting], job_files) is None
    assert [one.row for one in returned([cut, refused], job_files)] == [
        CanaryRow(succeeded=False, error_code="too_large")
    ] * 3


def test_the_cost_is_held_against_the_estimate_of_the_same_chunks() -> None:
    """0.40 USD for two rows, where at most 0.10 were expected."""
    job_files = MemoryJobFiles()
    dear = a_part(job_files, a_chunk("c0"), {0: OK, 1: OK}, fees_usd=Decimal("0.40"), cost_usd_max=Decimal("0.10"))

    assert verdict_on([dear], job_files) == Stop(
        "a row of the canary cost 0.200000 USD, the estimate was at most 0.050000 USD"
    )


def test_before_the_verdict_only_rows_of_the_canary_are_sent_again() -> None:
    """Also in a job that was cancelled and is run again: its other rows wait as well, and must go on waiting."""
    planned = Planned([["x"] * 8])
    harness, job_files = planned.harness, planned.job_files
    canary, other = (harness.ledger.chunk(chunk_id(f"c00000-0000{n}")) for n in (0, 1))
    part = a_part(job_files, canary, {0: OK, 1: AGAIN, 2: NO, 3: AGAIN}).part
    counts = Tally(succeeded=1, failed=1, waiting=2)
    collected = replace(canary, state=ChunkState.COLLECTED, batch_id=BatchId("b"), part=part, tally=counts)
    harness.move(collected, due_at=None)
    harness.move(replace(other, state=ChunkState.CANCELLED, tally=Tally(waiting=4), regather=True), due_at=None)
    job = harness.ledger.job(JOB)
    harness.write(JobMoved(before=job, after=replace(job, due=Step.RETRY), due_at=NOW))
    [claim] = harness.claim(Step.RETRY)
    gathering = Gathering(limits=planned.limits, costing=Costing(price=None, output_tokens_max=5))
    retry(claim, ledger=harness.ledger, job_files=job_files, gathering=gathering, clock=VirtualClock(random.Random(7)))

    again = harness.ledger.chunk(chunk_id("r00001"))
    assert (again.is_canary, again.round) == (True, 2)
    assert request_files.row_keys(job_files, again) == [(0, 1), (0, 3)]
    assert harness.ledger.chunk(other.id).tally.waiting == 4
    assert names(harness.claim(Step.SUBMIT)) == ["r00001"]


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({0: OK, 1: OK}, (JobState.RUNNING, Canary.PASSED, Step.REVIEW, "")),
        ({0: NO, 1: NO}, (JobState.STOPPED, Canary.OPEN, Step.REVIEW, "canary")),
        ({0: NO, 1: AGAIN}, (JobState.RUNNING, Canary.OPEN, Step.RETRY, "")),
    ],
)
def test_a_review_passes_stops_or_sends_again(answers: dict[int, Answer], expected: tuple[object, ...]) -> None:
    """And while the canary is under way it does none of these, whatever else waits to be sent again."""
    planned = Planned([["x"] * 8], canary_rows=2)
    harness, job_files, clock = planned.harness, planned.job_files, VirtualClock(random.Random(7))
    canary = harness.ledger.chunk(chunk_id("c00000-00000"))
    waiting = sum(answer.retryable for answer in answers.values())
    part = a_part(job_files, canary, answers).part
    collected = replace(
        canary, state=ChunkState.COLLECTED, batch_id=BatchId("b"), part=part, tally=Tally(waiting=waiting)
    )
    [claim] = harness.claim(Step.REVIEW)
    review(claim, ledger=harness.ledger, job_files=job_files, clock=clock)
    before = harness.ledger.job(JOB)
    harness.write(ChunkMoved(before=canary, after=collected, due_at=None), now=after(10))
    [claim] = harness.claim(Step.REVIEW, now=after(20))
    review(claim, ledger=harness.ledger, job_files=job_files, clock=clock)

    found = harness.ledger.job(JOB)
    assert (before.state, before.canary, before.due, before.decision) == (
        JobState.RUNNING,
        Canary.OPEN,
        Step.REVIEW,
        "",
    )
    assert (found.state, found.canary, found.due, found.decision) == expected
