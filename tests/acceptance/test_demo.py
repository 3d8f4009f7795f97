"""The demo, as its users start it: from an empty folder, without a key."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.acceptance.command_line import PROGRAM, command_line, ended


@pytest.mark.slow
def test_the_demo_runs_to_its_end_and_pays_for_no_row_twice(tmp_path: Path) -> None:
    environment = command_line(tmp_path, key=None).environment
    process = subprocess.Popen(
        [*PROGRAM, "demo"],
        cwd=tmp_path,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )

    done = ended(process)

    assert done.code == 0, done
    assert "All 4,198 rows, as Parquet: " in done.out
    assert "Rows paid twice: 0 by us" in done.out
