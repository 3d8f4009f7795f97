"""The scorecard's own machinery: a miss is a miss, time is kept to, and the document says what the results say."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

from benchmarks.torture import judging, record
from benchmarks.torture.__main__ import main
from benchmarks.torture.judging import Output
from benchmarks.torture.running import ROOT, objects_in, run
from benchmarks.torture.scorecard import LINES, MINUTES_MAX, Line, minutes

SEEDS: Final = {"first": 7}
HEALED: Final = '{"trials": 100, "healed": 100, "paid_twice": 0}'


def a_line(folder: Path, code: str = f"print('{HEALED}')", **fields: Any) -> Line:
    """Return a line whose command is a piece of Python."""
    program = folder / f"{len(list(folder.glob('*.py')))}.py"
    program.write_text(code, encoding="utf-8")
    defaults: dict[str, Any] = {
        "id": "X1",
        "measure": "this",
        "target": "that",
        "commands": (f"python {program} {{first}}",),
        "judge": judging.healed,
    }
    return Line(**(defaults | fields))


def output(text: str, code: int = 0) -> Output:
    return Output(code=code, text=text, objects=objects_in(text))


def test_every_line_of_the_scorecard_is_there_once_and_all_fit_into_their_time() -> None:
    """T24 is the run as a whole: that it takes no longer than this."""
    assert [line.id for line in LINES] == [*(f"T{number}" for number in range(1, 24)), "B1"]
    assert minutes() <= MINUTES_MAX


def test_what_is_needed_exists_or_the_line_says_that_it_is_not_built() -> None:
    missing = {line.id for line in LINES if not line.commands or any(not (ROOT / path).exists() for path in line.needs)}

    assert all(run(line, SEEDS).state == "not built" for line in LINES if line.id in missing)


def test_the_document_is_what_the_results_say() -> None:
    """Mended by `python -m benchmarks.torture --document`."""
    text = record.DOCUMENT.read_text(encoding="utf-8")

    assert record.documented(text, record.read_results()) == text


def test_a_line_whose_figures_are_at_the_target_has_held(tmp_path: Path) -> None:
    ran = run(a_line(tmp_path), SEEDS)

    assert (ran.state, ran.figure) == ("held", "100 of 100 healed by themselves, 0 rows paid twice")
    assert ran.objects == ({"trials": 100, "healed": 100, "paid_twice": 0},)


TWICE: Final = HEALED.replace('"paid_twice": 0', '"paid_twice": 1')
SOME: Final = HEALED.replace('"healed": 100', '"healed": 99')


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (f"print('{HEALED}'); raise SystemExit(1)", "exit code 1"),
        (f"print('{TWICE}')", "1 rows paid twice"),
        (f"print('{SOME}')", "99 of 100"),
        ("print('all is well')", "no figures (exit code 0): all is well"),
        ("pass", "no figures (exit code 0): nothing"),
    ],
)
def test_a_line_without_the_figures_it_must_have_has_missed(code: str, words: str, tmp_path: Path) -> None:
    """Exit code 0 alone proves nothing, and figures do not outweigh a bad exit code."""
    ran = run(a_line(tmp_path, code), SEEDS)

    assert ran.state == "missed"
    assert words in ran.figure


def test_a_line_that_is_out_of_time_is_ended_with_all_its_processes(tmp_path: Path) -> None:
    """Its own children too: what is left over would disturb the lines that follow."""
    known, child = tmp_path / "pid", tmp_path / "child.txt"
    child.write_text(
        f"import os, pathlib, time; pathlib.Path({str(known)!r}).write_text(str(os.getpid())); time.sleep(600)",
        encoding="utf-8",
    )
    code = f"import subprocess, sys; subprocess.run([sys.executable, {str(child)!r}])"

    ran = run(a_line(tmp_path, code, takes_s=6), SEEDS)

    assert (ran.state, ran.figure) == ("out of time", "not done in 12 s")
    with suppress(psutil.NoSuchProcess):
        psutil.Process(int(known.read_text(encoding="utf-8"))).wait(timeout=30)


def test_a_line_without_a_program_is_not_built_and_has_no_figure(tmp_path: Path) -> None:
    line = a_line(tmp_path)
    without, absent = run(replace(line, commands=()), SEEDS), run(replace(line, needs=("tests/nowhere",)), SEEDS)

    assert (without.state, absent.state) == ("not built", "not built")
    assert record.row(line, {"state": "not built", "figure": "7"}).split(" | ")[3] == "**not built**"


def test_seeds_are_given_to_the_command(tmp_path: Path) -> None:
    ran = run(a_line(tmp_path, "import sys; print(sys.argv[1:])"), SEEDS)

    assert ran.commands[0].endswith(".py 7")
    assert ran.figure == "no figures (exit code 0): ['7']"


@pytest.mark.parametrize(
    ("text", "code", "held"),
    [
        ("12 passed in 3.45s", 0, True),
        ("=== 12 passed, 1 warning in 3.45s ===", 0, True),
        ("9 passed in 3.45s", 0, False),
        ("12 passed, 1 skipped in 3.45s", 0, False),
        ("12 passed, 2 errors in 3.45s", 0, False),
        ("11 passed, 1 failed in 3.45s", 1, False),
        ("12 passed in 3.45s", 1, False),
        ("no tests ran in 0.01s", 5, False),
        ("", 0, False),
    ],
)
def test_tests_hold_when_all_have_passed_and_none_was_skipped(text: str, code: int, held: bool) -> None:
    assert judging.passed(10)(output(text, code)).held is held


SOAK: Final = {
    "days": 31.0,
    "in_flight_most": 1_000,
    "batches": 15_000,
    "wrong_rows": 0,
    "paid_twice": 0,
    "objects_first": 100_000,
    "objects_last": 101_000,
}
LEDGER: Final = {
    "chunks": 1_000_000,
    "insert_s": 20,
    "due_p99_ms": 1.0,
    "handed_out_per_s": 900,
    "handed_out_twice": 0,
}
FLIGHT: Final = {
    "batches": 10_000,
    "created": 10_000,
    "calls": 80_000,
    "refused_calls": 10,
    "refused_share": 0.0,
    "stale_intervals": 1.5,
    "rss_mb": 300,
}
ROWS: Final = {
    "rows": 10_000_000,
    "wrong_rows": 0,
    "peak_mb": 400,
    "peak_mb_at_half": 380,
    "collect_rows_per_cpu_s": 50_000,
    "finish_rows_per_cpu_s": 300_000,
}
SCHEDULES: Final = {"provider": "b1", "schedules": 9, "failed": 0}
MUTANT: Final = {"provider": "c", "mutant": "m", "first_bad_seed": 3}
LINES_BROKEN: Final = {"mutants": 12, "caught": 12, "percent": 100.0, "equivalent": 5, "stale": 0}
UPGRADED: Final = {"schema": 2, "seeds": 100, "mixed": 90, "failed": 0}
CORE: Final = {
    "folder": "orchestrator/domain",
    "branches": 90,
    "branches_taken": 90,
    "statements": 845,
    "statements_run": 845,
}
READERS: Final = {"kills": 200, "failed": 0, "seen: looks": 300_000, "seen: partial": 0, "seen: wrong": 0}
READERS_WORSE: Final = ({"kills": 199}, {"failed": 1}, {"seen: looks": 0}, {"seen: partial": 1}, {"seen: wrong": 1})
WORSE: Final[list[tuple[judging.Judge, list[dict[str, Any]], dict[str, Any]]]] = [
    (judging.soaked, [SOAK], {"days": 29.0}),
    (judging.soaked, [SOAK], {"in_flight_most": 900}),
    (judging.soaked, [SOAK], {"wrong_rows": 1}),
    (judging.soaked, [SOAK], {"paid_twice": 1}),
    (judging.soaked, [SOAK], {"objects_last": 120_000}),
    (judging.ledger, [LEDGER], {"chunks": 100_000}),
    (judging.ledger, [LEDGER], {"insert_s": 31}),
    (judging.ledger, [LEDGER], {"due_p99_ms": 6}),
    (judging.ledger, [LEDGER], {"handed_out_per_s": 400}),
    (judging.ledger, [LEDGER], {"handed_out_twice": 1}),
    (judging.flight(10_000), [FLIGHT], {"refused_share": 0.2}),
    (judging.flight(10_000), [FLIGHT], {"created": 9_999}),
    (judging.flight(10_000), [FLIGHT], {"batches": 9_999, "created": 9_999}),
    (judging.flight(10_000), [FLIGHT], {"stale_intervals": 2.1}),
    (judging.flight(10_000), [FLIGHT], {"rss_mb": 501}),
    (judging.rows, [ROWS], {"wrong_rows": 1}),
    (judging.rows, [ROWS], {"peak_mb": 1_100}),
    (judging.rows, [ROWS], {"peak_mb_at_half": 200}),
    (judging.rows, [ROWS], {"finish_rows_per_cpu_s": 40_000}),
    (judging.rows, [ROWS], {"rows": 1_000_000}),
    (judging.mutants, [LINES_BROKEN, *[MUTANT] * 25], {"first_bad_seed": None}),
    (judging.mutants, [*[MUTANT] * 25, LINES_BROKEN], {"percent": 89.9}),
    (judging.mutants, [*[MUTANT] * 25, LINES_BROKEN], {"stale": 1}),
    (judging.mutants, [*[MUTANT] * 25, LINES_BROKEN], {"mutants": 0}),
    (judging.upgraded, [UPGRADED], {"failed": 1}),
    (judging.upgraded, [UPGRADED], {"seeds": 99}),
    (judging.upgraded, [UPGRADED], {"mixed": 50}),
    (judging.branches, [CORE], {"branches_taken": 89}),
    (judging.branches, [CORE], {"statements_run": 844}),
    (judging.branches, [CORE], {"folder": "orchestrator/batches"}),
    (judging.both(judging.upgraded, judging.branches), [CORE, UPGRADED], {"failed": 1}),
    (judging.seeds, [{"provider": "c", "seeds": 10, "crashes": 5, "failed": 0}], {"failed": 1}),
    (judging.schedules, [SCHEDULES, SCHEDULES | {"failed": 4}], {"failed": 0}),
    (judging.unlike(200), [{"seeds": 200, "unlike_themselves": 0}], {"unlike_themselves": 1}),
    (judging.unlike(200), [{"seeds": 200, "unlike_themselves": 0}], {"seeds": 199}),
    (judging.kills(300), [{"campaign": "c", "trials": 300, "failed": 0}], {"failed": 1}),
    *((judging.readers(200), [READERS], change) for change in READERS_WORSE),
    (judging.kills(300), [{"campaign": "c", "trials": 300, "failed": 0}], {"trials": 299}),
]


@pytest.mark.parametrize(("judge", "objects", "change"), WORSE)
def test_each_target_is_held_and_each_breach_of_it_is_seen(
    judge: judging.Judge, objects: list[dict[str, Any]], change: dict[str, Any]
) -> None:
    good = "\n".join(map(json.dumps, objects))
    bad = "\n".join(map(json.dumps, [*objects[:-1], objects[-1] | change]))

    assert judge(output(good)).held
    assert not judge(output(bad)).held


def test_the_times_of_a_recovery_are_held_to_their_targets() -> None:
    step, known = {judging.FIRST_STEP: 3.2}, {judging.ALL_KNOWN: 20.0, judging.PAID_TWICE: 0}
    good = [step, known]
    bad = [[step], [known], [{judging.FIRST_STEP: 5.1}, known], [step, known | {judging.ALL_KNOWN: 61.0}]]
    bad.append([step, known | {judging.PAID_TWICE: 1}])

    assert judging.recovered(output("\n".join(map(json.dumps, good)))).held
    assert not any(judging.recovered(output("\n".join(map(json.dumps, some)))).held for some in bad)


def test_the_table_of_the_chaos_run_is_read() -> None:
    table = "runs                                             2\nexact                                            2\n"
    table += "kill worker                                      8\nrows paid twice                                  "

    found = judging.chaos(output(table + "0\n"))
    assert (found.held, found.figure) == (True, "2 of 2 runs exact, 8 kills, freezes and cuts, 0 rows paid twice")
    assert not judging.chaos(output(table + "1\n")).held
    assert not judging.chaos(output("")).held


def test_a_million_mutated_files_are_a_million_and_the_requests_count_too() -> None:
    files = "{} result files: no exception, no wrong row, every line counted; 9000 a second\n"
    told = files + "17 passed in 20.0s\n"

    assert judging.fuzzed(1_000_000)(output(told.format(1_000_000))).held
    assert not judging.fuzzed(1_000_000)(output(told.format(999_999))).held
    assert not judging.fuzzed(1_000_000)(output(told.format(1_000_000), code=1)).held
    assert not judging.fuzzed(1_000_000)(output(files.format(1_000_000))).held
    assert not judging.fuzzed(1_000_000)(output(files.format(1_000_000) + "1 failed, 16 passed in 20.0s\n")).held


def test_a_line_that_was_not_run_keeps_its_last_result(tmp_path: Path) -> None:
    path, where = tmp_path / "results.json", record.setting()
    first, second = replace(LINES[0], commands=()), replace(LINES[1], commands=())
    record.keep([run(first, SEEDS)], SEEDS, where | {"commit": "old"}, path)
    record.keep([run(second, SEEDS)], SEEDS, where | {"commit": "new"}, path)
    known = record.read_results(path)

    assert [(name, one["commit"]) for name, one in known.items()] == [("T1", "old"), ("T2", "new")]


def test_the_exit_code_says_whether_every_target_was_met(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = a_line(tmp_path), a_line(tmp_path, "pass", id="X2")

    assert main([good], ["--dry"]) == 0
    assert main([good, bad], ["--dry"]) == 1
    assert main([good, bad], ["--dry", "--only", "X1"]) == 0
    assert main([good], ["--dry", "--only", "X9"]) == 2
    assert "1 of 2 lines at their targets" in capsys.readouterr().out


def test_what_is_published_names_no_machine_and_no_folder() -> None:
    text = json.dumps(record.setting())

    assert str(ROOT) not in text
    assert sys.executable not in text
