"""Which rows a chunk's requests are of: known from its range, or from a list beside its request file."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.collector.collect import collect
from orchestrator.collector.settle import Collecting
from orchestrator.domain import custom_id, results_at
from orchestrator.domain.batch import ResultFile
from orchestrator.domain.errors import StorageError
from orchestrator.domain.model import Chunk, ChunkState, Outcome, Step
from orchestrator.domain.policy import Limits
from orchestrator.domain.reconcile import RowKey
from orchestrator.domain.results_at import Inline
from orchestrator.job_files import request_files
from orchestrator.job_files.request_files import LinesDraft, keyed_requests_of, requests_of, row_keys
from orchestrator.providers.onerouter.dialect import READER
from tests.batches.stage import Stage
from tests.builders import a_chunk
from tests.fakes.job_files import MemoryJobFiles
from tests.planner.test_plan import DIGEST, chunks, planned


def a_line(key: RowKey) -> bytes:
    return b'{"custom_id":"%s","body":{}}\n' % custom_id.custom_id(DIGEST, *key).encode()


def a_key(key: RowKey) -> bytes:
    return b"%08x%08x" % key


def drafted(job_files: MemoryJobFiles, keys: list[RowKey], *, is_retry: bool = False) -> Chunk:
    """Return a chunk of these rows, with its files."""
    draft = LinesDraft()
    for key in keys:
        draft.add(a_line(key), key, a_key(key))
    file = draft.write(job_files, "c00000-00000", is_retry=is_retry)
    place = {"shard_no": None, "row_start": 0, "row_end": 0}
    if not is_retry:
        place = {"shard_no": keys[0][0], "row_start": draft.row_start, "row_end": draft.row_end}
    return a_chunk(**place, requests=file.name, request_count=file.line_count, request_bytes=file.size_bytes)


@pytest.mark.parametrize(
    ("keys", "is_retry", "files"),
    [
        ([(0, row) for row in range(5)], False, 2),
        ([(3, row) for row in range(90, 95)], False, 2),
        ([(0, 0), (0, 1), (0, 4)], False, 3),
        ([(0, row) for row in range(5)], True, 3),
        ([(0, 7), (2, 7), (2, 8), (1, 0)], True, 3),
    ],
)
def test_the_rows_of_a_chunk_are_read_again_in_the_order_of_its_lines(
    keys: list[RowKey], files: int, *, is_retry: bool
) -> None:
    """A chunk of consecutive rows of one shard needs no list of them: its requests and their keys are all."""
    job_files = MemoryJobFiles()
    chunk = drafted(job_files, keys, is_retry=is_retry)

    assert row_keys(job_files, chunk) == keys
    assert list(requests_of(job_files, chunk)) == [(key, a_line(key)) for key in keys]
    assert list(keyed_requests_of(job_files, chunk)) == [(a_line(key), key, a_key(key)) for key in keys]
    assert len(job_files.names("requests")) == files


def test_the_planner_knows_the_rows_of_every_chunk_also_where_rows_between_them_were_skipped(tmp_path: Path) -> None:
    texts = [None if row % 4 == 2 else f"row {row}" for row in range(23)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "rows.parquet", row_group_size=8)

    harness, job_files = planned(
        tmp_path / "rows.parquet", limits=Limits(requests_max=3, bytes_max=100_000), null_policy="skip"
    )

    found = [(key, line) for chunk in chunks(harness) for key, line in requests_of(job_files, chunk)]
    assert len(found) == sum(text is not None for text in texts)
    for key, line in found:
        assert json.loads(line)["custom_id"] == custom_id.custom_id(DIGEST, *key)


@pytest.mark.parametrize("content", [b"", b"no zstd", b"\x28\xb5\x2f\xfd\x04"])
def test_a_damaged_list_of_rows_is_an_error_that_names_it(content: bytes) -> None:
    job_files = MemoryJobFiles()
    chunk = drafted(job_files, [(0, 0), (1, 1)], is_retry=True)
    [name] = [name for name in job_files.names("requests") if name.endswith(".rows.zst")]
    job_files.files[name] = content

    with pytest.raises(StorageError, match=r"\.rows\.zst is damaged"):
        row_keys(job_files, chunk)


@pytest.mark.parametrize("count", [1, 3])
def test_a_list_of_other_rows_than_the_chunk_has_is_an_error(count: int) -> None:
    job_files = MemoryJobFiles()
    chunk = drafted(job_files, [(0, 0), (1, 1)], is_retry=True)

    with pytest.raises(StorageError, match=f"does not name {count} rows"):
        row_keys(job_files, a_chunk(shard_no=None, requests=chunk.requests, request_count=count))


@pytest.mark.parametrize(("row_end", "which"), [(1, "more"), (3, "fewer")])
def test_a_request_file_of_another_number_of_lines_is_an_error(row_end: int, which: str) -> None:
    job_files = MemoryJobFiles()
    chunk = drafted(job_files, [(0, 0), (0, 1)])
    told = a_chunk(row_end=row_end, requests=chunk.requests, request_count=row_end)

    with pytest.raises(StorageError, match=f"holds {which} than {row_end} requests"):
        list(requests_of(job_files, told))


def test_a_file_of_another_number_of_keys_is_an_error_that_names_it() -> None:
    job_files = MemoryJobFiles()
    chunk = drafted(job_files, [(0, 0), (0, 1)])
    [keys] = [name for name in job_files.names("requests") if name.endswith(".keys")]
    job_files.files[keys] += b"x"

    with pytest.raises(StorageError, match=r"\.keys is damaged: it does not hold 2 keys"):
        list(keyed_requests_of(job_files, chunk))


def test_results_are_collected_without_a_look_at_the_requests() -> None:
    """Unpacking them took longer than parsing the answers, for nothing but the rows' numbers."""
    stage = Stage()
    chunk = stage.put(ChunkState.ENDED, outcome=Outcome.COMPLETED, results=results_at.to_text(Inline()))
    ids = [custom_id.custom_id(DIGEST, 0, row) for row in range(2)]
    body = {"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}]}
    answers = [{"custom_id": name, "response": {"status_code": 200, "body": body}} for name in ids]
    content = "".join(f"{json.dumps(answer)}\n" for answer in answers).encode()
    stage.provider.tell([ResultFile(name="results", blocks=iter([content]))])
    del stage.job_files.files[chunk.requests]

    collect(
        stage.claim(chunk, Step.COLLECT),
        ledger=stage.harness.ledger,
        job_files=stage.job_files,
        provider=stage.provider,
        collecting=Collecting(job_digest=DIGEST, price=None, read_line=READER),
        clock=stage.clock,
    )

    assert stage.chunk(chunk).tally.succeeded == 2
    assert request_files.raw_name(chunk, "results") in stage.job_files.files
