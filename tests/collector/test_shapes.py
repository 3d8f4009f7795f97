"""One result line of each dialect: what it says of its row."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.collector.builders import a_completion, a_line, a_result, name_of, read, read_one


def a_choice(message: Any, finish_reason: Any = "stop") -> dict[str, Any]:
    return a_completion(choices=[{"index": 0, "message": message, "finish_reason": finish_reason}])


def a_reply(*output: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return the body of the Responses API."""
    return {"id": "resp_1", "status": "completed", "error": None, "output": list(output), **fields}


def an_output(*texts: str) -> dict[str, Any]:
    return {"type": "message", "content": [{"type": "output_text", "text": text} for text in texts]}


MESSAGE = {
    "id": "msg_1",
    "content": [{"type": "text", "text": "Gr"}, {"type": "tool_use", "input": {}}, {"type": "text", "text": "üße"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 7, "output_tokens": 2},
}
SIRAYA = json.dumps({"custom_id": name_of(0), "response": {"status": 200, "body": a_completion()}}).encode()

QUOTED = f'"custom_id": "{name_of(3)}"'

ANSWERED = {
    "chat completion": (a_line(), "yes", "stop"),
    "list of parts": (
        a_line(body=a_completion([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])),
        "ab",
        "stop",
    ),
    "SIRAYA's status": (SIRAYA, "yes", "stop"),
    "status as a string": (a_line(status="200"), "yes", "stop"),
    "error as an empty string": (a_line(error=""), "yes", "stop"),
    "legacy completion": (a_line(body={"choices": [{"text": "t", "finish_reason": "length"}]}), "t", "length"),
    "Responses, several items": (
        a_line(body=a_reply({"type": "reasoning", "summary": []}, an_output("a", "b"), an_output("c"))),
        "abc",
        "completed",
    ),
    "Responses, incomplete": (
        a_line(body=a_reply(an_output("a"), status="incomplete", incomplete_details={"reason": "max_output_tokens"})),
        "a",
        "length",
    ),
    "Responses, refusal": (
        a_line(body=a_reply({"type": "message", "content": [{"type": "refusal", "refusal": "I won't"}]})),
        "I won't",
        "refusal",
    ),
    "Messages in a body": (a_line(body=MESSAGE), "Grüße", "end_turn"),
    "Anthropic": (a_result(type="succeeded", message=MESSAGE), "Grüße", "end_turn"),
    "Anthropic, no blocks": (
        a_result(type="succeeded", message={"content": [], "stop_reason": "refusal"}),
        "",
        "refusal",
    ),
    "empty": (a_line(body=a_completion("")), "", "stop"),
    "null content": (a_line(body=a_choice({"content": None, "tool_calls": [{}]}, "tool_calls")), "", "tool_calls"),
    "content filter": (a_line(body=a_choice({"content": "so f"}, "content_filter")), "so f", "content_filter"),
    "refusal": (a_line(body=a_choice({"content": None, "refusal": "I won't"})), "I won't", "refusal"),
    "lone surrogate": (a_line().replace(b"yes", rb"a\ud800b\udc00\ud83d\ude00"), "a\ufffdb\ufffd\U0001f600", "stop"),
    "NUL in the text": (a_line().replace(b"yes", rb"a\u0000b"), "a\0b", "stop"),
    "an id quoted in the text": (a_line(body=a_completion(QUOTED)), QUOTED, "stop"),
    "its id again in the body": (a_line(body=a_completion(metadata={"custom_id": "other"})), "yes", "stop"),
    "the same id twice": (a_line().replace(b"{", f'{{"custom_id": "{name_of(0)}", '.encode(), 1), "yes", "stop"),
    "finish reason of a wrong type": (a_line(body=a_choice({"content": "yes"}, 7)), "yes", None),
    "NaN where nobody looks": (a_line(body=a_completion(logprob=float("nan"))), "yes", "stop"),
}


@pytest.mark.parametrize(("line", "text", "finish_reason"), ANSWERED.values(), ids=ANSWERED.keys())
def test_an_answer_is_read(line: bytes, text: str, finish_reason: str | None) -> None:
    answer = read_one(line)

    assert (answer.succeeded, answer.text, answer.finish_reason) == (True, text, finish_reason)
    assert (answer.error_message, answer.retryable) == (None, False)


def a_bare_line(**fields: Any) -> bytes:
    return json.dumps({"custom_id": name_of(0), **fields}).encode()


FILTERED = {"error": {"message": "filtered", "type": None, "param": "prompt", "code": "content_filter", "status": 400}}
VLLM = {"error": {"message": "too long", "type": "BadRequestError", "param": None, "code": 400}}
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}, "request_id": "req_9"}

FAILED = {
    "400 and error null": (a_line(status=400, body={"error": {"message": "no", "code": None}}), "400", "no", False),
    "400, content filter": (a_line(status=400, body=FILTERED), "content_filter", "filtered", False),
    "429": (a_line(status=429, body={"error": {"type": "rate_limit", "message": "slow"}}), "rate_limit", "slow", True),
    "500 and a body of text": (a_line(status=500, body="Bad gateway"), "500", "Bad gateway", True),
    "503 with an answer": (a_line(status=503), "503", "", True),
    "status 0": (a_line(status=0), "0", "", True),
    "never run": (
        a_bare_line(response=None, error={"code": "batch_expired", "message": "late"}),
        "batch_expired",
        "late",
        True,
    ),
    "never run, refused": (
        a_bare_line(response=None, error={"code": "content_filter", "message": "x"}),
        "content_filter",
        "x",
        False,
    ),
    "Together, no response key": (
        a_bare_line(error={"message": "m", "code": "server_error"}),
        "server_error",
        "m",
        True,
    ),
    "DeepInfra, cancelled": (
        a_bare_line(response=None, error={"code": "cancelled", "message": "c"}),
        "cancelled",
        "c",
        True,
    ),
    "vLLM, both": (a_bare_line(response={"status_code": 400, "body": None}, error=VLLM), "400", "too long", False),
    "error beside a good answer": (a_line(error={"code": "server_error", "message": "m"}), "server_error", "m", True),
    "200 and an error in the body": (a_line(body={"error": {"code": 502, "message": "down"}}), "502", "down", True),
    "an error in the body beside half a text": (
        a_line(body=a_completion("ye", error={"code": 502, "message": "down"})),
        "502",
        "down",
        True,
    ),
    "200 and a code in the body": (a_line(body={"code": 403, "message": "moderated"}), "403", "moderated", False),
    "an error in the choice": (a_line(body={"choices": [{"error": {"code": 502, "message": "m"}}]}), "502", "m", True),
    "Responses, failed": (
        a_line(body=a_reply(status="failed", error={"code": "server_error", "message": "m"})),
        "server_error",
        "m",
        True,
    ),
    "an error that is a string": (a_line(error="boom"), "error", "boom", True),
    "Anthropic, errored": (a_result(type="errored", error=OVERLOADED), "overloaded_error", "busy", True),
    "Anthropic, single nesting": (
        a_result(type="errored", error={"type": "invalid_request_error", "message": "no"}),
        "invalid_request_error",
        "no",
        False,
    ),
    "Anthropic, canceled": (a_result(type="canceled"), "canceled", "", True),
    "Anthropic, expired": (a_result(type="expired"), "expired", "", True),
    "Anthropic, errored without an error": (a_result(type="errored"), "errored", "", True),
}


@pytest.mark.parametrize(("line", "code", "message", "retryable"), FAILED.values(), ids=FAILED.keys())
def test_a_failure_is_read(line: bytes, code: str, message: str, retryable: bool) -> None:
    answer = read_one(line)

    assert (answer.succeeded, answer.text, answer.finish_reason) == (False, None, None)
    assert (answer.error_code, answer.error_message, answer.retryable) == (code, message, retryable)


NOTHING_SAID = {
    "no choices": a_line(body=a_completion(choices=[])),
    "choices of a wrong type": a_line(body=a_completion(choices=[7])),
    "content of a wrong type": a_line(body=a_completion({"text": "yes"})),
    "empty body": a_line(body={}),
    "embedding": a_line(body={"object": "list", "data": [{"embedding": [0.5]}]}),
    "response and error null": a_bare_line(response=None, error=None),
    "response of a wrong type": a_bare_line(response="yes", error=None),
    "Anthropic, unknown type": a_result(type="postponed"),
    "Anthropic, no message": a_result(type="succeeded"),
}


@pytest.mark.parametrize("line", NOTHING_SAID.values(), ids=NOTHING_SAID.keys())
def test_a_line_that_names_its_row_and_cannot_be_read_is_never_sent_again_and_set_aside(line: bytes) -> None:
    """It may be an answer, paid for, in a shape that we do not know."""
    answers, tally, aside = read([line])

    assert (answers[0, 0].error_code, answers[0, 0].retryable) == ("unreadable", False)
    assert (tally.failed, tally.waiting, tally.unreadable_rows, tally.unreadable) == (1, 0, 1, 0)
    assert [found.reason for found in aside] == ["unknown shape"]


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 12, "completion_tokens": 3}, (12, 3)),
        ({"input_tokens": 12, "output_tokens": 3}, (12, 3)),
        ({"prompt_tokens": 0, "completion_tokens": 2**40}, (0, 2**40)),
        ({"prompt_tokens": -1, "completion_tokens": 2**40 + 1}, (None, None)),
        ({"prompt_tokens": 1.5, "completion_tokens": "3"}, (None, None)),
        ({"prompt_tokens": True, "completion_tokens": 10**30}, (None, None)),
        ({"prompt_tokens": float("inf"), "completion_tokens": 3}, (None, 3)),
        ([1], (None, None)),
        (None, (None, None)),
    ],
)
def test_token_counts_that_make_no_sense_are_no_counts(usage: object, tokens: tuple[int | None, int | None]) -> None:
    answer = read_one(a_line(body=a_completion(usage=usage)))

    assert (answer.text, answer.input_tokens, answer.output_tokens) == ("yes", *tokens)


def test_an_integer_beyond_pythons_reach_costs_its_field_alone() -> None:
    line = a_line().replace(b'"prompt_tokens": 12', b'"prompt_tokens": ' + b"9" * 5_000)

    assert (read_one(line).text, read_one(line).input_tokens, read_one(line).output_tokens) == ("yes", None, 3)


def test_a_float_beyond_its_range_costs_its_field_alone() -> None:
    answer = read_one(a_line().replace(b'"prompt_tokens": 12', b'"prompt_tokens": 1e999'))

    assert (answer.text, answer.input_tokens, answer.output_tokens) == ("yes", None, 3)


def test_messages_and_codes_are_cut() -> None:
    answer = read_one(a_line(status=400, body={"error": {"message": "m" * 9_000, "code": "c" * 9_000}}))

    assert (answer.error_message, answer.error_code) == ("m" * 500, "c" * 100)


def test_the_request_id_is_the_responses_else_the_bodys_else_the_errors() -> None:
    without = json.loads(a_line())
    without["response"]["request_id"] = ""

    assert read_one(a_line()).request_id == "req-0"
    assert read_one(json.dumps(without).encode()).request_id == "chatcmpl-1"
    assert read_one(a_result(type="succeeded", message=MESSAGE)).request_id == "msg_1"
    assert read_one(a_result(type="errored", error=OVERLOADED)).request_id == "req_9"


def test_the_raw_body_is_kept_as_it_stood_where_it_is_asked_for() -> None:
    body = b'{ "choices" : [{"message":{"content":"\\u0079es"}}], "x": 1.0e2}'
    line = a_line(body="BODY").replace(b'"BODY"', body)

    assert read_one(line).raw is None
    assert read_one(line, keep_raw=True).raw == body.decode()
    assert json.loads(str(read_one(a_result(type="expired"), keep_raw=True).raw)) == {"type": "expired"}
    assert read_one(a_bare_line(response=None, error="x"), keep_raw=True).raw is None
    assert read_one(a_bare_line(response={"status_code": 500, "body": None}), keep_raw=True).raw is None


def test_the_raw_body_of_a_mended_line_can_be_written() -> None:
    raw = read_one(a_line().replace(b"yes", rb"a\ud800"), keep_raw=True).raw

    assert raw is not None
    assert json.loads(raw.encode())["choices"][0]["message"]["content"] == "a\ufffd"


def test_of_a_failure_and_a_success_for_one_row_the_success_is_kept() -> None:
    """Gateways write the failed try and the good one into the same file."""
    answers, tally, _ = read([b"\n".join([a_line(status=500), a_line(), a_line(status=429)])])

    assert (answers[0, 0].text, tally.duplicates) == ("yes", 2)
