"""The waits between two looks, a tenth as long: tests that run whole jobs would spend most of their time in them.

Rule: only how long the program waits before it looks again is changed, never a deadline, a limit or a rule. This is
the one place that changes it, for jobs in the test's process and for forked commands alike.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Final

import pytest

TIMES: Final = 10
WAITS: Final = (
    ("orchestrator.domain.refusal", "SETBACK_S_MIN"),
    ("orchestrator.domain.retry", "DELAY_S_MIN"),
    ("orchestrator.domain.retry", "POLL_FIRST_S"),
    ("orchestrator.engine.local_runner", "LOOK_S"),
    ("orchestrator.engine.local_runner", "OTHERS_S"),
    ("orchestrator.planner.plan", "BACKLOG_S"),
    ("orchestrator.planner.review", "REVIEW_S"),
)


def hurry(put: Callable[[object, str, float], None] = setattr) -> None:
    """Shorten the waits of this process; `put` may be a `MonkeyPatch.setattr`, which is undone."""
    for module, name in WAITS:
        place = importlib.import_module(module)
        put(place, name, getattr(place, name) / TIMES)


@pytest.fixture(scope="module", autouse=True)
def hurried() -> Iterator[None]:
    """Jobs that run in the test's own process wait no longer than they must: for a `conftest.py` to import."""
    with pytest.MonkeyPatch.context() as patch:
        hurry(patch.setattr)
        yield
