"""Conditions on columns: what they choose, and what is said of one that cannot be."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pyarrow as pa
import pytest

from orchestrator.collector.conditions import columns_needed, is_true
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.row_expression import DEPTH_MAX, SIGNS_MAX, parsed

ROWS = pa.RecordBatch.from_pydict(
    {
        "text": pa.array(["a", "b'c", None, "A"], pa.large_string()),
        "score": pa.array([0.1, 0.5, None, 2.0]),
        "stars": pa.array([1, None, 3, 4], pa.int64()),
        "cost": pa.array([Decimal("0.10"), None, Decimal("0.30"), Decimal("1.00")], pa.decimal128(9, 2)),
        "mood": pa.array(["good", "bad", "good", None]).dictionary_encode(),
        "is_new": pa.array([True, False, None, True]),
        "day": pa.array([dt.date(2026, 12, day) for day in (1, 2, 3, 4)]),
        "at": pa.array([dt.datetime(2026, 12, day, tzinfo=dt.UTC) for day in (1, 2, 3, 4)]),
        "shop": [{"city": "Rom"}, {"city": None}, None, {"city": "Ulm"}],
        "tags": [["x"], [], None, ["x", "y"]],
        "a b": ["1", "2", "3", "4"],
        "llm_score": [1, 2, 3, 4],
        "written": [" 3 ", "1e3", "", "9007199254740993"],
        "odd": pa.array(["NaN", "+.5", "1,000", "-2."]).dictionary_encode(),
        "small": pa.array([100, 5, None, 0], pa.int8()),
        "noon": pa.array([dt.datetime(2026, 12, day, 12) for day in (1, 2, 3, 4)]),  # noqa: DTZ001 - of no zone
    }
)


@pytest.mark.parametrize(
    ("written", "rows"),
    [
        ("text = 'a'", [0]),
        ("text = 'b''c'", [1]),
        ("small + small > 127 AND small * 2 = 200", [0]),  # not as numbers of 8 bits
        ("noon >= '2026-12-03'", [2, 3]),
        ("NOT text = 'a'", [1, 3]),  # the third is unknown, as in SQL
        ("text != 'a' OR text IS NULL", [1, 2, 3]),
        ("text NOT IN ('a', 'A')", [1]),
        ("lower(text) = 'a' and score < 1", [0]),
        ("text ilike '%A%'", [0, 3]),
        ("text LIKE 'b_c'", [1]),
        ("0.3 < score", [1, 3]),
        ("score BETWEEN 0.1 AND 0.5", [0, 1]),
        ("score NOT BETWEEN 0.1 AND 0.5", [3]),
        ("stars IN (1, 4.0)", [0, 3]),
        ("-stars <= -3 AND (mood = 'good' OR is_new)", [2, 3]),
        ("stars / 2 = 1.5 OR stars + 1 = 2", [0, 2]),
        ("cost > .2", [2, 3]),
        ("mood <> 'good'", [1]),
        ("is_new = false", [1]),
        ("not is_new", [1]),
        ("day >= '2026-12-03'", [2, 3]),
        ("at < '2026-12-02T00:00:00Z' OR at = '2026-12-04'", [0, 3]),
        ("shop.city = 'Ulm'", [3]),
        ("length(tags) = 0 OR length(text) = 3", [1]),
        ("\"a b\" = '2' or `a b` = '3'", [1, 2]),
        ("stars = llm_score", [0, 2, 3]),
        ("1 = 1", [0, 1, 2, 3]),
        ("written < 2000", [0, 1]),  # texts, as in a CSV file: what is no number is unknown
        ("NOT written < 2000", [3]),
        ("3.0 = written OR written = 1000", [0, 1]),
        ("written = 9007199254740993 AND written != 9007199254740992", [3]),  # exactly
        ("written IN (3, 9007199254740992)", [0]),
        ("written BETWEEN 1 AND 1e3", [0, 1]),
        ("written = ''", [2]),
        ("odd <= 1e9 OR odd > 1e9", [1, 3]),
        ("odd < -1.5 OR odd = .5", [1, 3]),
        ("number(written) + 1 = 4 OR number(odd) * 2 = 1", [0, 1]),
        ("number(written) < number(odd) OR number(stars) = 4", [3]),
        ("number(written) = 9007199254740992", []),
        ("trim(written) = 3", [0]),
        ("1 = 2", []),
    ],
)
def test_a_condition_chooses_rows_as_sql_does(written: str, rows: list[int]) -> None:
    node = parsed(written)
    columns_needed(node, ROWS.schema)
    found = [row for row, chosen in enumerate(is_true(node, ROWS).to_pylist()) if chosen]

    assert found == rows


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("score < ", "expected a column or a value at character 8: score <»"),
        ("text = 'a", "a text has no end"),
        ("text = 'a' text", "expected AND, OR or the end at character 12"),
        ("txt = 'a'", "there is no column 'txt'; did you mean text?"),
        ("scored = 1", "did you mean score"),
        ("text = maybe", "there is no column 'maybe'"),
        ("text = true", "text is large_string: compare it with a text in single quotes, not with true"),
        ("text IN (1, 'a')", "text is large_string: compare it with a text in single quotes, not with 1"),
        ("text < score", "these cannot be compared; number(text) reads a text as a number"),
        ("score = written", "these cannot be compared; number(written) reads a text as a number"),
        ("number(day) = 1", "day is date32[day], and a number is needed here"),
        ("stars = '3'", "stars is int64: compare it with a number, not with '3'"),
        ("day > 'tomorrow'", "compare it with '2026-12-01', not with 'tomorrow'"),
        ("text = NULL", "write text IS NULL"),
        ("score", "score is double, no condition"),
        ("shop.town = 'Ulm'", "has no field 'town'; it has: city"),
        ("tags = 'x'", "is compared with no value"),
        ("text = score", "these cannot be compared"),
        ("text + 1 = 2", "a number is needed here: write number(text)"),
        ("score LIKE 'x'", "a text is needed here"),
        ("exec('x') = 1", "there is no function exec; there are: length"),
        ("text IN (score)", "expected values"),
        ("text NOT 'a'", "expected IN, LIKE, ILIKE or BETWEEN after NOT"),
        ("text; DROP", "unexpected at character 5"),
        ("(" * (DEPTH_MAX + 1) + "1", "levels of brackets"),
        ("stars = 99999999999999999999999", "cannot be computed"),
        ("stars = " + "-" * 3_000 + "1", f"more than {SIGNS_MAX} signs"),
        ("stars = 1" + " + 1" * 3_000, f"more than {SIGNS_MAX} signs"),
        ("is_new = 1", "is_new is bool: compare it with true or false, not with 1"),
        ("noon < '2026-12-03T00:00:00+02:00'", "compare it with '2026-12-01', not with"),
    ],
)
def test_what_is_no_condition_is_refused_with_its_place(written: str, told: str) -> None:
    """Before any row is read: the columns alone show it."""
    with pytest.raises(ConfigError) as refused:
        columns_needed(parsed(written), ROWS.schema)

    assert told in str(refused.value)


def test_only_the_columns_that_are_named_are_needed() -> None:
    assert columns_needed(parsed("stars > 1 and (text = 'a' or stars < 9)"), ROWS.schema) == ["stars", "text"]


def test_a_number_that_gets_too_great_is_an_error_and_no_other_number() -> None:
    with pytest.raises(ConfigError, match="cannot be computed"):
        is_true(parsed("stars * 9223372036854775807 > 0"), ROWS)


def test_as_many_signs_as_may_be_can_be_computed() -> None:
    assert is_true(parsed("stars = 3" + " + 1 - 1" * (SIGNS_MAX // 2)), ROWS).to_pylist() == [False, False, True, False]
