"""Many seeds, on several processes, and what came of them as figures."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, Final, TypeVar

from tests.fakes.classes import CLASSES
from tests.simulation.mutants import MUTANTS
from tests.simulation.shrink import CAUGHT
from tests.simulation.world import simulate

BLOCK: Final = 20  # seeds that a process takes at a time
Given = TypeVar("Given")
Got = TypeVar("Got")


@dataclass(slots=True, kw_only=True)
class Figures:
    """What became of the seeds of a class."""

    provider: str
    seeds: int = 0
    failed: list[tuple[int, str]] = field(default_factory=list)
    permits: int = 0  # calls of ports, and what else could be stopped
    crashes: int = 0
    batches: int = 0
    simulated_s: float = 0.0
    cpu_s: float = 0.0

    def add(self, other: Figures) -> None:
        """Count what another has counted."""
        self.seeds += other.seeds
        self.failed += other.failed
        self.permits += other.permits
        self.crashes += other.crashes
        self.batches += other.batches
        self.simulated_s += other.simulated_s
        self.cpu_s += other.cpu_s

    def told(self) -> dict[str, Any]:
        """Return the figures as they are printed."""
        rate = self.seeds / self.cpu_s if self.cpu_s else 0.0
        return asdict(self) | {"seeds_a_second_a_core": round(rate, 2), "cpu_s": round(self.cpu_s, 1)}


def run_seeds(provider: str, seeds: Iterable[int]) -> Figures:
    """Run seeds one after the other; a failing one is counted and stops nothing."""
    figures, began_s = Figures(provider=provider), time.process_time()
    for seed in seeds:
        figures.seeds += 1
        try:
            report = simulate(seed, provider)
        except CAUGHT as error:
            figures.failed.append((seed, f"{type(error).__name__}: {error}"))
            continue
        figures.permits += report.permits
        figures.crashes += report.crashes
        figures.batches += report.batches
        figures.simulated_s += report.elapsed_s
    figures.cpu_s = time.process_time() - began_s
    return figures


def campaign(providers: Iterable[str], first: int, count: int, *, processes: int) -> Iterator[Figures]:
    """Run seeds [first, first + count) at each class, and return the figures of each, in order."""
    for provider in providers:
        blocks = [(provider, range(at, min(at + BLOCK, first + count))) for at in range(first, first + count, BLOCK)]
        figures = Figures(provider=provider)
        for some in spread(_block, blocks, processes):
            figures.add(some)
        figures.failed.sort()
        yield figures


def first_bad(name: str, provider: str, seeds: Iterable[int]) -> int | None:
    """Return the first seed at which a mutant is caught."""
    [variant] = [mutant.variant for mutant in MUTANTS if (mutant.variant.name, mutant.provider) == (name, provider)]
    for seed in seeds:
        try:
            simulate(seed, provider, variant=variant)
        except CAUGHT:
            return seed
    return None


def kill_mutants(count: int, *, processes: int) -> Iterator[tuple[str, str, int | None]]:
    """Run every mutant until it is caught, `count` seeds at most; return class, name and first bad seed of each."""
    yield from spread(_mutant, [(mutant.provider, mutant.variant.name, count) for mutant in MUTANTS], processes)


def unlike_itself(provider: str, seeds: Iterable[int]) -> list[int]:
    """Run every seed twice; return those whose two traces differ."""
    return [seed for seed in seeds if _trace(seed, provider) != _trace(seed, provider)]


def determinism(providers: Iterable[str], count: int, *, processes: int) -> Iterator[tuple[str, list[int]]]:
    """Run `count` seeds of each class twice."""
    blocks = [(provider, range(at, min(at + BLOCK, count))) for provider in providers for at in range(0, count, BLOCK)]
    yield from spread(_twice, blocks, processes)


def classes_of(names: Iterable[str]) -> list[str]:
    """Return the classes that are meant; none named: all."""
    return list(names) or list(CLASSES)


def spread(work: Callable[[Given], Got], given: list[Given], processes: int) -> Iterator[Got]:
    """Do the work on several processes, results in the order of what was given."""
    if processes <= 1:
        yield from map(work, given)
        return
    # Not multiprocessing.Pool: where a process cannot take up its work, that one starts the next, for ever.
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(work, given)


def _trace(seed: int, provider: str) -> str:
    try:
        return simulate(seed, provider).digest
    except CAUGHT as error:
        return f"{type(error).__name__}: {error}"


def _block(given: tuple[str, range]) -> Figures:
    return run_seeds(*given)


def _twice(given: tuple[str, range]) -> tuple[str, list[int]]:
    return given[0], unlike_itself(*given)


def _mutant(given: tuple[str, str, int]) -> tuple[str, str, int | None]:
    provider, name, count = given
    return provider, name, first_bad(name, provider, range(count))
