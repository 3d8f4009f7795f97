"""The load measurements at small sizes: they run, what they run is exact, and the scorecard can read their figures."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, Final

import pytest

from benchmarks.torture import judging
from benchmarks.torture.judging import Output
from benchmarks.torture.running import ROOT

NOTHING_WRONG: Final = ("wrong_rows", "paid_twice", "handed_out_twice")


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("words", "judge", "reached"),
    [
        (["ledger", "--chunks", "2000"], judging.ledger, {"chunks": 2_000, "handed_out": 2_000}),
        (["rows", "--rows", "3000"], judging.rows, {"rows": 3_000}),
        (["soak", "--days", "3", "--in-flight", "4"], judging.soaked, {"rows": 8, "in_flight_most": 4}),
        (["in-flight", "--batches", "4"], judging.flight, {"created": 4, "refused_calls": 0}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_a_small_load_is_exact_and_its_figures_can_be_judged(
    words: list[str], judge: judging.Judge, reached: dict[str, Any]
) -> None:
    """A size below the target's is a miss, whatever else is right: a check is no measurement."""
    command = [sys.executable, "-m", "benchmarks.load", *words, "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])

    assert {name: figures[name] for name in reached} == reached
    assert all(figures[name] == 0 for name in NOTHING_WRONG if name in figures)
    verdict = judge(Output(code=0, text=done.stdout, objects=(figures,)))
    assert not verdict.held
    assert "no figures" not in verdict.figure
