"""Result lines, whole ones: an answer, a failure, a row that never ran, in either upstream's shape.

    openai      {"custom_id", "response": {"status_code", "request_id", "body"}, "error"}   (Azure's; no `id`)
    anthropic   {"custom_id", "result": {"type": "succeeded" | "errored" | "expired", …}}   (errors nest twice)

A failed OpenAI row has `error: null` and its HTTP status inside `response`, as the real ones do: a reader that looks at
`error` alone takes it for a success.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec

from orchestrator.gateway.openai_bodies import CHAT, EMBEDDINGS, Refusal
from orchestrator.gateway.settings import LineShape
from orchestrator.gateway.simulated import Answer

Line = dict[str, Any]

CREATED_AT: Final = 1_765_972_352  # of every answer: the same request gets the same answer on any day
ANTHROPIC_ERROR_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
ANTHROPIC_STOP_REASONS: Final = {"stop": "end_turn", "length": "max_tokens"}
NEVER_RUN_MESSAGES: Final = {
    "batch_expired": "This request could not be executed before the completion window expired.",
    "batch_cancelled": "This request was not executed: its batch was cancelled.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LineForm:
    """How a batch's lines are written. `has_ids`: OpenAI's own lines have an id, Azure's have none. `is_complete`: the
    one result file has a line for each request, whatever became of it, as Anthropic's has.

    Rows that never ran share one id, as in the vendor's own sample: an id identifies nothing.
    """

    shape: LineShape
    endpoint: str = CHAT
    has_ids: bool = False
    told_as: str = "documented"  # or another shape of the answers' lines; see `faults`
    is_complete: bool = False

    def answer(self, custom_id: str | None, answer: Answer, request_id: str) -> Line:
        """Return the line of a row that got its answer."""
        if self.shape is LineShape.ANTHROPIC:
            return {"custom_id": custom_id, "result": {"type": "succeeded", "message": _message(answer, request_id)}}
        if self.endpoint == CHAT:
            body = chat_completion(answer, request_id)
        elif self.endpoint == EMBEDDINGS:
            body = embedding_list(answer)
        else:
            body = response_object(answer, request_id)
        line = self._response(custom_id, 200, request_id, body)
        return line if self.told_as == "documented" else odd_line(line, answer, self.told_as)

    def failure(self, custom_id: str | None, refusal: Refusal, request_id: str) -> Line:
        """Return the line of a row that the model failed or refused."""
        if self.shape is LineShape.ANTHROPIC:
            error = {"type": ANTHROPIC_ERROR_TYPES.get(refusal.status, "api_error"), "message": refusal.message}
            outer = {"type": "error", "error": error, "request_id": f"req_{request_id}"}
            return {"custom_id": custom_id, "result": {"type": "errored", "error": outer}}
        error_object = {
            "message": refusal.message,
            "type": refusal.type,
            "param": refusal.param,
            "code": refusal.code,
        }
        return self._response(custom_id, refusal.status, request_id, {"error": error_object})

    def never_run(self, custom_id: str | None, code: str, message: str) -> Line:
        """Return the line of a row that its batch did not come to."""
        if self.shape is LineShape.ANTHROPIC:
            return {"custom_id": custom_id, "result": {"type": "canceled" if code == "batch_cancelled" else "expired"}}
        return self._id("never-run") | {
            "custom_id": custom_id,
            "response": None,
            "error": {"code": code, "message": message},
        }

    def _response(self, custom_id: str | None, status: int, request_id: str, body: Line) -> Line:
        response = {"status_code": status, "request_id": request_id, "body": body}
        return self._id(request_id) | {"custom_id": custom_id, "response": response, "error": None}

    def _id(self, request_id: str) -> Line:
        return {"id": f"batch_req_{request_id.replace('-', '')}"} if self.has_ids else {}


def odd_line(line: Line, answer: Answer, shape: str) -> Line:
    """Return an answer's line in another shape than the documented one; seen in public reports."""
    response = line["response"]
    candidate = {"content": {"parts": [{"text": answer.text}], "role": "model"}, "finishReason": "STOP"}
    usage = {"promptTokenCount": answer.input_tokens, "candidatesTokenCount": answer.output_tokens}
    match shape:
        case "body_string":
            return line | {"response": response | {"body": msgspec.json.encode(response["body"]).decode()}}
        case "bare_body":
            return {"custom_id": line["custom_id"], "response": response["body"]}
        case "key":
            return {"key": line["custom_id"], "response": {"candidates": [candidate], "usageMetadata": usage}}
        case "gemini":
            return line | {"response": response | {"body": {"candidates": [candidate], "usageMetadata": usage}}}
        case "tool_calls":
            function = {"name": "answer", "arguments": msgspec.json.encode({"text": answer.text}).decode()}
            call = {"id": f"call_{response['request_id']}", "type": "function", "function": function}
            message = {"role": "assistant", "content": None, "tool_calls": [call]}
            choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "tool_calls"}
            return line | {"response": response | {"body": response["body"] | {"choices": [choice]}}}
    return {"custom_id": line["custom_id"], "outcome": {"kind": "done", "payload": answer.text}}


def chat_completion(answer: Answer, request_id: str) -> Line:
    """Return the body of an answer of /v1/chat/completions."""
    message = {"role": "assistant", "content": answer.text, "refusal": None}
    return {
        "id": f"chatcmpl-{request_id}",
        "object": "chat.completion",
        "created": CREATED_AT,
        "model": answer.model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish_reason}],
        "usage": {
            "prompt_tokens": answer.input_tokens,
            "completion_tokens": answer.output_tokens,
            "total_tokens": answer.input_tokens + answer.output_tokens,
        },
    }


def response_object(answer: Answer, request_id: str) -> Line:
    """Return the body of an answer of /v1/responses."""
    is_cut = answer.finish_reason == "length"
    status = "incomplete" if is_cut else "completed"
    message = {
        "id": f"msg_{request_id.replace('-', '')}",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": [{"type": "output_text", "text": answer.text, "annotations": [], "logprobs": []}],
    }
    return {
        "id": f"resp_{request_id.replace('-', '')}",
        "object": "response",
        "created_at": CREATED_AT,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
        "model": answer.model,
        "output": [message],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": answer.input_tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": answer.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": answer.input_tokens + answer.output_tokens,
        },
    }


def embedding_list(answer: Answer) -> Line:
    """Return the body of an answer of /v1/embeddings; an answer whose text a fault took away has no vectors."""
    vectors = answer.vectors if answer.text else ()
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": each} for index, each in enumerate(vectors)],
        "model": answer.text,
        "usage": {"prompt_tokens": answer.input_tokens, "total_tokens": answer.input_tokens},
    }


def _message(answer: Answer, request_id: str) -> Line:
    return {
        "id": f"msg_{request_id}",
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": [{"type": "text", "text": answer.text}],
        "stop_reason": ANTHROPIC_STOP_REASONS[answer.finish_reason],
        "stop_sequence": None,
        "usage": {
            "input_tokens": answer.input_tokens,
            "output_tokens": answer.output_tokens,
            "service_tier": "batch",
        },
    }
