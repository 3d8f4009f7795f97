"""Tables without a file: kept once under the digest of their content, whatever their chunks."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.dataset import in_memory
from orchestrator.dataset.dataset import open_dataset
from orchestrator.dataset.in_memory import keep_table
from orchestrator.domain.errors import DatasetError, StorageError
from tests.tiers import examples

FRAME = pd.DataFrame({"a": ["x", None, "z"], "n": [1, 2, 3]})


def rows_of(path: Path) -> list[dict[str, Any]]:
    dataset = open_dataset(path, shard_rows=10**9, shard_bytes=10**12)
    return [row for shard in dataset.shards for batch in dataset.batches(shard) for row in batch.to_pylist()]


def test_a_frame_is_kept_without_its_plain_index(tmp_path: Path) -> None:
    path = keep_table(FRAME, tmp_path / "new")

    assert rows_of(path) == [{"a": "x", "n": 1}, {"a": None, "n": 2}, {"a": "z", "n": 3}]
    assert path.parent == tmp_path / "new"
    assert len(path.stem) == 32


@pytest.mark.parametrize(
    ("index", "name"),
    [
        (pd.Index([7, 8, 9]), "__index_level_0__"),
        (pd.Index(["p", "q", "r"], name="key"), "key"),
        (pd.RangeIndex(3, name="row"), "row"),
    ],
)
def test_an_index_that_says_something_becomes_a_column(index: Any, name: str, tmp_path: Path) -> None:
    rows = rows_of(keep_table(FRAME.set_axis(index), tmp_path))

    assert [row[name] for row in rows] == list(index)


def test_the_same_content_is_one_file_by_whatever_road(tmp_path: Path) -> None:
    table = pa.Table.from_pandas(FRAME)
    pq.write_table(table, tmp_path / "source.parquet")
    roads = (FRAME, table, pads.dataset(tmp_path / "source.parquet"), table.to_reader(max_chunksize=1))

    paths = {keep_table(road, tmp_path / "kept") for road in roads}

    assert len(paths) == 1
    assert sorted((tmp_path / "kept").iterdir()) == sorted(paths)


def test_a_kept_file_is_never_written_again(tmp_path: Path) -> None:
    path = keep_table(FRAME, tmp_path)
    before = path.stat()

    assert keep_table(FRAME, tmp_path) == path
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize(
    "other",
    [
        {"a": ["x", None, "y"], "n": [1, 2, 3]},
        {"a": ["x", "", "z"], "n": [1, 2, 3]},
        {"a": ["x", None, "z"], "m": [1, 2, 3]},
        {"a": ["x", None, "z"], "n": [1.0, 2.0, 3.0]},
        {"n": [1, 2, 3], "a": ["x", None, "z"]},
        {"a": ["x", None], "n": [1, 2]},
        {"a": [None, "x", "z"], "n": [1, 2, 3]},
    ],
)
def test_other_content_is_another_file(other: dict[str, Any], tmp_path: Path) -> None:
    assert keep_table(pa.table(other), tmp_path) != keep_table(FRAME, tmp_path)


ROW = st.fixed_dictionaries(
    {
        "text": st.none() | st.text(max_size=3),
        "flag": st.none() | st.booleans(),
        "number": st.none() | st.integers(-5, 5),
        "kind": st.sampled_from(["a", "b", None]),
        "many": st.none() | st.lists(st.none() | st.booleans(), max_size=3),
    }
)
SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("flag", pa.bool_()),
        ("number", pa.int64()),
        ("kind", pa.dictionary(pa.int8(), pa.string())),
        ("many", pa.list_(pa.bool_())),
    ]
)


@given(st.lists(ROW, max_size=24), st.lists(st.integers(0, 24), max_size=4))
@settings(max_examples=examples(200), deadline=None)
def test_chunks_are_no_content(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], cuts: list[int]
) -> None:
    """The batches digested are made 4 rows long here, so that chunks lie across them."""
    folder = tmp_path_factory.mktemp("kept")
    ends = sorted({0, *(min(cut, len(rows)) for cut in cuts), len(rows)})
    whole = pa.Table.from_pylist(rows, SCHEMA)
    pieces = [pa.Table.from_pylist(rows[a:b], SCHEMA) for a, b in pairwise(ends)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(in_memory, "CONFORM_ROWS", 4)
        patch.setattr(in_memory, "GROUP_ROWS_MAX", 8)

        paths = {keep_table(whole, folder), keep_table(pa.concat_tables([SCHEMA.empty_table(), *pieces]), folder)}
        slices = [whole.slice(a, b - a) for a, b in pairwise(ends)]
        paths.add(keep_table(pa.concat_tables([SCHEMA.empty_table(), *slices]), folder))

        assert len(paths) == 1
        assert rows_of(paths.pop()) == rows


@pytest.mark.parametrize("row", [*range(1, 12)])
def test_the_bytes_of_the_rows_that_follow_are_no_content(row: int, tmp_path: Path) -> None:
    """Arrow's serialisation pads a slice with them; a digest of it made one table two jobs."""
    table = pa.table(
        {"text": ["", "", "", "0", "1", "22", "", "333", "4", "", "5", "6"], "many": [[n] for n in range(12)]}
    )

    cut = keep_table(table.slice(0, row), tmp_path)
    copied = keep_table(pa.Table.from_pylist(table.slice(0, row).to_pylist(), table.schema), tmp_path)

    assert cut == copied


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([["ab", "c"]], [["a", "bc"]]),
        ([[1], [2, 3]], [[1, 2], [3]]),
        ([[1, None]], [[1]]),
        ([None, []], [[], None]),
        ([{"a": None, "b": 1}], [{"a": 1, "b": None}]),
        ([None, {"a": None, "b": 1}], [{"a": None, "b": None}, {"a": None, "b": 1}]),
    ],
)
def test_nested_content_that_differs_only_in_its_bounds_is_another_file(one: Any, other: Any, tmp_path: Path) -> None:
    kind = pa.infer_type([*one, *other])

    assert keep_table(pa.table({"x": pa.array(one, kind)}), tmp_path) != keep_table(
        pa.table({"x": pa.array(other, kind)}), tmp_path
    )


def test_maps_and_decimals_have_a_digest_too(tmp_path: Path) -> None:
    maps = pa.array([[("k", 1)], None, [("l", 2)]], pa.map_(pa.string(), pa.int64()))
    table = pa.table({"m": maps, "d": pa.array([1, 2, None]).cast(pa.decimal128(20, 1)), "u": [b"x", b"", None]})

    path = keep_table(pa.concat_tables([table.slice(0, 1), table.slice(1)]), tmp_path)

    assert keep_table(table, tmp_path) == path
    assert keep_table(table.slice(0, 2), tmp_path) != path


def test_what_lies_under_a_null_is_no_content(tmp_path: Path) -> None:
    mask = pa.array([False, True]).buffers()[1]
    one, other = (
        pa.Array.from_buffers(pa.int64(), 2, [pa.array([True, False]).buffers()[1], pa.array([5, under]).buffers()[1]])
        for under in (1, 2)
    )
    assert mask is not None

    assert keep_table(pa.table({"a": one}), tmp_path) == keep_table(pa.table({"a": other}), tmp_path)


def test_row_groups_hold_fifty_thousand_rows(tmp_path: Path) -> None:
    path = keep_table(pa.table({"a": range(120_000)}), tmp_path)

    metadata = pq.read_metadata(path)
    assert [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)] == [
        50_000,
        50_000,
        20_000,
    ]


def test_row_groups_of_large_rows_are_shorter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_memory, "GROUP_BYTES_MAX", 100_000)

    path = keep_table(pa.table({"a": ["x" * 100] * 20_000}), tmp_path)

    assert pq.read_metadata(path).num_row_groups == 22  # a row takes 108 bytes, a group 928 rows: a multiple of 16


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (
            pd.DataFrame({1: [1], "a": [2], ("b", "c"): [3]}),
            "column names must be strings; these are not: 1, ('b', 'c')",
        ),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "more than one column is named 'a'"),
        (pa.Table.from_arrays([pa.array([1])] * 2, names=["b", "b"]), "more than one column is named 'b'"),
        (
            pd.DataFrame({"a": [1, "secret"]}),
            "column 'a' of the DataFrame holds values of types that cannot be in one column",
        ),
    ],
)
def test_what_is_no_table_is_refused_without_its_content(table: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as raised:
        keep_table(table, tmp_path)

    assert words in str(raised.value)
    assert raised.value.__cause__ is None
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_breaks_off_leaves_nothing_behind(tmp_path: Path) -> None:
    def batches() -> Any:
        yield pa.record_batch({"a": [1]})
        raise OSError("the line went dead")

    with pytest.raises(DatasetError, match="the table cannot be read"):
        keep_table(pa.RecordBatchReader.from_batches(pa.schema([("a", pa.int64())]), batches()), tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StorageError, match="cannot be written"):
        keep_table(FRAME, tmp_path / "file")


def test_types_survive(tmp_path: Path) -> None:
    moment = dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    frame = pd.DataFrame({"t": pd.to_datetime([moment]), "c": pd.Categorical(["x"]), "s": [{"k": [1]}]})

    assert rows_of(keep_table(frame, tmp_path)) == [{"t": moment, "c": "x", "s": {"k": [1]}}]
