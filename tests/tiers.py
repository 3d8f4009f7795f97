"""The two tiers of tests: what `make test` runs, and what is marked `slow` and runs in `make test-all` and in the CI.

pytestmark = pytest.mark.slow                                       a whole file: the quick tier does not even import it
@pytest.mark.slow                                                   a test
@pytest.mark.parametrize("scene", sampled(SCENES, quick={"calm"}))  a table, of which some cases are quick
@settings(max_examples=examples(400))                               drawn cases: an eighth of them in the quick tier
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, Final

import pytest

QUICK_EXPRESSION: Final = "not slow"
QUICK: Final = "TESTS_QUICK"  # in the environment, for what is decided while a module is imported
EXAMPLES_MIN: Final = 10
_SLOW_FILE: Final = re.compile(r"^pytestmark = pytest\.mark\.slow$", re.MULTILINE)


def sampled(cases: Iterable[Any], *, quick: Collection[str], name: Callable[[Any], str] = str) -> list[Any]:
    """Return the cases as parameters; those whose names are not among `quick` are slow."""
    cases = list(cases)
    unknown = set(quick) - {name(case) for case in cases}
    assert not unknown, f"no such cases: {unknown}"
    return [
        pytest.param(case, id=name(case), marks=() if name(case) in quick else (pytest.mark.slow,)) for case in cases
    ]


def examples(count: int) -> int:
    """Return how many cases to draw in this tier, of `count` in the whole."""
    return max(min(EXAMPLES_MIN, count), count // 8) if QUICK in os.environ else count


def is_slow_file(path: Path) -> bool:
    """Whether all tests of a file are slow."""
    return path.suffix == ".py" and _SLOW_FILE.search(path.read_text(encoding="utf-8")) is not None
