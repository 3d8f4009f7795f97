"""Answers of other jobs: which of them are taken, from where, and what happens where a part cannot be read."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any, BinaryIO

import pyarrow.parquet as pq
import pytest

from orchestrator.domain.errors import StorageError
from orchestrator.domain.model import JobId
from orchestrator.domain.reconcile import Answer
from orchestrator.job_files.answer_index import ABSENT
from orchestrator.job_files.result_parts import write_part
from orchestrator.job_files.reused_parts import AnswersGone, OtherAnswers, OtherJob
from tests.collector.builders import PRICE, a_failure, an_answer
from tests.fakes.job_files import MemoryJobFiles

KEYS = [bytes([number]) * 16 for number in range(40)]


class OftenDown(MemoryJobFiles):
    """A store that fails at times, as it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.fails = 0

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Open a file, or fail."""
        if self.fails:
            self.fails -= 1
            raise StorageError(f"{name}: the store does not answer")
        with super().open(name) as file:
            yield file


def put(files: MemoryJobFiles, name: str, *answers: Answer, start: int = 0) -> None:
    """Write a part of these answers to the requests with the keys from `start` on."""
    rows = [((0, row), answer) for row, answer in enumerate(answers)]
    keys = {key: KEYS[start + key[1]] for key, _ in rows}
    with files.create(f"parts/{name}.parquet") as out:
        write_part(out, iter(rows), batch_id="b", round=2, fees_usd=None, price=PRICE, content_keys=keys)


def other(files: MemoryJobFiles, name: str = "earlier") -> OtherJob:
    return OtherJob(job_id=JobId(name), job_files=files)


def copied(found: OtherAnswers, *keys: bytes) -> list[dict[str, object]]:
    """Copy the answers to these requests, as rows 100, 101, …"""
    out, joined = BytesIO(), b"".join(keys)
    rows = list(range(100, 100 + len(keys)))
    found.copy(out, shard_no=7, rows=rows, keys=joined, places=found.find(joined))
    table: list[dict[str, object]] = pq.read_table(BytesIO(out.getvalue())).to_pylist()
    return table


def test_whole_and_cut_off_answers_are_taken_and_no_others() -> None:
    files = MemoryJobFiles()
    cut, refused, empty = (an_answer(error_code=kind) for kind in ("truncated", "refused", "empty"))
    put(files, "c00000-00000", an_answer(), cut, refused, empty, a_failure())

    found = OtherAnswers([other(files)])

    assert (found.find(b"".join(KEYS[:5])) != ABSENT).tolist() == [True, True, False, False, False]
    assert len(found) == 2


def test_a_copy_is_this_jobs_row_costs_nothing_and_names_who_paid() -> None:
    files, second = MemoryJobFiles(), MemoryJobFiles()
    put(files, "c00000-00000", an_answer("one"), an_answer("two"))
    once = OtherAnswers([other(files, "first")])
    with second.create("parts/c00000-00000.reused.parquet") as out:
        once.copy(out, shard_no=0, rows=[0, 1], keys=KEYS[1] + KEYS[0], places=once.find(KEYS[1] + KEYS[0]))

    rows = copied(OtherAnswers([other(second, "second")]), KEYS[0], KEYS[1])

    assert [(row["shard"], row["row"], row["text"]) for row in rows] == [(7, 100, "one"), (7, 101, "two")]
    assert [(row["cost_usd"], row["round"], row["reused_from"]) for row in rows] == [(0, 0, "first")] * 2
    assert [row["content_key"] for row in rows] == KEYS[:2]


def test_the_last_answer_of_the_newest_job_is_taken() -> None:
    newer, older = MemoryJobFiles(), MemoryJobFiles()
    put(older, "r00009", an_answer("old"), an_answer("only there"))
    put(newer, "c00000-00000", an_answer("first try", error_code="truncated"))
    put(newer, "r00001", an_answer("second try"))

    rows = copied(OtherAnswers([other(newer), other(older)]), KEYS[0], KEYS[1])

    assert [row["text"] for row in rows] == ["second try", "only there"]


def test_a_damaged_part_has_no_answers_and_is_named(caplog: pytest.LogCaptureFixture) -> None:
    files = MemoryJobFiles()
    put(files, "c00000-00000", an_answer())
    put(files, "c00000-00001", an_answer(), start=1)
    files.files["parts/c00000-00000.parquet"] = b"no Parquet"

    found = OtherAnswers([other(files)])

    assert (found.find(KEYS[0] + KEYS[1]) != ABSENT).tolist() == [False, True]
    assert "part=parts/c00000-00000.parquet" in caplog.text


def test_a_part_that_can_be_read_at_second_try_is_read() -> None:
    files = OftenDown()
    put(files, "c00000-00000", an_answer())
    files.fails = 1

    found = OtherAnswers([other(files)])
    files.fails = 1
    with pytest.raises(AnswersGone):
        copied(found, KEYS[0])

    assert [row["text"] for row in copied(found, KEYS[0])] == [an_answer().text]


def test_answers_of_a_job_that_was_deleted_meanwhile_are_no_longer_found() -> None:
    files = MemoryJobFiles()
    put(files, "c00000-00000", an_answer())
    found = OtherAnswers([other(files)])
    files.files.clear()

    with pytest.raises(AnswersGone, match=r"earlier: parts/c00000-00000\.parquet"):
        copied(found, KEYS[0])

    assert found.find(KEYS[0]).tolist() == [ABSENT]


class CountedFiles(MemoryJobFiles):
    """Counts how often a file is opened."""

    opened = 0

    def open(self, name: str) -> Any:
        """Count it."""
        self.opened += 1
        return super().open(name)


def scattered(files: MemoryJobFiles) -> tuple[OtherAnswers, list[list[bytes]]]:
    """Return two parts of 20 answers, and their keys in blocks of four in quite another order."""
    for part in range(2):
        answers = (an_answer(text=f"the answer to {number}") for number in range(20 * part, 20 * part + 20))
        put(files, f"c{part:05d}-00000", *answers, start=20 * part)
    order = [number for first in range(10) for number in (first, 39 - first, 10 + first, 29 - first)]
    return OtherAnswers([other(files)]), [[KEYS[n] for n in order[at : at + 4]] for at in range(0, 40, 4)]


def test_rows_in_quite_another_order_take_two_readings_of_each_part() -> None:
    """The second one unpacks it; and the answers are those to the keys."""
    files = CountedFiles()
    found, blocks = scattered(files)
    before = files.opened

    texts = [row["text"] for block in blocks for row in copied(found, *block)]

    assert texts == [f"the answer to {KEYS.index(key)}" for block in blocks for key in block]
    assert files.opened - before == 2 * 2


def test_where_the_disk_takes_nothing_parts_are_read_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    files = CountedFiles()
    found, blocks = scattered(files)
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    before = files.opened

    texts = [row["text"] for block in blocks for row in copied(found, *block)]

    assert texts == [f"the answer to {KEYS.index(key)}" for block in blocks for key in block]
    assert files.opened - before == 2 * len(blocks)
