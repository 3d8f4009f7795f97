"""The short spelling of fields in a job file."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.domain.errors import ConfigError
from orchestrator.domain.response_fields import is_json_schema, schema_of_fields

TEXT = {"type": "string"}


def field(given: Any) -> tuple[Any, bool]:
    """Return the schema of a field, and whether it is required."""
    found = schema_of_fields({"x": given})
    return found["properties"]["x"], found["required"] == ["x"]


@pytest.mark.parametrize(
    ("given", "schema"),
    [
        ("string", TEXT),
        ("number", {"type": "number"}),
        ("date", {"type": "string", "format": "date"}),
        ("datetime", {"type": "string", "format": "date-time"}),
        (["string"], {"type": "array", "items": TEXT}),
        ([["integer"]], {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}}),
        ({"enum": ["good", "bad"], "description": "d"}, {"enum": ["good", "bad"], "description": "d"}),
        ({"type": "datetime"}, {"type": "string", "format": "date-time"}),
        ({"type": "array", "items": "date"}, {"type": "array", "items": {"type": "string", "format": "date"}}),
        ({"type": "string", "pattern": "^[A-Z]{3}$"}, {"type": "string", "pattern": "^[A-Z]{3}$"}),
        ({"anyOf": ["number", ["string"]]}, {"anyOf": [{"type": "number"}, {"type": "array", "items": TEXT}]}),
        ({"type": "integer", "minimum": 0}, {"type": "integer", "minimum": 0}),
        ({"type": "object", "additionalProperties": TEXT}, {"type": "object", "additionalProperties": TEXT}),
    ],
)
def test_a_field_has_a_short_form(given: Any, schema: Any) -> None:
    assert field(given) == (schema, True)


@pytest.mark.parametrize("given", ["string?", {"type": "string", "optional": True}])
def test_a_field_may_be_optional(given: Any) -> None:
    assert field(given) == (TEXT, False)


def test_a_table_without_keywords_is_a_nested_object() -> None:
    nested, _ = field({"street": "string", "zip": "string?", "places": [{"lat": "number"}]})

    assert list(nested["properties"]) == ["street", "zip", "places"]
    assert nested["required"] == ["street", "places"]
    assert nested["properties"]["places"]["items"]["properties"] == {"lat": {"type": "number"}}


def test_a_nested_field_may_be_called_type() -> None:
    nested, _ = field({"type": "string", "id": "integer"})

    assert nested["properties"] == {"type": TEXT, "id": {"type": "integer"}}


def test_a_nested_object_has_a_long_form_with_a_description() -> None:
    nested, _ = field({"properties": {"type": "string", "description": "string?"}, "description": "where it is"})

    assert nested["properties"] == {"type": TEXT, "description": TEXT}
    assert (nested["description"], nested["required"]) == ("where it is", ["type"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("text", "response.x: there is no type 'text': write string"),
        ("strin", "response.x: there is no type 'strin': known: string, number"),
        (["good", "bad"], "response.x: a list holds one type"),
        ([], "response.x: a list holds one type"),
        (["good"], "response.x[]: there is no type 'good'"),
        (7, "response.x must be a type, a list or a table, not 7"),
        ({}, "response.x has no fields"),
        ({"a": {"b": "int"}}, "response.x.a.b: there is no type 'int': write integer"),
        ({"enum": ["a"], "descripton": "d"}, "'descripton' is no keyword of JSON Schema; did you mean 'description'?"),
        ({"type": "string", "optional": "yes"}, "response.x.optional must be true or false"),
    ],
)
def test_a_mistake_is_named_by_its_place(given: Any, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        field(given)

    assert message in str(raised.value)


def test_a_response_without_fields_is_refused() -> None:
    with pytest.raises(ConfigError, match="response has no fields"):
        schema_of_fields({})


@pytest.mark.parametrize(
    ("given", "is_schema"),
    [
        ({"type": "object", "properties": {"a": TEXT}}, True),
        ({"$ref": "#/$defs/A", "$defs": {}}, True),
        ({"type": "string", "mood": "string"}, False),
        ({"enum": {"enum": ["a"]}}, False),
    ],
)
def test_a_json_schema_is_told_from_fields(given: Any, is_schema: bool) -> None:
    assert is_json_schema(given) is is_schema
