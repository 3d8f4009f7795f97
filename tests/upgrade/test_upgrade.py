"""Two versions of the program at work on one ledger, while jobs run: `python -m tests.upgrade run` takes many seeds."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from orchestrator.ledger import migrations
from orchestrator.ledger.claims import Claims
from tests.simulation.kit import an_empty_ledger
from tests.upgrade.versions import LAST_COMMITS, NEWEST, ROOT, kept, present_again
from tests.upgrade.world import empty, upgraded


def test_the_last_commit_of_every_schema_since_the_second_is_named() -> None:
    """Whoever adds a migration adds the commit before it, so that there is something to go on beside."""
    assert set(LAST_COMMITS) >= set(range(2, NEWEST))


@pytest.mark.parametrize("provider", ["c", "b1"])
def test_the_same_program_twice_is_one_program(provider: str) -> None:
    """What puts one version's words into the other's, tried where nothing else differs: needs no history."""
    version = present_again()

    worlds = [upgraded(seed, provider, version) for seed in range(4)]

    assert all(sum(world.steps_by[which] for world in worlds) > 0 for which in (True, False))


@pytest.mark.parametrize("schema", LAST_COMMITS)
@pytest.mark.parametrize("provider", ["c", "b1"])
def test_a_version_of_an_earlier_schema_works_on_beside_the_present_one(schema: int, provider: str) -> None:
    """An old fleet, a mixed one, a new one: nothing is paid twice, no row lost, and every job ends."""
    version = kept(schema)

    worlds = [upgraded(seed, provider, version) for seed in range(4)]

    assert all(sum(world.steps_by[which] for world in worlds) > 0 for which in (True, False))


def test_the_command_spreads_the_seeds_over_processes() -> None:
    command = [sys.executable, "-m", "tests.upgrade", "run", "--schema", "4", "--seeds", "5", "--json"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["seeds"] == 5


def test_an_old_version_makes_the_ledger_of_its_own_schema() -> None:
    """The upgrade is one: what the present version opens is not its own already."""
    version = kept(2)
    database = an_empty_ledger()
    empty(database)

    with database.write() as transaction:
        version.module("ledger.migrations").migrate(transaction)
        found = migrations.present_schema(transaction)
        migrations.migrate(transaction)

    assert found == 2 < NEWEST


def test_what_is_loaded_is_the_old_version_and_nothing_of_the_present_one() -> None:
    version = kept(2)

    assert version.module("ledger.migrations").MIGRATIONS[-1].__name__ == "_second"
    assert version.module("domain.model").Step is not Claims.__init__.__globals__["Step"]
