"""Prints a request that `plan` would send: what the model is told, and with which parameters."""

from __future__ import annotations

import json
import textwrap
from typing import Any, Final

from orchestrator.cli.terminal import PIPE

BODIES: Final = ("params", "body")  # where a line has the body: OneRouter and Anthropic, OpenAI
NAMES: Final = ("model", "max_tokens", "max_completion_tokens", "max_output_tokens", "temperature")


def sample_lines(label: str, sample: str, lines_max: int) -> list[str]:
    """Return a request: each of its texts in at most `lines_max` lines, and with more than two the parameters."""
    line = json.loads(sample)
    body = next((line[name] for name in BODIES if isinstance(line.get(name), dict)), line)
    texts = _texts(body)
    if lines_max <= 2:  # few lines show more without the blank ones between
        texts = [(role, " ".join(text.split())) for role, text in texts]
    found = [line for role, text in texts for line in _block(role, text, lines_max)]
    if lines_max > 2:
        found += _block("", ", ".join(f"{name} {body[name]}" for name in NAMES if name in body), lines_max)
        others = [name for name in body if name not in (*NAMES, "messages", "system", "input")]
        found += _block("", f"also: {', '.join(others)}", lines_max) if others else []
    first, *rest = found
    return [f"{label}{first}", *((" " * len(label) + line).rstrip() for line in rest)]


def _texts(body: dict[str, Any]) -> list[tuple[str, str]]:
    messages = body.get("messages", body.get("input", []))
    turns = messages if isinstance(messages, list) else [messages]
    told = [(one.get("role"), one.get("content")) if isinstance(one, dict) else ("input", one) for one in turns]
    if "system" in body:
        told.insert(0, ("system", body["system"]))
    return [(str(role), text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)) for role, text in told]


def _block(role: str, text: str, lines_max: int) -> list[str]:
    width = PIPE - 24
    lines = [part for line in text.splitlines() or [""] for part in textwrap.wrap(line, width) or [""]]
    if len(lines) > lines_max:
        lines = [*lines[: lines_max - 1], lines[lines_max - 1][: width - 2] + " …"]
    return [f"{role if number == 0 else '':<8}  {line}".rstrip() for number, line in enumerate(lines)]
