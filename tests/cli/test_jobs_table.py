"""All jobs of a work folder, as `orchestrator status` prints them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace

import pytest
from rich.console import Console

from orchestrator.cli.jobs_table import ENDED_SHOWN, table
from orchestrator.domain.look import Activity, Look
from tests.cli.looks import FINISHED, LOOK, PLANNING, a_look


def drawn(looks: Sequence[Look], width: int = 80) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(table(looks, "/my/work", width), soft_wrap=True)
    return out.getvalue().splitlines()


def test_jobs_that_need_you_come_first() -> None:
    jobs = [FINISHED, PLANNING, replace(LOOK, activity=Activity.NEEDS_YOU), a_look(activity=Activity.UNATTENDED)]

    lines = drawn(jobs)

    assert lines[0] == "4 jobs: 1 needs you, 1 running, 1 unattended, 1 ended"
    assert lines[3:7] == [
        "need you",
        "! reviews-mood-3f2a91c4            66.2 %   1,204,318     544     15.05",
        "running",
        "● reviews-mood-3f2a91c4                      318,000+       0      0.00",
    ]
    assert lines[7] == "unattended"
    assert lines[9] == "ended"


def test_a_wider_terminal_says_what_each_does() -> None:
    assert drawn([LOOK], 120)[-1].endswith("15.05   1 to decide")


@pytest.mark.parametrize("width", [60, 70, 80, 120, 200])
def test_a_long_name_loses_its_middle_and_nothing_wraps(width: int) -> None:
    [*_, line] = drawn([a_look(job_id="a-much-longer-name-than-fits-here-3f2a91c4")], width)

    assert ("a-much-longer-name-…-3f2a91c4" if width > 70 else "…-3f2a91c4") in line
    assert len(line) <= width


def test_ended_jobs_are_the_newest_few() -> None:
    lines = drawn([FINISHED] * (ENDED_SHOWN + 3))

    assert sum(line.startswith("✓") for line in lines) == ENDED_SHOWN
    assert lines[-1] == "  3 older ones: orchestrator status --json"


def test_an_empty_work_folder_says_so() -> None:
    assert drawn([]) == ["no job yet in /my/work"]


def test_no_line_ends_in_blanks() -> None:
    lines = drawn([a_look(activity=Activity.UNATTENDED), LOOK, FINISHED])

    assert lines == [line.rstrip() for line in lines]
