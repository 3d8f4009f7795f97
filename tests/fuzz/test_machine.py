"""Steps, crashes and people in any order: what the ledger promises holds after each of them.

Without more being asked for a small share runs; the full depth is

    STATEFUL_EXAMPLES=2000 STATEFUL_RULES=50 pytest --timeout=0 tests/fuzz/test_machine.py
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.fuzz.machine import LedgerMachine
from tests.tiers import examples

pytestmark = pytest.mark.slow


def test_no_order_of_steps_crashes_and_people_breaks_a_promise() -> None:
    """Never two live attempts, versions rise, settled <= rows, reserved >= 0, sums equal; and all comes to rest."""
    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(
            max_examples=int(os.environ.get("STATEFUL_EXAMPLES", examples(30))),
            stateful_step_count=int(os.environ.get("STATEFUL_RULES", "25")),
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
