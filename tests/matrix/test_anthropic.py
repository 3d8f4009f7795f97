"""Anthropic's endpoints under every fault there is: what the table says of each cell is what happens.

`make test` runs a share of the cells; the others are slow.
"""

from __future__ import annotations

import pytest

from tests.matrix.checks import cells_of, check
from tests.matrix.conftest import Run
from tests.matrix.dialects import Endpoint


@pytest.mark.parametrize(("endpoint", "fault"), cells_of("anthropic"))
def test_a_fault_has_the_outcome_that_is_declared_for_it(run: Run, endpoint: Endpoint, fault: str) -> None:
    """Error, next move, one call, one create at most, and no secret and no control character kept."""
    check(run, "anthropic", endpoint, fault)
