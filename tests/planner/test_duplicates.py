"""Requests that equal an earlier one of the job are planned as duplicates, wherever in the table they are."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.dataset.dataset import open_dataset
from orchestrator.domain import custom_id
from orchestrator.domain.batch import LineEnvelope
from orchestrator.domain.model import NEVER_SENT, Step
from orchestrator.domain.policy import Limits
from orchestrator.job_files import request_files
from orchestrator.job_files.asked_keys import AskedKeys
from orchestrator.ledger.db.database import open_sqlite
from orchestrator.planner.cost import Costing
from orchestrator.planner.plan import Planning, plan
from orchestrator.planner.render import TemplateRenderer
from orchestrator.planner.template import body_of, compile_body
from tests.builders import JOB, a_job
from tests.contract.ledger_harness import LedgerHarness
from tests.fakes.clock import VirtualClock
from tests.fakes.job_files import MemoryJobFiles

ENVELOPE: Final = LineEnvelope(before_id=b'{"custom_id":"', before_body=b'","params":', after_body=b"}")
LIMITS: Final = Limits(requests_max=4, bytes_max=100_000)


def planned(location: Path, *, forgets: bool) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Plan a dataset of shards of 16 rows and slices of 5; return the rows that are sent, and the duplicates.

    Args:
        forgets: each step is one of a process that knows nothing of those before.
    """
    source = open_dataset(location, shard_rows=16, shard_bytes=1 << 20)
    compiled = compile_body(
        body_of(model="m", prompt="{text}", system=None, messages=None, parameters={}), source.schema
    )
    harness, job_files, asked = LedgerHarness(open_sqlite(None)), MemoryJobFiles(), AskedKeys(spill_rows=20)
    harness.open(a_job(dedupe=True, chunks_ahead_max=3), shards=len(source.shards))
    while claims := harness.claim(Step.PLAN):
        planning = Planning(
            source=source,
            renderer=lambda shard_no: TemplateRenderer(
                compiled=compiled,
                envelope=ENVELOPE,
                id_prefix=custom_id.prefix("9f86d081", shard_no).encode(),
                null_policy="error",
            ),
            limits=LIMITS,
            costing=Costing(price=None, output_tokens_max=5),
            slice_rows=5,
            asked=AskedKeys() if forgets else asked,
        )
        [claim] = claims
        plan(claim, ledger=harness.ledger, job_files=job_files, planning=planning, clock=VirtualClock(random.Random(7)))
        with harness.database.write() as tx:  # everything is sent at once, and planning goes on
            tx.exec_driver_sql("UPDATE chunks SET state = 'submitted', batch_id = id WHERE state = 'planned'")
            tx.exec_driver_sql("UPDATE shards SET due_at = 0, lease_until = 0 WHERE state = 'planning'")
    rows: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
    for name in job_files.names("requests"):
        if name.endswith(".jsonl.zst"):
            chunk = harness.ledger.chunk(f"{JOB}/{name.removeprefix('requests/').split('.')[0]}")  # type: ignore[arg-type]
            rows[chunk.state in NEVER_SENT].extend(request_files.row_keys(job_files, chunk))
    return sorted(rows[0]), sorted(rows[1])


@pytest.mark.parametrize("seed", [1, 2])
def test_of_equal_requests_the_first_of_the_table_is_sent(tmp_path: Path, seed: int) -> None:
    """Whether one process plans all of it, or another one each step."""
    draw = random.Random(seed)
    texts = [f"text {draw.randrange(25)}" for _ in range(60)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "rows.parquet", row_group_size=16)
    keys = [(place // 16, place % 16) for place in range(len(texts))]
    first = {keys[texts.index(text)] for text in texts}

    for forgets in (False, True):
        sent, duplicates = planned(tmp_path / "rows.parquet", forgets=forgets)

        assert (set(sent), len(sent)) == (first, len(first))
        assert duplicates == sorted(set(keys) - first)
