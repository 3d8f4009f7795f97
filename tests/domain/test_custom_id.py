"""A row's name at the provider, both ways."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain import custom_id

DIGEST = "9f86d081884c7d65"
NUMBERS = st.integers(0, 16**8 - 1)
DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)


@pytest.mark.parametrize(
    ("shard_no", "row", "name"),
    [
        (0, 0, "9f86d081-0-0"),
        (1, 15, "9f86d081-1-f"),
        (255, 4096, "9f86d081-ff-1000"),
        (16**8 - 1, 16**8 - 1, "9f86d081-ffffffff-ffffffff"),
    ],
)
def test_a_row_has_this_name(shard_no: int, row: int, name: str) -> None:
    assert custom_id.custom_id(DIGEST, shard_no, row) == name
    assert custom_id.parse(name, DIGEST) == (shard_no, row)


@given(DIGESTS, NUMBERS, NUMBERS)
def test_every_name_leads_back_to_its_row(digest: str, shard_no: int, row: int) -> None:
    assert custom_id.parse(custom_id.custom_id(digest, shard_no, row), digest) == (shard_no, row)


@given(DIGESTS, NUMBERS, NUMBERS)
def test_every_name_lies_inside_the_strictest_providers_rule(digest: str, shard_no: int, row: int) -> None:
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", custom_id.custom_id(digest, shard_no, row))


@given(st.lists(st.tuples(NUMBERS, NUMBERS), unique=True, max_size=50))
def test_two_rows_never_share_a_name(keys: list[tuple[int, int]]) -> None:
    assert len({custom_id.custom_id(DIGEST, *key) for key in keys}) == len(keys)


@given(DIGESTS, NUMBERS, NUMBERS)
def test_a_name_is_its_shards_prefix_and_the_row(digest: str, shard_no: int, row: int) -> None:
    assert custom_id.custom_id(digest, shard_no, row) == f"{custom_id.prefix(digest, shard_no)}{row:x}"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "9f86d081",
        "9f86d081-0",
        "9f86d081-0-0-0",
        "9f86d081--0",
        "9f86d081-0-",
        "9f86d081-0-g",
        "9f86d081-0-0\n",
        " 9f86d081-0-0",
        "9f86d081-0-+1",
        "9f86d081-0-1_0",
        "9f86d081-0-٣",
        "9F86D081-0-0",
        "9f86d081-A-0",
        "9f86d081-00-0",
        "9f86d081-0-00",
        "9f86d081-0-01",
        "9f86d081-100000000-0",
        "9f86d081-0-100000000",
        "deadbeef-0-0",
        "request-1",
    ],
)
def test_a_foreign_or_misspelled_name_is_nobodys(name: str) -> None:
    """Leading zeros, capitals and other digits would be a second name for a row; there is only one."""
    assert custom_id.parse(name, DIGEST) is None


@given(st.text(max_size=40))
def test_whatever_is_read_as_ours_is_spelled_as_we_spell_it(name: str) -> None:
    key = custom_id.parse(name, DIGEST)

    assert key is None or custom_id.custom_id(DIGEST, *key) == name


@given(NUMBERS, NUMBERS)
def test_a_name_of_another_job_is_foreign(shard_no: int, row: int) -> None:
    assert custom_id.parse(custom_id.custom_id("deadbeef", shard_no, row), DIGEST) is None


@pytest.mark.parametrize(("shard_no", "row"), [(-1, 0), (0, -1), (16**8, 0), (0, 16**8)])
def test_a_number_that_does_not_fit_is_refused(shard_no: int, row: int) -> None:
    with pytest.raises(ValueError, match="a custom_id holds numbers from 0 to"):
        custom_id.custom_id(DIGEST, shard_no, row)


@given(st.integers(0, 16**8 - 1), st.integers(0, 16**8 - 100), st.integers(0, 99))
def test_many_ids_at_once_are_the_ids_one_by_one(shard_no: int, row_start: int, row_count: int) -> None:
    """The planner writes prefix and number, the output whole ids: all are spelled the same."""
    rows = range(row_start, row_start + row_count)
    prefix = custom_id.prefix(DIGEST, shard_no).encode()

    one_by_one = [custom_id.custom_id(DIGEST, shard_no, row) for row in rows]

    assert custom_id.custom_ids(DIGEST, shard_no, row_start, row_count) == one_by_one
    assert [(prefix + number).decode() for number in custom_id.numbers(row_start, row_count)] == one_by_one


@pytest.mark.parametrize(
    ("named", "place", "number"),
    [
        ("3/120", (3, 120), None),
        ("120", None, 120),
        ("-1", None, None),
        ("٣", None, None),
        ("٣/1", None, None),
        ("9" * 19, None, None),
        ("9" * 5_000, None, None),
        ("1/" + "9" * 5_000, None, None),
        ("", None, None),
    ],
)
def test_a_row_is_named_by_its_place_or_its_number(
    named: str, place: tuple[int, int] | None, number: int | None
) -> None:
    """A number that no row has, however long, names nothing."""
    assert custom_id.place(named) == place
    assert custom_id.row_number(named) == number
