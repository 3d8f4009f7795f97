"""Why rows have failed, counted by error code, and kept as text."""

from __future__ import annotations

import pytest

from orchestrator.domain.causes import CODES_MAX, OTHER, Cause, Causes, causes_left
from orchestrator.domain.reconcile import UNREADABLE


def counted(*codes: str | None) -> Causes:
    causes = Causes()
    for row, code in enumerate(codes):
        causes.add(code, (2, row))
    return causes


def test_each_code_is_counted_and_has_its_first_row_as_an_example() -> None:
    assert counted("a", "b", "b", None).by_rows() == (
        Cause("b", 2, 2, 1),
        Cause("a", 1, 2, 0),
        Cause(OTHER, 1, 2, 3),
    )


def test_the_text_gives_the_same_causes() -> None:
    causes = counted("a", "b", "b")

    assert Causes.of(causes.text()).by_rows() == causes.by_rows()
    assert Causes().text() == ""
    assert Causes.of("").by_rows() == ()


def test_causes_of_several_units_add_up() -> None:
    total = counted("a", "b")
    total.add_text(counted("b", "c").text())

    assert {one.code: one.rows for one in total.by_rows()} == {"a": 1, "b": 2, "c": 1}


def test_a_code_that_is_no_plain_word_is_not_kept() -> None:
    """It is what a provider wrote, and might quote a row."""
    assert counted("the row said: hello", "x" * 65, "fine_code").by_rows() == (
        Cause(OTHER, 2, 2, 0),
        Cause("fine_code", 1, 2, 2),
    )


def test_codes_beyond_the_limit_are_counted_together() -> None:
    causes = counted(*(f"code{n}" for n in range(CODES_MAX + 5)))

    assert sum(one.rows for one in causes.by_rows()) == CODES_MAX + 5
    assert causes.by_rows()[0] == Cause(OTHER, 5, 2, CODES_MAX)


@pytest.mark.parametrize(
    ("failed", "unreadable", "left"),
    [
        (5, 3, '{"bad": [2, 0, 1], "unreadable": [3, 0, 4]}'),
        (3, 3, '{"unreadable": [3, 0, 4]}'),
        (1, 1, '{"unreadable": [1, 0, 4]}'),
        (0, 0, ""),
    ],
)
def test_the_rows_that_are_left_once_others_are_sent_again_are_those_that_cannot_be_read(
    failed: int, unreadable: int, left: str
) -> None:
    assert causes_left('{"bad": [2, 0, 1], "unreadable": [3, 0, 4]}', failed, unreadable) == left


def test_rows_that_cannot_be_read_have_their_cause_where_no_other_is_known() -> None:
    """A cancel drops the causes; the two rows that are left cannot be read."""
    assert Causes.of(causes_left("", 2, 2)).by_rows() == (Cause(UNREADABLE, 2),)
