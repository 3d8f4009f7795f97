"""What is wrong with a request body by its JSON schema: of several alternatives, the one that was most likely meant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from jsonschema_rs import ValidationError
from jsonschema_rs import ValidationErrorKind as Kind

# How far a value is from an alternative of its schema: see `_mismatch`.
OTHER_JSON_TYPE, OTHER_VALUE, OTHER_NAME, FITS = range(4)
DISCRIMINATORS: Final = frozenset({"type", "role"})


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyFault:
    """One thing that is wrong, at one place of a body."""

    path: tuple[str | int, ...]
    kind: Kind
    value: Any


def leaves(errors: Iterable[ValidationError]) -> Iterator[BodyFault]:
    """Yield the faults behind errors: of several alternatives, those of the one that was most likely meant."""
    for error in errors:
        if isinstance(error.kind, Kind.AnyOf):
            yield from _likeliest([list(leaves(branch)) for branch in error.kind.context], len(error.instance_path))
        else:
            yield BodyFault(path=tuple(error.instance_path), kind=error.kind, value=error.instance)


def _likeliest(branches: list[list[BodyFault]], depth: int) -> list[BodyFault]:
    """Return the faults of the alternative whose JSON type and `type` or `role` the value has; the fewest of several.

    Where there is none, return why: of all alternatives, the `type` or `role` they want, the value, the JSON type.
    """
    kinds = [min((_mismatch(fault, depth) for fault in branch), default=FITS) for branch in branches]
    best = max(kinds)
    if best != FITS:
        return [fault for branch in branches for fault in branch if _mismatch(fault, depth) == best]
    fitting = [branch for branch, kind in zip(branches, kinds, strict=True) if kind == FITS]
    return min(fitting, key=lambda branch: len({(fault.path, fault.kind.name) for fault in branch}))


def _mismatch(fault: BodyFault, depth: int) -> int:
    """Return the distance of a fault's alternative: the smaller, the farther."""
    if isinstance(fault.kind, Kind.Type) and len(fault.path) == depth:
        return OTHER_JSON_TYPE
    if isinstance(fault.kind, Kind.Constant | Kind.Enum):
        if len(fault.path) == depth:
            return OTHER_VALUE
        if len(fault.path) == depth + 1 and fault.path[-1] in DISCRIMINATORS:
            return OTHER_NAME
    return FITS
