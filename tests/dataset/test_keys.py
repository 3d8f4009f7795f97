"""A column of the user's own that names rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import orchestrator
from orchestrator import ConfigError, DatasetError
from orchestrator.dataset import keys
from orchestrator.dataset.dataset import Dataset, open_dataset
from orchestrator.dataset.keys import check_keys, keep_keys, kept_keys, rows_of_keys
from orchestrator.testing import fake_provider
from tests.fakes.job_files import MemoryJobFiles

ROWS = 1_000


def a_source(folder: Path, values: Any, *, shard_rows: int = 400) -> Dataset:
    table = pa.table({"text": ["t"] * len(values), "id": values})
    pq.write_table(table, folder / "rows.parquet", row_group_size=200)
    return open_dataset(folder, shard_rows=shard_rows, shard_bytes=2**30)


@pytest.mark.parametrize(
    "values",
    [
        [f"k{number}" for number in range(ROWS)],
        list(range(ROWS)),
        pa.array([f"k{number}" for number in range(ROWS)]).dictionary_encode(),
    ],
    ids=["texts", "integers", "dictionary"],
)
def test_a_row_is_found_by_its_key(tmp_path: Path, values: Any) -> None:
    source, files = a_source(tmp_path, values), MemoryJobFiles()

    check_keys(source, "id")
    keep_keys(source, "id", files)

    key = str(pa.array(values)[730].as_py())
    assert rows_of_keys(files, len(source.shards), {key, "none"}) == {key: (1, 330)}
    assert [len(values) for values in kept_keys(files, 2)] == [200]


@pytest.mark.parametrize("held", [1, 2**20], ids=["files", "memory"])
@pytest.mark.parametrize(("first", "second"), [(3, 4), (3, 999), (998, 999)])
def test_a_key_that_names_two_rows_is_an_error_that_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int, first: int, second: int
) -> None:
    """And not the value, which is content of a row."""
    monkeypatch.setattr(keys, "PART_BYTES_HELD", held)
    values = [f"secret-{number}" for number in range(ROWS)]
    values[second] = values[first]

    with pytest.raises(DatasetError, match=rf"same value in row {first} and row {second}: a key") as raised:
        check_keys(a_source(tmp_path, values, shard_rows=ROWS), "id")
    assert "secret" not in str(raised.value)


def test_a_key_that_is_null_is_an_error_that_names_the_row(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"key column 'id' of .* is null in row 1 of shard 1: fill it"):
        check_keys(a_source(tmp_path, _third_null()), "id")


def _third_null() -> list[str | None]:
    values: list[str | None] = [f"k{number}" for number in range(ROWS)]
    values[401] = None
    return values


@pytest.mark.parametrize(
    ("column", "told"), [("nr", "has no column 'nr'"), ("id", r"is list<.*>, which names no rows")]
)
def test_a_column_that_cannot_be_a_key_is_refused(tmp_path: Path, column: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        check_keys(a_source(tmp_path, [[1], [2]]), column)


def test_a_job_with_keys_names_its_rows_by_them(tmp_path: Path) -> None:
    """Before anything is sent a key that is not unique is refused; the answers without the dataset have the keys."""
    (tmp_path / "rows.csv").write_text("id,text\n17,a\n4,b\n")
    (tmp_path / "doubled.csv").write_text("id,text\n17,a\n17,b\n")
    options = {"prompt": "{text}", "model": "any", "work": tmp_path / "work", "dataset_options": {"key": "id"}}
    with fake_provider() as fake:
        for refused in (orchestrator.plan, orchestrator.run):
            with pytest.raises(DatasetError, match=r"same value in row 0 and row 1"):
                refused(tmp_path / "doubled.csv", **options, **fake.options)
        assert not fake.requests

        result = orchestrator.run(tmp_path / "rows.csv", **options, **fake.options)
        without = orchestrator.run(tmp_path / "rows.csv", **{**options, "dataset_options": {}}, **fake.options)
    handle = orchestrator.open_job(result.job_id, work=tmp_path / "work")

    assert without.job_id == result.job_id
    assert handle.show("4").row == 1
    assert handle.show(17).source == {"id": "17", "text": "a"}
    assert handle.show("0/1").row == 1
    with pytest.raises(ConfigError, match=r"has no row '1': give its custom_id, its key or SHARD/ROW"):
        handle.show(1)
    (tmp_path / "rows.csv").unlink()
    assert pa.Table.from_batches(handle.answers())["key"].to_pylist() == ["17", "4"]
