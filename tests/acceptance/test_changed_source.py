"""A source that changes while a job is under way: no answer is ever written beside another row."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

import orchestrator
from orchestrator import DatasetError, JobStopped
from orchestrator.api.commands import identify
from orchestrator.testing import fake_provider

ROWS = 40


def write(path: Path, texts: list[str], notes: list[str] | None = None) -> None:
    """Write a file whose footer does not depend on the values: as many of one length, without statistics."""
    table = pa.table({"text": texts, "note": notes or ["same"] * len(texts)})
    pq.write_table(table, path, compression="none", use_dictionary=False, write_statistics=False)


def in_secret(path: Path, change: Callable[[], Any]) -> None:
    """Change a file, and keep its size and its time."""
    before = path.stat()
    change()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


TEXTS = [f"label {number:04d}" for number in range(ROWS)]
FLIPPED = [*TEXTS[:7], "label 9999", *TEXTS[8:]]


def run(path: Path, work: Path, *, meanwhile: Callable[[], Any]) -> Any:
    """Run a job; `meanwhile` happens when its first request is answered: it is sent, and not yet finished."""
    is_first = [True]

    def answer(body: dict[str, Any]) -> str:
        if is_first.pop() if is_first else False:
            meanwhile()
        return f"answer to {body['messages'][0]['content']}"

    with fake_provider(answer) as fake:
        return orchestrator.run(str(path), prompt="{text}", model="any", work=work, **fake.options)


@pytest.mark.parametrize(
    ("texts", "row"), [(FLIPPED, 7), ([*TEXTS[1:], TEXTS[0]], 0)], ids=["one value", "all rows shuffled"]
)
def test_values_that_changed_behind_the_same_footer_stop_the_job(tmp_path: Path, texts: list[str], row: int) -> None:
    """Size, time and footer are the same: only the rows that were read tell. What was paid for is kept."""
    path = tmp_path / "rows.parquet"
    write(path, TEXTS)

    with pytest.raises(
        JobStopped, match=rf"column 'text' has other values in rows 0 to 39.* the first of them row {row}\."
    ):
        run(path, tmp_path / "work", meanwhile=lambda: in_secret(path, lambda: write(path, texts)))

    assert not list((tmp_path / "work").glob("*/output/part-*"))


def test_another_value_is_another_job(tmp_path: Path) -> None:
    """A later run must not take the answers for rows that are others by now."""
    path = tmp_path / "rows.parquet"
    write(path, TEXTS)
    before = identify(orchestrator.Job(dataset=str(path), prompt="{text}", model="any"))
    in_secret(path, lambda: write(path, FLIPPED))

    assert identify(orchestrator.Job(dataset=str(path), prompt="{text}", model="any")) != before


def test_a_file_that_was_only_touched_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    write(path, TEXTS)

    result = run(path, tmp_path / "work", meanwhile=lambda: os.utime(path, ns=(1, 1)))

    assert result.to_pandas()["llm_response"].tolist() == [f"answer to {text}" for text in TEXTS]


def test_a_column_that_no_request_was_made_from_may_change(tmp_path: Path) -> None:
    """Its values are the source's own when the output is written."""
    path = tmp_path / "rows.parquet"
    write(path, TEXTS)
    notes = ["note"] * ROWS

    result = run(path, tmp_path / "work", meanwhile=lambda: in_secret(path, lambda: write(path, TEXTS, notes)))

    assert result.to_pandas()["note"].tolist() == notes


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("rows.csv", b'"never closed'),
        ("rows.csv", b"too,many,fields"),
        ("rows.csv", b"t,caf\xe9"),
        ("rows.jsonl", b'{"text": "cut sh'),
        ("rows.jsonl", b'{"text": {"of": "another type"}, "note": ""}'),
    ],
)
def test_a_last_row_that_cannot_be_read_is_found_before_the_first_is_sent(
    tmp_path: Path, name: str, last: bytes
) -> None:
    """Found late, it would lock in the answers that are paid for by then."""
    row = b'{"text": "t", "note": ""}\n' if name.endswith("jsonl") else b"t,n\n"
    head = b"" if name.endswith("jsonl") else b"text,note\n"
    (tmp_path / name).write_bytes(head + row * 20_000 + last)

    with fake_provider() as fake:
        for command in (orchestrator.plan, orchestrator.run):
            with pytest.raises(DatasetError, match=rf"^{name}"):
                command(str(tmp_path / name), prompt="{text}", model="any", work=tmp_path / "work", **fake.options)
        assert fake.requests == []


def test_an_audit_sees_answers_beside_other_rows(tmp_path: Path) -> None:
    """The output's own rows are compared with what was sent, not only with the parts."""
    path = tmp_path / "rows.parquet"
    write(path, TEXTS)
    result = run(path, tmp_path / "work", meanwhile=lambda: None)
    part = next(Path(result.path).glob("part-*.parquet"))
    table = pads.dataset(part).to_table()
    pq.write_table(table.set_column(0, "text", pa.array(FLIPPED)), part)

    found = orchestrator.audit(result.job_id, work=tmp_path / "work", deep=True)

    assert "column text, rows 0 to 39" in {difference.what for difference in found.differences}
