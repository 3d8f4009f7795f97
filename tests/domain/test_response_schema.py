"""The canonical form of a schema: what is the same is written the same, and what binds is kept."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.errors import ConfigError
from orchestrator.domain.response_schema import canonical, nodes, without_null

NULL = {"type": "null"}
TEXT = {"type": "string"}


def an_object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def field(schema: Any) -> Any:
    """Return the canonical form of one required field."""
    return canonical(an_object(x=schema)).fields["x"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"const": "a"}, {"type": "string", "enum": ["a"]}),
        ({"enum": ["a", "b", "a"]}, {"type": "string", "enum": ["a", "b"]}),
        ({"enum": [1, 2]}, {"type": "integer", "enum": [1.0, 2]}),
        ({"type": "string", "title": "X", "default": "a", "examples": ["b"]}, TEXT),
        ({"anyOf": [TEXT, NULL]}, {"type": ["string", "null"]}),
        ({"anyOf": [NULL, TEXT]}, {"type": ["null", "string"]}),
        ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
        ({"type": ["string"]}, TEXT),
        ({"enum": ["a", None]}, {"anyOf": [{"enum": ["a"]}, NULL]}),
        ({"anyOf": [{"const": "a"}, {"const": None}]}, {"enum": ["a", None]}),
        ({"anyOf": [TEXT, TEXT]}, TEXT),
        ({"allOf": [TEXT], "description": "d"}, {"type": "string", "description": "d"}),
        ({"type": "number", "minimum": 0.0}, {"minimum": 0, "type": "number"}),
        ({"type": "string", "description": ""}, TEXT),
        ({"items": TEXT}, {"type": "array", "items": TEXT}),
        ({"anyOf": [{"type": ["integer", "null"]}, TEXT]}, {"anyOf": [{"type": "integer"}, TEXT, NULL]}),
        (
            {"oneOf": [{"const": 1}, {"const": 2}], "discriminator": {"propertyName": "k"}},
            {"anyOf": [{"enum": [1]}, {"enum": [2]}]},
        ),
    ],
)
def test_what_means_the_same_is_written_the_same(one: Any, other: Any) -> None:
    assert json.dumps(field(one)) == json.dumps(field(other))


def test_a_reference_is_resolved_and_its_neighbours_win() -> None:
    defs = {"A/b": {"type": "string", "description": "of A"}, "C": an_object(y={"$ref": "#/$defs/A~1b"})}
    schema = an_object(x={"$ref": "#/$defs/C"}, z={"$ref": "#/$defs/A~1b", "description": "own"}) | {"$defs": defs}

    found = canonical(schema)

    assert "$" not in found.text
    assert found.fields["x"]["properties"]["y"] == {"type": "string", "description": "of A"}
    assert found.fields["z"]["description"] == "own"


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/N", "$defs": {"N": an_object(kids={"type": "array", "items": {"$ref": "#/$defs/N"}})}},
        an_object(kids={"type": "array", "items": {"$ref": "#"}}),
        an_object(a={"$ref": "#/definitions/A"})
        | {
            "definitions": {
                "A": {"properties": {"b": {"$ref": "#/definitions/B"}}},
                "B": {"properties": {"a": {"anyOf": [{"$ref": "#/definitions/A"}, NULL]}}},
            }
        },
    ],
)
def test_a_schema_that_contains_itself_keeps_the_reference(schema: dict[str, Any]) -> None:
    found = canonical(schema)

    assert '"$ref"' in found.text
    assert canonical(found.document).text == found.text
    jsonschema_rs.validator_for(found.document)  # its references are there


def test_a_reference_may_point_anywhere_in_the_schema() -> None:
    schema = an_object(a=an_object(b={"type": "string", "minLength": 2}), c={"$ref": "#/properties/a/properties/b"})

    assert canonical(schema).fields["c"] == {"type": "string", "minLength": 2}


@pytest.mark.parametrize("key", ["not", "if", "contains", "propertyNames"])
def test_references_inside_other_keywords_are_resolved(key: str) -> None:
    schema = an_object(
        a={"type": "string", key: {"$ref": "#/$defs/A"}}, b={"patternProperties": {"x": {"$ref": "#/$defs/A"}}}
    )
    found = canonical(schema | {"$defs": {"A": TEXT}})

    assert found.fields["a"][key] == TEXT
    assert found.fields["b"]["patternProperties"] == {"x": TEXT}


def test_an_optional_field_may_be_null_and_no_other_field_is_taken() -> None:
    found = canonical({"type": "object", "properties": {"a": TEXT, "b": TEXT, "c": {"enum": ["x"]}}, "required": ["a"]})

    assert found.document["required"] == ["a"]
    assert found.document["additionalProperties"] is False
    assert found.fields["b"]["type"] == ["string", "null"]
    assert found.fields["c"] == {"type": ["string", "null"], "enum": ["x", None]}
    assert without_null(found.fields["c"]) == ({"type": "string", "enum": ["x"]}, True)


def test_the_order_of_fields_is_kept_and_that_of_keywords_is_not() -> None:
    one = canonical({"properties": {"b": TEXT, "a": TEXT}, "type": "object"})

    assert list(one.fields) == ["b", "a"]
    assert one.text == canonical({"type": "object", "properties": {"b": TEXT, "a": TEXT}}).text
    assert one.text != canonical({"type": "object", "properties": {"a": TEXT, "b": TEXT}}).text


def test_a_field_may_be_called_like_a_keyword() -> None:
    names = ("title", "default", "type", "$ref", "properties", "enum", "über.maß", "a b")
    found = canonical(an_object(**dict.fromkeys(names, TEXT)))

    assert list(found.fields) == list(names)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ([], "must be a JSON Schema of an object, not a list"),
        ({"type": "array", "items": TEXT}, "an answer must be an object with fields, and this is 'array'"),
        ({"anyOf": [an_object(a=TEXT), an_object(b=TEXT)]}, "this is anyOf of several"),
        ({"type": "object"}, "this is an object without properties"),
        (an_object(a={"$ref": "#/$defs/A"}), "response.a: $ref '#/$defs/A' names no definition"),
        (an_object(a={"$ref": "https://x.y/z"}), "is not in this schema"),
        ({"$ref": "#"}, "this is None"),
        ({"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}}, "this is None"),
        (an_object(a="string"), "response.a must be a schema, not the text 'string'"),
        (an_object(a={"enum": []}), "response.a.enum must be a list of values"),
        (an_object(a={"anyOf": TEXT}), "response.a.anyOf must be a list of schemas"),
        ({**an_object(a=TEXT), "required": ["a", "b"]}, "response.required names 'b', which is no field of it"),
        (an_object(**{"a\n": TEXT}), "a field has the name 'a\\n'"),
        (an_object(**{"": TEXT}), "a field has the name ''"),
        (
            an_object(a={"type": "array", "items": {"type": "integer", "minimum": 5, "maximum": 1}}),
            "response.a[]: minimum 5 is more than maximum 1: no answer could be right",
        ),
        (an_object(a={"type": "string", "minLength": 2, "maxLength": 1}), "response.a: minLength 2 is more than"),
        (an_object(a={"enum": ["\ud800"]}), "it holds a value that JSON cannot express"),
        (an_object(a={"type": "number", "maximum": float("inf")}), "it holds a value that JSON cannot express"),
    ],
)
def test_what_is_no_schema_of_an_answer_is_refused_by_its_place(schema: Any, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        canonical(schema)

    assert message in str(raised.value)


def test_a_schema_that_grows_without_bound_is_refused() -> None:
    deep: dict[str, Any] = TEXT
    for _ in range(100):
        deep = {"type": "array", "items": deep}
    bomb = {f"d{n}": an_object(a={"$ref": f"#/$defs/d{n + 1}"}, b={"$ref": f"#/$defs/d{n + 1}"}) for n in range(20)}

    with pytest.raises(ConfigError, match="more than 50 levels"):
        field(deep)
    with pytest.raises(ConfigError, match="more than 20,000 schemas"):
        canonical({"$ref": "#/$defs/d0", "$defs": bomb | {"d20": TEXT}})


def test_places_are_spelled_as_paths() -> None:
    found = canonical(an_object(a=an_object(b={"type": "array", "items": an_object(c=TEXT)})))

    assert [path for path, _ in nodes(found.document)] == ["", "a", "a.b", "a.b[]", "a.b[].c"]


SCHEMAS: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from([TEXT, {"type": "integer"}, {"enum": ["a", None]}, {"const": 1}, NULL, {}, {"type": "boolean"}]),
    lambda inner: st.one_of(
        st.builds(lambda one: {"type": "array", "items": one}, inner),
        st.builds(lambda many: {"anyOf": many}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda many: {"type": "object", "properties": many}, st.dictionaries(st.sampled_from("abc"), inner)),
    ),
    max_leaves=8,
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(["a", "b", 1, 2, None, True]),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.sampled_from("abcd"), inner, max_size=3)),
    max_leaves=5,
)


@given(SCHEMAS, VALUES)
def test_the_canonical_form_is_its_own_and_takes_what_the_schema_takes(schema: Any, value: Any) -> None:
    """All but objects with further fields, which the canonical form refuses."""
    found = canonical(an_object(x=schema))
    closed = json.loads(
        json.dumps(schema).replace('"type": "object"', '"type": "object", "additionalProperties": false')
    )

    assert canonical(found.document).text == found.text
    if jsonschema_rs.is_valid(an_object(x=closed), {"x": value}):
        assert jsonschema_rs.is_valid(found.document, {"x": value})
