"""What a command may import: a second of imports before a line of help, or before a mistake is named, is a fault.

Times differ from machine to machine; the packages that are imported do not. Each list is of all packages that are not
Python's own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

import orchestrator
from tests.acceptance.datasets import write_dataset, write_job
from tests.gateway_process import ROOT

# For a fleet and for the gateway: installed with everything else, imported by whoever needs them. pandas is not in the
# list: pyarrow imports it by itself, where it is installed, as soon as it makes an array of Python's values.
BEFORE_USE: Final = {"celery", "kombu", "redis", "starlette", "uvicorn", "obstore", "psycopg"}
LEDGER: Final = {"sqlalchemy", "greenlet", "typing_extensions"}
FILES: Final = {"msgspec", "orjson", "xxhash", "zstandard"}
TELL: Final = """
import json, sys
before = {name.partition(".")[0] for name in sys.modules}
sys.argv = ["orchestrator", *sys.argv[1:]]
ended_with = 0
try:
    if len(sys.argv) > 1:
        from orchestrator.cli.main import main
        main()
    else:
        import orchestrator
        orchestrator.ConfigError
except SystemExit as end:
    ended_with = end.code or 0
found = {name.partition(".")[0] for name in sys.modules} - before - set(sys.stdlib_module_names)
found = {name for name in found if name != "orchestrator" and getattr(sys.modules.get(name), "__file__", None)}
print(json.dumps([ended_with, [name for name in found if not name.startswith("_")]]), file=sys.__stderr__)
"""


def imported(folder: Path, *arguments: str | Path, code: int = 0) -> set[str]:
    """Return the packages that a command imports; without arguments: that `import orchestrator` imports."""
    done = subprocess.run(
        [sys.executable, "-c", TELL, *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    ended_with, found = json.loads(done.stderr.splitlines()[-1])
    assert ended_with == code, done.stderr
    return set(found)


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("run", "--help"), ("worker", "--help")])
def test_help_and_version_import_the_parser_of_the_command_line_alone(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    assert imported(tmp_path, *arguments) == {"click"}


def test_a_mistake_in_a_job_file_is_named_before_a_table_or_a_ledger_is_thought_of(tmp_path: Path) -> None:
    wrong = write_job(tmp_path / "wrong.toml", tmp_path / "rows.parquet", "http://127.0.0.1:9", policy={"bugdet": 1})

    assert imported(tmp_path, "run", wrong, code=2) <= {"click", *FILES}


def test_status_imports_the_ledger_and_what_draws_and_nothing_that_reads_tables_or_sends(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.toml", write_dataset(tmp_path / "rows.parquet", 20), "http://127.0.0.1:9")
    imported(tmp_path, "submit", job, "--work", tmp_path / "work")

    assert imported(tmp_path, "status", "--work", tmp_path / "work") <= {"click", "rich", *LEDGER, *FILES}


def test_a_plan_imports_nothing_of_the_fleet_or_the_gateway(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.toml", write_dataset(tmp_path / "rows.parquet", 20), "http://127.0.0.1:9")

    found = imported(tmp_path, "plan", job)

    assert "pyarrow" in found
    assert found & BEFORE_USE == set()


def test_import_orchestrator_imports_nothing_else(tmp_path: Path) -> None:
    assert imported(tmp_path) == set()


def test_each_public_name_is_there_and_no_other() -> None:
    """They are imported when they are first used."""
    assert [name for name in orchestrator.__all__ if not hasattr(orchestrator, name)] == []
    assert set(orchestrator.__all__) <= set(dir(orchestrator))
    with pytest.raises(AttributeError, match="module 'orchestrator' has no attribute 'sumbit'"):
        orchestrator.sumbit  # noqa: B018
