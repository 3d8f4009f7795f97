"""A job that an agent has started, and how it ends where nobody expected it."""

from __future__ import annotations

import threading

import pytest

from orchestrator.domain.look import OnLook
from orchestrator.domain.model import JobId
from orchestrator.mcp.background import Background


def test_a_bug_in_a_run_is_told_and_quotes_no_row(capsys: pytest.CaptureFixture[str]) -> None:
    def failing(_on_look: OnLook, _stop: threading.Event) -> None:
        raise ValueError("the text of a row")

    background = Background()
    told = background.start(JobId("mood-1"), failing)
    background.close()

    assert told is not None
    assert "ValueError" in told.message
    assert "the text of a row" not in told.message + "".join(capsys.readouterr())
