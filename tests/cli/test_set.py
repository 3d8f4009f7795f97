"""`retry --set NAME=VALUE`: a value is JSON, or else a text."""

from __future__ import annotations

import pytest

from orchestrator.cli.deciding import parameter_of
from orchestrator.domain.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("max_tokens=256", "max_tokens", 256),
        ("temperature=0.5", "temperature", 0.5),
        ("model=openai/gpt-6-luna-batch", "model", "openai/gpt-6-luna-batch"),
        ('stop_sequences=["a=b"]', "stop_sequences", ["a=b"]),
        ("tool_choice=", "tool_choice", ""),
    ],
)
def test_a_parameter_has_a_name_and_a_value(text: str, name: str, value: object) -> None:
    assert parameter_of(text) == (name, value)


@pytest.mark.parametrize("text", ["max_tokens", "=256", ""])
def test_what_is_no_parameter_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="--set max_tokens=256"):
        parameter_of(text)
