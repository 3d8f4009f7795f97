"""The results on disk, and the tables made from them: on the terminal, and in docs/guarantees.md.

Rule 1: a line that was not run now keeps its last result, with the commit and the day it is from.
Rule 2: the document's table is made from the file alone; a test holds the two together.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.torture.running import ROOT, Ran
from benchmarks.torture.scorecard import LINES, Line

RESULTS: Final = ROOT / "benchmarks" / "results" / "torture.json"
DOCUMENT: Final = ROOT / "docs" / "guarantees.md"
BEGIN: Final = "<!-- the table: python -m benchmarks.torture --document -->"
END: Final = "<!-- the end of the table -->"
UNMEASURED: Final = "not measured yet"
HEAD: Final = ("| line | what is measured | target | latest figure | run again |", "| --- | --- | --- | --- | --- |")
OBJECTS_MAX: Final = 60


def setting() -> dict[str, Any]:
    """Return where and when this run is: commit, day, machine. No names of machines, people or folders."""
    cpus = {
        line.partition(":")[2].strip() for line in _text("/proc/cpuinfo").splitlines() if line.startswith("model name")
    }
    memory_kb = next((int(line.split()[1]) for line in _text("/proc/meminfo").splitlines()), 0)
    return {
        "commit": _git("rev-parse", "--short=12", "HEAD"),
        "changed": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {
            "cores": len(os.sched_getaffinity(0)),
            "processor": ", ".join(sorted(cpus)),
            "memory_gib": round(memory_kb / 2**20),
            "system": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(),
        },
    }


def _text(path: str) -> str:
    place = Path(path)
    return place.read_text(encoding="utf-8") if place.exists() else ""


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def read_results(path: Path = RESULTS) -> dict[str, Any]:
    """Return what is known of each line, by its id."""
    if not path.exists():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))
    return {one["id"]: one for one in found["lines"]}


def keep(ran: Iterable[Ran], seeds: Mapping[str, int], where: Mapping[str, Any], path: Path = RESULTS) -> None:
    """Write the results, those of lines that were not run now beside the new ones, in the scorecard's order."""
    known = read_results(path)
    for one in ran:
        known[one.line.id] = {
            "id": one.line.id,
            "target": one.line.target,
            "commands": list(one.commands),
            "state": one.state,
            "figure": one.figure,
            "seconds": round(one.seconds, 1),
            "seeds": dict(seeds),
            **where,
            "figures": [dict(figures) for figures in one.objects[:OBJECTS_MAX]],
        }
    lines = [known[line.id] for line in LINES if line.id in known]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"lines": lines}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def row(line: Line, known: Mapping[str, Any] | None) -> str:
    """Return a line's row of the document."""
    figure = UNMEASURED
    if known is not None:
        figure = known["figure"] if known["state"] == "held" else f"**{known['state']}**: {known['figure']}"
        if known["state"] == "not built":
            figure = "**not built**"
    command = f"`python -m benchmarks.torture --only {line.id}`"
    return f"| {line.id} | {line.measure} | {line.target} | {figure} | {command} |"


def table(known: Mapping[str, Any]) -> str:
    """Return the document's table, and what it was measured with."""
    rows = [row(line, known.get(line.id)) for line in LINES]
    return "\n".join([*HEAD, *rows, "", provenance(known)])


def provenance(known: Mapping[str, Any]) -> str:
    """Return a sentence on commits, days, machines and seeds."""
    measured = [one for one in known.values() if one["state"] != "not built"]
    if not measured:
        return "Nothing has been measured yet."
    days = sorted({one["date"] for one in measured})
    commits = sorted({one["commit"] + (" with changes" if one["changed"] else "") for one in measured})
    seeds = sorted({one["seeds"]["first"] for one in measured})
    machine = measured[-1]["machine"]
    return (
        f"Measured {' to '.join(dict.fromkeys((days[0], days[-1])))} on {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB, Python {machine['python']}; commit {', '.join(commits)}; "
        f"first seed {', '.join(f'{seed:,}' for seed in seeds)}. "
        "All figures: `benchmarks/results/torture.json`."
    )


def documented(text: str, known: Mapping[str, Any]) -> str:
    """Return the document with its table made anew."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document has no {BEGIN} … {END}")
    return f"{before}{BEGIN}\n{table(known)}\n{END}{after}"


def told(ran: Ran) -> str:
    """Return a line as it is printed when it ends."""
    return f"{ran.line.id:<4} {ran.state:<12} {ran.seconds:>5.0f} s  {ran.figure}"
