"""What a job leaves behind: the same output however it was reached, and no secret and no row where none belongs."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.acceptance.command_line import CommandLine
from tests.acceptance.datasets import MODEL, read_output, write_dataset, write_job
from tests.gateway_process import running_gateway

SECRET: Final = "sk-canary-7c1f52"
ROW: Final = "canary-row-81ab"
OF_THE_PROVIDER: Final = ["llm_batch_id", "llm_request_id"]
ROW_FOLDERS: Final = ("requests", "raw", "parts", "quarantine", "output", "output-revision-2", "inputs")
FAULTS: Final = {
    "rows": {"fail": {"500": 0.2}, "filtered": 0.05},
    "lines": {"not_json": 0.05, "foreign_custom_id": 0.05, "duplicate": 0.1, "duplicate_differing": 0.1},
}


@pytest.mark.slow
def test_the_output_does_not_depend_on_the_order_of_things(cli: CommandLine, tmp_path: Path) -> None:
    """Two runs over one dataset, whose results come in other orders: the same rows, column by column."""
    dataset = write_dataset(tmp_path / "rows.parquet", 200)
    outputs = []
    with running_gateway(tmp_path / "gateway", "--duration-s", "0") as gateway:
        for number, (seed, count) in enumerate([(1, 1), (2, 8)]):
            # The order of a result file depends on the seed; which rows fail would, too, so there are none here.
            gateway.set_faults({"seed": seed, "lines": {"duplicate": 3, "blank_line": 2}})
            one = CommandLine(
                folder=tmp_path / f"user-{number}",
                environment={**cli.environment, "ORCHESTRATOR_THREADS": str(count)},
            )
            job = write_job(tmp_path / "same.toml", dataset, gateway.url, policy={"chunk_requests_max": 30})
            assert one.run("run", job).code == 0
            [sealed] = one.work.glob("*/output/_SUCCESS")
            outputs.append(read_output(sealed.parent).drop_columns(OF_THE_PROVIDER))

    assert outputs[0].equals(outputs[1])


def test_no_key_and_no_row_stands_where_none_belongs(cli: CommandLine, tmp_path: Path) -> None:
    """Not in the streams with all logging on, not in the ledger, not in any file but those made to hold rows."""
    dataset = tmp_path / "rows.parquet"
    pq.write_table(
        pa.table({"number": range(100), "text": [f"{ROW}-{number} words" for number in range(100)]}), dataset
    )
    talkative = {**cli.environment, "ONEROUTER_API_KEY": SECRET, "ORCHESTRATOR_LOG": "debug"}
    loud = CommandLine(folder=cli.folder, environment=talkative)
    with running_gateway(tmp_path / "gateway", "--duration-s", "0", "--api-key", SECRET) as gateway:
        gateway.headers = {"Authorization": f"Bearer {SECRET}"}
        gateway.set_faults({**FAULTS, "create": {"refuse": {"429": 1}}, "status": {"refuse": {"502": 1}}})
        job = write_job(tmp_path / "quiet.toml", dataset, gateway.url, policy={"chunk_requests_max": 20})

        runs = [loud.run(*words) for words in (("run", job), ("status", job), ("retry", job, "--unreadable"))]

    assert [run.code for run in runs] == [4, 0, 4], runs
    for run in runs:
        assert SECRET not in run.said
        assert ROW not in run.said
    for path in cli.work.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert SECRET.encode() not in content, path
            if not set(ROW_FOLDERS) & set(path.relative_to(cli.work).parts):
                assert ROW.encode() not in content, path
    assert MODEL.encode() in next(cli.work.glob("*/job.json")).read_bytes()
