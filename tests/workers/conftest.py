"""A fleet for every test that wants one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workers.fleets import Fleet, a_fleet


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """The servers; nothing is at work yet."""
    with a_fleet(tmp_path, monkeypatch) as running:
        yield running
