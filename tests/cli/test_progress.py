"""What a command prints while it waits for a job, where there is no terminal."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.api import displays
from orchestrator.cli import progress
from orchestrator.cli.progress import LOOKS_BEFORE, Watch
from orchestrator.domain.look import Activity, Look
from orchestrator.domain.progress import Trouble
from tests.cli.looks import FINISHED, ROWS, RUNS, a_look
from tests.cli.looks import LOOK as ELSEWHERE
from tests.cli.looks import PLANNING as PLANNED_ELSEWHERE

HERE = (replace(RUNS, pid=os.getpid(), host=socket.gethostname()),)
LOOK, PLANNING = replace(ELSEWHERE, worked_by=HERE), replace(PLANNED_ELSEWHERE, worked_by=HERE)
CALM = a_look(troubles=(), worked_by=HERE)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds since some moment, in a list of one."""
    now = [1_000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return what was printed since the last call, a message in a line."""
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.replace("\n  ", " ").splitlines()


def later(look: Look, answered: int) -> Look:
    return replace(look, rows=replace(ROWS, answered=ROWS.answered + answered, waiting=ROWS.waiting - answered))


def test_nothing_is_printed_before_there_is_progress(capsys: pytest.CaptureFixture[str]) -> None:
    with Watch("job-1", "paid once", plain=False):
        pass

    assert told(capsys) == []


def test_the_guarantee_is_said_once_there_is_a_row_to_send(capsys: pytest.CaptureFixture[str]) -> None:
    """Where all rows are answered already there is none, and where the job has ended."""
    unread = replace(PLANNING, rows=replace(ROWS, at_provider=0, to_send_again=0, waiting=0, needs_decision=0))
    with Watch("job-1", "paid once", plain=False) as watch:
        watch.look(unread)
        assert [line for line in told(capsys) if "paid once" in line] == []
        watch.look(CALM)
        watch.look(CALM)
        assert [line for line in told(capsys) if "paid once" in line] == ["job-1: paid once"]
    with Watch("job-1", "paid once", plain=False) as watch:
        watch.look(replace(FINISHED, rows=ROWS))
        assert "paid once" not in "".join(told(capsys))


def test_lines_come_ever_more_rarely(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    with Watch("job-1", "paid once", plain=False) as watch:
        watch.look(CALM)
        assert [line.split(":")[0] for line in told(capsys)] == ["job-1", "job-1 running"]
        counts = []
        for begin, end in ((0, 30), (30, 600), (600, 6_000)):
            for second in range(begin, end, 1):
                clock[0] = 1_000.0 + second
                watch.look(later(CALM, second + 1))
            counts.append(len(told(capsys)))

    assert counts == [5, 9, 9]


def test_a_line_that_says_nothing_new_is_not_repeated(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    with Watch("job-1", "paid once", plain=False) as watch:
        for second in range(0, 1_000, 100):
            clock[0] = 1_000.0 + second
            watch.look(CALM)

    assert len(told(capsys)) == 2


def test_what_the_job_does_anew_is_said_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with Watch("job-1", "paid once", plain=False) as watch:
        for look in (PLANNING, CALM, replace(CALM, activity=Activity.BATCHES), FINISHED):
            watch.look(look)

    states = [line.removeprefix("job-1 ").split(":")[0] for line in told(capsys)[1:]]
    assert states == ["planning", "running", "waiting for batches", "finished"]


def test_a_trouble_is_said_once_if_it_lasts(capsys: pytest.CaptureFixture[str]) -> None:
    other = Trouble(reason="HTTP 500", chunks=1)
    with Watch("job-1", "paid once", plain=False) as watch:
        for look in (LOOK, a_look(troubles=(other,), worked_by=HERE), LOOK):
            for _ in range(LOOKS_BEFORE):
                watch.look(look)
        for _ in range(LOOKS_BEFORE - 1):
            watch.look(a_look(troubles=(Trouble(reason="it passes", chunks=1),), worked_by=HERE))

    assert [line for line in told(capsys) if "retrying" in line] == [
        "job-1: retrying 14 chunks after: onerouter answers 429: too many requests",
        "job-1: retrying after: HTTP 500",
    ]


@pytest.mark.parametrize(
    "waits", [{"activity": Activity.ACCOUNT}, {"activity": Activity.BUDGET, "budget_wait": "0.5 USD of 0.1 USD"}]
)
def test_a_pause_is_said_once_it_lasts(waits: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """Also while the next batch would not fit the budget: the provider refuses to tell of those in flight, too."""
    paused = a_look(reason="no credit: top up", troubles=(), worked_by=HERE, **waits)
    with Watch("job-1", "paid once", plain=False) as watch:
        for _ in range(LOOKS_BEFORE - 1):
            watch.look(paused)
        assert not any("paused" in line for line in told(capsys))
        for _ in range(LOOKS_BEFORE):
            watch.look(paused)

    assert told(capsys) == ["job-1: sending is paused: no credit: top up"]


def test_for_a_program_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with Watch("job-1", "paid once", plain=True) as watch:
        watch.look(LOOK)
        watch.look(FINISHED)

    assert told(capsys) == []


def test_who_runs_the_job_is_said_where_it_is_another_process_and_when_this_one_takes_it_over(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Once for each; between two processes there is none for a moment."""
    with Watch("job-1", "paid once", plain=False) as watch:
        for by in ((RUNS,), (RUNS,), (), (replace(RUNS, pid=5),), (), HERE, HERE):
            watch.look(replace(CALM, worked_by=by))

    assert [line for line in told(capsys) if line.startswith("job-1: p") and "paid" not in line] == [
        "job-1: pid 4711 on lab-7 runs it; watching. Ctrl-C leaves the watching, not the job.",
        "job-1: pid 5 on lab-7 runs it; watching. Ctrl-C leaves the watching, not the job.",
        "job-1: pid 5 on lab-7 has left it: this process runs it now.",
    ]


class View:
    """Stands for the view on a terminal."""

    tip = ""

    def look(self, now: Look) -> None:
        """Draw nothing."""

    def say(self, text: str) -> None:
        """Print nothing."""


def test_a_process_that_has_left_the_job_is_not_said_to_be_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    view = View()
    monkeypatch.setattr(displays, "terminal_view", lambda _tip: view)
    watch = Watch(CALM.job_id, "never paid twice", plain=False)

    watch.look(ELSEWHERE)
    watched = view.tip
    watch.look(replace(ELSEWHERE, worked_by=(), activity=Activity.UNATTENDED))

    assert (watched, view.tip) == ("watching pid 4711", "pid 4711 on lab-7 has left it")
