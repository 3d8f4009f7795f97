"""JSON answers: the schema that a request asks for in words, and what a model does wrong with one (`[lines]`)."""

from __future__ import annotations

import json
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any

from orchestrator.gateway.simulated import Answer


def spoiled(answer: Answer, faults: AbstractSet[str]) -> Answer:
    """Return an answer as a careless model gives it; `faults`: prose, wrong_value, cut_text, fenced."""
    text = answer.text
    if "wrong_value" in faults:
        text = _with_wrong_value(text)
    if "cut_text" in faults:
        return replace(answer, text=text[: len(text) // 2], finish_reason="length")
    if "fenced" in faults:
        text = f"```json\n{text}\n```"
    if "prose" in faults:
        text = "I am sorry, I cannot say that as JSON."
    return answer if text == answer.text else replace(answer, text=text)


def _with_wrong_value(text: str) -> str:
    """Return a JSON object whose first field has a value that its schema does not allow."""
    try:
        found: Any = json.loads(text)
    except ValueError:
        return text
    if not isinstance(found, dict) or not found:
        return text
    name, value = next(iter(found.items()))
    is_choice = isinstance(value, str) and not value.startswith("[simulated]")  # of an enum, or a date
    found[name] = f"{value}?" if is_choice else [[value]]
    return json.dumps(found, separators=(",", ":"))
