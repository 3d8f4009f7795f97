"""The tools of the kills see what they are for: each is shown a program that does it wrong."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.acceptance.datasets import marked
from tests.kills.disk_model import Platters
from tests.kills.output import Sight, look


def synced(disk_model: Platters, *paths: Path) -> None:
    synced_by(disk_model, 1, *paths)


def synced_by(disk_model: Platters, thread: int, *paths: Path) -> None:
    for path in paths:
        disk_model.syncing(thread, str(path))
        disk_model.synced(thread, ok=True)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """An empty folder whose disk is watched."""
    folder = tmp_path / "disk"
    folder.mkdir()
    return folder


def test_what_was_synced_outlives_a_power_loss_and_nothing_else_does(disk: Path) -> None:
    """A file needs its own sync, and one of every folder above it."""
    disk_model = Platters(disk)
    for name in ("safe", "unnamed", "empty"):
        (disk / name).write_bytes(b"words")
    folder, orphan = disk / "folder", disk / "orphan"
    folder.mkdir()
    (folder / "inside").write_bytes(b"words")
    synced(disk_model, disk / "safe", folder / "inside", folder, disk)
    (disk / "unnamed").rename(disk / "renamed")
    orphan.mkdir()
    (orphan / "inside").write_bytes(b"words")
    synced(disk_model, orphan / "inside", orphan)
    (disk / "safe").write_bytes(b"other words")

    disk_model.lose_power(0)

    assert sorted(path.name for path in disk.iterdir()) == ["empty", "folder", "safe", "unnamed"]
    assert (disk / "safe").read_bytes() == b"words"
    assert (disk / "empty").read_bytes() == b""
    assert (folder / "inside").read_bytes() == b"words"


def test_a_sync_that_ends_late_takes_nothing_back(disk: Path) -> None:
    """Two threads sync one folder: the one that began before the second file was there is the last to end."""
    disk_model = Platters(disk)
    (disk / "first").write_text("1")
    synced(disk_model, disk / "first")
    disk_model.syncing(1, str(disk))
    (disk / "second").write_text("2")
    synced_by(disk_model, 2, disk / "second", disk)
    disk_model.synced(1, ok=True)

    disk_model.lose_power(0)

    assert sorted(path.name for path in disk.iterdir()) == ["first", "second"]


def test_a_sync_that_failed_or_never_ended_keeps_nothing(disk: Path) -> None:
    disk_model = Platters(disk)
    file = disk / "file"
    file.write_bytes(b"words")
    disk_model.syncing(1, str(disk))
    disk_model.synced(1, ok=True)
    disk_model.syncing(1, str(file))
    disk_model.synced(1, ok=False)
    disk_model.syncing(2, str(file))

    disk_model.lose_power(0)

    assert file.read_bytes() == b""


def write_part(folder: Path, number: int, *, rows: slice, answers: slice | None = None) -> None:
    source = marked(12)
    table = source.slice(rows.start, rows.stop - rows.start)
    said = source["text"].to_pylist()[answers or rows]
    folder.mkdir(exist_ok=True)
    pq.write_table(table.append_column("llm_response", pa.array(said)), folder / f"part-{number:05d}.parquet")


def test_a_look_at_whole_parts_finds_nothing_wrong(tmp_path: Path) -> None:
    write_part(tmp_path / "output", 1, rows=slice(4, 8))
    (tmp_path / "output" / ".part-1234").write_bytes(b"PAR1 and not yet more")

    sight = Sight()
    look(tmp_path / "output", shard_rows=4, rows=12, sight=sight)

    assert (sight.files, sight.looks_at_some, sight.partial, sight.wrong) == (1, 1, 0, 0)


def test_a_look_sees_a_torn_file_a_short_one_and_answers_of_other_rows(tmp_path: Path) -> None:
    """Three ways to be wrong, each counted."""
    write_part(tmp_path / "short", 0, rows=slice(0, 3))
    write_part(tmp_path / "shifted", 0, rows=slice(0, 4), answers=slice(1, 5))
    write_part(tmp_path / "torn", 0, rows=slice(0, 4))
    write_part(tmp_path / "torn", 1, rows=slice(4, 8))
    torn = tmp_path / "torn" / "part-00001.parquet"
    torn.write_bytes(torn.read_bytes()[:-100])

    found = {}
    for name in ("short", "shifted", "torn"):
        sight = Sight()
        look(tmp_path / name, shard_rows=4, rows=12, sight=sight)
        found[name] = (sight.partial, sight.wrong)

    assert found == {"short": (1, 0), "shifted": (0, 4), "torn": (1, 0)}
