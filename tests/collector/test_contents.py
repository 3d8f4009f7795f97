"""What an answer holds beside its text: tool calls, reasoning, choices, token counts; and answers that are not whole.

The bodies are written by hand from the vendors' API references (read 2026-11-30) and from public reports, which are
named where they are used.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.domain.reconcile import Choice
from tests.collector.builders import a_completion, a_line, a_result, read, read_one


def a_chat(*messages: dict[str, Any], finish_reason: str = "stop", **fields: Any) -> bytes:
    """Return a chat completion with a choice for each message."""
    given = [
        {"index": number, "message": {"role": "assistant", "content": None, **message}, "finish_reason": finish_reason}
        for number, message in enumerate(messages)
    ]
    return a_line(body=a_completion(choices=given, **fields))


def a_reply(*output: dict[str, Any]) -> bytes:
    return a_line(body={"id": "resp_1", "status": "completed", "output": list(output)})


def blocks(*content: dict[str, Any], stop_reason: str = "end_turn") -> bytes:
    return a_result(type="succeeded", message={"content": list(content), "stop_reason": stop_reason})


def candidate(*parts: dict[str, Any], reason: str = "STOP", **fields: Any) -> bytes:
    content = {"content": {"parts": list(parts), "role": "model"}, "finishReason": reason}
    return a_line(body={"candidates": [content], **fields})


def a_call(name: str, arguments: Any, call_id: str | None = "call_1") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


LABEL = [{"id": "call_1", "name": "label", "arguments": {"label": "good", "score": 0.9}}]
TEXT = '{"label": "good", "score": 0.9}'
OBJECT = {"label": "good", "score": 0.9}

CALLS = {
    "chat": (a_chat({"tool_calls": [a_call("label", TEXT)]}, finish_reason="tool_calls"), "", LABEL),
    "chat, arguments as an object": (a_chat({"tool_calls": [a_call("label", OBJECT)]}), "", LABEL),
    "chat, a text too": (
        a_chat({"content": "I label it.", "tool_calls": [a_call("label", TEXT)]}),
        "I label it.",
        LABEL,
    ),
    "chat, two calls": (
        a_chat({"tool_calls": [a_call("label", TEXT), a_call("stop", "", "call_2")]}),
        "",
        [*LABEL, {"id": "call_2", "name": "stop", "arguments": {}}],
    ),
    "chat, cut within the arguments": (
        a_chat({"tool_calls": [a_call("label", '{"label": "go')]}, finish_reason="length"),
        "",
        [{"id": "call_1", "name": "label", "arguments": '{"label": "go'}],
    ),
    "chat, the old function_call": (
        a_chat({"function_call": {"name": "label", "arguments": TEXT}}, finish_reason="function_call"),
        "",
        [LABEL[0] | {"id": None}],
    ),
    "chat, a custom tool": (
        a_chat({"tool_calls": [{"id": "call_1", "type": "custom", "custom": {"name": "sql", "input": "SELECT 1"}}]}),
        "",
        [{"id": "call_1", "name": "sql", "arguments": "SELECT 1"}],
    ),
    "Responses": (
        a_reply({"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "label", "arguments": TEXT}),
        "",
        LABEL,
    ),
    "Responses, a text and a custom tool": (
        a_reply(
            {"type": "message", "content": [{"type": "output_text", "text": "I look."}]},
            {"type": "custom_tool_call", "call_id": "call_1", "name": "sql", "input": "SELECT 1"},
        ),
        "I look.",
        [{"id": "call_1", "name": "sql", "arguments": "SELECT 1"}],
    ),
    "Anthropic": (
        blocks({"type": "tool_use", "id": "call_1", "name": "label", "input": OBJECT}, stop_reason="tool_use"),
        "",
        LABEL,
    ),
    "Anthropic, a text between two": (
        blocks(
            {"type": "tool_use", "id": "call_1", "name": "label", "input": OBJECT},
            {"type": "text", "text": "and"},
            {"type": "tool_use", "id": "call_2", "name": "stop", "input": {}},
        ),
        "and",
        [*LABEL, {"id": "call_2", "name": "stop", "arguments": {}}],
    ),
    "Gemini": (
        candidate({"text": "So:"}, {"functionCall": {"name": "label", "args": OBJECT}}),
        "So:",
        [LABEL[0] | {"id": None}],
    ),
    "Cohere": (
        a_line(body={"id": "c", "message": {"role": "assistant", "tool_calls": [a_call("label", TEXT)]}}),
        "",
        LABEL,
    ),
}


@pytest.mark.parametrize(("line", "text", "calls"), CALLS.values(), ids=CALLS.keys())
def test_tool_calls_have_one_spelling_and_are_an_answer_without_any_text(
    line: bytes, text: str, calls: list[dict[str, Any]]
) -> None:
    """Rule: a list of {id, name, arguments}; `arguments` is the object, or the text where it is no valid object."""
    answer = read_one(line)

    assert (answer.succeeded, answer.text) == (True, text)
    assert json.loads(answer.tool_calls or "null") == calls
    assert answer.error_code in (None, "truncated")


def test_arguments_are_kept_byte_for_byte() -> None:
    """A number that a parser would round, and the order of keys, stay as the model wrote them."""
    answer = read_one(a_chat({"tool_calls": [a_call("pay", '{"usd": 1.10, "id": 12345678901234567890123}')]}))

    assert (
        answer.tool_calls == '[{"id":"call_1","name":"pay","arguments":{"usd": 1.10, "id": 12345678901234567890123}}]'
    )


THOUGHTS = {
    "DeepSeek": (a_chat({"content": "yes", "reasoning_content": "Well."}), "Well."),
    "vLLM, OpenRouter": (a_chat({"content": "yes", "reasoning": "Well."}), "Well."),
    "Responses, summaries": (
        a_reply(
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": t} for t in ("First.", "Then.")]},
            {"type": "message", "content": [{"type": "output_text", "text": "yes"}]},
        ),
        "First.\n\nThen.",
    ),
    "Anthropic": (
        blocks(
            {"type": "thinking", "thinking": "Well.", "signature": "s"},
            {"type": "redacted_thinking", "data": "x"},
            {"type": "text", "text": "yes"},
        ),
        "Well.",
    ),
    "Gemini": (candidate({"text": "Well.", "thought": True}, {"text": "yes"}), "Well."),
    "Mistral": (
        a_chat(
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "Well."}]},
                    {"type": "text", "text": "yes"},
                ]
            }
        ),
        "Well.",
    ),
    "none": (a_line(), None),
}


@pytest.mark.parametrize(("line", "reasoning"), THOUGHTS.values(), ids=THOUGHTS.keys())
def test_reasoning_is_kept_apart_from_the_text(line: bytes, reasoning: str | None) -> None:
    answer = read_one(line)

    assert (answer.text, answer.reasoning, answer.error_code) == ("yes", reasoning, None)


USAGES = {
    "OpenAI": (
        {
            "prompt_tokens": 100,
            "completion_tokens": 30,
            "prompt_tokens_details": {"cached_tokens": 64},
            "completion_tokens_details": {"reasoning_tokens": 20},
        },
        (100, 30, 64, 20),
    ),
    "Responses": (
        {
            "input_tokens": 100,
            "output_tokens": 30,
            "input_tokens_details": {"cached_tokens": 64},
            "output_tokens_details": {"reasoning_tokens": 20},
        },
        (100, 30, 64, 20),
    ),
    "Anthropic: cached tokens are not among its input_tokens": (
        {"input_tokens": 10, "cache_read_input_tokens": 64, "cache_creation_input_tokens": 26, "output_tokens": 5},
        (100, 5, 64, None),
    ),
    "Grok: reasoning is not among completion_tokens (VariantConst/OpenWebUI-Monitor#99)": (
        {
            "prompt_tokens": 100,
            "completion_tokens": 10,
            "total_tokens": 130,
            "completion_tokens_details": {"reasoning_tokens": 20},
        },
        (100, 30, None, 20),
    ),
    "a gateway's zeros beside Anthropic's names": (
        {"prompt_tokens": 0, "completion_tokens": 0, "input_tokens": 12, "output_tokens": 7},
        (12, 7, None, None),
    ),
    "zeros the other way round": (
        {
            "prompt_tokens": 12,
            "completion_tokens": 7,
            "input_tokens": 0,
            "output_tokens": 0,
            "prompt_tokens_details": {"cached_tokens": 0},
            "input_tokens_details": {"cached_tokens": 8},
        },
        (12, 7, 8, None),
    ),
    "Anthropic's counts beside OpenAI's, which include them": (
        {
            "prompt_tokens": 100,
            "completion_tokens": 5,
            "cache_read_input_tokens": 64,
            "cache_creation_input_tokens": 26,
            "prompt_tokens_details": {"cached_tokens": 64},
        },
        (100, 5, 64, None),
    ),
    "DeepSeek": (
        {"prompt_tokens": 100, "completion_tokens": 5, "prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 36},
        (100, 5, 64, None),
    ),
    "Moonshot": ({"prompt_tokens": 100, "completion_tokens": 5, "cached_tokens": 64}, (100, 5, 64, None)),
    "Cohere": ({"tokens": {"input_tokens": 100, "output_tokens": 5}}, (100, 5, None, None)),
    "real zeros": (
        {"prompt_tokens": 5, "completion_tokens": 0, "completion_tokens_details": {"reasoning_tokens": 0}},
        (5, 0, None, 0),
    ),
    "wrong types": (
        {"prompt_tokens": "5", "completion_tokens": -1, "prompt_tokens_details": 7},
        (None, None, None, None),
    ),
    "whole numbers as floats": ({"prompt_tokens": 5.0, "completion_tokens": 2.5}, (5, None, None, None)),
}


@pytest.mark.parametrize(("usage", "expected"), USAGES.values(), ids=USAGES.keys())
def test_tokens_are_counted_whatever_the_names(usage: dict[str, Any], expected: tuple[int | None, ...]) -> None:
    """Rule: input includes what came from a cache, output includes reasoning; a zero beside a real figure is none."""
    answer = read_one(a_line(body=a_completion(usage=usage)))

    assert (answer.input_tokens, answer.output_tokens, answer.cached_tokens, answer.reasoning_tokens) == expected


def test_geminis_thoughts_are_output() -> None:
    counts = {
        "promptTokenCount": 100,
        "candidatesTokenCount": 5,
        "thoughtsTokenCount": 20,
        "cachedContentTokenCount": 64,
    }
    answer = read_one(candidate({"text": "yes"}, usageMetadata=counts))

    assert answer[6:10] == (100, 25, 64, 20)


def test_several_choices_are_all_kept_by_index() -> None:
    """Rule: the answer is the choice with index 0, wherever it stands, and all are in `choices`."""
    message = {"role": "assistant"}
    body = a_completion(
        choices=[
            {"index": 1, "message": {**message, "content": "b"}, "finish_reason": "stop"},
            {"index": 2, "message": {**message, "tool_calls": [a_call("label", "{}")]}, "finish_reason": "tool_calls"},
            {"index": 0, "message": {**message, "content": "a", "reasoning": "Hm."}, "finish_reason": "stop"},
        ]
    )
    answer = read_one(a_line(body=body))

    assert (answer.text, answer.error_code) == ("a", None)
    assert answer.choices == (
        Choice("a", "stop", None, "Hm."),
        Choice("b", "stop", None, None),
        Choice("", "tool_calls", '[{"id":"call_1","name":"label","arguments":{}}]', None),
    )


def test_of_several_choices_the_worst_gives_the_row_its_kind() -> None:
    assert read_one(a_chat({"content": "a"}, {"content": ""})).error_code == "empty"
    two = {"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}, {"finishReason": "SAFETY"}]}

    assert read_one(a_line(body=two)).error_code == "refused"


def test_choices_of_which_one_cannot_be_read_are_no_answer() -> None:
    """The first choice alone would pass for the whole answer."""
    line = a_line(body=a_completion(choices=[{"message": {"content": "a"}}, {"message": 7}]))
    answer = read([line])[0][0, 0]

    assert (answer.succeeded, answer.text, answer.error_code) == (False, None, "unreadable")


KINDS = {
    "whole": (a_line(), None),
    "chat, length": (a_chat({"content": "so f"}, finish_reason="length"), "truncated"),
    "chat, all tokens spent on reasoning": (a_chat({"content": ""}, finish_reason="length"), "truncated"),
    "Anthropic, max_tokens": (blocks({"type": "text", "text": "so f"}, stop_reason="max_tokens"), "truncated"),
    "Gemini, MAX_TOKENS without content": (a_line(body={"candidates": [{"finishReason": "MAX_TOKENS"}]}), "truncated"),
    "Responses, max_output_tokens": (
        a_line(
            body={
                "output": [],
                "status": "incomplete",
                "incomplete_details": {"reason": "max_output_tokens"},
            }
        ),
        "truncated",
    ),
    "empty": (a_chat({"content": ""}), "empty"),
    "only white space": (a_chat({"content": " \n"}), "empty"),
    "content null": (a_chat({"content": None}), "empty"),
    "Anthropic, no blocks": (blocks(), "empty"),
    "chat, refusal": (a_chat({"refusal": "I won't"}), "refused"),
    "chat, refusal beside a text": (a_chat({"content": "so f", "refusal": "I won't"}), "refused"),
    "chat, content_filter": (a_chat({"content": "so f"}, finish_reason="content_filter"), "refused"),
    "Anthropic, refusal": (blocks(stop_reason="refusal"), "refused"),
    "Gemini, SAFETY": (candidate({"text": "so f"}, reason="SAFETY"), "refused"),
}


@pytest.mark.parametrize(("line", "kind"), KINDS.values(), ids=KINDS.keys())
def test_an_answer_that_is_not_whole_has_succeeded_and_is_named(line: bytes, kind: str | None) -> None:
    """Rule: it was paid for and is kept; its kind is its error code."""
    answer = read_one(line)

    assert (answer.succeeded, answer.error_code, answer.retryable) == (True, kind, False)


AZURE = {"index": 0, "finish_reason": "content_filter", "content_filter_results": {"hate": {"filtered": True}}}
FILTERED = {
    "Azure, no message": a_line(body=a_completion(choices=[AZURE])),
    "Azure, a message without content (openai-php/client#198)": a_line(
        body=a_completion(choices=[AZURE | {"message": {"role": "assistant"}}])
    ),
    "Azure, message null": a_line(body=a_completion(choices=[AZURE | {"message": None}])),
    "Azure, the prompt": a_line(
        status=400, body={"error": {"code": "content_filter", "message": "The response was filtered", "status": 400}}
    ),
    "Responses": a_line(
        body={"output": [], "status": "incomplete", "incomplete_details": {"reason": "content_filter"}}
    ),
    "Gemini, the prompt": a_line(body={"promptFeedback": {"blockReason": "SAFETY"}}),
    "Gemini, no parts": candidate(reason="RECITATION"),
    "Gemini, no content": a_line(body={"candidates": [{"finishReason": "SAFETY"}]}),
}


@pytest.mark.parametrize("line", FILTERED.values(), ids=FILTERED.keys())
def test_what_a_filter_leaves_nothing_of_is_one_failure_and_not_sent_again(line: bytes) -> None:
    """The same request would be filtered again, and paid for again."""
    answer = read_one(line)

    assert (answer.succeeded, answer.error_code, answer.retryable) == (False, "content_filter", False)
    assert answer.error_message
