"""Reading a finished output: only what is asked for is opened and read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import orchestrator
from orchestrator import OrchestratorError, OutputOptions, Result
from orchestrator.cli.main import app
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.model import JobState
from orchestrator.domain.progress import Totals
from orchestrator.testing import Failure, fake_provider
from tests.cli.looks import NO_NAMES, a_status

PARTS = 3
GROUPS = 4
GROUP_ROWS = 100
FAILED_ROWS = [150, 151, 820]  # in the first and in the last part, each in one row group
NOT_PARQUET = b"PAR1 this is no Parquet file, and whoever opens it fails"


def rows_of(part: int) -> pa.Table:
    first = part * GROUPS * GROUP_ROWS
    numbers = range(first, first + GROUPS * GROUP_ROWS)
    codes = {number: "content_filter" if number < 200 else None for number in FAILED_ROWS}
    return pa.table(
        {
            "number": pa.array(numbers, pa.int64()),
            "llm_status": ["failed" if number in FAILED_ROWS else "succeeded" for number in numbers],
            "llm_error_code": pa.array([codes.get(number) for number in numbers], pa.string()),
        }
    )


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Return the folder of a finished output of three parts, each of four row groups."""
    folder = tmp_path / "output"
    folder.mkdir()
    for part in range(PARTS):
        pq.write_table(rows_of(part), folder / f"part-{part:05d}.parquet", row_group_size=GROUP_ROWS)
    (folder / "_SUCCESS").touch()
    return folder


def result_of(folder: Path) -> Result:
    rows = PARTS * GROUPS * GROUP_ROWS
    totals = Totals(shards=1, shards_planning=0, rows=rows, settled=rows, refused=0)
    status = a_status(JobState.FINISHED, totals, "job-1")
    return Result(status=status, path=str(folder), options=OutputOptions(), names=NO_NAMES)


def spoil_parts(folder: Path, *parts: int) -> None:
    """Make parts unreadable: opening one of them is an error."""
    for part in parts:
        (folder / f"part-{part:05d}.parquet").write_bytes(NOT_PARQUET)


def spoil_groups(path: Path, *groups: int) -> None:
    """Overwrite the data of row groups; the footer stays, so reading any other row group works."""
    metadata = pq.read_metadata(path)
    content = bytearray(path.read_bytes())
    for group in groups:
        for column in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(column)
            start = chunk.dictionary_page_offset or chunk.data_page_offset
            content[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(content)


def numbers(table: pa.Table) -> list[int]:
    found: list[int] = table["number"].to_pylist()
    return found


def test_the_first_rows_are_read_from_the_first_row_group_alone(output: Path) -> None:
    spoil_groups(output / "part-00000.parquet", 1, 2, 3)
    spoil_parts(output, 1, 2)

    assert numbers(result_of(output).head(5)) == [0, 1, 2, 3, 4]
    assert result_of(output).head(0).num_rows == 0


def test_the_first_rows_go_on_in_the_next_part_where_one_is_too_short(output: Path) -> None:
    spoil_parts(output, 2)

    assert numbers(result_of(output).head(410)) == list(range(410))


def test_failures_are_read_from_the_row_groups_that_have_some(output: Path) -> None:
    """Statistics say which row groups hold failed rows; the others are not read."""
    for part in range(PARTS):
        spoil_groups(output / f"part-{part:05d}.parquet", *{0: (0, 2, 3), 1: (0, 1, 2, 3), 2: (1, 2, 3)}[part])

    result = result_of(output)

    assert numbers(result.failures()) == FAILED_ROWS
    assert result.failures().column_names == ["number", "llm_status", "llm_error_code"]
    assert dict(result.errors()) == {"content_filter": 2, "unknown": 1}


def test_the_first_failures_open_no_part_behind_them(output: Path) -> None:
    spoil_parts(output, 1, 2)

    assert numbers(result_of(output).failures(1)) == [150]


def test_batches_come_in_order_and_open_a_part_when_it_is_reached(output: Path) -> None:
    spoil_parts(output, 2)
    batches = result_of(output).iter_batches(columns=["number"], batch_rows=50)

    seen = [next(batches) for _ in range(2 * GROUPS * GROUP_ROWS // 50)]

    assert [number for batch in seen for number in batch["number"].to_pylist()] == list(range(2 * GROUPS * GROUP_ROWS))
    assert all(batch.schema.names == ["number"] for batch in seen)
    with pytest.raises(OrchestratorError, match="cannot be read"):
        next(batches)


def test_failed_rows_are_streamed_with_the_columns_that_are_asked_for(output: Path) -> None:
    [first, last] = result_of(output).iter_batches(columns=["number"], kind="failed")

    assert (first.to_pydict(), last.to_pydict()) == ({"number": [150, 151]}, {"number": [820]})


def test_rows_are_selected_by_their_kind(output: Path) -> None:
    """Rule: an answer that is not whole is found by its error code, and so is a failed row with such a code."""
    table = rows_of(2)
    codes = [{820: "truncated", 900: "truncated", 1099: "empty"}.get(number) for number in table["number"].to_pylist()]
    table = table.set_column(2, "llm_error_code", pa.array(codes, pa.string()))
    pq.write_table(table, output / "part-00002.parquet", row_group_size=GROUP_ROWS)

    result = result_of(output)

    assert [numbers(result.rows(kind)) for kind in ("truncated", "empty", "refused")] == [[820, 900], [1099], []]
    assert numbers(result.rows("failed", 2)) == [150, 151]
    with pytest.raises(ConfigError, match="give one of succeeded, failed, refused, truncated, empty"):
        result.rows("cut")


def test_a_dataset_filters_and_scans_without_loading_all(output: Path) -> None:
    dataset = result_of(output).dataset()

    assert dataset.count_rows() == PARTS * GROUPS * GROUP_ROWS
    assert numbers(dataset.to_table(filter=pc.field("llm_status") == "failed")) == FAILED_ROWS


def test_the_whole_output_is_one_table_in_order(output: Path) -> None:
    assert numbers(result_of(output).to_arrow()) == list(range(PARTS * GROUPS * GROUP_ROWS))
    assert len(result_of(output).to_pandas()) == PARTS * GROUPS * GROUP_ROWS


@pytest.mark.parametrize("read", [Result.head, Result.failures, Result.errors, Result.to_arrow, Result.iter_batches])
def test_an_output_without_success_is_refused_before_anything_is_read(output: Path, read: Any) -> None:
    (output / "_SUCCESS").unlink()

    with pytest.raises(OrchestratorError, match="holds no finished output"):
        read(result_of(output))


def test_an_output_that_lost_its_parts_says_so(output: Path) -> None:
    for path in output.glob("part-*"):
        path.unlink()

    with pytest.raises(OrchestratorError, match="has lost its output"):
        result_of(output).head()


@pytest.mark.slow
def test_the_command_reads_no_more_than_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`orchestrator results JOB --limit 2`, and with `--rows failed`, of an output whose last part cannot be read."""
    monkeypatch.setenv("ORCHESTRATOR_SHARD_ROWS", "10")
    with pq.ParquetWriter(tmp_path / "rows.parquet", pa.schema([("text", pa.string())])) as writer:
        for start in (0, 10, 20):
            writer.write_table(pa.table({"text": [f"row {row}" for row in range(start, start + 10)]}))
    with fake_provider(lambda body: Failure() if body["messages"][0]["content"] == "row 3" else "good") as fake:
        result = orchestrator.run(
            tmp_path / "rows.parquet", prompt="{text}", model="any", work=tmp_path / "work", **fake.options
        )
    [*_, last] = sorted(Path(result.path).glob("part-*.parquet"))
    assert last.name == "part-00002.parquet"
    last.write_bytes(NOT_PARQUET)

    assert [row["text"] for row in shown(result.job_id, tmp_path, "--limit", "2")] == ["row 0", "row 1"]
    assert [row["text"] for row in shown(result.job_id, tmp_path, "--limit", "1", "--rows", "failed")] == ["row 3"]


def shown(job_id: str, folder: Path, *options: str) -> list[dict[str, Any]]:
    """Return the rows that `orchestrator results` shows."""
    ran = CliRunner().invoke(app, ["results", job_id, "--work", str(folder / "work"), "--json", *options])
    assert ran.exit_code == 0, ran
    rows: list[dict[str, Any]] = json.loads(ran.stdout)["rows"]
    return rows
