"""Parsers of result lines, for dialects to choose from: bytes in, the `custom_id` and the row's answer out.

A dialect makes one `ResultReader` of the shapes that its provider documents. A reader tries no other shapes.

Rule 1: every field accepts any JSON, so that a wrong type invalidates that field and never the line.
Rule 2: `UnreadableLine` is the only exception raised, and it quotes nothing.

    reader.py      `ResultReader`: line → (custom_id, Answer)
    envelopes.py   line → custom_id, status, body, error
    bodies.py      body → text, finish reason, tool calls, reasoning, choices, vector
    tool_calls.py  tool calls, in one spelling for all providers
    usage.py       token counts, whatever their names
    failures.py    error → code, message, whether to send the row again
"""

from orchestrator.providers.result_lines.bodies import FLOAT_BYTES, chat, cohere, embedding, gemini, messages, responses
from orchestrator.providers.result_lines.envelopes import UnreadableLine
from orchestrator.providers.result_lines.reader import ResultReader

__all__ = [
    "FLOAT_BYTES",
    "ResultReader",
    "UnreadableLine",
    "chat",
    "cohere",
    "embedding",
    "gemini",
    "messages",
    "responses",
]
