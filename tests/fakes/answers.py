"""The simulated model: an answer is a function of the request's body, spelled as a result line in OpenAI's shape."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from typing import Any, Final

from orchestrator.domain.row_kinds import INVALID_JSON, SCHEMA_MISMATCH, RowKind

CUT = " cut off"  # what an answer ends with that has used up its tokens
AGAIN = " again"  # what a second, differing answer to the same request ends with
FOREIGN = "an answer to somebody else"
OUTPUT_TOKENS = 3
TYPED: Final = "response_format"  # the field of a body that asks for an answer of a schema: {"answer": TEXT}
# How the answers to such a request can be no use, each as it is charged for; to others TRUNCATED and REFUSED alone.
FLAWS: Final = (RowKind.TRUNCATED.value, RowKind.REFUSED.value, INVALID_JSON, SCHEMA_MISMATCH)


def answer_to(prompt: str) -> str:
    """Return the model's answer."""
    return f"answer {hashlib.sha256(prompt.encode()).hexdigest()[:16]}"


def input_tokens(body: bytes) -> int:
    """Return how many tokens a request is charged for."""
    return len(body) // 8 + 1


def output_tokens(body: bytes, flaw: str = "") -> int:
    """Return how many tokens an answer is charged for: one that was cut off has used up the limit, if there is one."""
    limit = json.loads(body).get("max_tokens", OUTPUT_TOKENS) if flaw == RowKind.TRUNCATED else OUTPUT_TOKENS
    return int(limit)


def fee_usd(body: bytes, flaw: str = "") -> Decimal:
    """Return what an answered request costs."""
    return Decimal(input_tokens(body) + 2 * output_tokens(body, flaw)) / 1_000_000


def prompt_of(body: bytes) -> str:
    """Return the prompt in a request's body."""
    prompt: str = json.loads(body)["messages"][0]["content"]
    return prompt


def is_typed(body: bytes) -> bool:
    """Return whether a request asks for an answer of a schema."""
    return TYPED in json.loads(body)


def text_of(body: bytes, *, flaw: str = "", suffix: str = "") -> str:
    """Return the text of the answer to a request; what a person has set in it is told in the answer."""
    read: dict[str, Any] = json.loads(body)
    answer = answer_to(prompt_of(body)) + (f" at {read['temperature']}" if "temperature" in read else "") + suffix
    if flaw == RowKind.REFUSED:
        return "No."
    if TYPED not in read:
        return answer + (CUT if flaw == RowKind.TRUNCATED else "")
    whole = json.dumps({"answer": answer})
    return {
        RowKind.TRUNCATED.value: whole[: len(whole) // 2],
        INVALID_JSON: f"It is {answer}",
        SCHEMA_MISMATCH: json.dumps({"answer": len(answer)}),
    }.get(flaw, whole)


def success(custom_id: str, body: bytes, *, suffix: str = "", flaw: str = "") -> bytes:
    """Return the line of an answered request; `flaw`: what is wrong with the answer."""
    finish_reason = {RowKind.TRUNCATED.value: "length", RowKind.REFUSED.value: "content_filter"}.get(flaw, "stop")
    provider_message = {
        "message": {"role": "assistant", "content": text_of(body, flaw=flaw, suffix=suffix)},
        "finish_reason": finish_reason,
    }
    usage = {"prompt_tokens": input_tokens(body), "completion_tokens": output_tokens(body, flaw)}
    response = {
        "status_code": 200,
        "request_id": f"req-{custom_id}",
        "body": {"choices": [provider_message], "usage": usage},
    }
    return _line(custom_id, response, None)


def foreign(custom_id: str) -> bytes:
    """Return an answer that belongs to no request of the batch."""
    provider_message = {"message": {"content": FOREIGN}, "finish_reason": "stop"}
    return _line(custom_id, {"status_code": 200, "body": {"choices": [provider_message]}}, None)


def in_unknown_shape(line: bytes) -> bytes:
    """Return the line of an answered request as no reader knows it; any other line as it is."""
    try:
        read = json.loads(line)
    except ValueError:
        return line
    if "choices" not in read["response"]["body"]:
        return line
    read["response"]["body"] = {"news": read["response"]["body"]}
    return json.dumps(read).encode()


def in_known_shape(line: bytes) -> bytes:
    """Return such a line as a later reader understands it; any other line as it is."""
    try:
        read = json.loads(line)
        read["response"]["body"] = read["response"]["body"]["news"]
    except (ValueError, KeyError, TypeError):
        return line
    return json.dumps(read).encode()


def failure(custom_id: str, status: int) -> bytes:
    """Return the line of a failed request."""
    body = {"error": {"code": f"e{status}", "message": "no answer"}}
    return _line(custom_id, {"status_code": status, "body": body}, None)


def _line(custom_id: str, response: object, error: object) -> bytes:
    return json.dumps({"id": f"r-{custom_id}", "custom_id": custom_id, "response": response, "error": error}).encode()
