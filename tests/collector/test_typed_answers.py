"""Answers against their schema: what is valid has columns, everything else fails its row with a code of its own."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.collector.answer_columns import ENUM, TIMESTAMP, column_of
from orchestrator.collector.join import output_schema, response_fields
from orchestrator.collector.typed_answers import Invalid, TypedAnswers
from orchestrator.domain.errors import ConfigError, OutputError
from orchestrator.domain.policy import OutputOptions
from orchestrator.domain.reconcile import Answer
from orchestrator.domain.response_fields import schema_of_fields
from orchestrator.domain.response_schema import canonical

ITEM = {"name": "string", "count": "integer?"}


def typed(fields: dict[str, Any]) -> TypedAnswers:
    return TypedAnswers(canonical(schema_of_fields(fields)))


def refused(answers: TypedAnswers, text: str) -> tuple[str, str]:
    """Return the code and the message of an answer that is not valid."""
    with pytest.raises(Invalid) as raised:
        answers.read(text)
    return raised.value.code, str(raised.value)


@pytest.mark.parametrize(
    ("field", "kind", "given_", "held"),
    [
        ("string", pa.string(), "ü", "ü"),
        ("integer", pa.int64(), 3, 3),
        ("integer", pa.int64(), 3.0, 3),
        ("integer", pa.int64(), -(2**63) + 1, -(2**63) + 1),
        ("number", pa.float64(), 2**60 + 1, float(2**60 + 1)),
        ("number", pa.float64(), 10**400 // 10**390, 1e10),
        ("boolean", pa.bool_(), True, True),
        ("date", pa.date32(), "2026-02-28", dt.date(2026, 2, 28)),
        ("datetime", TIMESTAMP, "2026-02-28T01:00:00.5+02:00", dt.datetime(2026, 2, 27, 23, 0, 0, 500_000, dt.UTC)),
        ("datetime", TIMESTAMP, "2026-02-28t01:00:00z", dt.datetime(2026, 2, 28, 1, tzinfo=dt.UTC)),
        ({"enum": ["a", "b"]}, ENUM, "b", "b"),
        ({"enum": [1, 2]}, pa.int64(), 2, 2),
        ({"enum": ["a", 1]}, pa.string(), 1, "1"),
        (["string"], pa.list_(pa.string()), ["x", "y"], ["x", "y"]),
        ([["date"]], pa.list_(pa.list_(pa.date32())), [["2026-01-01"], []], [[dt.date(2026, 1, 1)], []]),
        ([{"enum": ["a"]}], pa.list_(pa.string()), ["a"], ["a"]),
        (
            [ITEM],
            pa.list_(pa.struct([("name", pa.string()), ("count", pa.int64())])),
            [{"name": "a", "count": 2.0}, {"name": "b"}],
            [{"name": "a", "count": 2}, {"name": "b", "count": None}],
        ),
        ({"on": "date"}, pa.struct([("on", pa.date32())]), {"on": "2026-01-01"}, {"on": dt.date(2026, 1, 1)}),
        ({"anyOf": [{"type": "number"}, {"type": "string"}]}, pa.string(), 12.5, "12.5"),
        ({"anyOf": [{"type": "number"}, {"type": "string"}]}, pa.string(), "12.50", "12.50"),
        ({"anyOf": [{"type": "number"}, {"type": "array", "items": "string"}]}, pa.string(), ["a"], '["a"]'),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, pa.string(), {"a": 1}, '{"a":1}'),
        ({"type": "object", "properties": {"a": "string"}, "additionalProperties": True}, pa.string(), {}, None),
        ({"type": "array"}, pa.string(), [1, "a"], '[1,"a"]'),
        ({"type": "string", "format": "uuid"}, pa.string(), "00000000-0000-4000-8000-000000000000", None),
    ],
)
def test_a_field_has_a_column_of_its_type(field: Any, kind: Any, given_: Any, held: Any) -> None:
    answers = typed({"x": field, "y": "string?"})
    text = json.dumps({"x": given_})
    if held is None:
        held = given_ if isinstance(given_, str) else None

    if held is not None:
        assert answers.read(text)["x"] == given_
        [column, _] = answers.arrays(pa.array([True, False, True]), pa.array([text, text, text]))
        assert column.to_pylist() == [held, None, held]
        assert column.type == kind
    [empty, _] = answers.arrays(pa.array([False], pa.bool_()), pa.array([None], pa.string()))
    assert (empty.to_pylist(), empty.type) == ([None], kind)


def test_a_recursive_field_is_json() -> None:
    schema = {"type": "object", "properties": {"kids": {"type": "array", "items": {"$ref": "#"}}}}
    answers = TypedAnswers(canonical(schema))
    text = '{"kids": [{"kids": []}]}'

    assert answers.read(text) == {"kids": [{"kids": []}]}
    assert answers.columns[0].kind.type == pa.list_(pa.string())
    assert answers.arrays(pa.array([True]), pa.array([text]))[0].to_pylist() == [['{"kids":[]}']]


FIELDS = {"mood": {"enum": ["good", "bad"]}, "stars": "integer?", "on": "date?", "at": "datetime?"}


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("", "invalid_json", "the answer is empty"),
        ("good", "invalid_json", "the answer holds no JSON object"),
        ('{"mood": "good", "mood": "bad"}', "invalid_json", "a name stands twice in an object"),
        ('["good"]', "schema_mismatch", '$: ["good"] is not of type "object"'),
        ("{}", "schema_mismatch", '$: "mood" is a required property'),
        ('{"mood": "goood"}', "schema_mismatch", '$.mood: "goood" is not one of "good", "bad"'),
        ('{"mood": null}', "schema_mismatch", '$.mood: null is not one of "good", "bad"'),
        ('{"mood": "good", "more": 1}', "schema_mismatch", "'more' was unexpected"),
        ('{"mood": "good", "stars": true}', "schema_mismatch", "$.stars: true is not of type"),
        ('{"mood": "good", "stars": 2.5}', "schema_mismatch", "$.stars: 2.5 is not of type"),
        ('{"mood": "good", "stars": 9223372036854775808}', "schema_mismatch", "$.stars: the integer has more than 64"),
        ('{"mood": "good", "stars": 1e300}', "schema_mismatch", "$.stars: the integer has more than 64 bits"),
        ('{"mood": "good", "on": "2026-02-30"}', "schema_mismatch", '$.on: "2026-02-30" is not a "date"'),
        ('{"mood": "good", "on": "0000-01-01"}', "schema_mismatch", "$.on: "),
        ('{"mood": "good", "at": "2026-01-01T00:00:00"}', "schema_mismatch", "$.at: "),
        ('{"mood": "good", "at": "2016-12-31T23:59:60Z"}', "schema_mismatch", "$.at: the time is none"),
        ('{"mood": "good", "at": "0001-01-01T00:00:00+10:00"}', "schema_mismatch", "$.at: the time is none"),
    ],
)
def test_what_is_not_of_the_schema_is_named_by_its_place(text: str, code: str, message: str) -> None:
    found, words = refused(typed(FIELDS), text)

    assert found == code
    assert message.replace('"good", "bad"', "") in words.replace('"good" or "bad"', "").replace('"good", "bad"', "")


def test_an_integer_with_one_bound_may_be_too_large_all_the_same() -> None:
    answers = typed(
        {"x": {"type": "integer", "minimum": 1}, "y": {"type": "integer", "minimum": 1, "maximum": 9, "optional": True}}
    )

    assert refused(answers, '{"x": 9223372036854775808}')[0] == "schema_mismatch"
    assert answers.read('{"x": 1, "y": 2.0}') == {"x": 1, "y": 2.0}


def test_what_is_cut_off_without_a_limit_is_not_sent_again() -> None:
    answers = TypedAnswers(typed(FIELDS).schema, has_limit=False)
    cut = GOOD._replace(text='{"mood', finish_reason="length")
    read = answers.checking(lambda _line, *, keep_raw: ("id", cut), resends=True)  # noqa: ARG005

    assert read(b"", keep_raw=False)[1].retryable is False


def test_a_message_is_short_whatever_the_answer() -> None:
    _, message = refused(typed(FIELDS), json.dumps({"mood": "x" * 10_000} | {f"f{n}": n for n in range(99)}))

    assert len(message) <= 500


def test_an_answer_nested_without_end_fails_its_row_alone() -> None:
    schema = {"type": "object", "properties": {"kids": {"type": "array", "items": {"$ref": "#"}}}}
    text = '{"kids":[' * 500 + "]}" * 500

    assert refused(TypedAnswers(canonical(schema)), text) == (
        "schema_mismatch", "$.kids: the value is nested too deep"
    )  # fmt: skip


def read_as(answer: Answer, *, resends: bool = True) -> Answer:
    """Return what becomes of an answer."""
    read = typed(FIELDS).checking(lambda _line, *, keep_raw: ("id", answer), resends=resends)  # noqa: ARG005
    return read(b"", keep_raw=False)[1]


GOOD = Answer(succeeded=True, text='{"mood": "good"}', finish_reason="stop")


@pytest.mark.parametrize(
    ("given_", "code", "is_sent_again"),
    [
        (GOOD._replace(text='{"mood": "go', finish_reason="length"), "truncated", True),
        (GOOD._replace(text='{"mood": "go', finish_reason="max_tokens"), "truncated", True),
        (GOOD._replace(text="no", finish_reason="stop"), "invalid_json", True),
        (GOOD._replace(text=None, finish_reason="stop"), "invalid_json", True),
        (GOOD._replace(text='{"mood": 1}'), "schema_mismatch", True),
        (GOOD._replace(text="I cannot", finish_reason="refusal"), "refused", False),
        (GOOD._replace(finish_reason="content_filter"), "refused", False),
    ],
)
def test_a_row_fails_with_the_code_of_what_is_wrong(given_: Answer, code: str, is_sent_again: bool) -> None:
    found = read_as(given_)

    assert (found.succeeded, found.error_code, found.retryable) == (False, code, is_sent_again)
    assert found.text == given_.text  # it is kept
    assert read_as(given_, resends=False).retryable is False


def test_a_valid_answer_and_a_failure_stay_as_they_are() -> None:
    failure = Answer(succeeded=False, error_code="500", retryable=True)
    whole = GOOD._replace(finish_reason="length")  # it ends exactly at the limit

    assert read_as(GOOD) is GOOD
    assert read_as(failure) is failure
    assert read_as(whole) is whole


def test_a_succeeded_row_with_another_answer_stops_the_output() -> None:
    with pytest.raises(OutputError, match="not of the schema"):
        typed(FIELDS).arrays(pa.array([True]), pa.array(["no"]))


@pytest.mark.parametrize(
    "schema",
    [
        {"x": {"type": "strin", "enum": [1, "a"]}},
        {"x": {"type": "string", "pattern": "("}},
        {"x": {"minLength": -1, "type": "string"}},
    ],
)
def test_a_schema_that_is_none_is_refused_by_its_place(schema: Any) -> None:
    answers = TypedAnswers(canonical({"type": "object", "properties": schema, "required": ["x"]}))

    with pytest.raises(ConfigError, match=r"^response\.x"):
        answers.check_schema()


def names(fields: dict[str, Any], **options: Any) -> list[str]:
    return [field.name for field in response_fields(OutputOptions(**options), typed(fields))]


def test_columns_are_named_by_the_prefix_and_the_field() -> None:
    fields = {"mood": "string", "a.b": "string", "größe": "string", "reasoning": "string", "raw": "string"}

    assert names(fields) == ["llm_mood", "llm_a.b", "llm_größe", "llm_response_reasoning", "llm_response_raw"]
    assert names({"mood": "string"}, prefix="") == ["mood"]
    assert names({"custom_id": "string", "x": "string"}, prefix="") == ["response_custom_id", "x"]


@pytest.mark.parametrize(
    ("fields", "prefix"),
    [
        ({"reasoning": "string", "response_reasoning": "string"}, "llm_"),
        ({"status": "string", "response_status": "string"}, ""),
    ],
)
def test_two_fields_of_one_column_are_refused(fields: dict[str, Any], prefix: str) -> None:
    with pytest.raises(ConfigError, match="rename the field"):
        names(fields, prefix=prefix)


def test_a_column_of_the_dataset_is_never_covered() -> None:
    source = pa.schema([("llm_mood", pa.string())])

    with pytest.raises(ConfigError, match=r"has a column 'llm_mood', .* output\.prefix"):
        output_schema(source, OutputOptions(), typed=typed({"mood": "string"}))


def test_typed_columns_follow_the_answer() -> None:
    found = output_schema(pa.schema([("text", pa.string())]), OutputOptions(), typed=typed(FIELDS)).names

    assert found[:7] == ["text", "custom_id", "llm_response", "llm_mood", "llm_stars", "llm_on", "llm_at"]


TYPES: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(["string", "integer?", "number", "boolean?", "date?", "datetime?"]) | st.just({"enum": ["a", "b"]}),
    lambda inner: st.builds(lambda one: [one], inner) | st.dictionaries(st.sampled_from("xyz"), inner, min_size=1),
    max_leaves=5,
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(["a", "2026-01-01", "2026-01-01T00:00:00Z", "0000-01-01", 1, 2.5, 2**64, -(10**30), True, None]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from("xyz"), TYPES, min_size=1), VALUES)
def test_what_is_valid_can_always_be_written(fields: dict[str, Any], value: Any) -> None:
    answers, text = typed(fields), json.dumps(value)
    try:
        answers.read(text)
    except Invalid:
        return

    for column, array in zip(answers.columns, answers.arrays(pa.array([True]), pa.array([text])), strict=True):
        array.validate(full=True)
        assert (array.to_pylist()[0] is None) == (value.get(column.field) is None)


def test_an_enum_has_the_same_dictionary_in_every_part() -> None:
    column = column_of("x", canonical(schema_of_fields({"x": {"enum": ["b", "a"]}})).fields["x"])

    assert column.array([{"x": "a"}]).dictionary.to_pylist() == ["b", "a"]
    assert column.array([None]).dictionary.to_pylist() == ["b", "a"]
