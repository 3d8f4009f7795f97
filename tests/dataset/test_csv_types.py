"""CSV columns that are not text: declared, or inferred without losing what a value says."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from orchestrator.api.job import Job
from orchestrator.dataset import csv
from orchestrator.dataset.dataset import open_dataset
from orchestrator.domain.dataset import ReadOptions
from orchestrator.domain.errors import ConfigError, DatasetError


def read(place: Path, **options: Any) -> tuple[dict[str, str], list[dict[str, Any]]]:
    source = open_dataset(place, shard_rows=10**6, shard_bytes=10**9, options=ReadOptions(**options))
    kinds = {field.name: str(field.type) for field in source.schema}
    return kinds, [row for shard in source.shards for batch in source.batches(shard) for row in batch.to_pylist()]


def a_file(folder: Path, content: str, name: str = "x.csv") -> Path:
    (folder / name).write_text(content)
    return folder / name


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "-2", "", "0"], "int64"),
        (["1", "2.5", "-1e-07"], "double"),
        (["true", "False", ""], "bool"),
        (["", ""], "string"),
        (["1", "007"], "string"),
        (["1", "true"], "string"),
        (["1", "+2"], "string"),
        (["1", " 2"], "string"),
        (["1", "0x1F"], "string"),
        (["1", "nan"], "string"),
        (["2024-01-01"], "string"),
        (["9223372036854775808"], "string"),
        (["900719925474099312", "1"], "int64"),
        (["900719925474099312", "0.5"], "string"),
        (["1.23456789012345678"], "string"),
        (["0.5", "1e400"], "string"),
        (["1,5"], "string"),
    ],
)
def test_only_what_loses_nothing_is_inferred(values: list[str], kind: str, tmp_path: Path) -> None:
    place = a_file(tmp_path, "k,v\n" + "".join(f'x,"{value}"\n' for value in values))
    kinds, rows = read(place, types="infer")

    assert kinds == {"k": "string", "v": kind}
    if kind == "string":
        assert [row["v"] for row in rows] == values
    else:
        assert [row["v"] is None for row in rows] == [value == "" for value in values]


def test_all_files_of_a_folder_have_one_type(tmp_path: Path) -> None:
    for name, value in (("1.csv", "1"), ("2.csv", "x"), ("3.csv", "0.5")):
        a_file(tmp_path, f"v,w\n{value},1\n", name)
    (tmp_path / "4.csv").write_text("v,w", newline="")  # a header without an end of line, and no row

    assert read(tmp_path, types="infer") == (
        {"v": "string", "w": "int64"},
        [{"v": "1", "w": 1}, {"v": "x", "w": 1}, {"v": "0.5", "w": 1}],
    )


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("int64", "007", 7),
        ("uint8", "255", 255),
        ("float32", "0.5", 0.5),
        ("bool", "TRUE", True),
        ("date", "2024-02-29", dt.date(2024, 2, 29)),
        ("timestamp", "2024-02-29 10:00:00", dt.datetime(2024, 2, 29, 10)),  # noqa: DTZ001 - without a zone
        ("timestamp[us, UTC]", "2024-02-29T10:00:00+02:00", dt.datetime(2024, 2, 29, 8, tzinfo=dt.UTC)),
        ("decimal(6, 2)", "12.50", Decimal("12.50")),
        ("string", "", ""),
    ],
)
def test_a_declared_column_has_its_type_and_an_empty_field_is_null(
    kind: str, text: str, value: Any, tmp_path: Path
) -> None:
    _, rows = read(a_file(tmp_path, f"a,b\n{text},x\n,x\n"), types={"a": kind})

    assert rows == [{"a": value, "b": "x"}, {"a": "" if kind == "string" else None, "b": "x"}]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("int64", "1.5"),
        ("int8", "300"),
        ("float64", "1e400"),
        ("bool", "yes"),
        ("date", "29.2.2024"),
        ("timestamp", "2024-01-01T00:00:00Z"),
        ("timestamp[us, UTC]", "2024-01-01 10:00"),
        ("decimal(6, 2)", "1.234"),
    ],
)
def test_a_value_that_is_none_of_its_type_is_refused_by_row_and_column(kind: str, text: str, tmp_path: Path) -> None:
    place = a_file(tmp_path, "k,a\n" + "x,\n" * 9_000 + f"x,{text}\nx,\n")

    with pytest.raises(DatasetError) as raised:
        read(place, types={"a": kind})

    assert "x.csv, row 9002 (the header is row 1): column 'a' holds a value that is no " in str(raised.value)
    assert text not in str(raised.value)


def test_a_row_behind_the_inferred_ones_that_does_not_fit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv, "INFER_BYTES_MAX", 1)
    monkeypatch.setattr(csv, "BLOCK_BYTES", 1_000)
    place = a_file(tmp_path, "a\n" + "1\n" * 900 + "n/a\n")

    with pytest.raises(DatasetError, match=r'row 902 .*set types = \{ "a" = "string" \}'):
        read(place, types="infer")


@pytest.mark.parametrize(
    ("types", "words"),
    [
        ("inferred", 'types must be "infer", or a table'),
        (["int64"], 'types must be "infer", or a table'),
        ({"a": "int7"}, "'a' is given a type that is not known"),
        ({"a": 7}, "'a' is given a type that is not known"),
    ],
)
def test_types_that_mean_nothing_are_refused_when_the_job_is_made(types: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Job(dataset="x.csv", model="m", prompt="{a}", dataset_options={"types": types})


def test_a_type_of_a_column_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"no column 'agee', of which types under .dataset. speaks; its columns: age"
    ):
        read(a_file(tmp_path, "age\n1\n"), types={"agee": "int64"})


def test_types_are_part_of_what_a_job_is_in_whatever_order(tmp_path: Path) -> None:
    place = a_file(tmp_path, "a,b\n1,2\n")

    def mark(types: Any) -> str:
        return open_dataset(place, shard_rows=9, shard_bytes=10**6, options=ReadOptions(types=types)).fingerprint

    assert len({mark(""), mark("infer"), mark({"a": "int64"})}) == 3
    assert mark({"a": "int64", "b": "int8"}) == mark({"b": "int8", "a": "int64"})
