"""The dialects, as the matrix needs them: how each is made, and what its server says when all is well."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import orjson

from orchestrator.domain import custom_id
from orchestrator.ports import Provider
from orchestrator.providers.http.client import HttpClient
from tests.fakes.clock import BEGINNING
from tests.fakes.dialects import anthropic, onerouter, openai
from tests.matrix.server import Answers

DIGEST: Final = "9f86d081"
ROW_COUNT: Final = 4
BATCH: Final = "batch_a34c321b"


class Kind(StrEnum):
    """Which step calls an endpoint, and so what its outcomes are."""

    UPLOAD = "upload"
    CREATE = "create"
    LIST = "list"
    FENCE = "fence"
    STATUS = "status"
    RESULTS = "results"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One endpoint of a dialect."""

    name: str
    kind: Kind
    words: str
    target: str  # the key of its good answer
    answers: Callable[[str], Answers]  # of where the results are said to be
    elsewhere: bool = False  # a fault of the way is one of the way to the results


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One dialect."""

    make: Callable[[HttpClient], Provider]
    endpoints: Mapping[str, Endpoint]

    @property
    def create(self) -> Endpoint:
        """The endpoint that makes batches."""
        return next(one for one in self.endpoints.values() if one.kind is Kind.CREATE)


def result_lines(rows: range = range(ROW_COUNT), *, status: int = 200) -> bytes:
    """Return an answer to each row, in the shape that both dialects share."""
    return b"".join(_line(row, status) + b"\n" for row in rows)


def _line(row: int, status: int) -> bytes:
    said = {
        "message": {"content": "yes" * (row + 1)},
        "finish_reason": "stop",
    }  # so that half a file is no whole lines
    body = {"choices": [said], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    response = {"status_code": status, "body": body if status == 200 else {"error": {"message": "no"}}}
    return orjson.dumps({"custom_id": custom_id.custom_id(DIGEST, 0, row), "response": response, "error": None})


CREATE: Final = "POST /v1/batches"
STATUS: Final = f"GET /v1/batches/{BATCH}"
CANCEL: Final = f"POST /v1/batches/{BATCH}/cancel"
FILE: Final = "GET /resource/results.jsonl"


def _onerouter(results: str, *, own: bool = False) -> Answers:
    ended = {
        "batch_id": BATCH,
        "status": "SUCCESS",
        "completed_count": ROW_COUNT,
        "failed_count": 0,
        "total_requests": ROW_COUNT,
        "fees": "0.000497",
        "result_url": results + FILE.removeprefix("GET "),
    }
    return {
        CREATE: orjson.dumps({"batch": {"id": BATCH, "status": "validating"}, "batch_id": BATCH}),
        STATUS: result_lines() if own else orjson.dumps(ended),
        CANCEL: orjson.dumps({"batch_id": BATCH, "status": "CANCELLING"}),
        FILE: result_lines(),
    }


def _onerouter_endpoints() -> tuple[Endpoint, ...]:
    return (
        Endpoint(name="create", kind=Kind.CREATE, words=CREATE, target=CREATE, answers=_onerouter),
        Endpoint(name="status", kind=Kind.STATUS, words=STATUS, target=STATUS, answers=_onerouter),
        Endpoint(
            name="results_own",
            kind=Kind.RESULTS,
            words=f"{STATUS}, answered with the results themselves",
            target=STATUS,
            answers=lambda results: _onerouter(results, own=True),
        ),
        Endpoint(
            name="results_url",
            kind=Kind.RESULTS,
            words="GET of the result URL, without the key",
            target=FILE,
            answers=_onerouter,
            elsewhere=True,
        ),
        Endpoint(name="cancel", kind=Kind.CANCEL, words=CANCEL, target=CANCEL, answers=_onerouter),
    )


INPUT: Final = "file-input"
UPLOAD: Final = "POST /v1/files"
LIST: Final = r"GET /v1/batches\?limit=.*"
DELETE: Final = f"DELETE /v1/files/{INPUT}"
OUTPUT: Final = "GET /v1/files/file-output/content"
ERRORS: Final = "GET /v1/files/file-error/content"
FAILED_COUNT: Final = 1


def _openai(_results: str) -> Answers:
    done_count = ROW_COUNT - FAILED_COUNT
    batch = {"id": BATCH, "object": "batch", "input_file_id": INPUT, "created_at": 1_767_225_600}
    ended = {
        "status": "completed",
        "output_file_id": "file-output",
        "error_file_id": "file-error",
        "request_counts": {"total": ROW_COUNT, "completed": done_count, "failed": FAILED_COUNT},
    }
    return {
        UPLOAD: orjson.dumps({"id": INPUT, "object": "file", "purpose": "batch"}),
        CREATE: orjson.dumps(batch | {"status": "validating"}),
        STATUS: orjson.dumps(batch | ended),
        # Whatever the create was answered with: if the server has read it, there is a batch.
        LIST: lambda read: orjson.dumps(
            {"data": [batch | {"status": "validating"}] * (CREATE in read), "has_more": False}
        ),
        DELETE: orjson.dumps({"id": INPUT, "deleted": True}),
        CANCEL: orjson.dumps(batch | {"status": "cancelling"}),
        OUTPUT: result_lines(range(done_count)),
        ERRORS: result_lines(range(done_count, ROW_COUNT), status=400),
    }


def _openai_endpoints() -> tuple[Endpoint, ...]:
    kinds = (
        ("file_upload", Kind.UPLOAD, UPLOAD, UPLOAD),
        ("create", Kind.CREATE, CREATE, CREATE),
        ("status", Kind.STATUS, STATUS, STATUS),
        ("list", Kind.LIST, LIST, "GET /v1/batches, to find a batch whose create had no answer"),
        ("output", Kind.RESULTS, OUTPUT, "GET of the output file's content"),
        ("errors", Kind.RESULTS, ERRORS, "GET of the error file's content"),
        ("cancel", Kind.CANCEL, CANCEL, CANCEL),
        ("file_delete", Kind.FENCE, DELETE, "DELETE of the input file, so that a late create must fail"),
    )
    return tuple(
        Endpoint(name=name, kind=kind, words=words, target=target, answers=_openai)
        for name, kind, target, words in kinds
    )


MESSAGES: Final = "/v1/messages/batches"
MESSAGE_CREATE: Final = f"POST {MESSAGES}"
MESSAGE_STATUS: Final = f"GET {MESSAGES}/{BATCH}"
MESSAGE_LIST: Final = rf"GET {MESSAGES}\?limit=.*"
MESSAGE_CANCEL: Final = f"POST {MESSAGES}/{BATCH}/cancel"
MESSAGE_RESULTS: Final = f"GET {MESSAGES}/{BATCH}/results"


def _anthropic(_results: str) -> Answers:
    counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
    batch = {"id": BATCH, "type": "message_batch", "created_at": BEGINNING.isoformat()}
    running = batch | {"processing_status": "in_progress", "request_counts": counts | {"processing": ROW_COUNT}}
    ended = batch | {
        "processing_status": "ended",
        "request_counts": counts | {"succeeded": ROW_COUNT},
        "results_url": f"{MESSAGES}/{BATCH}/results",
    }
    return {
        MESSAGE_CREATE: orjson.dumps(running),
        MESSAGE_STATUS: orjson.dumps(ended),
        # The list shows nothing of the create; the batch has ended, so its results tell.
        MESSAGE_LIST: lambda read: orjson.dumps({"data": [ended] * (MESSAGE_CREATE in read), "has_more": False}),
        MESSAGE_CANCEL: orjson.dumps(running | {"processing_status": "canceling"}),
        MESSAGE_RESULTS: b"".join(_message_line(row) + b"\n" for row in range(ROW_COUNT)),
    }


def _message_line(row: int) -> bytes:
    message = {
        "type": "message",
        "content": [{"type": "text", "text": "yes" * (row + 1)}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 3, "output_tokens": 2},
    }
    result = {"type": "succeeded", "message": message}
    return orjson.dumps({"custom_id": custom_id.custom_id(DIGEST, 0, row), "result": result})


def _anthropic_endpoints() -> tuple[Endpoint, ...]:
    kinds = (
        ("create", Kind.CREATE, MESSAGE_CREATE, MESSAGE_CREATE),
        ("status", Kind.STATUS, MESSAGE_STATUS, MESSAGE_STATUS),
        ("list", Kind.LIST, MESSAGE_LIST, f"GET {MESSAGES}, to find a batch whose create had no answer"),
        ("results", Kind.RESULTS, MESSAGE_RESULTS, "GET of the batch's `results_url`"),
        ("cancel", Kind.CANCEL, MESSAGE_CANCEL, MESSAGE_CANCEL),
    )
    return tuple(
        Endpoint(name=name, kind=kind, words=words, target=target, answers=_anthropic)
        for name, kind, target, words in kinds
    )


DIALECTS: Final[Mapping[str, Dialect]] = {
    "onerouter": Dialect(make=onerouter, endpoints={one.name: one for one in _onerouter_endpoints()}),
    "openai": Dialect(make=openai, endpoints={one.name: one for one in _openai_endpoints()}),
    "anthropic": Dialect(make=anthropic, endpoints={one.name: one for one in _anthropic_endpoints()}),
}
