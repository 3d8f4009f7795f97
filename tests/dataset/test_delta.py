"""Delta tables: read by their log at a version, which is part of the dataset; what only its log says is refused."""

from __future__ import annotations

import base64
import datetime as dt
import json
import shutil
import struct
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, TableFeatures, write_deltalake

import orchestrator
from orchestrator.dataset.dataset import AS_USUAL, Dataset, open_dataset
from orchestrator.domain.dataset import ReadOptions
from orchestrator.domain.errors import ConfigError, DatasetError
from orchestrator.testing import fake_provider


def opened(place: Path, **options: Any) -> Dataset:
    chosen = ReadOptions(**options) if options else AS_USUAL
    return open_dataset(place, shard_rows=10**6, shard_bytes=10**9, options=chosen)


def rows(source: Dataset) -> list[dict[str, Any]]:
    found = [row for shard in source.shards for batch in source.batches(shard) for row in batch.to_pylist()]
    return sorted(found, key=lambda row: row["id"])


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A table of three versions: two rows, one deleted, one added with a column more."""
    table = tmp_path / "table"
    write_deltalake(table, pa.table({"id": [1, 2], "t": ["a", "b"]}))
    DeltaTable(table).delete("id = 1")
    write_deltalake(table, pa.table({"id": [3], "t": ["c"], "new": [0.5]}), mode="append", schema_mode="merge")
    return table


def test_a_table_has_the_rows_of_its_log(place: Path) -> None:
    """Plain reading would take the deleted row, too."""
    assert rows(opened(place)) == [{"id": 2, "t": "b", "new": None}, {"id": 3, "t": "c", "new": 0.5}]


@pytest.mark.parametrize(("version", "ids"), [(0, [1, 2]), (1, [2]), (2, [2, 3])])
def test_a_version_is_read_as_it_was_and_is_part_of_the_fingerprint(version: int, ids: list[int], place: Path) -> None:
    source = opened(place, version=version)

    assert [row["id"] for row in rows(source)] == ids
    assert source.options.version == version
    assert (source.fingerprint == opened(place).fingerprint) is (version == 2)


@pytest.mark.slow
def test_a_job_goes_on_with_the_version_that_it_was_planned_with(place: Path, tmp_path: Path) -> None:
    fields = {"prompt": "{t}", "model": "m", "work": tmp_path / "work"}
    with fake_provider() as fake:
        handle = orchestrator.submit(place, **fields, **fake.options)
        write_deltalake(place, pa.table({"id": [9], "t": ["late"], "new": [0.0]}), mode="append")
        result = handle.run()

        assert sorted(result.to_arrow()["id"].to_pylist()) == [2, 3]
        other = orchestrator.run(place, **fields, **fake.options)

    assert sorted(other.to_arrow()["id"].to_pylist()) == [2, 3, 9]
    assert other.job_id != result.job_id


def test_partitions_have_the_types_of_the_log(tmp_path: Path) -> None:
    """Not those of folders' names, which may be percent-encoded twice."""
    table = pa.table(
        {
            "id": [1, 2],
            "name": ["a b/%", "c=d é"],
            "day": pa.array([dt.date(2024, 2, 29), None], pa.date32()),
            "amount": pa.array([Decimal("1.50"), Decimal(2)], pa.decimal128(5, 2)),
            "is": [True, False],
        }
    )
    write_deltalake(tmp_path / "t", table, partition_by=["name", "day", "amount", "is"])

    source = opened(tmp_path / "t")

    assert {field.name: field.type for field in source.schema} == {field.name: field.type for field in table.schema}
    assert rows(source) == table.to_pylist()


def test_a_file_that_vacuum_removed_is_told_as_such(place: Path) -> None:
    DeltaTable(place).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)

    assert len(rows(opened(place))) == 2
    with pytest.raises(DatasetError, match="a file of version 0, is gone: VACUUM removes the files of old versions"):
        opened(place, version=0)


def test_a_version_that_is_not_there_is_refused(place: Path) -> None:
    with pytest.raises(DatasetError, match="is a Delta table, and version 99 of it cannot be read"):
        opened(place, version=99)


def test_a_version_of_what_is_no_table_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [1]}), tmp_path / "x.parquet")

    with pytest.raises(ConfigError, match=r"has a version, and .* is no Delta table"):
        opened(tmp_path, version=1)
    with pytest.raises(ConfigError, match="version must be the number"):
        ReadOptions(version=-2)


def edited(place: Path, commit: int, key: str, **changes: Any) -> None:
    """Change an action of a commit."""
    file = place / f"_delta_log/{commit:020}.json"
    actions = [json.loads(line) for line in file.read_text().splitlines()]
    for action in actions:
        if key in action:
            action[key] |= changes
    file.write_text("\n".join(map(json.dumps, actions)))


def inline_vector(deleted: list[int]) -> dict[str, Any]:
    """Return a deletion vector: a roaring bitmap of row numbers, in Z85, as the protocol of Delta describes it."""
    numbers = b"".join(struct.pack("<H", number) for number in deleted)
    bitmap = struct.pack("<IIHHI", 12346, 1, 0, len(deleted) - 1, 16) + numbers
    content = struct.pack("<iqI", 1681511377, 1, 0) + bitmap
    ours = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
    z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
    text = base64.b85encode(content).decode().translate(str.maketrans(ours, z85))
    return {"storageType": "i", "pathOrInlineDv": text, "sizeInBytes": len(content), "cardinality": len(deleted)}


def test_deletion_vectors_are_refused_by_name_where_there_are_any(tmp_path: Path) -> None:
    write_deltalake(tmp_path / "t", pa.table({"id": list(range(30))}))
    DeltaTable(tmp_path / "t").alter.add_feature(TableFeatures.DeletionVectors, allow_protocol_versions_increase=True)

    assert len(rows(opened(tmp_path / "t"))) == 30

    edited(tmp_path / "t", 0, "add", deletionVector=inline_vector([3, 4, 7, 29]))

    assert pa.table(DeltaTable(tmp_path / "t").scan()).num_rows == 26  # the vector is sound
    with pytest.raises(DatasetError, match=r"with rows deleted by deletion vectors \(REORG TABLE"):
        opened(tmp_path / "t")


def test_mapped_columns_are_refused_by_name(tmp_path: Path) -> None:
    """Their files have other names for them."""
    write_deltalake(tmp_path / "t", pa.table({"id": [1]}))
    notes = {"delta.columnMapping.id": 1, "delta.columnMapping.physicalName": "col-1"}
    fields = [{"name": "id", "type": "long", "nullable": True, "metadata": notes}]
    settings = {"delta.columnMapping.mode": "name", "delta.columnMapping.maxColumnId": "1"}
    edited(tmp_path / "t", 0, "protocol", minReaderVersion=2, minWriterVersion=5)
    schema = json.dumps({"type": "struct", "fields": fields})
    edited(tmp_path / "t", 0, "metaData", configuration=settings, schemaString=schema)

    with pytest.raises(DatasetError, match="with columns mapped by name, which is not read here: write its rows"):
        opened(tmp_path / "t")


def test_what_readers_must_know_and_nobody_here_does_is_refused(tmp_path: Path) -> None:
    write_deltalake(tmp_path / "t", pa.table({"id": [1]}))
    features = {"readerFeatures": ["ofTomorrow"], "writerFeatures": ["ofTomorrow"]}
    edited(tmp_path / "t", 0, "protocol", minReaderVersion=3, minWriterVersion=7, **features)

    with pytest.raises(DatasetError, match=r"is a Delta table.*(ofTomorrow|cannot be read)"):
        opened(tmp_path / "t")


def test_without_the_package_a_table_is_refused_with_the_way_out(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deltalake", None)

    with pytest.raises(ConfigError, match=r"would take deleted rows too.*pip install 'batch-orchestrator\[delta\]'"):
        opened(place)


def test_a_glob_or_a_folder_above_is_still_refused(place: Path) -> None:
    for other in (f"{place}/*.parquet", place.parent):
        with pytest.raises(DatasetError, match="is a Delta table"):
            open_dataset(other, shard_rows=10, shard_bytes=10**6)


def test_a_damaged_log_is_refused(place: Path) -> None:
    shutil.rmtree(place / "_delta_log")
    (place / "_delta_log").mkdir()

    with pytest.raises(DatasetError, match="is a Delta table, and its log cannot be read"):
        opened(place)


@pytest.mark.parametrize(
    "where", ["{elsewhere}", "file://{elsewhere}", "../elsewhere.parquet", "..%2Felsewhere.parquet"]
)
def test_a_log_that_names_files_elsewhere_is_refused(where: str, tmp_path: Path) -> None:
    """As it is for who may read some folders only, such as an agent."""
    table, elsewhere = tmp_path / "table", tmp_path / "elsewhere.parquet"
    write_deltalake(table, pa.table({"id": [1]}))
    pq.write_table(pa.table({"id": [2]}), elsewhere)
    [entry] = (table / "_delta_log").glob("*.json")
    [named] = table.glob("*.parquet")
    entry.write_text(entry.read_text().replace(named.name, where.format(elsewhere=elsewhere)))

    with pytest.raises(DatasetError, match="with files outside of its folder"):
        opened(table)
