"""Tables of other libraries and of plain Python values: read as they are, or refused by what was given."""

from __future__ import annotations

import collections
import datetime as dt
import sqlite3
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import nanoarrow
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as pads
import pytest

from orchestrator.dataset import rows as rows_module
from orchestrator.dataset.dataset import Dataset, open_dataset
from orchestrator.dataset.in_memory import keep_table
from orchestrator.domain.errors import DatasetError
from tests.lazily import Lazily

datasets, duckdb = Lazily("datasets"), Lazily("duckdb")

Named = collections.namedtuple("Named", "a b")
ROWS = [{"a": 1, "b": "x"}, {"a": 2, "b": None}, {"a": 3, "b": "z"}]
NOON = dt.datetime(2024, 1, 1, 12)  # noqa: DTZ001 - as a user may have it
TABLE = pa.Table.from_pylist(ROWS)


def kept(table: Any, folder: Path) -> Dataset:
    return open_dataset(keep_table(table, folder), shard_rows=10**6, shard_bytes=10**9)


def rows_of(source: Dataset) -> list[dict[str, Any]]:
    return [row for shard in source.shards for batch in source.batches(shard) for row in batch.to_pylist()]


def sqlite_rows() -> Any:
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    return connection.execute("select 1 a, 'x' b union all select 2, null union all select 3, 'z' order by 1")


@pytest.mark.parametrize(
    "given",
    [
        lambda: TABLE.to_reader(),
        lambda: TABLE.to_batches()[0],
        lambda: pads.dataset(TABLE).scanner(),
        lambda: pl.DataFrame(ROWS),
        lambda: pl.DataFrame(ROWS * 2).lazy().head(3),
        lambda: duckdb.from_arrow(TABLE),
        lambda: nanoarrow.Array(TABLE.to_struct_array().chunk(0)),
        lambda: nanoarrow.c_array(TABLE.to_batches()[0]),
        lambda: datasets.Dataset(TABLE),
        lambda: datasets.Dataset(pa.concat_tables([TABLE, TABLE])).select([0, 4, 2]),
        lambda: datasets.Dataset(TABLE).to_iterable_dataset(),
        lambda: ROWS,
        lambda: (row for row in ROWS),
        lambda: map(dict, ROWS),
        lambda: [Named(1, "x"), Named(2, None), Named(3, "z")],
        sqlite_rows,
        lambda: {"a": [1, 2, 3], "b": ("x", None, "z")},
        lambda: {"a": np.array([1, 2, 3]), "b": pl.Series(["x", None, "z"])},
        lambda: {"a": pa.chunked_array([[1], [2, 3]]), "b": iter(["x", None, "z"])},
        lambda: (pl.DataFrame(ROWS[at : at + 1], schema={"a": pl.Int64, "b": pl.String}) for at in range(3)),
    ],
)  # fmt: skip
def test_equal_rows_are_one_dataset_whoever_holds_them(given: Callable[[], Any], tmp_path: Path) -> None:
    source = kept(given(), tmp_path)

    assert rows_of(source) == ROWS
    assert source.fingerprint == kept(TABLE, tmp_path).fingerprint


def test_the_features_of_hugging_face_are_kept(tmp_path: Path) -> None:
    features = datasets.Features({"label": datasets.ClassLabel(names=["bad", "good"]), "t": datasets.Value("string")})
    source = kept(datasets.Dataset.from_dict({"label": [1, 0], "t": ["x", "y"]}, features=features), tmp_path)

    assert datasets.Features.from_arrow_schema(source.schema) == features


def test_a_streamed_dataset_without_features_gets_them_from_its_rows(tmp_path: Path) -> None:
    streamed = datasets.IterableDataset.from_generator(lambda: iter(ROWS))

    assert rows_of(kept(streamed, tmp_path)) == ROWS


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pd.period_range("2024-01", periods=2, freq="M"), "int64"),
        (pd.interval_range(0, 2), "struct<left: int64, right: int64>"),
        (pd.Categorical(["a", None]), "dictionary<values=string, indices=int32, ordered=0>"),
        (pd.Categorical(pd.interval_range(0, 2)), "struct<left: int64, right: int64>"),
        (pd.array([2**60 + 1, None], dtype="Int64"), "int64"),
        (pd.array([True, None], dtype="boolean"), "bool"),
        (pd.array(["a", None], dtype="string"), "large_string"),
        (pd.array([[1], None], dtype=pd.ArrowDtype(pa.list_(pa.int64()))), "list<element: int64>"),
        (pd.to_datetime(["2024-01-01", None]).tz_localize("Europe/Berlin"), "timestamp[us, tz=Europe/Berlin]"),
    ],
)
def test_the_types_of_pandas_are_kept(column: Any, kind: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"c": column})
    source = kept(frame, tmp_path)

    assert str(source.schema.field("c").type) == kind
    batches = list(source.batches(source.shards[0]))
    # pyarrow cannot restore a list of pandas' ArrowDtype by its own note.
    found = pa.Table.from_batches(batches, source.schema).to_pandas(ignore_metadata=kind.startswith("list"))
    if kind.startswith("list"):
        found = found.astype(frame.dtypes)
    if kind.startswith("struct") and frame["c"].dtype == "category":
        found["c"] = pd.Categorical(pd.arrays.IntervalArray.from_tuples([tuple(v.values()) for v in found["c"]]))
    pd.testing.assert_frame_equal(found, frame)


@pytest.mark.parametrize("piece_rows", [1, 2, 1_000])
def test_rows_of_one_column_get_one_type_from_all_rows(
    piece_rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names, too, that only a later row has: `pa.Table.from_pylist` would drop them."""
    monkeypatch.setattr("orchestrator.dataset.frames.PIECE_ROWS", piece_rows)
    found = [{"n": 1, "s": {"x": 1}}, {"n": None}, {"n": 2.5, "s": {"y": ["é"]}, "late": dt.date(2024, 1, 1)}]

    assert rows_of(kept(iter(found), tmp_path)) == [
        {"n": 1.0, "s": {"x": 1, "y": None}, "late": None},
        {"n": None, "s": None, "late": None},
        {"n": 2.5, "s": {"x": None, "y": ["é"]}, "late": dt.date(2024, 1, 1)},
    ]


def test_values_of_python_keep_their_types_and_digits(tmp_path: Path) -> None:
    row = {"u": 2**64 - 1, "d": Decimal("1.50"), "b": b"\xff", "t": dt.datetime(2024, 1, 1, tzinfo=dt.UTC), "l": [1]}

    assert rows_of(kept([row], tmp_path)) == [row]


def test_the_nulls_of_pandas_are_nulls_and_a_half_surrogate_pair_stays_a_text(tmp_path: Path) -> None:
    """Such a text costs its own row when it is rendered."""
    source = kept([{"a": pd.NaT, "n": pd.NA, "t": "x"}, {"a": pd.Timestamp(NOON), "n": 1, "t": "\ud800"}], tmp_path)

    batch = next(source.batches(source.shards[0]))
    assert batch.select(["a", "n"]).to_pylist() == [{"a": None, "n": None}, {"a": pd.Timestamp(NOON), "n": 1}]
    assert batch["t"].cast(pa.binary()).to_pylist() == [b"x", b"\xed\xa0\x80"]


def test_parts_of_a_csv_of_pandas_have_one_type(tmp_path: Path) -> None:
    """A part whose texts are all missing is a part of floats to pandas."""
    (tmp_path / "x.csv").write_text("a,b\n1,x\n2,\n")

    assert rows_of(kept(pd.read_csv(tmp_path / "x.csv", chunksize=1), tmp_path)) == [
        {"a": 1, "b": "x"},
        {"a": 2, "b": None},
    ]


def test_a_folder_that_hugging_face_saved_is_a_dataset(tmp_path: Path) -> None:
    """Its two files of JSON describe the Arrow files; they are no rows."""
    datasets.Dataset(TABLE).save_to_disk(tmp_path / "saved")

    assert rows_of(open_dataset(tmp_path / "saved", shard_rows=10, shard_bytes=10**6)) == ROWS
    (tmp_path / "saved" / "more.json").write_text("{}")
    with pytest.raises(DatasetError, match="one readable format"):
        open_dataset(tmp_path / "saved", shard_rows=10, shard_bytes=10**6)


def broken() -> Iterator[dict[str, Any]]:
    yield {"a": 1}
    raise KeyError("mine")


def test_an_error_of_the_users_own_iterator_is_the_users(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="mine"):
        keep_table(broken(), tmp_path)

    assert list(tmp_path.glob("*.parquet")) == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (7, "the dataset is of type int, which is no table. It can be a path or URL; a table of pandas"),
        (None, "the dataset is of type NoneType"),
        (b"x.parquet", "the dataset is of type bytes"),
        ([], "gave no rows, so its columns are not known"),
        (["a", "b"], 'rows are of type str: each must be a dict, as in [{"text": one} for one in texts]'),
        (np.zeros((2, 2)), "rows are of type numpy ndarray: each must be a dict"),
        ({"a": "text"}, "a dict whose 'a' is of type str: a dict must hold columns"),
        ({"a": [1, 2], "b": [1]}, "differ in length: 'a' has 2, 'b' has 1"),
        ({1: [1]}, "column names must be strings; 1 is of type int"),
        ([{1: 1}], "column names must be strings; 1 is of type int"),
        (pl.Series([1]), "a polars Series is one column, not a table: give it as series.to_frame()"),
        (pd.Series([1]), "a pandas Series is one column"),
        (nanoarrow.Array([1], nanoarrow.int32()), "the dataset, a nanoarrow Array, is one column, not a table"),
        (pd.DataFrame([[1]]), "column names must be strings; these are not: 0. Name them, as in frame.columns = "),
        (pd.DataFrame({"k": [1]}, index=pd.Index([1], name="k")), "has both a column and an index named 'k'"),
        (pd.DataFrame({"k": [1j]}), "column 'k' of the DataFrame holds values of types that cannot be in one column"),
        (pd.DataFrame({"k": pd.arrays.SparseArray([0])}), "a column of the DataFrame holds values of types"),
        (
            [{"a": 1}] * 3 + [{"a": "secret"}],
            "row 3 of the dataset: column 'a' is of type str, and int in the rows before",
        ),
        (
            [{"a": 1}] * 1_500 + [{"a": "secret"}],
            "row 1500 of the dataset: column 'a' is of type str, and int in the rows",
        ),
        ([{"a": 1}] * 1_000 + [{"a": "secret"}], "column 'a' of the dataset is int64 in some rows and string in later"),
        (
            [{"a": b"x"}, {"a": "secret"}],
            "row 1 of the dataset: column 'a' is of type str, and bytes in the rows before",
        ),
        ([{"a": b"x"}] * 1_000 + [{"a": "secret"}], "column 'a' of the dataset is binary in some rows and string in"),
        (pl.DataFrame({"a": [object()]}), "column 'a' of the DataFrame holds objects of Python"),
        (
            [{"a": dt.date(2024, 1, 1)}, {"a": NOON}],
            "row 1 of the dataset: column 'a' is of type datetime datetime, and",
        ),
        ([{"a": object()}], "row 0 of the dataset: column 'a' is of type object, which no column can hold"),
        ([{"a": 2**60 + 1}] * 1_000 + [{"a": 0.5}], "column 'a' of the dataset has a value that double"),
        (
            [{"a": 1}, pd.DataFrame({"a": [1]})],
            "row 1 of the dataset is of type pandas DataFrame, not a dict as those before",
        ),
    ],
)
def test_what_is_no_table_is_refused_with_what_was_given(given: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as raised:
        keep_table(given, tmp_path)

    assert words in str(raised.value)
    assert "secret" not in str(raised.value)
    assert list(tmp_path.glob("*.parquet")) == []


def test_several_tables_are_no_table(tmp_path: Path) -> None:
    tables = datasets.DatasetDict({"test": datasets.Dataset(TABLE)})

    with pytest.raises(
        DatasetError, match=r"holds several tables \('test'\): give one of them, as in dataset\['test'\]"
    ):
        keep_table(tables, tmp_path)


def test_rows_wait_in_a_temporary_file_that_is_gone_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module.tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    keep_table(iter(ROWS), tmp_path)

    assert list((tmp_path / "temporary").iterdir()) == []
