"""Screens of jobs that wait for somebody or are run elsewhere, to the letter, at the two usual widths."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

import pytest

from orchestrator.api import run_view
from orchestrator.api.next_commands import next_commands
from orchestrator.cli import status_text
from orchestrator.cli.progress import LOOKS_BEFORE, Watch
from orchestrator.cli.terminal import draw, fitted
from orchestrator.domain.causes import Cause
from orchestrator.domain.look import Activity, AtProvider, Look
from orchestrator.domain.model import ChunkState, JobState
from orchestrator.domain.progress import Totals
from tests.builders import after
from tests.cli.looks import LOOK, ROWS, RUNS, STOPPING, a_look, a_status
from tests.cli.test_run_view import drawn
from tests.cli.test_run_view import utc as utc

WORK: Final = "/data/jobs"
CALM: Final = a_look(
    rows=replace(ROWS, needs_decision=0),
    chunks={ChunkState.SUBMITTED: 19, ChunkState.PLANNED: 21},
    estimate=None,
    troubles=(),
    decisions=(),
)
APPROVAL: Final = a_look(
    activity=Activity.NEEDS_YOU,
    state=JobState.STOPPED,
    decision="canary",
    reason="82 of 200 rows of the canary are truncated; policy.canary_truncated_max allows 10 %",
    rows=replace(
        ROWS, total=38_400, answered=118, at_provider=0, to_send_again=0, waiting=38_200, failed=82, needs_decision=0
    ),
    at_provider=AtProvider(),
    chunks={ChunkState.COLLECTED: 1, ChunkState.PLANNED: 4},
    causes=(Cause("truncated", 82, 0, 3),),
    money=replace(LOOK.money, spent=Decimal("0.0113"), reserved=Decimal(0), budget=Decimal(2), expected=None),
    estimate=None,
    troubles=(),
    decisions=(),
    worked_by=(),
)


def test_a_job_that_waits_for_approval() -> None:
    assert (
        drawn(APPROVAL)
        == """\
reviews-mood-3f2a91c4  needs you, 11 h 12                Ctrl-C leaves it safely
━·····································································×    0.3 %

  answered                118   of 38,400 rows
  at the provider           0
  waiting              38,200   until you decide
  failed                   82   truncated 82

  money                0.0113   USD spent of 2.00
  ! 82 of 200 rows of the canary are truncated; policy.canary_truncated_max
    allows 10 %
  orchestrator approve reviews-mood-3f2a91c4
  orchestrator cancel reviews-mood-3f2a91c4
"""
    )
    wide = drawn(APPROVAL, 120).splitlines()
    assert wide[-3:] == [
        "  ! 82 of 200 rows of the canary are truncated; policy.canary_truncated_max allows 10 %",
        "  orchestrator approve reviews-mood-3f2a91c4",
        "  orchestrator cancel reviews-mood-3f2a91c4",
    ]


def test_what_is_left_on_the_screen_names_no_command_that_the_message_below_it_names() -> None:
    assert "orchestrator " not in drawn(APPROVAL, is_last=True)
    assert "orchestrator " not in drawn(replace(CALM, paused_at=LOOK.at, activity=Activity.PAUSED), is_last=True)


def test_a_job_that_another_process_runs() -> None:
    assert (
        drawn(CALM, tip="watching pid 4711")
        == """\
reviews-mood-3f2a91c4  running, 11 h 12                        watching pid 4711
━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╍╍╍╍╍╌╌╌╌╌╌~············×   66.2 %

  answered            797,571   of 1,204,318 rows
  at the provider     189,982   85,170 answered there; 19 batches; oldest 5 h 51
  to send again         1,920
  waiting             204,301   21 batches; 20 may be in flight at a time
  failed                  544   content_filter 423; null_skipped 118

  money                 15.05   USD spent of 30.00; 5.47 reserved
  done in                       no estimate before three batches have ended
  next look in 0:09
"""
    )


def test_a_job_that_is_watched_and_left_by_who_ran_it() -> None:
    left = replace(CALM, activity=Activity.UNATTENDED, worked_by=())

    assert (
        drawn(left, 120, tip="pid 4711 on lab-7 has left it")
        == """\
reviews-mood-3f2a91c4  unattended, 11 h 12                                                 pid 4711 on lab-7 has left it
━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╍╍╍╍╍╍╍╌╌╌╌╌╌╌╌╌~··················×   66.2 %

  answered            797,571   of 1,204,318 rows
  at the provider     189,982   85,170 answered there; 19 batches; oldest 5 h 51; 18 in_progress; 1 finalizing
  to send again         1,920
  waiting             204,301   21 batches; 20 may be in flight at a time
  failed                  544   content_filter 423; null_skipped 118; server_error 3

  money                 15.05   USD spent of 30.00; 5.47 reserved; about 22.57 in the end
  orchestrator run reviews-mood-3f2a91c4
"""
    )


def test_a_job_whose_process_stops() -> None:
    """It names what is still done, and no next look: nobody looks any more."""
    assert (
        drawn(STOPPING)
        == """\
reviews-mood-3f2a91c4  stopping, 11 h 12               Ctrl-C leaves at once now
━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╍╍╍╍╍╌╌╌╌╌╌~············×   66.2 %

  answered            797,571   of 1,204,318 rows
  at the provider     189,982   85,170 answered there; 19 batches; oldest 5 h 51
  to send again         1,920
  waiting             204,301   21 batches; 20 may be in flight at a time
  failed                  544   content_filter 423; null_skipped 118

  money                 15.05   USD spent of 30.00; 5.47 reserved
  ! pid 4711 on lab-7 is stopping: it begins nothing more. It still sends
    c00004-00007, 0:04.
  orchestrator run reviews-mood-3f2a91c4
"""
    )
    assert drawn(STOPPING, tip="watching pid 4711").splitlines()[0].endswith("watching pid 4711")


def test_a_job_that_is_being_cancelled_has_no_cost_in_the_end() -> None:
    rows = replace(ROWS, needs_decision=0, waiting=0, to_send_again=0)
    cancelling = replace(CALM, activity=Activity.CANCELLING, state=JobState.CANCELLING, rows=rows)

    assert (
        drawn(cancelling, 120).split("\n\n", 1)[1]
        == """\
  answered            797,571   of 1,204,318 rows
  at the provider     189,982   85,170 answered there; 19 batches; oldest 5 h 51; 18 in_progress; 1 finalizing
  waiting                   0
  failed                  544   content_filter 423; null_skipped 118; server_error 3

  money                 15.05   USD spent of 30.00; 5.47 reserved
  done in                       no estimate while cancelling
  next look in 0:09
"""
    )


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("look", [CALM, APPROVAL])
def test_no_color_has_the_same_text_without_styles(
    look: Look, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")  # as a terminal
    monkeypatch.setenv("TERM", "xterm")
    draw(lambda found: run_view.still(look, found))
    plain = capsys.readouterr().out
    monkeypatch.delenv("NO_COLOR")
    draw(lambda found: run_view.still(look, found))
    coloured = capsys.readouterr().out

    assert "\x1b[3" not in plain and "\x1b[3" in coloured
    assert max(map(len, without_bold(plain).splitlines())) <= width


def without_bold(text: str) -> str:
    """Return a text without what is no colour."""
    for code in ("0", "1", "2", "1;7"):
        text = text.replace(f"\x1b[{code}m", "")
    return text


def test_what_run_detach_leaves() -> None:
    log = f"{WORK}/runs/reviews-mood-3f2a91c4.4711.log"

    assert (
        fitted(status_text.detached("reviews-mood-3f2a91c4", WORK, 4711, log, (RUNS,)), 80)
        == """\
reviews-mood-3f2a91c4: pid 4711 runs it without this terminal.
  log  /data/jobs/runs/reviews-mood-3f2a91c4.4711.log
  to follow it:
    orchestrator attach reviews-mood-3f2a91c4 --work /data/jobs
  to send nothing more for now:
    orchestrator pause reviews-mood-3f2a91c4 --work /data/jobs
  to end it, safely:
    orchestrator stop reviews-mood-3f2a91c4 --work /data/jobs"""
    )


@pytest.mark.parametrize(
    ("lacks", "typed"),
    [
        ("", ["nothing works on it; to go on:", "orchestrator run job-1 --work /data/jobs"]),
        ("worker", ["no worker of its fleet is alive, only a beat; to start one:", "orchestrator worker"]),
    ],
)
def test_what_makes_a_job_go_on_is_said_as_it_is(lacks: str, typed: list[str]) -> None:
    """By `status`, by the commands of documents, after `resume` and below the view."""
    taken = a_status(JobState.RUNNING, Totals(shards=1, shards_planning=0, rows=40, settled=10, refused=0, chunks={}))
    left = replace(taken.look, worked_by=(), activity=Activity.UNATTENDED, lacks=lacks)
    found = replace(taken, look=left)

    assert [line.strip() for line in status_text.notes(found, WORK).splitlines()] == typed
    assert next_commands(left, WORK) == (typed[1],)
    assert status_text.resumed(found, WORK).splitlines()[1] == f"  {typed[1]}"
    assert drawn(left, 80).splitlines()[-1] == f"  {typed[1].removesuffix(' --work /data/jobs')}"


@pytest.mark.parametrize(
    ("left", "told"),
    [
        ({"decision": "canary"}, "job-1: resumed. It still waits for your decision.\n  to see what it is about:"),
        ({"paused_at": after(0)}, "job-1: resumed. It is still paused by you.\n  to send again:"),
    ],
)
def test_what_still_holds_a_job_back_is_said_and_not_to_run_it(left: dict[str, Any], told: str) -> None:
    """After `resume` of one that waits for a decision, and after `approve` of one that is paused."""
    totals = Totals(shards=1, shards_planning=0, rows=40, settled=10, refused=0, chunks={})
    found = a_status(JobState.STOPPED, totals, decision=left.get("decision", ""))
    look = replace(found.look, worked_by=(), **left)

    assert status_text.resumed(replace(found, look=look), WORK).startswith(told)


def test_a_pause_is_told_below_a_run_with_a_command_that_works_where_it_is_pasted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Watch("job-1", "", plain=False, work=WORK) as watch:
        for _ in range(LOOKS_BEFORE):
            watch.look(a_look(activity=Activity.PAUSED, troubles=()))

    told = "job-1: nothing more is sent until you type:\n  orchestrator resume job-1 --work /data/jobs\n"
    assert told in capsys.readouterr().err


def test_what_stop_leaves() -> None:
    """Nobody, with rows at the provider; or who has followed it."""
    totals = Totals(shards=1, shards_planning=0, rows=40, settled=10, refused=0, chunks={ChunkState.SUBMITTED: 3})
    taken = a_status(JobState.RUNNING, totals)
    left = replace(taken, look=replace(taken.look, worked_by=()))

    assert (
        fitted(status_text.stopped(left, WORK), 80)
        == """\
job-1: stopped; nothing is lost. 30 rows at the provider go on there. Next:
  orchestrator run job-1 --work /data/jobs"""
    )
    assert (
        fitted(status_text.stopped(taken, WORK), 80)
        == "job-1: stopped there; pid 4711 on lab-7 followed it, and runs it now."
    )
