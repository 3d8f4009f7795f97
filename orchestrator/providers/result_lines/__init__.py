"""Parsers of result lines, for dialects to choose from: bytes in, the `custom_id` and the row's answer out.

A dialect makes one `ResultReader` of the shapes that its provider documents. Where a line has none of them, the reader
tries the other known shapes: it takes one only where no other reading is possible. An answer in an unknown shape is
`unreadable`: it is kept, and its row is not sent again.

Rule 1: every field accepts any JSON, so that a wrong type invalidates that field and never the line.
Rule 2: `UnreadableLine` is the only exception raised, and it quotes nothing.

    reader.py      `ResultReader`: line → (custom_id, Answer)
    envelopes.py   line → custom_id, status, body, error
    other_shapes.py   the same for undocumented lines
    bodies.py      body → text, finish reason, tool calls, reasoning, choices, vector
    tool_calls.py  tool calls, in one spelling for all providers
    usage.py       token counts, whatever their names
    failures.py    error → code, message, whether to send the row again
"""

from orchestrator.providers.result_lines.bodies import FLOAT_BYTES, chat, cohere, embedding, gemini, messages, responses
from orchestrator.providers.result_lines.envelopes import BrokenLine, UnreadableLine
from orchestrator.providers.result_lines.other_shapes import row_name
from orchestrator.providers.result_lines.reader import ResultReader

__all__ = [
    "FLOAT_BYTES",
    "BrokenLine",
    "ResultReader",
    "UnreadableLine",
    "chat",
    "cohere",
    "embedding",
    "gemini",
    "messages",
    "responses",
    "row_name",
]
