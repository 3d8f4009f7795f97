"""Result lines, whole ones: an answer, a failure, a row that never ran, in either upstream's shape.

    openai      {"custom_id", "response": {"status_code", "request_id", "body"}, "error"}   (Azure's; no `id`)
    anthropic   {"custom_id", "result": {"type": "succeeded" | "errored" | "expired", …}}   (errors nest twice)

A failed OpenAI row has `error: null` and its HTTP status inside `response`, as the real ones do: a reader that looks at
`error` alone takes it for a success.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from orchestrator.gateway.settings import LineShape
from orchestrator.gateway.simulated import Answer, Refusal

Line = dict[str, Any]

ANTHROPIC_ERROR_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}
ANTHROPIC_STOP_REASONS: Final = {"stop": "end_turn", "length": "max_tokens"}


NEVER_RUN_MESSAGES: Final = {
    "batch_expired": "This request could not be executed before the completion window expired.",
    "batch_cancelled": "This request was not executed: its batch was cancelled.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LineForm:
    """How a batch's lines are written; `has_ids`: as OpenAI's own, which bear an id, Azure's do not.

    Rows that never ran share one id, as in the vendor's own sample: an id is nobody's key.
    """

    shape: LineShape
    has_ids: bool = False

    def answer(self, custom_id: str | None, answer: Answer, request_id: str) -> Line:
        """Return the line of a row that got its answer."""
        return self._with_id(answer_line(self.shape, custom_id, answer, request_id), request_id)

    def failure(self, custom_id: str | None, refusal: Refusal, request_id: str) -> Line:
        """Return the line of a row the model failed or refused."""
        return self._with_id(failure_line(self.shape, custom_id, refusal, request_id), request_id)

    def never_run(self, custom_id: str | None, code: str, message: str) -> Line:
        """Return the line of a row its batch did not come to."""
        return self._with_id(never_run_line(self.shape, custom_id, code, message), "never-run")

    def _with_id(self, line: Line, request_id: str) -> Line:
        return {"id": f"batch_req_{request_id.replace('-', '')}", **line} if self.has_ids else line


def answer_line(shape: LineShape, custom_id: str | None, answer: Answer, request_id: str) -> Line:
    """Return the line of a row that got its answer."""
    if shape is LineShape.ANTHROPIC:
        return {"custom_id": custom_id, "result": {"type": "succeeded", "message": _message(answer, request_id)}}
    body = {
        "id": f"chatcmpl-{request_id}",
        "object": "chat.completion",
        "model": answer.model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": answer.text},
                "finish_reason": answer.finish_reason,
            }
        ],
        "usage": {
            "prompt_tokens": answer.input_tokens,
            "completion_tokens": answer.output_tokens,
            "total_tokens": answer.input_tokens + answer.output_tokens,
        },
    }
    return _response_line(custom_id, 200, request_id, body)


def failure_line(shape: LineShape, custom_id: str | None, refusal: Refusal, request_id: str) -> Line:
    """Return the line of a row the model failed or refused."""
    if shape is LineShape.ANTHROPIC:
        error = {"type": ANTHROPIC_ERROR_TYPES.get(refusal.status, "api_error"), "message": refusal.message}
        return _errored_line(custom_id, error, request_id)
    error = {"code": refusal.code, "message": refusal.message, "type": refusal.code, "param": ""}
    return _response_line(custom_id, refusal.status, request_id, {"error": error})


def never_run_line(shape: LineShape, custom_id: str | None, code: str, message: str) -> Line:
    """Return the line of a row its batch did not come to."""
    if shape is LineShape.ANTHROPIC:
        return {"custom_id": custom_id, "result": {"type": "expired"}}
    return {"custom_id": custom_id, "response": None, "error": {"code": code, "message": message}}


def _response_line(custom_id: str | None, status: int, request_id: str, body: Line) -> Line:
    response = {"status_code": status, "request_id": request_id, "body": body}
    return {"custom_id": custom_id, "response": response, "error": None}


def _errored_line(custom_id: str | None, error: Line, request_id: str) -> Line:
    outer = {"type": "error", "error": error, "request_id": f"req_{request_id}"}
    return {"custom_id": custom_id, "result": {"type": "errored", "error": outer}}


def _message(answer: Answer, request_id: str) -> Line:
    return {
        "id": f"msg_{request_id}",
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": [{"type": "text", "text": answer.text}],
        "stop_reason": ANTHROPIC_STOP_REASONS[answer.finish_reason],
        "stop_sequence": None,
        "usage": {"input_tokens": answer.input_tokens, "output_tokens": answer.output_tokens},
    }
