"""Answers that are vectors: one length for a whole job, in the column's type; another length is a row's failure."""

from __future__ import annotations

import struct
from base64 import b64encode
from io import BytesIO
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pytest

from orchestrator.collector.join import Join
from orchestrator.collector.vectors import LENGTH_FILE, WRONG_LENGTH, Vectors
from orchestrator.domain import custom_id
from orchestrator.domain.policy import OutputOptions
from orchestrator.domain.reconcile import Answer, RowKey
from orchestrator.job_files.part_cursor import PartCursor
from orchestrator.job_files.result_parts import write_part
from orchestrator.providers.result_lines import ResultReader, embedding
from tests.fakes.job_files import MemoryJobFiles

DIGEST: Final = "0123abcd" + "0" * 56
READ: Final = ResultReader(bodies=(embedding,))


def a_line(row: int, vector: Any, *, digest: str = DIGEST) -> bytes:
    body = {"data": [{"embedding": vector}], "usage": {"prompt_tokens": 3, "total_tokens": 3}}
    name = custom_id.custom_id(digest, 0, row)
    return orjson.dumps({"custom_id": name, "response": {"status_code": 200, "body": body}, "error": None})


def read(line: bytes) -> Answer:
    return READ(line, keep_raw=False)[1]


def test_numbers_and_base64_are_the_same_vector() -> None:
    numbers = read(a_line(0, [0.5, -1.0, 3]))
    encoded = read(a_line(0, b64encode(struct.pack("<3f", 0.5, -1.0, 3)).decode()))

    assert numbers.embedding == encoded.embedding == struct.pack("<3f", 0.5, -1.0, 3)
    assert (numbers.succeeded, numbers.text, numbers.input_tokens, numbers.output_tokens) == (True, None, 3, None)


@pytest.mark.parametrize("vector", [None, [], "", "no base64!", "AAA=", ["x"], [None], [[1.0]], {}, 7, [1e400]])
def test_what_is_no_vector_is_no_answer(vector: Any) -> None:
    assert not read(a_line(0, vector)).succeeded


def test_the_first_answer_of_the_job_sets_the_length_and_others_fail() -> None:
    job_files, vectors = MemoryJobFiles(), Vectors()
    first = vectors.checking(READ, job_files, DIGEST)

    assert first(a_line(0, [1.0, 2.0]), keep_raw=False)[1].succeeded
    _, other = first(a_line(1, [1.0, 2.0, 3.0]), keep_raw=False)

    assert (other.succeeded, other.error_code, other.retryable) == (False, WRONG_LENGTH, False)
    later = vectors.checking(READ, job_files, DIGEST)  # another chunk, another process
    assert later(a_line(2, [1.0]), keep_raw=False)[1].error_code == WRONG_LENGTH
    assert vectors.type(job_files) == pa.list_(pa.float32(), 2)


def test_a_line_of_another_job_sets_no_length() -> None:
    job_files, vectors = MemoryJobFiles(), Vectors()
    read_checked = vectors.checking(READ, job_files, DIGEST)

    read_checked(a_line(0, [1.0], digest="f" * 64), keep_raw=False)

    assert not job_files.exists(LENGTH_FILE)
    assert read_checked(a_line(0, [1.0, 2.0]), keep_raw=False)[1].succeeded


def test_the_length_that_was_asked_for_holds_from_the_start() -> None:
    read_checked = Vectors(length=2).checking(READ, MemoryJobFiles(), DIGEST)

    assert not read_checked(a_line(0, [1.0, 2.0, 3.0]), keep_raw=False)[1].succeeded
    assert read_checked(a_line(1, [1.0, 2.0]), keep_raw=False)[1].succeeded


def test_vectors_stand_in_a_column_of_their_length_and_a_failed_row_has_none() -> None:
    vectors = [[0.5, -1.0], None, [3.0, 4.0]]
    rows: list[tuple[RowKey, Answer]] = [
        (
            (0, row),
            Answer(succeeded=vector is not None, embedding=None if vector is None else struct.pack("<2f", *vector)),
        )
        for row, vector in enumerate(vectors)
    ]
    out = BytesIO()
    write_part(out, iter(rows), batch_id="b", round=1, fees_usd=None, price=None)
    source = pa.record_batch({"text": ["a", "b", "c"]})
    join = Join(
        job_digest=DIGEST,
        shard_no=0,
        options=OutputOptions(),
        source_schema=source.schema,
        parts=[PartCursor(BytesIO(out.getvalue()), shard_no=0)],
        gaps=[],
        vector_type=pa.list_(pa.float32(), 2),
    )

    result = join.add(source, row_start=0)

    assert result.schema.field("llm_embedding").type == pa.list_(pa.float32(), 2)
    assert result["llm_embedding"].to_pylist() == vectors
    assert result["llm_status"].to_pylist() == ["succeeded", "failed", "succeeded"]
    assert np.array(result["llm_embedding"].drop_null().flatten()).dtype == np.float32
