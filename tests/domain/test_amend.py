"""What is changed of a request whose answer was no use."""

from __future__ import annotations

import pytest

from orchestrator.domain.amend import AMENDED, Amends, correction, raised


@pytest.mark.parametrize(
    ("limit", "larger"),
    [(1, 4), (8, 32), (1_024, 4_096), (1_500, 4_096), (2_048, 4_096), (3_000, 6_000), (8_192, 16_384)],
)
def test_a_small_limit_grows_fourfold_and_a_large_one_doubles(limit: int, larger: int) -> None:
    assert raised(limit) == larger


def test_each_failure_has_its_change_and_a_refusal_has_none() -> None:
    assert AMENDED == {
        "truncated": Amends.TRUNCATED,
        "invalid_json": Amends.INVALID,
        "schema_mismatch": Amends.INVALID,
    }


def test_the_model_is_told_what_was_wrong() -> None:
    assert correction("$.mood: 7 is not a string").startswith("This answer cannot be used: $.mood: 7 is not a string\n")
