"""What stands in a simulated world where the production code, or its surroundings, would."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Final

from orchestrator.domain.model import Step
from orchestrator.ledger.db.database import Database
from orchestrator.ledger.steps import SqlLedger
from tests.fakes.disk import SimulatedDisk
from tests.fakes.provider import SimulatedProvider
from tests.simulation.plan import Scenario


def as_drawn(plan: Scenario) -> Scenario:
    """Leave a seed's world as it is."""
    return plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A world's parts; by default those of production."""

    name: str
    ledger: Callable[[Database], SqlLedger] = SqlLedger
    provider: Callable[[SimulatedProvider], Any] = lambda provider: provider
    disk: Callable[[], SimulatedDisk] = SimulatedDisk
    altered: Callable[[], AbstractContextManager[None]] = nullcontext
    steps: Mapping[Step, tuple[Callable[..., None], tuple[str, ...]]] = field(default_factory=dict)
    weather: Callable[[Scenario], Scenario] = as_drawn  # what its world has more of
    forgets_commits: bool = False  # after a power loss the ledger has lost some


PRODUCTION: Final = Variant(name="production")


def altered(*changes: tuple[ModuleType | type, str, Any]) -> Callable[[], AbstractContextManager[None]]:
    """Return what puts values in the places of production names, for as long as it is entered."""

    @contextmanager
    def entered() -> Iterator[None]:
        with ExitStack() as stack:
            for owner, name, value in changes:
                stack.callback(setattr, owner, name, getattr(owner, name))
                setattr(owner, name, value)
            yield

    return entered
