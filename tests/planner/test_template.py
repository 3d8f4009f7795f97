"""Templates: what is a placeholder, what is refused, and where an error says it stands."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.errors import ConfigError
from orchestrator.planner.template import Field, body_of, compile_body, placeholders

SCHEMA = pa.schema(
    [("title", pa.string()), ("first name", pa.string()), ("größe.cm", pa.int64()), ("blob", pa.binary())]
)


def filled(body: dict[str, object], values: dict[str, str]) -> object:
    """Compile, put plain texts in, and read the JSON back."""
    segments = compile_body(body, SCHEMA).segments
    return json.loads(b"".join(values[s.column].encode() if isinstance(s, Field) else s for s in segments))


def test_a_placeholder_stands_in_any_string_of_the_tree() -> None:
    body = {
        "model": "m",
        "messages": [{"content": "A {title} B"}],
        "metadata": {"who": "{first name}"},
        "stop": ["{title}"],
    }

    result = filled(body, {"title": "T", "first name": "F"})

    assert result == {"model": "m", "messages": [{"content": "A T B"}], "metadata": {"who": "F"}, "stop": ["T"]}
    assert placeholders(body) == ("title", "first name")


def test_the_json_is_compact_utf8_with_keys_as_written() -> None:
    segments = compile_body({"z": 1, "a": [True, None, 0.5, "ü\n"], "e": {}, "l": []}, SCHEMA).segments

    assert segments == ('{"z":1,"a":[true,null,0.5,"ü\\n"],"e":{},"l":[]}'.encode(),)


def test_doubled_braces_are_literal() -> None:
    assert filled({"a": '{{"k": {{{title}}}}}'}, {"title": "T"}) == {"a": '{"k": {T}}'}
    assert placeholders({"a": "{{title}}"}) == ()


def test_a_name_may_hold_spaces_dots_and_any_letters() -> None:
    assert filled({"a": "{größe.cm}|{first name}"}, {"größe.cm": "5", "first name": "F"}) == {"a": "5|F"}


def test_a_name_with_braces_or_quotes_stands_in_quotes() -> None:
    assert placeholders({"a": '{"c{d}"} {"say ""so"""} {"plain"}'}) == ("c{d}", 'say "so"', "plain")


def test_a_lone_placeholder_stays_a_string() -> None:
    assert filled({"temperature": "{größe.cm}"}, {"größe.cm": "5"}) == {"temperature": "5"}


def test_keys_hold_no_placeholders() -> None:
    assert filled({"{title}": "x"}, {}) == {"{title}": "x"}


@pytest.mark.parametrize("code", ["title.__class__", "title[0]", "title!r", "title:>10", "0", "", " title "])
def test_what_python_would_format_is_only_a_name(code: str) -> None:
    """P9: a template is not evaluated."""
    with pytest.raises(ConfigError, match="names no column"):
        compile_body({"a": "{" + code + "}"}, SCHEMA)


def test_an_unknown_column_is_named_with_its_place_its_neighbours_and_the_way_out() -> None:
    with pytest.raises(ConfigError) as raised:
        compile_body({"messages": [{"content": "x"}, {"content": "{Titel}"}]}, SCHEMA)

    text = str(raised.value)
    assert text.startswith("messages[1].content: {Titel} names no column; the nearest columns: title, ")
    assert "{{Titel}}" in text


@pytest.mark.parametrize(
    ("text", "character"), [("a { b", 3), ("a } b", 3), ("{title}}", 8), ("{{title}", 8), ("{a{b}", 1)]
)
def test_a_lone_brace_is_refused_with_its_place(text: str, character: int) -> None:
    with pytest.raises(ConfigError, match=rf"^system: a lone .* at character {character};"):
        placeholders({"system": text})


def test_the_model_is_no_placeholder() -> None:
    with pytest.raises(ConfigError, match="model must be the same"):
        compile_body({"model": "x-{title}"}, SCHEMA)


def test_a_binary_column_is_refused_before_any_row_is_read() -> None:
    with pytest.raises(ConfigError, match="column 'blob' is binary, which has no text; decode it"):
        compile_body({"a": "{blob}"}, SCHEMA)
    with pytest.raises(ConfigError, match="has no text"):
        compile_body({"a": "{x}"}, pa.schema([("x", pa.list_(pa.struct([("y", pa.binary(4))])))]))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (float("nan"), "parameters.x is nan, which JSON cannot express"),
        (float("inf"), "is inf"),
        (2**70, "cannot be written as JSON"),
        ("\ud800", "cannot be written as JSON"),
        (object(), "is a object, which JSON"),
        ({1: 2}, "the key 1 is no string"),
        (b"x", "is a bytes"),
    ],
)
def test_a_value_that_json_cannot_hold_is_refused_with_its_place(value: object, words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        compile_body({"parameters": {"x": value}}, SCHEMA)

    assert words in str(raised.value)


def test_a_prompt_becomes_one_user_message() -> None:
    body = body_of(
        model="m", prompt="p", system="s", messages=None, parameters={"temperature": 0, "max_tokens": 9, "stop": ["x"]}
    )

    assert list(body.items()) == [
        ("model", "m"),
        ("max_tokens", 9),
        ("system", "s"),
        ("messages", [{"role": "user", "content": "p"}]),
        ("temperature", 0),
        ("stop", ["x"]),
    ]


def test_messages_are_taken_as_they_are() -> None:
    body = body_of(model="m", prompt=None, system=None, messages=[{"role": "user", "content": "{a}"}], parameters={})

    assert body == {"model": "m", "messages": [{"role": "user", "content": "{a}"}]}


def test_exactly_one_of_prompt_and_messages_is_given() -> None:
    with pytest.raises(ConfigError, match="neither is given"):
        body_of(model="m", prompt=None, system=None, messages=None, parameters={})
    with pytest.raises(ConfigError, match="both is given"):
        body_of(model="m", prompt="p", system=None, messages=[], parameters={})


def test_a_parameter_may_not_shadow_a_setting() -> None:
    with pytest.raises(ConfigError, match="must not hold messages, model"):
        body_of(model="m", prompt="p", system=None, messages=None, parameters={"model": "x", "messages": []})
    with pytest.raises(ConfigError, match="must not hold system"):
        body_of(model="m", prompt="p", system="s", messages=None, parameters={"system": "x"})


@given(st.text())
def test_any_text_comes_back_when_its_braces_are_doubled(text: str) -> None:
    body = {"a": text.replace("{", "{{").replace("}", "}}")}

    assert filled(body, {}) == {"a": text}
    assert placeholders(body) == ()
