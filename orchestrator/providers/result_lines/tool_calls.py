"""The tool calls of an answer, in one spelling for all providers: JSON, a list of `{"id", "name", "arguments"}`.

Rule: `arguments` is the object that the model wrote, byte for byte; where it wrote no valid object, as in a truncated
answer, its text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

_ANY: Final = msgspec.json.Decoder(msgspec.Raw)
_TEXT: Final = msgspec.json.Decoder(str)
_NOTHING: Final = (b"", b"null")


class FunctionCall(msgspec.Struct, gc=False):
    """The function that is called; OpenAI has its arguments as a text, the others as an object."""

    name: Any = None
    arguments: msgspec.Raw = msgspec.Raw()
    args: msgspec.Raw = msgspec.Raw()  # Gemini's name for them
    id: Any = None


class _Custom(msgspec.Struct, gc=False):
    name: Any = None
    input: Any = None


class ToolCall(msgspec.Struct, gc=False):
    """One call; a custom tool takes a text in place of arguments."""

    id: Any = None
    function: FunctionCall | list[Any] | str | int | float | bool | None = None
    custom: _Custom | list[Any] | str | int | float | bool | None = None


def custom_call(call_id: Any, name: Any, text: Any) -> ToolCall:
    """Return the call of a custom tool."""
    return ToolCall(id=call_id, custom=_Custom(name=name, input=text))


def calls_text(calls: Sequence[ToolCall]) -> str | None:
    """Return the calls as JSON; None where there are none."""
    return msgspec.json.encode([_spelled(call) for call in calls]).decode() if calls else None


def _spelled(call: ToolCall) -> dict[str, Any]:
    if type(call.custom) is _Custom:
        return {"id": call.id, "name": call.custom.name, "arguments": call.custom.input}
    function = call.function if type(call.function) is FunctionCall else FunctionCall()
    return {"id": call.id or function.id, "name": function.name, "arguments": _arguments(function)}


def _arguments(function: FunctionCall) -> msgspec.Raw | str:
    given = bytes(function.arguments)
    if given in _NOTHING:
        given = bytes(function.args)
    if given in _NOTHING:
        return msgspec.Raw(b"{}")
    if not given.startswith(b'"'):
        return msgspec.Raw(given)
    text = _TEXT.decode(given)
    if not text.strip():
        return msgspec.Raw(b"{}")
    if not text.lstrip().startswith("{"):
        return text
    try:
        return _ANY.decode(text)
    except msgspec.MsgspecError:
        return text
