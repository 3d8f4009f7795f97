"""The figures of branches: sums that leave nothing out, and what was not taken by its name."""

from __future__ import annotations

from typing import Any

from benchmarks.branches import figures


def a_file(branches: int, taken: int, missing: list[int], ways: list[list[int]]) -> dict[str, Any]:
    counts = {"num_branches": branches, "covered_branches": taken, "num_statements": 10}
    return {
        "summary": counts | {"covered_lines": 10 - len(missing)},
        "missing_lines": missing,
        "missing_branches": ways,
    }


def test_the_figures_of_a_folder_are_those_of_its_files_and_of_no_other() -> None:
    files = {
        "orchestrator/domain/money.py": a_file(8, 8, [], []),
        "orchestrator/domain/lanes.py": a_file(4, 3, [45], [[40, 45]]),
        "orchestrator/domain_of_others/x.py": a_file(100, 0, [1], []),
    }

    found = figures("orchestrator/domain", files)

    assert (found["branches"], found["branches_taken"]) == (12, 11)
    assert (found["statements"], found["statements_run"]) == (20, 19)
    assert found["missing"] == {"lanes.py": [45, "40->45"]}
