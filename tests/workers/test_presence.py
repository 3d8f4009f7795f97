"""How a process shows that it is alive."""

from __future__ import annotations

import time
from typing import Any

import pytest

from orchestrator.domain.errors import ConfigError
from orchestrator.fleet.presence import LOOP_S_MAX, Loop, Pulse


def test_a_process_that_begins_is_well_however_old_its_imports_are() -> None:
    """A fork has the loop of the process that did the imports, perhaps hours ago."""
    nothing: Any = None
    loop = Loop(turned_at=time.monotonic() - 2 * LOOP_S_MAX)
    pulse = Pulse(nothing, nothing, "ledger", "here", lambda: "id", loop, "/nowhere/at/all/alive", doing=list)

    with pytest.raises(ConfigError, match="the heartbeat file /nowhere/at/all/alive cannot be written"):
        pulse.start()
    assert loop.is_well()
