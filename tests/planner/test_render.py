"""Request lines: whole and right for any text, or refused by row."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import uuid
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.batch import LineEnvelope
from orchestrator.domain.errors import DatasetError
from orchestrator.planner.json_text import escape
from orchestrator.planner.render import CallableRenderer, NullPolicy, Rendered, RowRefused, TemplateRenderer
from orchestrator.planner.template import compile_body

ENVELOPE = LineEnvelope(before_id=b'{"custom_id":"', before_body=b'","params":', after_body=b"}")
PREFIX = b"9f86d081-1f-"
NASTY = [
    "".join(map(chr, range(0x20))),
    "\x7f\u2028\u2029\ufeff\U0001f642\U0010ffff",
    '","content":"x',
    "\\u0001 \\",
    '{"a": "b"}',
    "ends in a backslash\\",
    "",
    "\0",
    '"',
    "\ufffd\ud7ff\ue000",
    "line\r\nline\ttab\b\f",
]
texts = st.one_of(
    st.text(), st.sampled_from(NASTY), st.text(alphabet='\\"\n\r\t\x00\x01\x1f\x7f,{}[]:u0né\u2028\U0001f642')
)


def a_renderer(body: dict[str, object], batch: pa.RecordBatch, null_policy: NullPolicy = "error") -> TemplateRenderer:
    return TemplateRenderer(
        compiled=compile_body(body, batch.schema), envelope=ENVELOPE, id_prefix=PREFIX, null_policy=null_policy
    )


def rendered(values: Any, null_policy: NullPolicy = "error") -> Rendered:
    """Render a column `x` into the string `<{x}>`."""
    batch = pa.record_batch({"x": values})
    return a_renderer({"a": "<{x}>"}, batch, null_policy).render(batch, row_start=0)


def texts_of(values: Any) -> list[str]:
    return [json.loads(line)["params"]["a"][1:-1] for line in rendered(values, "empty").lines if line is not None]


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=8), st.integers(0, 2**40))
def test_a_line_is_what_orjson_would_write_byte_for_byte(rows: list[tuple[str, str]], row_start: int) -> None:
    batch = pa.record_batch({"a b": [a for a, _ in rows], "ü": pa.array([b for _, b in rows], pa.large_string())})
    body = {"model": "m", "messages": [{"content": 'Q "{a b}"\n{ü}{a b}'}], "metadata": {"k": "{ü}"}}

    lines = a_renderer(body, batch).render(batch, row_start=row_start).lines

    for offset, (line, (a, b)) in enumerate(zip(lines, rows, strict=True)):
        params = {"model": "m", "messages": [{"content": f'Q "{a}"\n{b}{a}'}], "metadata": {"k": b}}
        expected = {"custom_id": f"9f86d081-1f-{row_start + offset:x}", "params": params}
        assert line is not None
        assert line == orjson.dumps(expected) + b"\n"
        assert json.loads(line) == expected
        assert line.count(b"\n") == 1


@given(texts)
def test_escaping_is_that_of_orjson(text: str) -> None:
    assert escape(text.encode()) == orjson.dumps(text)[1:-1]


@pytest.mark.parametrize("code", range(0x20))
def test_every_control_character_is_escaped_as_orjson_does(code: int) -> None:
    assert escape(b"a" + bytes([code])) == orjson.dumps("a" + chr(code))[1:-1]


def test_a_slice_of_a_batch_renders_its_own_rows() -> None:
    batch = pa.record_batch({"x": ["a", "b", "c", "d"]})

    lines = a_renderer({"a": "{x}"}, batch).render(batch.slice(2, 1), row_start=30).lines

    assert lines == [b'{"custom_id":"9f86d081-1f-1e","params":{"a":"c"}}\n']


def test_a_body_without_placeholders_is_written_for_every_row() -> None:
    batch = pa.record_batch({"x": [1, 2]})

    lines = a_renderer({"a": 1}, batch).render(batch.select([]), row_start=0).lines

    assert [json.loads(line or b"")["custom_id"] for line in lines] == ["9f86d081-1f-0", "9f86d081-1f-1"]


def test_an_empty_batch_has_no_lines() -> None:
    assert rendered(pa.array([], pa.string())) == Rendered(lines=[])


DAY = dt.datetime(2024, 5, 6, 7, 8, 9)  # noqa: DTZ001 - a time stamp without a zone is what is meant
ID = uuid.UUID("12345678-1234-5678-1234-567812345678")
VALUES = {
    "int": (pa.array([7, -1]), ["7", "-1"]),
    "uint64": (pa.array([2**64 - 1], pa.uint64()), ["18446744073709551615"]),
    "float": (pa.array([1.0, 0.1, 1e-7, 1e22]), ["1.0", "0.1", "1e-07", "1e+22"]),
    "float32": (pa.array([0.1], pa.float32()), ["0.1"]),
    "not finite": (pa.array([float("nan"), float("-inf")]), ["nan", "-inf"]),
    "bool": (pa.array([True, False]), ["true", "false"]),
    "decimal": (
        pa.array([decimal.Decimal("1.50"), decimal.Decimal("0.00000001")], pa.decimal128(20, 8)),
        ["1.50000000", "0.00000001"],
    ),
    "timestamp": (pa.array([DAY], pa.timestamp("us")), ["2024-05-06T07:08:09"]),
    "timestamp ns": (pa.array([1], pa.timestamp("ns")), ["1970-01-01T00:00:00.000000001"]),
    "zoned": (pa.array([DAY], pa.timestamp("s", "Europe/Berlin")), ["2024-05-06T09:08:09+02:00"]),
    "date": (pa.array([DAY.date()]), ["2024-05-06"]),
    "time": (pa.array([DAY.time()], pa.time32("s")), ["07:08:09"]),
    "duration": (pa.array([dt.timedelta(days=1, milliseconds=500), dt.timedelta(seconds=-3)]), ["PT86400.5S", "-PT3S"]),
    "list": (pa.array([["ü", None], []]), ['["ü",null]', "[]"]),
    "struct": (pa.array([{"a": 'q"', "b": 1.5}]), ['{"a":"q\\"","b":1.5}']),
    "nested odd": (pa.array([{"d": decimal.Decimal("1.5"), "t": dt.timedelta(seconds=1)}]), ['{"d":"1.5","t":"PT1S"}']),
    "map": (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())), ['{"k":1}']),
    "dictionary": (pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
    "large": (pa.array(["a"], pa.large_string()), ["a"]),
    "view": (pa.array(["a"], pa.string_view()), ["a"]),
    "uuid": (pa.array([ID.bytes], pa.uuid()), [str(ID)]),
    "null": (pa.nulls(2), ["", ""]),
    "with a null": (pa.array([None, 1.5]), ["", "1.5"]),
}


@pytest.mark.parametrize("name", VALUES)
def test_a_value_has_one_text(name: str) -> None:
    values, expected = VALUES[name]

    assert texts_of(values) == expected


def test_a_null_is_an_error_that_names_column_rows_and_setting() -> None:
    batch = pa.record_batch({"x": ["a", *[None] * 12]})

    with pytest.raises(DatasetError) as raised:
        a_renderer({"a": "{x}"}, batch).render(batch, row_start=100)

    assert str(raised.value).startswith("column 'x' is null in row 101, row 102, ")
    assert "row 110 and 2 more" in str(raised.value)
    assert "policy.null_policy" in str(raised.value)


def test_the_caller_may_name_rows_in_its_own_words() -> None:
    batch = pa.record_batch({"x": pa.nulls(1, pa.string())})
    renderer = TemplateRenderer(
        compiled=compile_body({"a": "{x}"}, batch.schema),
        envelope=ENVELOPE,
        id_prefix=PREFIX,
        null_policy="error",
        row_label=lambda row: f"row {row} of shard 3",
    )

    with pytest.raises(DatasetError, match="null in row 5 of shard 3;"):
        renderer.render(batch, row_start=5)


def test_a_null_may_be_written_as_nothing() -> None:
    assert texts_of(pa.array(["a", None])) == ["a", ""]


@pytest.mark.parametrize("values", [pa.array(["a", None, "b"]), pa.array(["a", None, "b"]).dictionary_encode()])
def test_a_row_with_a_null_may_be_skipped(values: Any) -> None:
    result = rendered(values, "skip")

    assert [line is None for line in result.lines] == [False, True, False]
    assert result.refused == (RowRefused(offset=1, code="null_skipped", message="column 'x' is null"),)


def test_text_that_is_not_utf8_costs_its_own_row_and_no_other() -> None:
    """P8: never a broken request line."""
    bad = pa.array([b"ok\n", b"\xff", b"cut \xe2\x82", b"\xed\xa0\x80", b"fine"]).view(pa.string())

    result = rendered(bad)

    assert [refused.offset for refused in result.refused] == [1, 2, 3]
    assert {refused.code for refused in result.refused} == {"render_failed"}
    assert [json.loads(line)["params"]["a"] for line in result.lines if line is not None] == ["<ok\n>", "<fine>"]


def test_a_value_beyond_pythons_calendar_costs_its_own_row() -> None:
    result = rendered(pa.array([0, 2**55], pa.int64()).cast(pa.timestamp("s")))

    assert [(refused.offset, refused.code) for refused in result.refused] == [(1, "render_failed")]


def a_callable(function: Any) -> CallableRenderer:
    return CallableRenderer(function=function, translate=dict, model="m", envelope=ENVELOPE, id_prefix=PREFIX)


ROWS = pa.record_batch({"x": ["secret", "b"]})


def test_a_function_makes_the_body_and_the_model_is_filled_in() -> None:
    lines = a_callable(lambda row: {"q": row["x"]}).render(ROWS, row_start=15).lines

    assert lines == [
        b'{"custom_id":"9f86d081-1f-f","params":{"model":"m","q":"secret"}}\n',
        b'{"custom_id":"9f86d081-1f-10","params":{"model":"m","q":"b"}}\n',
    ]


def test_a_function_may_choose_its_model() -> None:
    assert b'"params":{"model":"other"}}' in (
        a_callable(lambda _: {"model": "other"}).render(ROWS, row_start=0).lines[0] or b""
    )


def a_raising(row: dict[str, str]) -> dict[str, object]:
    raise KeyError(row["x"])


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (a_raising, "row 40: the row function raised KeyError"),
        (lambda row: row["x"], "returned a str, not a dict"),
        (lambda _: None, "returned a NoneType"),
        (lambda row: {"a": {row["x"]}}, "a dict that is not JSON"),
        (lambda row: {row["x"]: {1: 2}}, "a dict that is not JSON"),
        (lambda row: {row["x"]: [{"t": float("nan")}]}, "NaN or infinity"),
    ],
)
def test_a_function_that_fails_is_named_by_row_and_type_only(function: Any, words: str) -> None:
    """The cause is cut off too: its words may quote the row."""
    with pytest.raises(DatasetError) as raised:
        a_callable(function).render(ROWS, row_start=40)

    assert words in str(raised.value)
    assert "secret" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None or raised.value.__suppress_context__


def test_a_null_in_a_functions_body_is_no_error() -> None:
    assert a_callable(lambda _: {"a": None}).render(ROWS, row_start=0).refused == ()


def test_a_function_never_sees_a_row_that_python_cannot_read() -> None:
    batch = pa.record_batch({"x": pa.array([b"a", b"\xff"]).view(pa.string())})

    result = a_callable(lambda row: {"q": row["x"]}).render(batch, row_start=0)

    assert [line is None for line in result.lines] == [False, True]
    assert [refused.code for refused in result.refused] == ["render_failed"]
