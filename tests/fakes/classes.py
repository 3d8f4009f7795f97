"""The classes of providers there are, by what can be asked after a create whose answer was lost."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from orchestrator.domain.batch import Traits
from orchestrator.domain.recovery import Recovery

LATE_S_MAX: Final = 300.0  # how long a create may be on its way that nobody waits for any more
LAG_S: Final = 60.0
KEY_S: Final = 86_400.0  # how long a token is known again


class Lists(StrEnum):
    """What a provider's list of batches shows of the attempt that made one."""

    NOTHING = "nothing"  # there is no list
    MARKS = "marks"
    AT_END = "at end"  # no mark: only the results of an ended batch name the requests it was made of


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderClass:
    """What a simulated provider offers."""

    traits: Traits
    lists: Lists = Lists.NOTHING
    knows_tokens: bool = False


A1: Final = ProviderClass(
    traits=Traits(name="simulated-a1", recovery=Recovery.KEYED, key_s=KEY_S - 7_200), knows_tokens=True
)
B1: Final = ProviderClass(
    traits=Traits(name="simulated-b1", recovery=Recovery.FENCED, lag_s=LAG_S),
    lists=Lists.MARKS,
)
B1_SETTLE: Final = ProviderClass(
    traits=Traits(name="simulated-b1-settle", recovery=Recovery.SETTLED, lag_s=LAG_S), lists=Lists.MARKS
)
B2: Final = ProviderClass(
    traits=Traits(name="simulated-b2", recovery=Recovery.SETTLED, lag_s=LAG_S), lists=Lists.AT_END
)
C: Final = ProviderClass(traits=Traits(name="simulated-c", recovery=Recovery.UNKNOWABLE))

CLASSES: Final = MappingProxyType({"a1": A1, "b1": B1, "b1-settle": B1_SETTLE, "b2": B2, "c": C})
