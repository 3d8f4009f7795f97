"""Texts that are no Unicode: no request is made of them, and the output can be read all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import orchestrator
from orchestrator.dataset.well_formed import well_formed
from orchestrator.testing import fake_provider

HALF, CUT = b"a\xed\xa0\x80b", b"caf\xe9"  # half of a surrogate pair; a byte of another encoding
REPAIRED = "a\ufffdb"


def texts(*values: bytes | None) -> pa.Array:
    """Return bytes that call themselves texts, as the JSON parser and some writers of Parquet give them."""
    raw = pa.array(values, pa.binary())
    return pa.Array.from_buffers(pa.string(), len(raw), raw.buffers(), raw.null_count)


BAD = texts(b"fine", HALF, None, CUT)
GOOD = ["fine", REPAIRED, None, "caf\ufffd"]
NESTED: dict[str, tuple[Any, Any]] = {
    "text": (BAD, GOOD),
    "slice": (BAD.slice(1, 2), GOOD[1:3]),
    "struct": (pa.StructArray.from_arrays([BAD, pa.array([b"\xff", None, b"", b"x"])], ["t", "b"]), None),
    "list": (pa.ListArray.from_arrays([0, 2, 4], BAD), [GOOD[:2], GOOD[2:]]),
    "map": (
        pa.MapArray.from_arrays([0, 1, 2], pa.array(["k", "l"]), BAD.slice(0, 2)),
        [[("k", "fine")], [("l", REPAIRED)]],
    ),
    "dictionary": (pa.DictionaryArray.from_arrays(pa.array([1, 0, 1]), BAD.slice(0, 2)), [REPAIRED, "fine", REPAIRED]),
}


@pytest.mark.parametrize("kind", NESTED)
def test_a_text_that_is_no_unicode_is_marked_where_it_is_wrong_and_nothing_else_changes(kind: str) -> None:
    values, expected = NESTED[kind]

    found = well_formed(values)

    found.validate(full=True)
    assert found.type == values.type
    if kind == "struct":
        expected = [{"t": text, "b": data} for text, data in zip(GOOD, [b"\xff", None, b"", b"x"], strict=True)]
    assert found.to_pylist() == expected


def test_values_that_are_well_formed_are_the_same_array() -> None:
    values = pa.array(["a", None, "\u00e9\U0001f600"])

    assert well_formed(values) is values


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet"])
def test_an_output_with_such_a_text_in_a_column_that_is_carried_along_is_read_by_all(tmp_path: Path, name: str) -> None:
    """It was paid for, and one value made it unreadable for DuckDB, polars and Python."""
    if name.endswith("jsonl"):
        (tmp_path / name).write_text('{"text": "t", "note": "a\\ud800b", "all": {"in": ["a\\udc00b"]}}\n')
    else:
        pq.write_table(pa.table({"text": ["t"], "note": texts(HALF)}), tmp_path / name)
    with fake_provider() as fake:
        result = orchestrator.run(tmp_path / name, prompt="{text}", model="any", work=tmp_path / "work", **fake.options)
    handle = orchestrator.open_job(result.job_id, work=tmp_path / "work")

    assert result.to_arrow()["note"].to_pylist() == [REPAIRED]
    assert pl.read_parquet(result.path)["note"].to_list() == [REPAIRED]
    assert duckdb.sql(f"SELECT note FROM read_parquet('{result.path}')").fetchall() == [(REPAIRED,)]
    assert handle.export(tmp_path / "answers.csv") == 1
    assert handle.show(0).source is not None
