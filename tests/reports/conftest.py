"""What all reports need: a program that waits no longer than it must."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.hurry import hurry


@pytest.fixture(scope="module", autouse=True)
def hurried() -> Iterator[None]:
    """Jobs that run in the test's own process wait no longer than they must."""
    with pytest.MonkeyPatch.context() as patch:
        hurry(patch.setattr)
        yield
