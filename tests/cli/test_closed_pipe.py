"""A command whose output nobody reads any more ends quietly, as after `| head`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.tiers import sampled

ROOT: Final = Path(__file__).parents[2]
CODE: Final = 141  # as of a program that SIGPIPE has ended


def into_nothing(*arguments: str, stream: str = "stdout") -> subprocess.CompletedProcess[bytes]:
    """Run a command into a pipe without a reader."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | {stream: writer}
        command = [sys.executable, "-m", "orchestrator", *arguments]
        return subprocess.run(command, cwd=ROOT, check=False, timeout=60, **streams)  # type: ignore[call-overload, no-any-return]
    finally:
        os.close(writer)


@pytest.mark.parametrize(
    "line",
    sampled(
        ["--version", "rehearse --list", "schema", "status --json --work {folder}", "status --work {folder}"],
        quick={"--version", "status --work {folder}"},
    ),
)
def test_nothing_is_said_where_nobody_reads(line: str, tmp_path: Path) -> None:
    """Text, JSON, an error as JSON, and what is drawn."""
    (tmp_path / "ledger.db").touch()

    ended = into_nothing(*line.format(folder=tmp_path).split())

    assert (ended.returncode, ended.stderr) == (CODE, b"")


def test_an_error_that_nobody_reads_is_no_other_error() -> None:
    assert into_nothing("status", "no-such-job", "--work", "/dev/null/no", stream="stderr").returncode == CODE
