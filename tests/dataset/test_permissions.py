"""A file that may not be read is said to be so, and not to be damaged."""

from __future__ import annotations

import errno

import pytest

from orchestrator.dataset.files import translated
from orchestrator.domain.errors import DatasetError


def test_a_file_that_may_not_be_read_is_not_called_damaged() -> None:
    complaint = "rows.csv cannot be read: damaged, or not compressed as its name says"

    with pytest.raises(DatasetError) as raised, translated(complaint):
        raise PermissionError(errno.EACCES, "Permission denied", "/home/anna/rows.csv")

    assert str(raised.value) == "rows.csv cannot be read: permission denied"
