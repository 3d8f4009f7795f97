"""`Overlay`: other parameters over a body that a function has rendered and a dialect has translated."""

from __future__ import annotations

from typing import Any, Final

import pytest

from orchestrator import ConfigError
from orchestrator.domain.request_changes import RequestChanges
from orchestrator.planner.overlay import Overlay
from tests.fakes.dialects import a_dialect

HELLO: Final = [{"role": "user", "content": "hello"}]
SCHEMA: Final = {"type": "json_schema", "name": "answer", "schema": {"type": "object"}}


LAID: Final[list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]]]] = [
    (
        "openai",
        {},
        {"model": "gpt-6-luna", "max_completion_tokens": 5, "messages": HELLO},
        {"max_tokens": 20},
        {"model": "gpt-6-luna", "max_completion_tokens": 20, "messages": HELLO},
    ),
    (
        "openai",
        {},
        {"model": "gpt-4o", "messages": HELLO, "max_tokens": 5, "stop": ["a"]},
        {"stop_sequences": ["b"], "max_completion_tokens": 9},
        {"model": "gpt-4o", "messages": HELLO, "max_completion_tokens": 9, "stop": ["b"]},
    ),
    (
        "openai",
        {"endpoint": "/v1/responses"},
        {"model": "gpt-6-luna", "input": "hello", "text": {"format": SCHEMA}, "reasoning": {"summary": "auto"}},
        {"text": {"verbosity": "low"}, "reasoning_effort": "low"},
        {
            "model": "gpt-6-luna",
            "input": "hello",
            "text": {"verbosity": "low", "format": SCHEMA},
            "reasoning": {"summary": "auto", "effort": "low"},
        },
    ),
    (
        "anthropic",
        {},
        {"model": "claude-sonnet-4-6", "max_tokens": 5, "messages": HELLO, "output_config": {"format": SCHEMA}},
        {"reasoning_effort": "low", "max_tokens": 7},
        {
            "model": "claude-sonnet-4-6",
            "max_tokens": 7,
            "messages": HELLO,
            "output_config": {"format": SCHEMA, "effort": "low"},
        },
    ),
]


@pytest.mark.parametrize(("dialect", "options", "body", "given", "expected"), LAID)
def test_a_parameter_takes_the_place_of_the_one_of_the_same_meaning(
    dialect: str, options: dict[str, Any], body: dict[str, Any], given: dict[str, Any], expected: dict[str, Any]
) -> None:
    """In the dialect's own name, with the schema of answers kept; the second time it changes nothing."""
    overlay = Overlay(a_dialect(dialect, **options), is_typed=True)

    changed = overlay.body(body, given)

    assert changed == expected
    assert overlay.body(changed, given) == expected


@pytest.mark.parametrize(
    ("dialect", "options", "body", "given", "words"),
    [
        ("openai", {"endpoint": "/v1/embeddings"}, {"model": "e", "input": "a"}, {"max_tokens": 5}, "no such field"),
        ("openai", {}, {"model": "gpt-6-luna", "messages": HELLO}, {"n": 2}, "one row has one answer"),
        ("openai", {}, {"model": "gpt-4o", "messages": HELLO}, {"model": "gpt-3.5-turbo"}, "answers of a schema"),
        ("openai", {}, {"model": "gpt-4o", "messages": HELLO}, {"input": "b", "prompt": "b"}, "both is given"),
        ("anthropic", {}, {"model": "c", "max_tokens": 5, "messages": HELLO}, {"system": "b"}, "prompt itself"),
    ],
)
def test_what_a_body_cannot_have_is_refused(
    dialect: str, options: dict[str, Any], body: dict[str, Any], given: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        Overlay(a_dialect(dialect, **options), is_typed=True).body(body, given)


def test_a_later_change_takes_the_place_of_an_earlier_one_of_the_same_meaning() -> None:
    earlier = RequestChanges(fields={"max_tokens": 5, "temperature": 0}, model="other")

    later = RequestChanges(fields={"max_completion_tokens": 9}).after(earlier)

    assert later == RequestChanges(fields={"max_completion_tokens": 9, "temperature": 0}, model="other")
