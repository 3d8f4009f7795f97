"""The table of rows on a terminal."""

from __future__ import annotations

from typing import Any

import pytest
from rich.cells import cell_len

from orchestrator.cli.table_text import columns_that_fit, most_wanted, table_text

NAMES = ["id", "text", "custom_id", "llm_response", "llm_status", "llm_error_code"]


def a_row(**fields: Any) -> dict[str, Any]:
    return {**dict.fromkeys(NAMES), "id": 1, **fields}


def test_rows_are_lines_under_their_columns() -> None:
    rows = [{"id": 1, "text": "good"}, {"id": 22, "text": None}]

    assert table_text(rows, ["id", "text"], width=80).splitlines() == ["id  text", "──  ────", "1   good", "22"]


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    """Wide characters take two cells."""
    rows = [a_row(text="漢字" * 100, llm_response="long " * 1_000), a_row(text="é\n\tnext", llm_response={"a": [1]})]
    columns = columns_that_fit(NAMES, width=width)

    lines = table_text(rows, columns, width=width).splitlines()

    assert len(lines) == 4
    assert max(map(cell_len, lines)) <= width


def test_nothing_in_a_cell_moves_the_cursor_or_hides_text() -> None:
    [*_, line] = table_text([{"text": "\x1b[2Jred\r\n\u202etxt\u009b"}], ["text"], width=80).splitlines()

    assert line == "·[2Jred  ·txt·"


def test_the_answer_comes_before_the_columns_of_the_source_and_the_error_where_there_is_one() -> None:
    good, bad = a_row(llm_response="yes"), a_row(llm_error_code="gone")

    assert most_wanted([good], NAMES, "custom_id", "llm_") == ["llm_response", "id", "text"]
    assert most_wanted([good, bad], NAMES, "custom_id", "llm_") == ["llm_response", "llm_error_code", "id", "text"]
    assert most_wanted([], ["note"], "custom_id", "llm_") == ["note"]


def test_the_fields_of_an_answer_come_before_its_text() -> None:
    names = ["id", "custom_id", "llm_response", "llm_mood", "llm_stars", "llm_status", "llm_error_code"]

    assert most_wanted([], names, "custom_id", "llm_") == ["llm_mood", "llm_stars", "id"]


def test_columns_that_cannot_be_read_beside_each_other_are_left_out() -> None:
    assert columns_that_fit([f"c{number}" for number in range(500)], width=80) == ["c0", "c1", "c2", "c3", "c4"]
    assert columns_that_fit(["a", "b"], width=5) == ["a"]
