"""OneRouter's endpoints under every fault there is: what the table says of each cell is what happens.

`make test` runs every create, and a share of the others; the other cells are slow.
"""

from __future__ import annotations

import pytest

from tests.matrix.checks import cells_of, check
from tests.matrix.conftest import Run
from tests.matrix.dialects import Endpoint


@pytest.mark.parametrize(("endpoint", "fault"), cells_of("onerouter"))
def test_a_fault_has_the_outcome_that_is_declared_for_it(run: Run, endpoint: Endpoint, fault: str) -> None:
    """Error, next move, one call, one create at most, and no secret and no control character kept."""
    check(run, "onerouter", endpoint, fault)
