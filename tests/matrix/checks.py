"""What every cell of the matrix is held to."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Any

import pytest

from tests.matrix.acts import Seen
from tests.matrix.dialects import DIALECTS, Endpoint, Kind
from tests.matrix.faults import FAULTS, PLAIN_SPOKEN, ROW
from tests.matrix.outcomes import cells, outcomes
from tests.matrix.stage import KEY


def cells_of(dialect: str) -> list[Any]:
    """Return all cells of a dialect; those that `make test` leaves out are slow."""
    return [
        pytest.param(endpoint, fault, id=f"{endpoint.name}-{fault}", marks=() if is_quick else (pytest.mark.slow,))
        for endpoint, fault, is_quick in cells(dialect)
    ]


def check(run: Callable[..., Seen], dialect: str, endpoint: Endpoint, name: str) -> None:
    """Run a cell, and hold it against the table, the count of calls, and what may be kept of a server's words."""
    fault = FAULTS[name]

    seen = run(DIALECTS[dialect], endpoint, fault)

    assert seen.outcome == outcomes()[dialect][endpoint.name][name]
    assert seen.calls == int(fault.is_read), "each call is made once: none is repeated, no redirect is followed"
    if endpoint.kind is Kind.CREATE:
        assert seen.creates == int(fault.is_read)
    for text in seen.words:
        assert KEY not in text
        assert ROW not in text or name in PLAIN_SPOKEN, text
        assert not [character for character in text if unicodedata.category(character)[0] == "C"], text
