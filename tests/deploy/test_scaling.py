"""What KEDA asks, asked of a real ledger: the query is SQL, the view has its columns, and the answer is a number."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from orchestrator.domain.model import ChunkState
from orchestrator.domain.queues import Queue, steps_of
from orchestrator.ledger.db.database import open_ledger
from tests.builders import a_chunk, a_job
from tests.contract.ledger_harness import LedgerHarness
from tests.deploy.files import KEDA, documents
from tests.servers.postgres import fresh_database, some_postgres


@pytest.fixture(scope="module")
def ledger_url() -> Iterator[str]:
    """A ledger in PostgreSQL with a job of three shards to be planned, one batch in flight and one chunk to be sent.

    One batch is all that the account may have in flight: nobody can claim the chunk.
    """
    with fresh_database(some_postgres()) as url:
        database = open_ledger(url)
        harness = LedgerHarness(database)
        harness.open(a_job(batches_in_flight_max=1), shards=3)
        harness.add(a_chunk(), a_chunk("c00000-00001", state=ChunkState.SUBMITTED))
        assert harness.claim(*steps_of(Queue.TRANSFER)) == []
        yield url
        database.close()


@pytest.mark.parametrize(
    ("file", "units"), [("scale-control.yaml", 2), ("scale-transfer.yaml", 1), ("scale-heavy.yaml", 3)]
)
def test_the_autoscalers_query_counts_what_is_due_in_its_lanes(ledger_url: str, file: str, units: int) -> None:
    """Three plans are heavy; a look at the batch and one at the job are control's; a create counts as due even where
    its account has no room for it, as the comment says. KEDA wants a whole number."""
    (scaler,) = documents(KEDA / file)
    (trigger,) = scaler["spec"]["triggers"]

    with psycopg.connect(ledger_url) as connection:
        row = connection.execute(trigger["metadata"]["query"]).fetchone()

    assert row == (units,)
    assert isinstance(row[0], int)
