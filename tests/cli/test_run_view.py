"""What `run` and `status` draw of a look: pure, so every screen can be compared to the letter."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from rich.console import Console

from orchestrator.api import run_view
from orchestrator.api.amounts import span
from orchestrator.api.run_view import Lines
from orchestrator.domain.look import Activity, AtProvider, Look
from orchestrator.domain.model import ChunkState, JobState
from orchestrator.domain.money import rounded
from tests.cli.looks import FINISHED, LOOK, PLANNING, ROWS, a_look


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_view, "clock", lambda at, seconds=False: f"{at:%H:%M:%S}" if seconds else f"{at:%H:%M}")


def drawn(look: Look, width: int = 80, lines: Lines | None = None, **how: object) -> str:
    """Return the view as a terminal without colours shows it."""
    out = io.StringIO()
    frame = run_view.frame(look, lines or Lines(), width=width, **how)  # type: ignore[arg-type]
    Console(file=out, width=width, color_system=None, legacy_windows=False).print(frame)
    return "".join(line.rstrip() + "\n" for line in out.getvalue().splitlines())


def test_a_job_in_the_middle_of_everything() -> None:
    assert (
        drawn(LOOK)
        == """\
reviews-mood-3f2a91c4  running, 11 h 12                  Ctrl-C leaves it safely
━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╍╍╍╍╍╌╌╌╌╌╌~············×!   66.2 %

  answered            797,571   of 1,204,318 rows
  at the provider     189,982   85,170 answered there; 19 batches; oldest 5 h 51
  to send again         1,920
  waiting             204,301   21 batches; 20 may be in flight at a time
  failed                  544   content_filter 423; null_skipped 118
  needs you            10,000   1 batch; at most 0.2734 USD

  money                 15.05   USD spent of 30.00; 5.47 reserved
  done in            4 to 7 h   between 03:12 and 06:12
  ! 14 chunks tried again since 22:56; next at 23:12:59: onerouter answers 429:
    too many requests
  ! 3 chunks tried again; next at 23:14:01: lines are missing in the results
  next look in 0:09
  orchestrator resolve reviews-mood-3f2a91c4
"""
    )


def test_a_wider_terminal_has_room_for_more_phrases() -> None:
    screen = drawn(LOOK, 120)

    assert "19 batches; oldest 5 h 51; 18 in_progress; 1 finalizing" in screen
    assert "5.47 reserved; about 22.57 in the end" in screen
    assert "from 81 finished batches" in screen


@pytest.mark.parametrize(
    ("answered", "told"),
    [(1, "in the end, by 1 answer"), (20, "in the end, by 20 answers"), (1_000, "about 22.57 in the end\n")],
)
def test_what_the_end_costs_says_by_how_few_answers_it_is_judged(answered: int, told: str) -> None:
    rows = replace(LOOK.rows, answered=answered + 5, reused=5)

    assert told in drawn(replace(LOOK, rows=rows), 120).replace(" \n", "\n")


def test_a_plan_that_is_being_made_has_no_share_and_no_estimate() -> None:
    assert (
        drawn(PLANNING)
        == """\
reviews-mood-3f2a91c4  planning, 0:06                    Ctrl-C leaves it safely
·······································································

  answered                  0   of 318,000 rows read so far
  at the provider           0
  waiting             318,000   32 batches; 20 may be in flight at a time

  money                  0.00   USD spent of 30.00
  done in                       no estimate before all rows are read
"""
    )


@pytest.mark.parametrize("width", [60, 61, 79, 80, 100, 120, 200])
@pytest.mark.parametrize("look", [LOOK, PLANNING, FINISHED, a_look(job_id="a-very-long-name" * 9 + "-3f2a91c4")])
def test_nothing_is_wider_than_the_terminal_or_wraps(look: Look, width: int) -> None:
    lines = drawn(look, width).splitlines()

    assert max(map(len, lines)) <= width
    assert len(lines[1].split("  ")[0]) <= width - 9
    assert lines[0].count("3f2a91c4") == 1


def test_the_bar_is_the_counts_and_shows_whatever_is_there() -> None:
    bar = run_view.bar(LOOK, 109).plain[:100]

    cells = {mark: bar.count(mark) for mark in "━╍╌~·×!"}
    assert sum(cells.values()) == 100
    assert cells == {"━": 66, "╍": 7, "╌": 8, "~": 1, "·": 16, "×": 1, "!": 1}


def test_a_terminal_without_these_signs_gets_others() -> None:
    screen = drawn(LOOK, is_unicode=False)

    assert screen.isascii()
    assert "=" in screen
    assert "!" in screen


def test_a_low_terminal_shows_the_head_the_bar_and_what_matters_most() -> None:
    assert drawn(LOOK, height=10).splitlines()[2:] == ["  orchestrator resolve reviews-mood-3f2a91c4"]
    calm = a_look(chunks={}, troubles=())
    assert drawn(calm, height=17).splitlines()[2:] == ["  next look in 0:09"]
    assert len(drawn(LOOK, height=18).splitlines()) > 3


def test_a_look_that_is_due_is_not_said_to_be_in_no_time() -> None:
    for next_look_at in (LOOK.at, LOOK.at - timedelta(seconds=40)):
        look = a_look(at_provider=replace(LOOK.at_provider, next_look_at=next_look_at))
        assert run_view.next_look(look) == "looking at its batches now"


def test_a_line_that_was_shown_stays() -> None:
    lines = Lines()
    assert "to send again" in drawn(LOOK, lines=lines)
    later = a_look(rows=replace(ROWS, to_send_again=0, answered=ROWS.answered + 1_920))

    assert "  to send again             0\n" in drawn(later, lines=lines)
    assert "to send again" not in drawn(later)


def test_all_rows_are_said_to_be_answered_only_when_they_are() -> None:
    almost = replace(ROWS, answered=1_204_317, at_provider=1, to_send_again=0, waiting=0, failed=0, needs_decision=0)
    assert run_view.percent(a_look(rows=almost)) == "99.9 %"
    assert run_view.percent(a_look(rows=replace(almost, answered=1_204_318, at_provider=0))) == "100.0 %"


def test_a_paused_account_is_said_with_its_reason() -> None:
    paused = a_look(activity=Activity.ACCOUNT, reason="no credit: top up (next try: 2026-11-23 00:00 UTC)", troubles=())

    assert "  ! no credit: top up (next try: 2026-11-23 00:00 UTC)\n" in drawn(paused)


def test_an_ended_job_has_neither_tip_nor_estimate() -> None:
    screen = drawn(FINISHED)

    assert screen.startswith("reviews-mood-3f2a91c4  finished, 17 h 22\n")
    assert "done in" not in screen


def test_what_a_provider_says_cannot_steer_the_terminal() -> None:
    there = replace(LOOK.at_provider, words={"in\x1b[31mprogress": 1})
    assert "\x1b" not in drawn(a_look(at_provider=there), 200)


def test_a_cost_that_is_not_known_is_not_zero() -> None:
    screen = drawn(a_look(money=replace(LOOK.money, spent=None, unpriced=1, expected=None)), 120)

    assert (
        "  money                     ?   USD spent of 30.00; 5.47 reserved; the cost of 1 answer is not known" in screen
    )


def test_a_look_in_one_line() -> None:
    assert run_view.plain(LOOK) == (
        "running: 797,571 of 1,204,318 answered, 189,982 at the provider, 1,920 to send again, 204,301 waiting, "
        "544 failed, 10,000 need you, 15.05 USD of 30.00"
    )
    cancelled = replace(PLANNING, activity=Activity.CANCELLED, state=JobState.CANCELLED, at_provider=AtProvider())
    assert run_view.plain(cancelled) == "cancelled: 318,000 rows read so far, 318,000 waiting, 0.00 USD of 30.00"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0:00"),
        (52, "0:52"),
        (599, "9:59"),
        (600, "10 min"),
        (3_599, "59 min"),
        (40_341, "11 h 12"),
        (172_799, "47 h 59"),
        (172_800, "2 d 0 h"),
        (273_600, "3 d 4 h"),
    ],
)
def test_times_as_people_say_them(seconds: int, text: str) -> None:
    assert span(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "0.00"),
        ("0.0000000008", "0.000000001"),
        ("0.000139", "0.000139"),
        ("0.0371", "0.0371"),
        ("0.999", "0.9990"),
        ("1", "1.00"),
        ("1234.5", "1,234.50"),
    ],
)
def test_amounts_as_people_read_them(amount: str, text: str) -> None:
    assert rounded(Decimal(amount)) == text


@pytest.mark.parametrize(
    ("activity", "collected", "told"),
    [
        (Activity.BATCHES, 2, "no estimate before three batches have ended"),
        (Activity.BUDGET, 3, "no estimate while waiting for budget"),
        (Activity.ACCOUNT, 81, "no estimate while waiting for the account"),
    ],
)
def test_why_there_is_no_estimate_is_true(activity: Activity, collected: int, told: str) -> None:
    look = replace(LOOK, estimate=None, activity=activity, chunks={ChunkState.COLLECTED: collected})

    assert told in drawn(look)


@pytest.mark.parametrize("activity", [Activity.STOPPED, Activity.NEEDS_YOU, Activity.UNATTENDED])
def test_nothing_is_said_of_the_end_of_a_job_that_goes_on_only_with_a_person(activity: Activity) -> None:
    assert "done in" not in drawn(replace(LOOK, estimate=None, activity=activity))


PAUSED = a_look(activity=Activity.PAUSED, paused_at=LOOK.at, estimate=None, troubles=(), decisions=())


def test_a_paused_job_says_what_to_type() -> None:
    look = replace(
        PAUSED, chunks={ChunkState.SUBMITTED: 19, ChunkState.PLANNED: 21}, rows=replace(ROWS, needs_decision=0)
    )

    assert (
        drawn(look)
        == """\
reviews-mood-3f2a91c4  paused by you, 11 h 12            Ctrl-C leaves it safely
━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╍╍╍╍╍╌╌╌╌╌╌~············×   66.2 %

  answered            797,571   of 1,204,318 rows
  at the provider     189,982   85,170 answered there; 19 batches; oldest 5 h 51
  to send again         1,920   until you resume it
  waiting             204,301   until you resume it
  failed                  544   content_filter 423; null_skipped 118

  money                 15.05   USD spent of 30.00; 5.47 reserved
  next look in 0:09
  orchestrator resume reviews-mood-3f2a91c4
"""
    )
    assert drawn(look, 120).splitlines()[-2:] == ["  next look in 0:09", "  orchestrator resume reviews-mood-3f2a91c4"]
    assert "  orchestrator resume reviews-mood-3f2a91c4" in drawn(look, height=10)
