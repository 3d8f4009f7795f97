"""The bodies of answers: text, finish reason, tool calls, reasoning, choices, vector.

Each shape is a function that a dialect can choose:

    `chat` {"choices"} | `responses` {"output"} | `messages` {"content"} | `gemini` {"candidates"}
    `cohere` {"message": {"content"}} | `embedding` {"data"}

Rule 1: the words of a refusal are the text where there is no other text, and the finish reason is then "refusal".
Rule 2: of several choices all are kept, in the order of their `index`; the answer is the first of them.
Rule 3: an answer without text is an answer: it may consist of tool calls, or be empty. But where a provider's filter
        left nothing of it, there is none: see `blocked`.
"""

from __future__ import annotations

import binascii
from array import array
from base64 import b64decode
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from orchestrator.domain.reconcile import Choice
from orchestrator.domain.row_kinds import FILTERED
from orchestrator.providers.result_lines.tool_calls import FunctionCall, ToolCall, calls_text, custom_call
from orchestrator.providers.result_lines.usage import NO_TOKENS, GeminiUsage, Usage, gemini_tokens_of, tokens_of

CODE_LENGTH_MAX: Final = 100
FLOAT_BYTES: Final = 4
TEXT_PARTS: Final = (None, "text", "output_text")
CONTENT_FILTER: Final = "content_filter"


# For fields that should be objects and may be anything else. Structs have gc=False: they are trees, without cycles.
Plain = list[Any] | str | int | float | bool | None
_PlainOrObject = dict[str, Any] | str | int | float | bool | None


class _Part(msgspec.Struct, gc=False):
    """A part of a content: a text, a refusal, a thought, or a call of a tool; Anthropic calls it a block."""

    type: Any = None
    text: Any = None
    refusal: Any = None
    thinking: Any = None  # a text, or in Mistral's form a list of texts
    thought: Any = None  # Gemini: the text is a thought
    id: Any = None
    name: Any = None
    input: msgspec.Raw = msgspec.Raw()
    function_call: FunctionCall | Plain = msgspec.field(default=None, name="functionCall")


_Parts = list[_Part | Plain] | _PlainOrObject


class _Message(msgspec.Struct, gc=False):
    content: _Parts = None
    refusal: Any = None
    tool_calls: list[ToolCall | Plain] | _PlainOrObject = None
    function_call: FunctionCall | Plain = None
    reasoning_content: Any = None
    reasoning: Any = None


class ChatChoice(msgspec.Struct, gc=False):
    """One of the answers of a chat completion."""

    message: _Message | Plain = None
    text: Any = None
    finish_reason: Any = None
    index: Any = None
    error: Any = None


class _OutputItem(msgspec.Struct, gc=False):
    type: Any = None
    content: _Parts = None
    summary: _Parts = None
    call_id: Any = None
    name: Any = None
    arguments: msgspec.Raw = msgspec.Raw()
    input: Any = None


class _GeminiContent(msgspec.Struct, gc=False):
    parts: _Parts = None


class _Candidate(msgspec.Struct, gc=False):
    content: _GeminiContent | Plain = None
    finish_reason: Any = msgspec.field(default=None, name="finishReason")
    index: Any = None


class _Embedding(msgspec.Struct, gc=False):
    embedding: Any = None


class Body(msgspec.Struct, gc=False):
    """The body of an answer: the fields of all shapes."""

    choices: list[ChatChoice | Plain] | _PlainOrObject = None
    output: list[_OutputItem | Plain] | _PlainOrObject = None
    content: _Parts = None
    candidates: list[_Candidate | Plain] | _PlainOrObject = None
    data: list[_Embedding | Plain] | _PlainOrObject = None
    usage: Usage | Plain = None
    usage_metadata: GeminiUsage | Plain = msgspec.field(default=None, name="usageMetadata")
    prompt_feedback: Any = msgspec.field(default=None, name="promptFeedback")
    id: Any = None
    status: Any = None
    incomplete_details: Any = None
    stop_reason: Any = None
    finish_reason: Any = None
    error: Any = None
    code: Any = None
    message: Any = None


class Content(msgspec.Struct, gc=False):
    """What a body holds."""

    text: str | None = None
    finish_reason: str | None = None
    tool_calls: str | None = None
    reasoning: str | None = None
    choices: tuple[Choice, ...] | None = None
    embedding: bytes | None = None


NOTHING: Final = Content()
BodyShape = Callable[[Body], Content | None]


def chat(body: Body) -> Content | None:
    """Read a chat completion: `{"choices": [{"message", "finish_reason"}]}`; or an older one with a `text`."""
    if type(body.choices) is not list or not body.choices:
        return None
    if len(body.choices) == 1:
        return _of_choice(body.choices[0])
    choices = [choice for choice in body.choices if type(choice) is ChatChoice]
    return None if len(choices) < len(body.choices) else _several(choices, [_of_choice(choice) for choice in choices])


def _of_choice(choice: ChatChoice | Plain) -> Content | None:
    if type(choice) is not ChatChoice:
        return None
    message = choice.message
    if type(message) is _Message:
        return _unfiltered(_of_message(message, choice.finish_reason))
    return Content(choice.text, _reason(choice.finish_reason)) if type(choice.text) is str else None


def _unfiltered(content: Content | None) -> Content | None:
    """Return None where a filter left nothing of the answer."""
    if content is None or content.text or content.tool_calls or content.finish_reason not in FILTERED:
        return content
    return None


def _of_message(message: _Message, finish_reason: Any) -> Content | None:
    given = message.content
    if type(given) is str and not message.refusal:
        content = Content(given, _reason(finish_reason))
    elif (found := _of_parts(given, message.refusal, finish_reason)) is not None:
        content = found
    else:
        return None
    if message.tool_calls or message.function_call:
        calls = message.tool_calls if type(message.tool_calls) is list else []
        if type(message.function_call) is FunctionCall:
            calls = [*calls, ToolCall(function=message.function_call)]
        content.tool_calls = calls_text([call for call in calls if type(call) is ToolCall])
    thought = message.reasoning_content or message.reasoning
    if type(thought) is str:
        content.reasoning = thought or None
    return content


def _several(given: Sequence[ChatChoice | _Candidate], found: Sequence[Content | None]) -> Content | None:
    """Return the answer of several choices; one that a filter left without a message is empty, the others count."""
    if not any(found):
        return None
    placed = []
    for number, (choice, content) in enumerate(zip(given, found, strict=True)):
        if content is None and choice.finish_reason not in FILTERED:
            return None
        position = choice.index if type(choice.index) is int else number
        placed.append((position, content or Content("", _reason(choice.finish_reason))))
    ordered = [content for _, content in sorted(placed, key=lambda one: one[0])]
    ordered[0].choices = tuple(Choice(one.text, one.finish_reason, one.tool_calls, one.reasoning) for one in ordered)
    return ordered[0]


def responses(body: Body) -> Content | None:
    """Read an answer of the Responses API: `{"output": [items], "status", "incomplete_details"}`.

    Only message items have text. One that calls functions finishes with "tool_calls", one that was cut by
    `max_output_tokens` with "length", as in a chat completion.
    """
    if type(body.output) is not list or body.status in ("failed", "cancelled"):
        return None
    items = [item for item in body.output if type(item) is _OutputItem]
    parts = [part for item in items if item.type == "message" for part in _listed(item.content)]
    calls = [_call_of(item) for item in items if item.type in ("function_call", "custom_tool_call")]
    details = body.incomplete_details
    reason = details.get("reason") if type(details) is dict else None
    if reason == "max_output_tokens":
        reason = "length"
    if not reason and calls:
        reason = "tool_calls"
    content = _of_parts(parts, None, reason or ("length" if body.status == "incomplete" else body.status))
    if content is not None:
        content.tool_calls = calls_text(calls)
        thoughts = [part for item in items if item.type == "reasoning" for part in _thoughts(item)]
        content.reasoning = _joined(thoughts)
    return _unfiltered(content)


def _call_of(item: _OutputItem) -> ToolCall:
    if item.type == "custom_tool_call":
        return custom_call(item.call_id, item.name, item.input)
    return ToolCall(id=item.call_id, function=FunctionCall(name=item.name, arguments=item.arguments))


def _thoughts(item: _OutputItem) -> list[Any]:
    """Return the texts of a reasoning item: the reasoning itself where it is shown, else its summary."""
    parts = _listed(item.content) or _listed(item.summary)
    return [part.text for part in parts if type(part) is _Part]


def _listed(parts: _Parts) -> list[Any]:
    return parts if type(parts) is list else []


def messages(body: Body) -> Content | None:
    """Read an answer of the Messages API: `{"content": [blocks], "stop_reason"}`."""
    return None if body.content is None else _of_parts(body.content, None, body.stop_reason)


def gemini(body: Body) -> Content | None:
    """Read an answer of Gemini's: `{"candidates": [{"content": {"parts"}, "finishReason"}]}`."""
    if type(body.candidates) is not list or not body.candidates:
        return None
    candidates = [one for one in body.candidates if type(one) is _Candidate]
    if len(candidates) < len(body.candidates):
        return None
    found = [_of_candidate(one) for one in candidates]
    return found[0] if len(found) == 1 else _several(candidates, found)


def _of_candidate(candidate: _Candidate) -> Content | None:
    """Return what a candidate holds; where all tokens went into thoughts, it has no parts, perhaps no content."""
    parts = candidate.content.parts if type(candidate.content) is _GeminiContent else None
    if parts is None and not candidate.finish_reason:
        return None
    return _unfiltered(_of_parts(parts, None, candidate.finish_reason))


def cohere(body: Body) -> Content | None:
    """Read an answer of Cohere's: `{"id", "message": {"content", "tool_calls"}, "finish_reason"}`.

    Without its id it may be a choice that was torn out of a chat completion.
    """
    if (
        type(body.id) is not str
        or type(body.message) is not dict
        or ("content" not in body.message and "tool_calls" not in body.message)
    ):
        return None
    try:
        message = msgspec.json.decode(msgspec.json.encode(body.message), type=_Message)
    except msgspec.MsgspecError:
        return None
    return _of_message(message, body.finish_reason)


def embedding(body: Body) -> Content | None:
    """Read `{"data": [{"embedding": numbers or base64}]}`; the vector is returned as little-endian 32-bit floats."""
    if type(body.data) is not list or len(body.data) != 1 or type(body.data[0]) is not _Embedding:
        return None
    vector = body.data[0].embedding
    try:
        content = b64decode(vector, validate=True) if type(vector) is str else array("f", vector).tobytes()
    except (binascii.Error, TypeError, ValueError, OverflowError):
        return None
    return Content(embedding=content) if content and len(content) % FLOAT_BYTES == 0 else None


def tokens(body: Body | Plain) -> tuple[int | None, int | None, int | None, int | None]:
    """Return the token counts of an answer, as far as the body has them: input, output, cached, reasoning."""
    if type(body) is not Body:
        return NO_TOKENS
    if type(body.usage) is Usage:
        return tokens_of(body.usage)
    return gemini_tokens_of(body.usage_metadata) if type(body.usage_metadata) is GeminiUsage else NO_TOKENS


def blocked(body: Body) -> str:
    """Return why a filter of the provider left nothing of the answer; "" where it did not.

    Azure leaves out the `content`, or the whole `message` (openai-php/client#198, microsoft/semantic-kernel#5240),
    Gemini the `content` of the candidate, or all candidates.
    """
    given = body.choices or body.candidates
    first = given[0] if type(given) is list and given else None
    if isinstance(first, ChatChoice | _Candidate) and first.finish_reason in FILTERED:
        return str(first.finish_reason)
    if type(body.incomplete_details) is dict and body.incomplete_details.get("reason") in FILTERED:
        return str(body.incomplete_details["reason"])
    reason = body.prompt_feedback.get("blockReason") if type(body.prompt_feedback) is dict else None
    return reason[:CODE_LENGTH_MAX] if type(reason) is str else ""


def _of_parts(content: Any, refusal: Any, finish_reason: Any) -> Content | None:
    """Return what a content holds: a text, or a list of parts."""
    if type(content) is list:
        found = _gathered([part for part in content if type(part) is _Part])
        refusal = refusal or next((part.refusal for part in content if type(part) is _Part and part.refusal), None)
    elif content is None or type(content) is str:
        found = Content(content or "")
    else:
        return None
    if refusal and type(refusal) is str:
        found.text = found.text or refusal
        finish_reason = "refusal"
    found.finish_reason = _reason(finish_reason)
    return found


def _gathered(parts: Sequence[_Part]) -> Content:
    texts, thoughts = list[Any](), list[Any]()
    calls = list[ToolCall]()
    for part in parts:
        if part.type == "tool_use":
            calls.append(ToolCall(id=part.id, function=FunctionCall(name=part.name, arguments=part.input)))
        elif type(part.function_call) is FunctionCall:
            calls.append(ToolCall(function=part.function_call))
        elif part.type == "thinking":
            given = part.thinking if type(part.thinking) is list else [part.thinking]
            thoughts += [one.get("text") if type(one) is dict else one for one in given]
        elif part.type in TEXT_PARTS:
            (thoughts if part.thought is True else texts).append(part.text)
    text = "".join(text for text in texts if type(text) is str)
    return Content(text, tool_calls=calls_text(calls), reasoning=_joined(thoughts))


def _joined(thoughts: Sequence[Any]) -> str | None:
    return "\n\n".join(thought for thought in thoughts if type(thought) is str and thought) or None


def _reason(finish_reason: Any) -> str | None:
    return finish_reason[:CODE_LENGTH_MAX] if type(finish_reason) is str else None
