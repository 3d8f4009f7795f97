"""How a process shows that it is alive."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.domain.errors import ConfigError
from orchestrator.fleet.presence import LOOP_S_MAX, Loop, Pulse
from tests.builders import NOW


def test_a_process_that_takes_nothing_new_says_so() -> None:
    seen = list[dict[str, object]]()
    workers = SimpleNamespace(seen=lambda *_, **told: seen.append(told))
    workspace: Any = SimpleNamespace(workers=workers, clock=SimpleNamespace(now=lambda: NOW))
    nothing: Any = None
    stopping = threading.Event()
    pulse = Pulse(
        workspace, nothing, "ledger", "here", lambda: "id", Loop(), "", doing=list, is_stopping=stopping.is_set
    )
    pulse._show()
    stopping.set()
    pulse._show()

    assert [one["is_stopping"] for one in seen] == [False, True]


def test_a_process_that_begins_is_well_however_old_its_imports_are() -> None:
    """A fork has the loop of the process that did the imports, perhaps hours ago."""
    nothing: Any = None
    loop = Loop(turned_at=time.monotonic() - 2 * LOOP_S_MAX)
    pulse = Pulse(nothing, nothing, "ledger", "here", lambda: "id", loop, "/nowhere/at/all/alive", doing=list)

    with pytest.raises(ConfigError, match="the heartbeat file /nowhere/at/all/alive cannot be written"):
        pulse.start()
    assert loop.is_well()
