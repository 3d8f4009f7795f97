"""A dataset's first rows are a dataset of their own."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.dataset.dataset import Dataset, open_dataset
from orchestrator.domain.dataset import ReadOptions
from orchestrator.domain.errors import ConfigError

ROWS = 10


@pytest.fixture(params=["parquet", "csv", "jsonl"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Ten rows in two files, and several shards."""
    for number in range(2):
        rows = range(number * 5, number * 5 + 5)
        path = tmp_path / f"{number}.{request.param}"
        match request.param:
            case "parquet":
                pq.write_table(pa.table({"n": [f"row {row}" for row in rows]}), path, row_group_size=2)
            case "csv":
                path.write_text("n\n" + "".join(f"row {row}\n" for row in rows))
            case _:
                path.write_text("".join(f'{{"n": "row {row}"}}\n' for row in rows))
    return tmp_path


def opened(folder: Path, limit: int) -> Dataset:
    return open_dataset(folder, shard_rows=3, shard_bytes=10**9, options=ReadOptions(limit=limit))


def rows_of(dataset: Dataset, row_start: int = 0) -> list[str]:
    read = (batch for shard in dataset.shards for batch in dataset.batches(shard, row_start=row_start))
    return [row for batch in read for row in batch["n"].to_pylist()]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 6, 9])
def test_the_first_rows_are_read_and_counted(folder: Path, limit: int) -> None:
    dataset = opened(folder, limit)

    assert rows_of(dataset) == [f"row {row}" for row in range(limit)]
    assert sum(shard.row_count or 0 for shard in dataset.shards) == limit
    assert [shard.shard_no for shard in dataset.shards] == list(range(len(dataset.shards)))
    assert len({opened(folder, other).fingerprint for other in (limit, 0, limit + 1)}) == 3 - (limit == 9)


def test_rows_are_read_from_any_row_on(folder: Path) -> None:
    dataset = opened(folder, 4)

    assert rows_of(dataset, row_start=1) == [
        row for shard in dataset.shards for row in rows_of_shard(dataset, shard.shard_no)[1:]
    ]


def rows_of_shard(dataset: Dataset, shard_no: int) -> list[str]:
    return [row for batch in dataset.batches(dataset.shards[shard_no]) for row in batch["n"].to_pylist()]


@pytest.mark.parametrize("limit", [ROWS, ROWS + 1, 10**9])
def test_a_dataset_that_has_no_more_rows_is_the_same_dataset(folder: Path, limit: int) -> None:
    assert opened(folder, limit).fingerprint == opened(folder, 0).fingerprint


@pytest.mark.parametrize("limit", [-1, True, "20", 1.5])
def test_a_limit_is_a_number_of_rows(limit: object) -> None:
    with pytest.raises(ConfigError, match="whole number of rows"):
        ReadOptions(limit=limit)  # type: ignore[arg-type]
