"""The reader: formats, shards, schemas, the fingerprint, and every way a dataset can be wrong."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.dataset.dataset import READ_ROWS_MAX, Dataset, open_dataset
from orchestrator.dataset.files import SourceFile
from orchestrator.domain.errors import DatasetError
from tests.tiers import examples

BIG = 10**12


def opened(location: Path | str, *, shard_rows: int = BIG, shard_bytes: int = BIG) -> Dataset:
    return open_dataset(location, shard_rows=shard_rows, shard_bytes=shard_bytes)


def rows_of(dataset: Dataset, columns: list[str] | None = None) -> list[dict[str, Any]]:
    batches = [batch for shard in dataset.shards for batch in dataset.batches(shard, columns=columns)]
    assert all(0 < batch.num_rows <= READ_ROWS_MAX for batch in batches)
    if columns is None:
        assert all(batch.schema.equals(dataset.schema, check_metadata=True) for batch in batches)
    return [row for batch in batches for row in batch.to_pylist()]


def a_parquet(path: Path, columns: dict[str, Any], *, group_rows: int = 1_000_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=group_rows)
    return path


def a_text(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refusal(location: Path | str) -> str:
    """Return the words with which opening or reading is refused."""
    with pytest.raises(DatasetError) as raised:
        rows_of(opened(location))
    return str(raised.value)


def in_format(suffix: str, folder: Path) -> Path:
    """Write the same 12,000 rows, text columns `k` and `t`, in any format."""
    table = pa.table({"k": [f"{n:05}" for n in range(12_000)], "t": [f"text, {n}\n" for n in range(12_000)]})
    path = folder / f"rows{suffix}"
    plain = Path(str(path).removesuffix(".gz").removesuffix(".zst").removesuffix(".zstd"))
    match plain.suffix:
        case ".parquet":
            pq.write_table(table, plain, row_group_size=1_700)
        case ".feather":
            feather.write_feather(table, plain, compression="lz4", chunksize=1_700)
        case ".arrow":
            with pa.ipc.new_file(plain, table.schema) as file:
                file.write_table(table, max_chunksize=1_700)
        case ".ipc":
            with pa.ipc.new_stream(plain, table.schema) as stream:
                stream.write_table(table, max_chunksize=1_700)
        case ".csv":
            pacsv.write_csv(table, plain)
        case _:
            table.to_pandas().to_json(plain, orient="records", lines=True)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    elif path != plain:
        path.write_bytes(zstandard.compress(plain.read_bytes()))
        plain.unlink()
    return path


FORMATS = [
    ".parquet",
    ".feather",
    ".arrow",
    ".ipc",
    ".csv",
    ".csv.gz",
    ".csv.zst",
    ".jsonl",
    ".ndjson.zstd",
    ".jsonl.gz",
]


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_gives_the_same_rows_from_any_row_on(suffix: str, tmp_path: Path) -> None:
    dataset = opened(in_format(suffix, tmp_path))
    expected = [{"k": f"{n:05}", "t": f"text, {n}\n"} for n in range(12_000)]
    (shard,) = dataset.shards

    assert rows_of(dataset) == expected
    for row_start in (0, 1, 1_699, 1_700, 1_701, 5_000, 8_192, 11_999, 12_000, 13_000):
        batches = list(dataset.batches(shard, columns=["t"], row_start=row_start))
        assert [row["t"] for batch in batches for row in batch.to_pylist()] == [r["t"] for r in expected[row_start:]]
        assert all(0 < batch.num_rows <= READ_ROWS_MAX for batch in batches)


@pytest.mark.parametrize("suffix", FORMATS)
def test_columns_come_in_the_asked_order_and_none_still_counts_rows(suffix: str, tmp_path: Path) -> None:
    dataset = opened(in_format(suffix, tmp_path))

    first = next(iter(dataset.batches(dataset.shards[0], columns=["t", "k"])))
    none_asked = list(dataset.batches(dataset.shards[0], columns=[], row_start=7))

    assert first.schema.names == ["t", "k"]
    assert sum(batch.num_rows for batch in none_asked) == 12_000 - 7


@pytest.mark.parametrize("suffix", [".parquet", ".feather", ".arrow"])
def test_metadata_alone_tells_the_rows(suffix: str, tmp_path: Path) -> None:
    shards = opened(in_format(suffix, tmp_path), shard_rows=4_000).shards

    assert [shard.row_count for shard in shards] == [3_400, 3_400, 3_400, 1_800]
    assert [shard.segments[0].groups for shard in shards] == [(0, 2), (2, 4), (4, 6), (6, 8)]
    assert [shard.shard_no for shard in shards] == [0, 1, 2, 3]


@pytest.mark.parametrize("suffix", [".ipc", ".csv", ".jsonl"])
def test_a_stream_is_one_segment_of_unknown_length(suffix: str, tmp_path: Path) -> None:
    (shard,) = opened(in_format(suffix, tmp_path)).shards

    assert shard.row_count is None
    assert shard.segments[0].groups is None


@given(
    st.lists(st.lists(st.integers(0, 40), max_size=4), min_size=1, max_size=5),
    st.integers(1, 60),
    st.integers(1, 3_000),
)
@settings(max_examples=examples(40), deadline=None)
def test_shards_hold_every_row_once_and_are_as_long_as_may_be(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[int]], shard_rows: int, shard_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    schema = pa.schema([("n", pa.int64())])
    number = 0
    sizes = []
    for place, groups in enumerate(files):
        with pq.ParquetWriter(folder / f"{place}.parquet", schema) as writer:
            for count in groups:
                if count:
                    writer.write_table(pa.table({"n": range(number, number + count)}, schema=schema))
                    number += count
        metadata = pq.read_metadata(folder / f"{place}.parquet")
        groups_there = [metadata.row_group(place) for place in range(metadata.num_row_groups)]
        sizes += [(group.num_rows, group.total_byte_size) for group in groups_there]

    dataset = opened(folder, shard_rows=shard_rows, shard_bytes=shard_bytes)

    assert [row["n"] for row in rows_of(dataset)] == list(range(number))
    left = list(sizes)
    for shard in dataset.shards:
        group_count = sum(len(range(*segment.groups)) for segment in shard.segments if segment.groups is not None)
        held, left = left[:group_count], left[group_count:]
        assert shard.row_count == sum(rows for rows, _ in held)
        assert len(held) <= 1 or fits(held, shard_rows, shard_bytes)
        assert not left or not fits([*held, left[0]], shard_rows, shard_bytes)
    assert not left


def fits(groups: list[tuple[int, int]], shard_rows: int, shard_bytes: int) -> bool:
    return sum(rows for rows, _ in groups) <= shard_rows and sum(size for _, size in groups) <= shard_bytes


def test_small_text_files_are_gathered_and_a_large_one_is_alone(tmp_path: Path) -> None:
    for name, rows in (("a", 1), ("b", 1), ("c", 100), ("d", 1)):
        a_text(tmp_path / f"{name}.csv", "x\n" + "1\n" * rows)

    shards = opened(tmp_path, shard_bytes=50).shards

    assert [[segment.file for segment in shard.segments] for shard in shards] == [
        ["a.csv", "b.csv"],
        ["c.csv"],
        ["d.csv"],
    ]


def test_a_row_start_runs_on_through_files_of_unknown_length(tmp_path: Path) -> None:
    for place in range(4):
        a_text(tmp_path / f"{place}.csv", "x\n" + "".join(f"{place}{n}\n" for n in range(3)))
    dataset = opened(tmp_path)

    (batch, *rest) = dataset.batches(dataset.shards[0], row_start=7)

    assert [row["x"] for part in (batch, *rest) for row in part.to_pylist()] == ["21", "22", "30", "31", "32"]


def test_an_empty_dataset_has_one_shard_and_a_schema(tmp_path: Path) -> None:
    dataset = opened(a_parquet(tmp_path / "none.parquet", {"a": pa.array([], pa.string())}))

    assert (len(dataset.shards), dataset.shards[0].row_count, rows_of(dataset)) == (1, 0, [])
    assert dataset.schema == pa.schema([("a", pa.string())])
    assert rows_of(opened(a_text(tmp_path / "none.csv", "a,b\n"))) == []
    assert rows_of(opened(a_text(tmp_path / "none.jsonl", ""))) == []


def test_files_are_read_by_name_through_folders_and_hidden_ones_are_passed_over(tmp_path: Path) -> None:
    for name in ("b/1", "a/2", "a/1", "_delta/1", ".git/1", "_hidden", "c"):
        a_parquet(tmp_path / f"{name}.parquet", {"f": [name]})
    a_text(tmp_path / "_SUCCESS", "")

    assert [row["f"] for row in rows_of(opened(tmp_path))] == ["a/1", "a/2", "b/1", "c"]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.parquet", ["c"]),
        ("*/*.parquet", ["a/1", "b/x1"]),
        ("**/*.parquet", ["a/1", "a/deep/3", "b/x1", "c"]),
        ("a/**", ["a/1", "a/deep/3"]),
        ("[ab]/?1.parquet", ["b/x1"]),
        ("a/**/3.parquet", ["a/deep/3"]),
    ],
)
def test_a_glob_picks_files(pattern: str, names: list[str], tmp_path: Path) -> None:
    for name in ("b/x1", "a/1", "a/deep/3", "c"):
        a_parquet(tmp_path / f"{name}.parquet", {"f": [name]})

    assert [row["f"] for row in rows_of(opened(f"{tmp_path}/{pattern}"))] == names


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path) -> None:
    a_parquet(tmp_path / "a1.parquet", {"f": [1]})

    assert rows_of(opened(a_parquet(tmp_path / "a[1].parquet", {"f": [2]}))) == [{"f": 2}]


def test_partition_folders_become_text_columns(tmp_path: Path) -> None:
    a_parquet(tmp_path / "y=2024/m=01/x.parquet", {"a": [1]})
    a_parquet(tmp_path / "y=2024/m=a%20b/x.parquet", {"a": [2]})
    a_parquet(tmp_path / "y=__HIVE_DEFAULT_PARTITION__/m=02/x.parquet", {"a": [3]})
    dataset = opened(tmp_path)

    assert rows_of(dataset) == [
        {"a": 1, "y": "2024", "m": "01"},
        {"a": 2, "y": "2024", "m": "a b"},
        {"a": 3, "y": None, "m": "02"},
    ]
    assert rows_of(dataset, ["m"]) == [{"m": "01"}, {"m": "a b"}, {"m": "02"}]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_partitions_of_text_files_are_columns_unless_the_file_has_them(suffix: str, tmp_path: Path) -> None:
    a_text(tmp_path / f"p=1/q=2/a.{suffix}", "a,q\nx,own\n" if suffix == "csv" else '{"a":"x","q":"own"}\n')

    assert rows_of(opened(tmp_path)) == [{"a": "x", "q": "own", "p": "1"}]


def test_partition_folders_that_differ_are_refused(tmp_path: Path) -> None:
    a_parquet(tmp_path / "y=1/x.parquet", {"a": [1]})
    a_parquet(tmp_path / "x.parquet", {"a": [1]})

    assert "partition folders differ: " in refusal(tmp_path)


# Schemas of several files.


def two_files(folder: Path, first: Any, second: Any) -> Path:
    a_parquet(folder / "1.parquet", {"x": first})
    a_parquet(folder / "2.parquet", {"x": second})
    return folder


CASTABLE = {
    "integers": (pa.array([1], pa.int32()), pa.array([2], pa.int64()), [1, 2]),
    "an integer too large for the first": (pa.array([1], pa.int8()), pa.array([2**40]), [1, 2**40]),
    "a float too large for the first": (pa.array([1.5], pa.float32()), pa.array([1e300]), [1.5, 1e300]),
    "a finer time": (
        pa.array([0], pa.timestamp("s")),
        pa.array([1], pa.timestamp("us")),
        [datetime(1970, 1, 1), datetime(1970, 1, 1, microsecond=1)],  # noqa: DTZ001 - without a zone, as in the file
    ),
    "integer in float": (pa.array([1.5]), pa.array([2]), [1.5, 2.0]),
    "strings": (pa.array(["a"], pa.string()), pa.array(["b"], pa.large_string()), ["a", "b"]),
    "dictionary in string": (pa.array(["a"]), pa.array(["b"]).dictionary_encode(), ["a", "b"]),
    "string in dictionary": (pa.array(["a"]).dictionary_encode(), pa.array(["b"]), ["a", "b"]),
    "dictionaries": (pa.array(["a"]).dictionary_encode(), pa.array(["b", "a"]).dictionary_encode(), ["a", "b", "a"]),
    "nulls first": (pa.nulls(1), pa.array(["b"]), [None, "b"]),
    "nulls later": (pa.array(["a"]), pa.nulls(1), ["a", None]),
    "lists": (pa.array([[1]], pa.list_(pa.int64())), pa.array([[2]], pa.list_(pa.int32())), [[1], [2]]),
    "structs": (pa.array([{"a": 1.0}]), pa.array([{"a": 2}]), [{"a": 1.0}, {"a": 2.0}]),
}


@pytest.mark.parametrize("name", CASTABLE)
def test_types_that_differ_without_loss_are_cast_to_the_wider_one(name: str, tmp_path: Path) -> None:
    first, second, values = CASTABLE[name]

    assert [row["x"] for row in rows_of(opened(two_files(tmp_path, first, second)))] == values


def test_types_that_do_not_go_together_are_refused_by_file_column_and_types(tmp_path: Path) -> None:
    words = refusal(two_files(tmp_path, pa.array([1]), pa.array(["b"])))

    assert words == "2.parquet: column 'x' is string, but int64 in 1.parquet"


def test_a_value_that_does_not_fit_the_cast_is_not_quoted(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as raised:
        rows_of(opened(two_files(tmp_path, pa.array([1]), pa.array([2**64 - 1], pa.uint64()))))

    assert str(raised.value) == "2.parquet: column 'x' holds a value that is no int64 (ArrowInvalid)"
    assert raised.value.__suppress_context__


def test_a_missing_column_is_nulls_and_an_extra_one_is_refused(tmp_path: Path) -> None:
    a_parquet(tmp_path / "1.parquet", {"a": [1], "b": [2]})
    a_parquet(tmp_path / "2.parquet", {"b": [3]})
    dataset = opened(tmp_path)

    assert rows_of(dataset) == [{"a": 1, "b": 2}, {"a": None, "b": 3}]
    assert rows_of(dataset, ["a"]) == [{"a": 1}, {"a": None}]

    a_parquet(tmp_path / "3.parquet", {"c": [3]})
    assert refusal(tmp_path).startswith("3.parquet has a column 'c' that 1.parquet does not have")


def test_a_missing_column_of_a_later_csv_is_nulls(tmp_path: Path) -> None:
    a_text(tmp_path / "1.csv", "a,b\n1,2\n")
    a_text(tmp_path / "2.csv", "b\n3\n")

    assert rows_of(opened(tmp_path)) == [{"a": "1", "b": "2"}, {"a": None, "b": "3"}]
    assert rows_of(opened(tmp_path), ["a"]) == [{"a": "1"}, {"a": None}]


def test_a_column_with_a_dot_is_not_a_field_of_a_struct(tmp_path: Path) -> None:
    dataset = opened(a_parquet(tmp_path / "x.parquet", {"a": [{"b": 1}], "a.b": [2], "a.c": [3]}))

    assert rows_of(dataset, ["a.b"]) == [{"a.b": 2}]
    assert rows_of(dataset, ["a"]) == [{"a": {"b": 1}}]


def test_pandas_metadata_does_not_make_schemas_differ(tmp_path: Path) -> None:
    table = pa.table({"a": [1]})
    pq.write_table(table.replace_schema_metadata({"pandas": "{}"}), tmp_path / "1.parquet")
    pq.write_table(table, tmp_path / "2.parquet")

    assert rows_of(opened(tmp_path)) == [{"a": 1}, {"a": 1}]


# CSV and JSON lines.


def test_csv_fields_are_text_exactly_as_written(tmp_path: Path) -> None:
    path = a_text(tmp_path / "x.csv", '\ufeffid,note\r\n007,\r\n1.50,"two\nlines, ""quoted"""\r\nNA,null\r\n\r\n')

    assert rows_of(opened(path)) == [
        {"id": "007", "note": ""},
        {"id": "1.50", "note": 'two\nlines, "quoted"'},
        {"id": "NA", "note": "null"},
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a,b\n1,2\n1,secret,3\n", "x.csv: row 3 (the header is row 1) has 3 fields, the header has 2"),
        (b"a,b\n1,secret\xff\n", "row 2 (the header is row 1) is not UTF-8"),
        (b"a,a\n1,2\n", "x.csv: more than one column is named 'a'"),
        (b"", "x.csv is empty; a CSV needs a header row"),
        (b"\n\n", "x.csv is empty; a CSV needs a header row"),
        (b"PAR1....", "named as CSV, but its content is a Parquet file"),
        ("a,b\n".encode("utf-16"), "its text looks like UTF-16: set encoding = 'utf-16'"),
        (b"\xe4,b\n1,2\n", "the header row is not UTF-8"),
        (b'a\n"' + b"secret\n" * 4_000_000, "a quoted field is never closed"),
        (b'a,b\n1,"secret\n2,3\n', "x.csv: a quoted field is never closed; is the file cut short?"),
        (b'a\n"', "a quoted field is never closed"),
    ],
)
def test_a_bad_csv_is_refused_without_its_content(content: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as raised:
        rows_of(opened(a_text(tmp_path / "x.csv", content)))

    assert words in str(raised.value)
    assert "secret" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_cut_gzip_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(b'"a"\n' + b"".join(b'"%b"\n' % os.urandom(20).hex().encode() for _ in range(50_000)))
    lines = gzip.compress(b"".join(b'{"a":"%b"}\n' % os.urandom(20).hex().encode() for _ in range(50_000)))

    assert "damaged" in refusal(a_text(tmp_path / "x.csv.gz", whole[: len(whole) // 2]))
    assert "damaged" in refusal(a_text(tmp_path / "x.jsonl.gz", lines[: len(lines) // 2]))
    assert "damaged" in refusal(a_text(tmp_path / "y.csv.gz", "a\n1\n"))


def test_a_refusal_holds_nothing_of_the_file(tmp_path: Path) -> None:
    """The reader waits until pyarrow has let go of the file: what an error held, it would wait for in vain."""
    whole = gzip.compress(b'"a"\n' + b"".join(b'"%b"\n' % os.urandom(20).hex().encode() for _ in range(50_000)))
    with pytest.raises(DatasetError, match="damaged") as raised:
        rows_of(opened(a_text(tmp_path / "x.csv.gz", whole[: len(whole) // 2])))

    assert raised.value.__context__ is None


def test_json_lines_have_one_schema_of_all_fields(tmp_path: Path) -> None:
    a_text(tmp_path / "1.jsonl", '\ufeff{"a":1,"d":"2024-01-01"}\r\n\n{"b":{"c":"x"}}\n')
    a_text(tmp_path / "2.jsonl", '{"a":2.5,"b":{"e":null}}')

    assert rows_of(opened(tmp_path)) == [
        {"a": 1.0, "d": "2024-01-01", "b": None},
        {"a": None, "d": None, "b": {"c": "x", "e": None}},
        {"a": 2.5, "d": None, "b": {"c": None, "e": None}},
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"a":1', "not valid JSON"),
        ('{"a":"secret', "not valid JSON"),
        ('{"a":1}{"a":2}', "not valid JSON"),
        ('["secret"]', "a JSON array, not an object"),
        ('{"a":"secret"}', "field 'a' is a JSON string that does not fit its column, int64"),
        ('{"a":1,"a":2}', "its fields cannot be read together"),
        (b'{"t":"\xffsecret"}', "not valid JSON"),
    ],
)
def test_a_bad_line_is_refused_by_number_without_its_content(line: str | bytes, words: str, tmp_path: Path) -> None:
    text = line if isinstance(line, bytes) else line.encode()

    refused = refusal(a_text(tmp_path / "x.jsonl", b'{"a":1,"t":"x"}\n\n' * 50 + text + b"\n" + b'{"a":2}\n' * 20))

    assert refused.startswith("x.jsonl, line 101: ")
    assert words in refused
    assert "secret" not in refused
    assert "convert the data to Parquet" in refused


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"new":1}', "field 'new' is in none of the lines the schema was inferred from; its columns: a"),
        ('{"a":2.5}', "field 'a' is a JSON number that does not fit its column, int64"),
    ],
)
def test_a_field_that_comes_after_inference_is_refused_by_line(
    line: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.dataset.jsonl.INFER_BYTES_MAX", 10)
    path = a_text(tmp_path / "x.jsonl", '{"a":1}\n' * READ_ROWS_MAX + line + "\n")

    refused = refusal(path)

    assert refused.startswith(f"x.jsonl, line {READ_ROWS_MAX + 1}: {words}")


def test_a_json_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.dataset.json_texts.LINE_BYTES_MAX", 2**20)

    assert "line 2: longer than" in refusal(a_text(tmp_path / "x.jsonl", '{"a":1}\n' + "x" * 3_000_000))


# What is not there, and what is not what it says.


def test_a_missing_path_is_refused_with_what_there_is(tmp_path: Path) -> None:
    for place in range(12):
        a_text(tmp_path / f"f{place:02}.csv", "a\n")

    words = refusal(tmp_path / "deep" / "nothing.parquet")

    assert "does not exist" in words
    assert words.endswith(f"{tmp_path} holds {', '.join(f'f{n:02}.csv' for n in range(10))} and 2 more")


def test_an_empty_folder_and_an_empty_glob_are_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path).endswith("holds no files to read; " + f"{tmp_path} holds nothing")
    a_text(tmp_path / "a.csv", "a\n")
    assert refusal(f"{tmp_path}/*.parquet").endswith(f"holds no files to read; {tmp_path} holds a.csv")
    assert f"{tmp_path} holds a.csv" in refusal(f"{tmp_path}/nowhere/*.parquet")


def test_mixed_and_unknown_formats_are_refused_with_what_was_found(tmp_path: Path) -> None:
    a_text(tmp_path / "a.csv", "a\n")
    a_text(tmp_path / "b.jsonl.gz", "a\n")
    a_text(tmp_path / "README.md", "a\n")
    a_text(tmp_path / "bare", "a\n")

    assert "it holds 1 x .csv, 1 x .jsonl.gz, 1 x .md, 1 x no suffix;" in refusal(tmp_path)
    assert "it holds 1 x .md;" in refusal(tmp_path / "README.md")
    assert "it holds 1 x .parquet.gz;" in refusal(a_text(tmp_path / "x.parquet.gz", ""))


@pytest.mark.parametrize("name", ["x.parquet", "x.arrow", "x.feather"])
def test_a_file_that_is_not_what_it_says_is_refused_by_name(name: str, tmp_path: Path) -> None:
    for content in (b"a,b\n1,2\n", b"PAR1" + b"x" * 100, b"ARROW1\0\0" + b"x" * 100 + b"ARROW1"):
        assert refusal(a_text(tmp_path / name, content)).startswith(f"{name} cannot be read as ")


def test_an_empty_parquet_file_is_refused_as_such(tmp_path: Path) -> None:
    assert refusal(a_text(tmp_path / "x.parquet", "")).startswith("x.parquet is empty (0 bytes)")


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_a_column_name_that_stands_twice_is_refused(suffix: str, tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    path = tmp_path / f"x.{suffix}"
    if suffix == "parquet":
        pq.write_table(table, path)
    else:
        feather.write_feather(table.rename_columns(["a", "b"]), path)
        with pa.ipc.new_file(path, table.schema) as file:
            file.write_table(table)

    assert refusal(path) == f"x.{suffix}: more than one column is named 'a'"


def test_a_damaged_row_group_is_refused_by_file_and_number(tmp_path: Path) -> None:
    path = a_parquet(tmp_path / "x.parquet", {"a": [f"text {n}" for n in range(4_000)]}, group_rows=1_000)
    start = pq.read_metadata(path).row_group(2).column(0).dictionary_page_offset
    content = bytearray(path.read_bytes())
    content[start : start + 600] = b"\xff" * 600
    path.write_bytes(content)
    dataset = opened(path)

    with pytest.raises(DatasetError, match=r"^x\.parquet: row group 2 cannot be read$") as raised:
        rows_of(dataset)

    assert raised.value.__cause__ is not None


def test_a_file_that_went_away_is_refused(tmp_path: Path) -> None:
    path = a_parquet(tmp_path / "x.parquet", {"a": [1]})
    dataset = opened(path)
    path.unlink()

    with pytest.raises(DatasetError, match=r"x\.parquet cannot be opened"):
        rows_of(dataset)


def test_an_unknown_column_is_refused_at_once_with_the_nearest_first(tmp_path: Path) -> None:
    dataset = opened(a_parquet(tmp_path / "x.parquet", {"id": [1], "title": ["x"]}))

    with pytest.raises(DatasetError, match=r"has no column 'Titel'; its columns: title, id"):
        dataset.batches(dataset.shards[0], columns=["Titel"])


# The fingerprint.


def test_a_copied_folder_is_the_same_dataset_and_a_changed_one_is_not(tmp_path: Path) -> None:
    a_parquet(tmp_path / "one/1.parquet", {"a": [1]})
    a_parquet(tmp_path / "one/2.parquet", {"a": [2]})
    shutil.copytree(tmp_path / "one", tmp_path / "two", copy_function=shutil.copyfile)
    before = opened(tmp_path / "one").fingerprint

    assert opened(tmp_path / "two").fingerprint == before
    (tmp_path / "two/2.parquet").rename(tmp_path / "two/3.parquet")
    assert opened(tmp_path / "two").fingerprint != before
    a_parquet(tmp_path / "one/2.parquet", {"a": [3]})
    assert opened(tmp_path / "one").fingerprint != before


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".arrow"])
def test_one_changed_byte_of_a_small_file_is_another_dataset(suffix: str, tmp_path: Path) -> None:
    path = in_format(suffix, tmp_path)
    before = opened(path).fingerprint
    path.write_bytes(path.read_bytes().replace(b"06000", b"0600x", 1))

    assert opened(path).fingerprint != before


def test_a_large_file_is_sampled_from_its_first_to_its_last_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.dataset.sampling.WHOLE_BYTES_MAX", 10_000)
    monkeypatch.setattr("orchestrator.dataset.sampling.SAMPLE_BYTES", 100)
    path = a_text(tmp_path / "x.csv", "a\n" + "1\n" * 50_000)
    before = opened(path).fingerprint

    path.write_text("a\n" + "1\n" * 49_999 + "2\n")
    assert opened(path).fingerprint != before
    path.write_text("b\n" + "1\n" * 50_000)
    assert opened(path).fingerprint != before


def test_nothing_depends_on_the_hash_seed_or_the_order_of_the_listing(tmp_path: Path) -> None:
    """P3: the same files, made in two orders, opened under two hash seeds."""
    program = (
        "import sys; from orchestrator.dataset.dataset import open_dataset;"
        "d = open_dataset(sys.argv[1], shard_rows=2, shard_bytes=10**9); print(d.fingerprint, d.shards, d.schema)"
    )
    printed = set()
    for seed, names in (("0", "abcdef"), ("1", "fbdeca")):
        for name in names:
            a_parquet(tmp_path / seed / f"k={name}" / "x.parquet", {"a": [name], "b": [1]})
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", program, str(tmp_path / seed)]
        printed.add(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)

    assert len(printed) == 1


def test_a_file_is_known_by_its_name_below_the_root(tmp_path: Path) -> None:
    a_parquet(tmp_path / "p=1/x.parquet", {"a": [1]})
    (file,) = opened(tmp_path).files.values()

    assert isinstance(file, SourceFile)
    assert file.name == "p=1/x.parquet"


def test_a_file_that_changed_since_it_was_opened_is_refused(tmp_path: Path) -> None:
    """What was planned from one file is never joined with another, even one of the same size."""
    path = a_text(tmp_path / "x.csv", "a\n1\n2\n")
    dataset = opened(path)
    path.write_text("a\n2\n1\n")
    os.utime(path, ns=(1, 1))

    with pytest.raises(DatasetError, match=r"x\.csv has changed since"):
        rows_of(dataset)
