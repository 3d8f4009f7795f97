"""Every Arrow type, from every kind of source, comes out as it went in, or is refused before anything is sent."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.collector.finish import try_rows
from orchestrator.dataset import csv
from orchestrator.dataset.dataset import open_dataset
from orchestrator.dataset.in_memory import keep_table
from orchestrator.domain.errors import DatasetError
from tests.dataset.arrow_corpus import ONE_DEEP, columns

REFUSED = ("month_day_nano", "dense union", "decimal of 90 digits", "101 objects deep")


class NotWritten(Exception):
    """The format itself has no such type, so there is no such file."""


def as_parquet(table: pa.Table, folder: Path) -> Path:
    try:
        pq.write_table(table, folder / "rows.parquet")
    except (pa.ArrowException, OSError) as error:
        raise NotWritten from error
    return folder / "rows.parquet"


def as_arrow(table: pa.Table, folder: Path) -> Path:
    try:
        with pa.OSFile(str(folder / "rows.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    except pa.ArrowException as error:
        raise NotWritten from error
    return folder / "rows.arrow"


def read(path: Path) -> pa.Table:
    """Return the rows as the output holds them: written to Parquet and read again."""
    source = open_dataset(path, shard_rows=10, shard_bytes=10**6)
    batches = list(source.batches(source.shards[0]))
    for batch in batches:
        try_rows(batch, path.name)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_batches(batches, source.schema), sink)
    return pq.read_table(pa.BufferReader(sink.getvalue()))


def plain(value: Any) -> Any:
    """Return a value with objects without fields as the text that they become."""
    if value == {}:
        return "{}"
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("keep", [as_parquet, as_arrow, keep_table], ids=["parquet", "arrow", "table"])
def test_each_type_is_kept_or_refused_by_name(tmp_path: Path, keep: Callable[[pa.Table, Path], Path]) -> None:
    """A refusal names the column; Arrow itself opens no file that is nested so deep."""
    wrong = dict[str, object]()
    for number, (name, values) in enumerate(ONE_DEEP if keep is keep_table else columns()):
        folder = tmp_path / str(number)
        folder.mkdir()
        table = pa.table({"the column": values})
        is_refused = any(kind in name for kind in REFUSED)
        try:
            found = read(keep(table, folder))["the column"].to_pylist()
        except DatasetError as error:
            if not is_refused or ("'the column'" not in str(error) and name != "101 objects deep"):
                wrong[name] = str(error)
        except NotWritten:
            continue
        else:
            if is_refused or found != plain(table["the column"].to_pylist()):
                wrong[name] = found

    assert wrong == {}


def test_a_slice_of_a_nested_column_keeps_its_own_rows(tmp_path: Path) -> None:
    """Offsets of a batch that is a slice of a longer one, with types inside that are converted."""
    views = pa.array(["a", "b", "c", "d", "e"], pa.string_view()).dictionary_encode()
    rows = pa.table(
        {
            "lists": pa.ListArray.from_arrays(pa.array([0, 1, 1, 3, 5], pa.int32()), views),
            "objects": pa.StructArray.from_arrays([views.slice(0, 4)], names=["inner"]),
            "pairs": pa.FixedSizeListArray.from_arrays(pa.concat_arrays([views, views]).slice(0, 8), 2),
        }
    ).slice(1, 2)

    assert read(as_arrow(rows, tmp_path)).to_pylist() == [
        {"lists": [], "objects": {"inner": "b"}, "pairs": ["c", "d"]},
        {"lists": ["b", "c"], "objects": {"inner": "c"}, "pairs": ["e", "a"]},
    ]


def test_years_far_from_now_are_kept_in_the_timestamps_of_old_parquet_files(tmp_path: Path) -> None:
    """INT96 counts nanoseconds of a day; as nanoseconds since 1970, 9999-12-31 became 1816-03-29."""
    far = pa.table({"at": pa.array(["9999-12-31", "0001-01-01"]).cast(pa.timestamp("us"))})
    pq.write_table(far, tmp_path / "rows.parquet", use_deprecated_int96_timestamps=True)

    assert [str(value) for value in read(tmp_path / "rows.parquet")["at"].to_pylist()] == [
        "9999-12-31 00:00:00",
        "0001-01-01 00:00:00",
    ]


@pytest.mark.parametrize(
    ("lines", "where"),
    [
        (['{"id": 18446744073709551615}'], "rows.jsonl, line 1: field 'id'"),
        (['{"id": 9007199254740993}', '{"id": 1}', '{"id": 0.5}'], "rows.jsonl, line 1: field 'id'"),
        (['{"a": {"b": [0.5]}}', '{"a": {"b": [9007199254740993]}}'], "rows.jsonl, line 2: field 'a.b'"),
    ],
)
def test_an_integer_that_would_lose_digits_is_refused_with_its_line(
    tmp_path: Path, lines: list[str], where: str
) -> None:
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))

    with pytest.raises(DatasetError, match=where):
        open_dataset(tmp_path / "rows.jsonl", shard_rows=10, shard_bytes=10**6)


def test_integers_that_a_column_can_hold_keep_all_their_digits(tmp_path: Path) -> None:
    ids = [2**63 - 1, -(2**53) - 1, 0]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps({"id": one, "text": "1" * 20}) for one in ids))

    assert read(tmp_path / "rows.jsonl")["id"].to_pylist() == ids


def test_a_header_alone_is_a_table_without_rows_with_or_without_an_end_of_line(tmp_path: Path) -> None:
    for number, text in enumerate(("a,b", "a,b\n", "a,b\r\n", "\ufeffa,b")):
        (tmp_path / f"{number}.csv").write_text(text, newline="")

        assert read(tmp_path / f"{number}.csv").schema.names == ["a", "b"]


def test_a_line_end_on_the_border_of_two_blocks_is_one_line_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CR ends a block and LF begins the next, wherever the border is; also within a quoted field."""
    monkeypatch.setattr(csv, "BLOCK_BYTES", 128)
    for shift in range(64):
        texts = ["x" * shift, *["abc", "", "de", 'a ""quote""', "two\r\nlines", "z"] * 12]
        content = "a,b\r\n" + "".join(f'"{text}",{number}\r\n' for number, text in enumerate(texts))
        (tmp_path / "rows.csv").write_text(content, newline="")
        source = open_dataset(tmp_path / "rows.csv", shard_rows=10**6, shard_bytes=10**9)
        found = [row["a"] for batch in source.batches(source.shards[0]) for row in batch.to_pylist()]

        assert found == [text.replace('""', '"') for text in texts], shift


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"a": 1e400}', "a number beyond 1e308 is no number in JSON"),
        ('{"a": -7e999}', "a number beyond 1e308 is no number in JSON"),
        ('{"a": 1, "b": {"c": NaN}}', "NaN is no number in JSON"),
        ('{"a": 1, "b": "NaN and 1e400"', "not valid JSON"),
    ],
)
def test_a_number_that_no_column_holds_is_told_as_such(line: str, words: str, tmp_path: Path) -> None:
    """With file and line; within a text the same letters are a text."""
    (tmp_path / "rows.jsonl").write_text('{"a": 1, "b": "x"}\n' + line + "\n")

    with pytest.raises(DatasetError, match=f"rows.jsonl, line 2: {words}"):
        open_dataset(tmp_path / "rows.jsonl", shard_rows=10, shard_bytes=10**6)
