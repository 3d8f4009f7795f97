"""T16: very many rows planned, sent, collected and finished by one process; does its memory stay flat, is all exact.

Rule 1: everything is as in a real run, but the provider: it answers in this process, at once, from the request files.
Rule 2: what the provider's own work takes is taken off the figures of the collector.
Rule 3: the output is read back, row by row, and held against the dataset.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

import orchestrator
from orchestrator.domain.batch import BatchStatus, ResultFile, Submission, Traits
from orchestrator.domain.look import Look
from orchestrator.domain.model import BatchId, Claim, Outcome, Step
from orchestrator.domain.recovery import Recovery
from orchestrator.domain.results_at import Inline, ResultsAt
from orchestrator.engine import process_memory
from orchestrator.engine.steps import STEPS
from orchestrator.ports import HasFiles, HasList
from orchestrator.providers import registry
from orchestrator.providers.dialect import Dialect
from orchestrator.providers.http.client import HttpClient
from orchestrator.providers.onerouter.dialect import OneRouterDialect

KEY: Final = "LOAD_API_KEY"
GROUP_ROWS: Final = 50_000
REQUEST: Final = re.compile(rb'"custom_id":"([^"]+)".*?"content":"Say (row \d+)')
# About 420 bytes: an answer of few words, as of a classification.
LINE: Final = (
    b'{"id":"batch_req_%b","custom_id":"%b","response":{"status_code":200,"request_id":"req_%b","body":{"id":'
    b'"chatcmpl-0123456789abcdef","object":"chat.completion","created":1765972493,"model":"gpt-4o-mini-2024-07-18",'
    b'"choices":[{"index":0,"message":{"role":"assistant","content":"answer to %b","refusal":null},"logprobs":null,'
    b'"finish_reason":"stop"}],"usage":{"prompt_tokens":12,"completion_tokens":4,"total_tokens":16}}},"error":null}\n'
)


class Echo:
    """A provider in this process: every batch has ended as soon as it is made."""

    files: HasFiles | None = None
    batch_list: HasList | None = None

    def __init__(self) -> None:
        self.cpu = threading.local()
        self._submissions: dict[BatchId, Submission] = {}

    @property
    def traits(self) -> Traits:
        """The provider's traits."""
        return Traits(name="echo", recovery=Recovery.UNKNOWABLE)

    def create(self, submission: Submission) -> BatchId:
        """Remember where the requests are."""
        batch_id = BatchId(f"batch-{submission.token}")
        self._submissions[batch_id] = submission
        return batch_id

    def status(self, batch_id: BatchId) -> BatchStatus:
        """Say that all is done."""
        count = self._submissions[batch_id].request_count
        return BatchStatus(outcome=Outcome.COMPLETED, results=Inline(), done_count=count)

    def results(self, batch_id: BatchId, where: ResultsAt) -> Iterator[ResultFile]:  # noqa: ARG002 - part of the port
        """Answer every request of the batch."""
        yield ResultFile(name="results", blocks=self._answers(self._submissions.pop(batch_id)))

    def _answers(self, submission: Submission) -> Iterator[bytes]:
        began, rest = time.thread_time(), b""
        for block in submission.blocks():
            whole, _, rest = (rest + block).rpartition(b"\n")
            found = REQUEST.findall(whole)
            answers = b"".join([LINE % (name, name, name, said) for name, said in found])
            self.cpu.seconds = getattr(self.cpu, "seconds", 0.0) + time.thread_time() - began
            yield answers
            began = time.thread_time()

    def cancel(self, batch_id: BatchId) -> None:
        """Not needed."""


def measure(row_count: int) -> dict[str, Any]:
    """Run a job of so many rows and return its figures."""
    process_memory.give_back()
    with tempfile.TemporaryDirectory(prefix="load-rows-") as folder:
        dataset = Path(folder) / "rows.parquet"
        writer = multiprocessing.get_context("spawn").Process(target=_make_dataset, args=(dataset, row_count))
        writer.start()
        writer.join()
        echo, cpu_s = Echo(), {Step.COLLECT: 0.0, Step.FINISH: 0.0}
        _meter(echo, cpu_s)
        peaks_mb: list[tuple[float, int]] = []
        began, cpu_began = time.monotonic(), time.process_time()
        output = _run(dataset, Path(folder) / "work", echo, row_count, peaks_mb)
        seconds, cpu_all_s = time.monotonic() - began, time.process_time() - cpu_began
        peak_mb = _peak_mb()
        wrong = _wrong(Path(output), row_count)
    half_mb = max((mb for share, mb in peaks_mb if share <= 0.5), default=peak_mb)
    return {
        "rows": row_count,
        "wrong_rows": wrong,
        "seconds": round(seconds, 1),
        "cpu_s": round(cpu_all_s, 1),
        "rows_per_s": round(row_count / seconds),
        "collect_rows_per_cpu_s": round(row_count / cpu_s[Step.COLLECT]),
        "finish_rows_per_cpu_s": round(row_count / cpu_s[Step.FINISH]),
        "peak_mb": peak_mb,
        "peak_mb_at_half": half_mb,
    }


def _make_dataset(path: Path, row_count: int) -> None:
    schema = pa.schema([("id", pa.int64()), ("text", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, row_count, GROUP_ROWS):
            numbers = range(start, min(row_count, start + GROUP_ROWS))
            texts = [f"row {number} of a dataset whose lines say little" for number in numbers]
            writer.write_table(pa.table([pa.array(numbers, pa.int64()), pa.array(texts)], schema=schema))


def _meter(echo: Echo, cpu_s: dict[Step, float]) -> None:
    """Count the processor time of two kinds of steps, without the provider's."""
    steps: Any = STEPS
    lock = threading.Lock()
    for kind in (Step.COLLECT, Step.FINISH):
        step, names = steps[kind]
        steps[kind] = (_metered(step, kind, echo, cpu_s, lock), names)


def _metered(
    step: Callable[..., None], kind: Step, echo: Echo, cpu_s: dict[Step, float], lock: threading.Lock
) -> Callable[..., None]:
    def metered(claim: Claim, **taken: Any) -> None:
        began, echo.cpu.seconds = time.thread_time(), 0.0
        try:
            step(claim, **taken)
        finally:
            with lock:
                cpu_s[kind] += time.thread_time() - began - echo.cpu.seconds

    return metered


def _run(dataset: Path, work: Path, echo: Echo, row_count: int, peaks_mb: list[tuple[float, int]]) -> str:
    """Run the job; note the peak of this process's memory against the share of rows that are settled."""
    os.environ[KEY] = "none"
    registry.register("echo", _dialect_of(echo))

    def progress(now: Look) -> None:
        peaks_mb.append(((now.rows.answered + now.rows.failed) / row_count, _peak_mb()))

    result = orchestrator.run(
        dataset,
        prompt="Say {text}",
        model="gpt-6-luna",
        work=work,
        provider="echo",
        provider_options={"dialect": "echo", "base_url": "http://127.0.0.1:9/v1", "api_key_env": KEY},
        policy={"poll_s_min": 1.0, "chunks_ahead_max": 100, "batches_in_flight_max": 50},
        progress=progress,
    )
    return str(result.path)


def _dialect_of(echo: Echo) -> type[Dialect]:
    class EchoDialect(OneRouterDialect):
        """Speaks as OneRouter does, to the provider of this process."""

        def connect(self, http: HttpClient) -> Any:  # noqa: ARG002 - nothing is connected
            """Return it."""
            return echo

    return EchoDialect


def _peak_mb() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) // 1024


def _wrong(output: Path, row_count: int) -> int:
    """Return how many rows are missing, out of place, or bear another's answer."""
    at = wrong = 0
    columns = ["id", "llm_status", "llm_response"]
    for part in sorted(output.glob("part-*.parquet")):
        for batch in pq.ParquetFile(part).iter_batches(columns=columns):
            for number, status, answer in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                wrong += (number, status, answer) != (at, "succeeded", f"answer to row {at}")
                at += 1
    return wrong + abs(row_count - at)


def told(figures: dict[str, Any]) -> None:
    """Print the figures as a sentence."""
    sys.stdout.write(
        "{rows:,} rows in {seconds} s ({rows_per_s:,} a second, {cpu_s} s of processor time), {wrong_rows} wrong; "
        "collect {collect_rows_per_cpu_s:,} and finish {finish_rows_per_cpu_s:,} rows a processor second; "
        "peak {peak_mb} MB, {peak_mb_at_half} MB at the half\n".format(**figures)
    )
