"""T14: what a ledger of very many chunks takes: to be filled, to be asked what is due, to hand work out.

Rule 1: everything goes through the ledger's own methods on a file that waits for the disk, as in a real run.
Rule 2: the clock runs while the ledger works, not while this file makes up what is to be entered.
Rule 3: hand-outs are made by processes at once, and counted by what they were given, not by what they asked for.
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from orchestrator.domain.changes import ChunkAdded
from orchestrator.domain.model import ChunkState, Claim, Step
from orchestrator.ledger.admin import SqlAdmin
from orchestrator.ledger.db.database import Database, open_sqlite
from orchestrator.ledger.steps import SqlLedger
from tests.builders import NOW, a_chunk, a_job, added

TOGETHER: Final = (
    1_000  # chunks written in one transaction, about as many as a slice of a hundred thousand rows may have
)
LEASE_S: Final = 3_600.0
LOOKS: Final = 500
HANDED_OUT: Final = 64  # at a time, as a fleet's control lane does
PROCESSES: Final = 2
SECONDS: Final = 8.0


def measure(chunk_count: int) -> dict[str, Any]:
    """Fill a ledger with chunks of running batches, one in a hundred of them due, and return the figures."""
    with tempfile.TemporaryDirectory(prefix="load-ledger-") as folder:
        path = Path(folder) / "ledger.db"
        database = open_sqlite(path)
        try:
            insert_s, insert_cpu_s = _fill(database, chunk_count)
            looks_ms = _looks(database)
        finally:
            database.close()
        given, seconds = _hand_out(path)
        size_bytes = sum(file.stat().st_size for file in Path(folder).iterdir())
    twice = sum(count - 1 for count in Counter(given).values() if count > 1)
    return {
        "chunks": chunk_count,
        "insert_s": round(insert_s, 1),
        "insert_cpu_s": round(insert_cpu_s, 1),
        "due_p50_ms": _quantile(looks_ms, 0.5),
        "due_p99_ms": _quantile(looks_ms, 0.99),
        "processes": PROCESSES,
        "handed_out": len(given),
        "handed_out_per_s": round(len(given) / seconds),
        "handed_out_twice": twice,
        "size_mb": size_bytes // 1_000_000,
    }


def _fill(database: Database, chunk_count: int) -> tuple[float, float]:
    """Enter the chunks, and return how long that took: by the clock on the wall, and of the processor's time."""
    ledger = SqlLedger(database)
    job = SqlAdmin(database).open(a_job(), 1, now=NOW)
    [claim] = ledger.claim([Step.REVIEW], limit=1, now=NOW, lease_s=LEASE_S)
    assert job.id == claim.unit.job_id
    seconds = cpu_s = 0.0
    for start in range(0, chunk_count, TOGETHER):
        chunks = [_chunk(number) for number in range(start, min(chunk_count, start + TOGETHER))]
        began, cpu_began = time.monotonic(), time.process_time()
        ledger.record(claim, *chunks, now=NOW, keep=True)
        seconds += time.monotonic() - began
        cpu_s += time.process_time() - cpu_began
    return seconds, cpu_s


def _chunk(number: int) -> ChunkAdded:
    """Return a chunk whose batch is to be polled: one in a hundred now, the others over the next day."""
    due_at = NOW if number % 100 == 0 else NOW + timedelta(seconds=60 + number % 86_400)
    return added(a_chunk(f"c{number:07d}", state=ChunkState.SUBMITTED, sent_at=NOW), due_at=due_at)


def _looks(database: Database) -> list[float]:
    ledger, times_ms = SqlLedger(database), []
    for _ in range(LOOKS):
        began = time.perf_counter()
        assert Step.POLL in ledger.due(now=NOW)
        times_ms.append(1_000 * (time.perf_counter() - began))
    return sorted(times_ms)


def _quantile(values: list[float], share: float) -> float:
    return round(values[min(len(values) - 1, int(share * len(values)))], 2)


def _hand_out(path: Path) -> tuple[list[tuple[str, int]], float]:
    """Let processes claim side by side for a while; return what each was given, and the time."""
    context = multiprocessing.get_context("spawn")
    results: Any = context.Queue()
    barrier = context.Barrier(PROCESSES + 1)
    processes = [context.Process(target=_claim, args=(path, barrier, results)) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    barrier.wait(120)
    began = time.monotonic()
    given = [one for _ in processes for one in results.get()]
    seconds = time.monotonic() - began
    for process in processes:
        process.join()
    return given, seconds


def _claim(path: Path, barrier: Any, results: Any) -> None:
    database = open_sqlite(path)
    ledger, given = SqlLedger(database), list[Claim]()
    later = NOW + timedelta(days=2)  # by then all are due
    barrier.wait(120)
    ends_at = time.monotonic() + SECONDS
    while time.monotonic() < ends_at:
        claims = ledger.claim([Step.POLL], limit=HANDED_OUT, now=later, lease_s=LEASE_S)
        given += claims
        if not claims:
            break
    results.put([(str(claim.unit.chunk_id), claim.token) for claim in given])
    database.close()


def told(figures: dict[str, Any]) -> None:
    """Print the figures as a sentence."""
    sys.stdout.write(
        "{chunks:,} chunks entered in {insert_s} s ({insert_cpu_s} s of processor time); a look for what is due: "
        "{due_p50_ms} ms, p99 {due_p99_ms} ms; "
        "{processes} processes were handed {handed_out_per_s:,} a second, {handed_out_twice} twice; "
        "{size_mb:,} MB\n".format(**figures)
    )
