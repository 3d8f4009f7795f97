"""The load measurements at small sizes: they run, what they run is exact, and the scorecard can read their figures."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Final

import pytest

from benchmarks.load import real
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
        (["in-flight", "--batches", "4"], judging.flight(2_000), {"created": 4, "refused_calls": 0}),
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


def samples(*, mb_per_minute: float = 0.0, wave_mb: float = 0.0, files: Callable[[float], int] = lambda _: 40) -> Any:
    """Return ten minutes of a fleet's memory: a wave of twenty seconds on a slope, after a start that fills caches."""
    return [
        real.Sample(
            at_s=at_s,
            rss_mb=400 + min(at_s, 120) + mb_per_minute * at_s / 60 + wave_mb * (at_s % 20) / 20,
            files=files(at_s),
            threads=30,
        )
        for at_s in range(600)
    ]


def test_memory_that_goes_up_and_down_is_flat_and_memory_that_grows_is_not() -> None:
    """What is filled once, at the start, is no leak."""
    flat, leak = (real.figures(samples(mb_per_minute=slope, wave_mb=50.0)) for slope in (0.0, 3.0))

    assert abs(flat["rss_mb_per_minute"]) < 0.5
    assert 2.5 < leak["rss_mb_per_minute"] < 3.5


def test_files_that_stay_open_are_seen() -> None:
    found = real.figures(samples(files=lambda at_s: 40 + int(at_s) // 100))

    assert found["files_last"] > found["files_first"]
    assert found["threads_last"] == found["threads_first"] == 30


@pytest.mark.parametrize(
    "change",
    [
        {"rss_mb_per_minute": 1.01},
        {"files_last": 45},
        {"threads_last": 33},
        {"paid_twice": 1},
        {"jobs": 0},
        {"minutes": 3},
    ],
)
def test_a_leak_misses_the_target(change: dict[str, Any]) -> None:
    good = {"minutes": 4, "jobs": 9, "batches": 300, "paid_twice": 0, **real.figures(samples(wave_mb=50.0))}

    assert judging.unleaking(Output(code=0, text="", objects=(good,))).held
    assert not judging.unleaking(Output(code=0, text="", objects=(good | change,))).held
