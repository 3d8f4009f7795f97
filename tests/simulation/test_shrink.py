"""A failing seed is shrunk to the faults that matter, and the command that is printed replays it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from tests.fakes.dice import Dice, Fault, fault_of
from tests.simulation.mutants import MUTANTS
from tests.simulation.shrink import failure, fewest, shrink

MUTANT = next(mutant for mutant in MUTANTS if mutant.variant.name == "doubt is taken for refusal")


def test_the_fewest_faults_are_those_that_are_needed_together() -> None:
    """Two of a hundred, wherever they stand."""
    faults = [Fault("late", number) for number in range(100)]
    needed = {faults[17], faults[83]}

    def fails(some: Sequence[Fault]) -> bool:
        return needed <= set(some)

    assert set(fewest(faults, fails)) == needed


def test_a_failure_without_any_fault_shrinks_to_nothing() -> None:
    """What fails by itself needs no fault to be shown."""
    assert fewest([Fault("late", 1)], lambda _some: True) == []


def test_a_fault_is_written_as_it_is_read() -> None:
    """The command line repeats what was printed."""
    assert fault_of(str(Fault("foreign_delete", 12))) == Fault("foreign_delete", 12)


def test_dice_that_are_told_the_faults_fall_as_they_are_told() -> None:
    """The n-th chance of a kind, whatever other kinds do meanwhile."""
    dice = Dice("seed", only=[Fault("late", 2)])

    assert [dice.fires("late", 1.0), dice.fires("lost", 1.0), dice.fires("late", 0.0)] == [False, False, True]


def test_a_failing_seed_is_shrunk_and_replayed_by_the_command_that_is_printed() -> None:
    """Few faults are left of many, and another process fails with them in the same way."""
    provider, variant = MUTANT.provider, MUTANT.variant
    seed = next(seed for seed in (MUTANT.seed, *range(500)) if failure(seed, provider, variant=variant) is not None)

    shrunk = shrink(seed, provider, variant=variant)

    assert shrunk is not None
    assert 1 <= len(shrunk.faults) < shrunk.was
    words = [sys.executable, *shrunk.command.replace("'", "").split()[1:], "--mutant", variant.name]
    replayed = subprocess.run(words, capture_output=True, text=True, check=False)
    assert replayed.returncode == 1
    assert shrunk.words in replayed.stdout
