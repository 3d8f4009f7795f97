"""Folders that are more than their files, and files that are none."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.dataset.dataset import open_dataset
from orchestrator.domain.dataset import ReadOptions
from orchestrator.domain.errors import ConfigError, DatasetError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "table"
    found.mkdir()
    pq.write_table(pa.table({"t": ["a", "b"]}), found / "part-0.parquet")
    return found


def names(place: Path | str) -> set[str]:
    return set(open_dataset(place, shard_rows=10, shard_bytes=10**6).files)


@pytest.mark.parametrize(
    ("mark", "kind"),
    [
        ("_delta_log/00000000000000000000.json", "Delta"),
        ("sub/_delta_log/00000000000000000000.json", "Delta"),
        (".hoodie/hoodie.properties", "Hudi"),
        ("metadata/00000-5f.metadata.json", "Iceberg"),
    ],
)
def test_a_table_format_is_refused_by_name_and_never_read_as_plain_files(folder: Path, mark: str, kind: str) -> None:
    """Its folder holds the files of deleted and replaced rows, too."""
    (folder / mark).parent.mkdir(parents=True)
    (folder / mark).write_text("{}")

    for place in (folder, f"{folder}/**/*.parquet"):
        with pytest.raises(DatasetError, match=f"is a {kind} table"):
            open_dataset(place, shard_rows=10, shard_bytes=10**6)


def test_folder_markers_and_hidden_files_are_passed_over(folder: Path) -> None:
    (folder / "year=2024_$folder$").write_bytes(b"")
    (folder / "_SUCCESS").write_bytes(b"")
    (folder / ".part-0.crc").write_bytes(b"x")
    (folder / "part-0.parquet.crc").write_bytes(b"x")
    (folder / "_committed_4711").write_text("{}")
    (folder / "_started_4711").write_text("{}")

    assert names(folder) == {"part-0.parquet"}


def test_a_partition_that_begins_with_an_underscore_is_data_as_for_spark(folder: Path) -> None:
    (folder / "_year=2024").mkdir()
    (folder / "part-0.parquet").rename(folder / "_year=2024/part-0.parquet")

    assert names(folder) == {"_year=2024/part-0.parquet"}


def test_files_without_a_suffix_are_read_by_a_setting(folder: Path) -> None:
    """As Hive and Athena write them."""
    (folder / "part-0.parquet").rename(folder / "000000_0")
    (folder / "000001_0").write_bytes((folder / "000000_0").read_bytes())
    options = ReadOptions(format="parquet")

    with pytest.raises(DatasetError, match=r"it holds 2 x no suffix.*set format under"):
        names(folder)
    source = open_dataset(folder, shard_rows=10, shard_bytes=10**6, options=options)
    assert [row["t"] for batch in source.batches(source.shards[0]) for row in batch.to_pylist()] == ["a", "b"] * 2

    (folder / "notes.csv").write_text("t\n")
    with pytest.raises(DatasetError, match=r"one readable format, it holds 1 x .csv, 2 x no suffix"):
        open_dataset(folder, shard_rows=10, shard_bytes=10**6, options=options)


def test_a_format_that_is_not_known_is_refused() -> None:
    with pytest.raises(ConfigError, match="format must be one of parquet, arrow, csv, json"):
        ReadOptions(format="orc")


def test_a_name_that_is_not_utf8_is_refused_by_name(folder: Path) -> None:
    (folder / "part-0.parquet").rename(os.fsdecode(bytes(folder) + b"/caf\xe9.parquet"))

    for place in (folder, f"{folder}/*.parquet", os.fsdecode(bytes(folder) + b"/caf\xe9.parquet")):
        with pytest.raises(DatasetError, match=r"caf\\xe9\.parquet: its name is not UTF-8: rename it") as raised:
            names(place)
        str(raised.value).encode()  # it can be printed


def test_a_link_that_leads_nowhere_is_refused_by_name(folder: Path) -> None:
    """As in a cache of which a file was removed: its rows would be missing in silence."""
    (folder / "part-1.parquet").symlink_to("../blobs/gone")

    with pytest.raises(DatasetError, match=r"part-1\.parquet is no file that can be read: a link"):
        names(folder)


def test_a_link_to_a_file_is_that_file(folder: Path) -> None:
    (folder / "part-0.parquet").rename(folder.parent / "blob")
    (folder / "part-0.parquet").symlink_to("../blob")

    assert names(folder) == {"part-0.parquet"}


def test_a_pipe_is_refused_by_name_and_never_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "part-1.parquet")

    with pytest.raises(DatasetError, match=r"part-1\.parquet is no file that can be read: .* a pipe"):
        names(folder)


def test_a_folder_that_links_to_itself_is_not_read_twice(folder: Path) -> None:
    (folder / "again").symlink_to(".")

    with pytest.raises(DatasetError, match="are one file, which would be read twice"):
        names(folder)


def test_a_name_that_is_not_utf_8_is_refused(folder: Path) -> None:
    with open(os.fsencode(folder) + b"/caf\xe9.parquet", "wb"):  # noqa: PTH123 - pathlib has no names of bytes
        pass

    with pytest.raises(DatasetError, match="UTF-8"):
        names(folder)


def test_the_short_suffix_of_parquet_is_parquet(folder: Path) -> None:
    (folder / "part-0.parquet").rename(folder / "part-0.pq")

    assert names(folder) == {"part-0.pq"}
