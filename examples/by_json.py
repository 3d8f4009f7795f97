"""Drives a job from another program, by the command line and its JSON alone: plan, run inside a budget, read.

    python examples/by_json.py reviews.toml 1.00

Nothing of the package is imported: it could be any language. See docs/for-programs.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

ORCHESTRATOR = [sys.executable, "-m", "orchestrator"]
WAITS, SOME_FAILED = 3, 4  # exit codes


def documents(*arguments: str) -> Iterator[dict[str, Any]]:
    """Yield what a command prints, each document as soon as it is there."""
    with subprocess.Popen([*ORCHESTRATOR, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            document = json.loads(line)
            if document["schema"] == "orchestrator.error/1":
                sys.exit(f"{document['code']}: {document['message']}")
            yield document
    assert process.returncode in (0, SOME_FAILED), process.returncode


def drive(job: str, budget_usd: Decimal) -> dict[str, Any]:
    """Run a job whose plan is within a budget, and return its report."""
    [plan] = documents("plan", job, "--json")
    if plan["cost_usd_max"] is None or Decimal(plan["cost_usd_max"]) > budget_usd:
        sys.exit(f"{plan['job_id']} may cost {plan['cost_usd_max']} USD: over {budget_usd}")
    report: dict[str, Any] = {}
    for document in documents("run", job, "--events"):
        if document["schema"] == "orchestrator.event/1":
            print(document["at"], document["event"], document["told"])
        else:
            report = document
    return report


def rows(job: str) -> Iterator[dict[str, Any]]:
    """Yield all rows with their answers, page by page."""
    after: int | None = 0
    while after is not None:
        [page] = documents("results", job, "--json", "--limit", "500", "--after", str(after))
        yield from page["rows"]
        after = page["next"]


def main() -> None:
    """Drive the job file that is named, and print its report in a line, then its answers."""
    job, budget_usd = sys.argv[1], Decimal(sys.argv[2])
    report = drive(job, budget_usd)
    counts = report["rows"]
    print(f"{counts['answered']} answered, {counts['failed']} failed, {report['money']['spent']} USD")
    for row in rows(job):
        print(row["custom_id"], row["llm_response"] or row["llm_error_code"])


if __name__ == "__main__":
    main()
