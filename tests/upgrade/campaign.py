"""Seeds with an upgrade in the middle, in blocks: a module of its own, so that another process can take them up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from tests.fakes.classes import CLASSES
from tests.simulation.campaign import BLOCK
from tests.simulation.shrink import CAUGHT
from tests.upgrade.versions import version_of
from tests.upgrade.world import upgraded

CLASSES_OF: Final = {2: ("c", "b1")}  # older versions know fewer classes; later ones know them all


@dataclass(slots=True, kw_only=True)
class Figures:
    """What became of the seeds of a version."""

    schema: int
    seeds: int = 0
    mixed: int = 0  # of them, in which both versions took steps after the upgrade
    old_steps: int = 0
    new_steps: int = 0
    failed: list[str] = field(default_factory=list)

    def add(self, other: Figures) -> None:
        """Count what another has counted."""
        self.seeds += other.seeds
        self.mixed += other.mixed
        self.old_steps += other.old_steps
        self.new_steps += other.new_steps
        self.failed += other.failed


def blocks(schema: int, first: int, count: int) -> list[tuple[int, str, range]]:
    """Share the seeds out among the classes."""
    classes = CLASSES_OF.get(schema, tuple(CLASSES))
    shares = [count // len(classes) + (number < count % len(classes)) for number in range(len(classes))]
    return [
        (schema, provider, range(at, min(at + BLOCK, first + share)))
        for provider, share in zip(classes, shares, strict=True)
        for at in range(first, first + share, BLOCK)
    ]


def run_block(given: tuple[int, str, range]) -> Figures:
    """Run the seeds of a class beside a version."""
    schema, provider, seeds = given
    version, figures = version_of(schema), Figures(schema=schema)
    for seed in seeds:
        figures.seeds += 1
        try:
            world = upgraded(seed, provider, version)
        except (*CAUGHT, *errors_of(version)) as error:
            figures.failed.append(f"{type(error).__name__}: {error}: replay {schema} {provider} {seed}")
            continue
        figures.mixed += all(world.steps_by.values())
        figures.old_steps += world.steps_by[True]
        figures.new_steps += world.steps_by[False]
    return figures


def errors_of(version: Any) -> tuple[type[Exception], ...]:
    """Return what the other version raises on purpose."""
    return (version.module("domain.errors").OrchestratorError,)
