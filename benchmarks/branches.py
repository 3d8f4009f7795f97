"""Which branches of the core the tests take: of the domain all must be, of the steps as many as can honestly be.

    python -m benchmarks.branches                 the domain and the steps at a provider, by their own tests
    python -m benchmarks.branches --whole         planner and collector too, with the seeded machine of the ledger

A branch counts as taken where coverage.py has seen it in one process; what a test starts beside itself does not count.
It prints one JSON object for each folder, and ends with 1 where a test has failed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
CORE: Final = "orchestrator/domain"
FOLDERS: Final = {CORE: "tests/domain", "orchestrator/batches": "tests/batches"}
WHOLE: Final = {"orchestrator/planner": "tests/planner", "orchestrator/collector": "tests/collector"}
MACHINE: Final = "tests/fuzz/test_machine.py"


def main() -> int:
    """Run the tests and print what they took."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.branches", description=__doc__.partition("\n")[0])
    parser.add_argument("--whole", action="store_true")
    folders = FOLDERS | (WHOLE if (whole := parser.parse_args().whole) else {})
    tests = [*folders.values(), *([MACHINE] if whole else [])]
    with tempfile.TemporaryDirectory() as kept:
        data, report = Path(kept) / "data", Path(kept) / "report.json"
        measured = [sys.executable, "-m", "coverage", "run", "--branch", f"--data-file={data}"]
        measured += [f"--source={','.join(folders)}", "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
        code = subprocess.run(measured, cwd=ROOT, check=False).returncode
        told = [sys.executable, "-m", "coverage", "json", "-q", f"--data-file={data}", "-o", str(report)]
        subprocess.run(told, cwd=ROOT, check=True)
        files = json.loads(report.read_text(encoding="utf-8"))["files"]
    for folder in folders:
        print(json.dumps(figures(folder, files)), flush=True)
    return 1 if code else 0


def figures(folder: str, files: dict[str, Any]) -> dict[str, Any]:
    """Return the sums of a folder: branches and statements, and by file what was not taken."""
    of_folder = {name: found for name, found in files.items() if name.startswith(f"{folder}/")}
    sums = [found["summary"] for found in of_folder.values()]
    missing = {
        Path(name).name: [*found["missing_lines"], *(f"{a}->{b}" for a, b in found["missing_branches"])]
        for name, found in sorted(of_folder.items())
        if found["missing_lines"] or found["missing_branches"]
    }
    return {
        "folder": folder,
        "branches": sum(one["num_branches"] for one in sums),
        "branches_taken": sum(one["covered_branches"] for one in sums),
        "statements": sum(one["num_statements"] for one in sums),
        "statements_run": sum(one["covered_lines"] for one in sums),
        "missing": missing,
    }


if __name__ == "__main__":
    sys.exit(main())
