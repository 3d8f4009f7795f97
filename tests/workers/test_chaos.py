"""The fleet under kills, in small: one seed of `make chaos`, which has twenty and is five times as rough."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from benchmarks.chaos.plan import FULL, SHORT, Kind, draw_plan
from benchmarks.chaos.run import Size, run
from tests.servers.valkey import a_broker

SEED: Final = 1
SIZE: Final = Size(batches=30, in_flight_max=8, deadline_s=150)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_job_whose_worker_and_broker_are_killed_ends_exact(tmp_path: Path) -> None:
    """kill -9 of a worker and of a broker that keeps nothing: each row answered once, paid for once."""
    with a_broker(tmp_path / "probe"):
        pass  # or skipped: there is no broker here
    plan = draw_plan(SEED, SHORT)

    outcome = run(SEED, plan, tmp_path, ledger="sqlite", size=SIZE, batch_s=0.2)

    assert outcome.failure == ""
    assert outcome.events == {Kind.KILL_WORKER: 1, Kind.KILL_BROKER: 1}
    assert (outcome.chunks, outcome.creates, outcome.paid_twice) == (SIZE.batches, SIZE.batches, 0)


def test_a_seed_draws_the_same_plan_each_time_and_another_seed_another() -> None:
    """A failure can be repeated; twenty seeds are twenty different runs."""
    plans = [draw_plan(seed) for seed in range(20)]

    assert plans == [draw_plan(seed) for seed in range(20)]
    assert len({str(plan) for plan in plans}) == 20
    assert all({event.kind for event in plan} == set(FULL) for plan in plans)
