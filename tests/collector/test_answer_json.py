"""What of a text is the answer: one JSON object, without doubt."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.collector.answer_json import NoJson, peeled, read_json, shown_path

OBJECT = '{"mood": "good: {4}", "tags": [{"a": 1}]}'


@pytest.mark.parametrize(
    "text",
    [
        OBJECT,
        f"  {OBJECT}\n",
        f"\ufeff{OBJECT}",
        f"```json\n{OBJECT}\n```",
        f"```\n{OBJECT}\n```",
        f"Here is the answer:\n```json\n{OBJECT}\n```\nTell me if you need more.",
        f"Sure! {OBJECT}",
        f"{OBJECT}\n\nThe mood is good.",
        f"<think>perhaps {{bad}}? or [good]</think>\n{OBJECT}",
    ],
)
def test_a_fence_and_words_are_peeled_off(text: str) -> None:
    assert read_json(text) == json.loads(OBJECT)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "the answer is empty"),
        (" \n", "the answer is empty"),
        ("good", "the answer holds no JSON object"),
        ('{"mood": "go', "the answer is no JSON"),
        (f"{OBJECT} or {OBJECT}", "the answer is no JSON"),
        (f"{OBJECT}{OBJECT}", "the answer is no JSON"),
        (f"either {{this}} or {OBJECT}", "the answer is no JSON"),
        (f"[{OBJECT}", "the answer is no JSON"),
        (f"the list [{OBJECT}] is it", "the answer is no JSON"),
        ('{"a": {"b": 1}', "the answer is no JSON"),
        ("{'mood': 'good'}", "the answer is no JSON"),
        ('{"a": NaN}', "the answer is no JSON"),
        ('{"a": 1e999}', "the answer is no JSON"),
        ('{"a": "\\ud800"}', "the answer is no JSON"),
        ('{"a": "\ud800"}', "the answer is no JSON"),
        ('{"a": "\n"}', "the answer is no JSON"),
        ("[" * 2_000 + "]" * 2_000, "the answer holds no JSON object"),
        ('{"a":' * 2_000 + "1" + "}" * 2_000, "the answer is no JSON"),
        ('{"a": 1, "a": 2}', "a name stands twice"),
        ('{"x": [{"a": 1, "a": 1}]}', "a name stands twice"),
        ('{"a": 1, "\\u0061": 2}', "a name stands twice"),
        ('```\n{"a": 1, "a": 2}\n```', "a name stands twice"),
    ],
)
def test_what_is_in_doubt_is_no_json(text: str, why: str) -> None:
    with pytest.raises(NoJson) as raised:
        read_json(text)

    assert str(raised.value).startswith(why)


def test_names_twice_are_told_from_colons_in_texts() -> None:
    assert read_json('{"a:": "b::c", "d": {"a:": ":"}}') == {"a:": "b::c", "d": {"a:": ":"}}


def test_the_whole_text_may_be_another_value() -> None:
    """It is for the schema to say that it wants an object."""
    assert read_json('[{"a": 1}]') == [{"a": 1}]
    assert read_json('"{}"') == "{}"


def test_a_message_repeats_nothing_of_the_answer() -> None:
    for text in ('{"secret": secret}', '{"secret', 'secret {"a": secret}', '{"secret": "\\x"}'):
        with pytest.raises(NoJson) as raised:
            read_json(text)
        assert "secret" not in str(raised.value)
        assert "x" not in str(raised.value).removeprefix("the answer is no JSON").replace("expected", "")


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(st.characters(codec="utf-8"), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab:{}", max_size=2), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.text("ab:{}", max_size=2), VALUES, max_size=3), st.booleans())
def test_every_object_is_read_as_it_is(value: Any, is_fenced: bool) -> None:
    text = json.dumps(value, ensure_ascii=False)

    assert read_json(f"```json\n{text}\n```" if is_fenced else text) == value


@given(st.text(st.sampled_from('{}[]":,a1 `\n\\\ud800'), max_size=30))
def test_no_text_however_odd_raises_anything_else(text: str) -> None:
    try:
        read_json(text)
    except NoJson:
        assert peeled(peeled(text)) == peeled(text)


def test_a_place_is_spelled_as_a_path() -> None:
    assert shown_path(["a", 0, "b.c"]) == "$.a[0].b.c"
