"""A column of messages as the conversation of a request.

Rule 1: what Arrow adds to a struct is taken away: fields that are null.
Rule 2: roles and kinds of content are checked here, so that no error of a translation quotes a row.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

ROLES: Final = ("system", "developer", "user", "assistant", "tool")
KINDS: Final = (
    *("text", "image", "image_url", "input_audio", "file", "document", "refusal"),
    *("tool_use", "tool_result", "thinking", "redacted_thinking"),
)


class NotAConversation(ValueError):
    """A value is no list of messages; the message says why, and follows `column 'x' `."""


def conversation(value: Any) -> list[dict[str, Any]]:
    """Return the messages of a value: of a list of structs, or of its JSON text. Raises NotAConversation."""
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            raise NotAConversation("holds a text that is no JSON") from None
    found = _without_nulls(value)
    if not isinstance(found, list) or not found or not all(isinstance(message, dict) for message in found):
        raise NotAConversation("holds no list of messages, each with a role and a content")
    for number, message in enumerate(found):
        _check(number, message)
    return found


def _check(number: int, message: dict[str, Any]) -> None:
    if "role" not in message:
        hint = ' (rename "from" and "value" to "role" and "content")' if "from" in message else ""
        raise NotAConversation(f"holds a message without a role: number {number}{hint}")
    if message["role"] not in ROLES:
        raise NotAConversation(f"holds a message of a role that is none of {', '.join(ROLES)}: number {number}")
    content = message.get("content")
    if content is None and message.keys() == {"role"}:
        raise NotAConversation(f"holds a message without a content: number {number}")
    blocks = content if isinstance(content, list) else []
    if not isinstance(content, str | list | None) or not all(
        isinstance(block, str) or (isinstance(block, dict) and block.get("type") in KINDS) for block in blocks
    ):
        raise NotAConversation(f"holds a message whose content is neither a text nor a list of blocks: number {number}")


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value if inner is not None] if isinstance(value, list) else value
