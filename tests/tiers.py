"""The two tiers of tests: what `make test` runs, and what is marked `slow` and runs in `make test-all` and in the CI.

pytestmark = pytest.mark.slow                                       a whole file
@pytest.mark.parametrize("scene", sampled(SCENES, quick={"calm"}))  a table, of which some cases are quick
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import pytest


def sampled(cases: Iterable[Any], *, quick: Collection[str], name: Callable[[Any], str] = str) -> list[Any]:
    """Return the cases as parameters; those whose names are not among `quick` are slow."""
    cases = list(cases)
    unknown = set(quick) - {name(case) for case in cases}
    assert not unknown, f"no such cases: {unknown}"
    return [
        pytest.param(case, id=name(case), marks=() if name(case) in quick else (pytest.mark.slow,)) for case in cases
    ]
