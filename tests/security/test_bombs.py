"""Small on the wire, large in memory: every such answer is refused or set aside, within 512 MiB and 30 s (S13)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from typing import Final

import pytest

from orchestrator import log
from orchestrator.api import job
from orchestrator.domain import custom_id
from orchestrator.planner import template
from orchestrator.providers.http import error_mapping, secret, url_policy
from orchestrator.providers.onerouter import provider, wire
from orchestrator.storage import object_url
from tests.gateway_process import ROOT
from tests.security.bombs import BOMBS, TIME_S

PROCESS_S: Final = 500.0  # of a machine with much else to do; some 15 s of processor time
SLOW_S: Final = 2.0  # of processor time, for the longest text that reaches a pattern
LENGTH: Final = 20_000  # what is looked at of an error's text
PATTERNS: Final = {
    f"{module.__name__}.{name}": pattern
    for module in (error_mapping, object_url, custom_id, url_policy, job, log, provider, wire, secret, template)
    for name, pattern in vars(module).items()
    if isinstance(pattern, re.Pattern)
}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_bomb_bursts() -> None:
    """Thirty-three of them, one process, its memory limited from outside."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.security.bombs"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=PROCESS_S,
    )

    assert ended.returncode == 0, ended.stderr[-2_000:]
    outcomes = json.loads(ended.stdout)
    assert outcomes.keys() == BOMBS.keys()
    assert {name: how for name, (how, _) in outcomes.items() if not how.startswith(("refused: ", "read: "))} == {}
    assert {name: seconds for name, (_, seconds) in outcomes.items() if seconds > TIME_S} == {}
    assert sum(how.startswith("refused: ") for how, _ in outcomes.values()) >= 10


def hooks() -> list[str]:
    """Return texts that have made patterns slow: a beginning over and over, and never its end."""
    pieces = [
        "<title>",
        "<title",
        "bearer ",
        "Bearer 1",
        "://",
        "://:",
        "://a:b",
        "{",
        "{{",
        "a ",
        "batch ",
        "no available ",
    ]
    pieces += [
        "request",
        "body .",
        "exceeded ",
        "too many ",
        "https://",
        "1.",
        "9",
        "-",
        "&amp",
        "is ",
        "https://a@",
        "\x1b",
    ]
    return [(piece * LENGTH)[:LENGTH] for piece in pieces]


@pytest.mark.parametrize("name", PATTERNS)
def test_no_pattern_takes_long_over_what_a_stranger_writes(name: str) -> None:
    """In proportion to the text, whatever it says: quadratic ones take minutes here."""
    began_at = time.process_time()
    for text in hooks():
        hook, nothing = (text.encode(), b"") if isinstance(PATTERNS[name].pattern, bytes) else (text, "")
        PATTERNS[name].search(hook)
        PATTERNS[name].sub(nothing, hook)

    assert time.process_time() - began_at < SLOW_S


def test_there_are_patterns_to_try() -> None:
    assert len(PATTERNS) >= 15
