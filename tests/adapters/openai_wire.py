"""What OpenAI's documents print, and an account of many batches that answers without a network."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import httpx
import orjson

from orchestrator.domain.batch import Submission
from orchestrator.domain.model import AttemptToken, BatchId, FileId
from orchestrator.providers.http.client import HttpClient
from orchestrator.providers.http.exchange import Timeouts
from orchestrator.providers.http.secret import Secret
from orchestrator.providers.openai.provider import OpenAI
from tests.fakes.dialects import openai

KEY: Final = "sk-canary-9f86d081884c7d65"
ADDRESS: Final = "https://93.184.216.34"
BATCH: Final = BatchId("batch_abc123")
FILE: Final = FileId("file-abc123")
TOKEN: Final = AttemptToken("0123456789abcdef" * 2)
MADE_AT: Final = 1_790_000_000
NOW_S: Final = int(datetime.now(UTC).timestamp())
TIMEOUTS: Final = Timeouts(
    connect_s=10.0, read_s=10.0, write_s=10.0, call_s=15.0, create_s=15.0, upload_s=15.0, download_s=15.0
)

# As printed in the documents.
CREATED: Final[dict[str, Any]] = {
    "id": BATCH,
    "object": "batch",
    "endpoint": "/v1/chat/completions",
    "errors": None,
    "input_file_id": FILE,
    "completion_window": "24h",
    "status": "validating",
    "output_file_id": None,
    "error_file_id": None,
    "created_at": MADE_AT,
    "in_progress_at": None,
    "expires_at": MADE_AT + 86_400,
    "completed_at": None,
    "request_counts": {"total": 0, "completed": 0, "failed": 0},
    "metadata": {"orchestrator_attempt": TOKEN, "orchestrator_chunk": "job-1/c00000-00000"},
}
COMPLETED: Final = CREATED | {
    "status": "completed",
    "output_file_id": "file-output",
    "error_file_id": "file-error",
    "request_counts": {"total": 100, "completed": 95, "failed": 5},
    "usage": {"input_tokens": 1500, "output_tokens": 500, "total_tokens": 2000},
}


def a_submission(*lines: bytes, file_id: FileId | None = FILE) -> Submission:
    """Return a submission of these lines."""
    content = b"".join(line + b"\n" for line in lines or (b'{"custom_id":"a","body":{}}',))
    return Submission(
        token=TOKEN,
        request_count=len(lines) or 1,
        size_bytes=len(content),
        blocks=lambda: iter([content]),
        file_id=file_id,
        label="job-1/c00000-00000",
    )


@contextlib.contextmanager
def an_openai(url: str = ADDRESS, **settings: Any) -> Iterator[OpenAI]:
    """Open an account at a server, or at a `transport`."""
    http = HttpClient(f"{url}/v1", Secret(KEY), **({"timeouts": TIMEOUTS} | settings))
    try:
        yield openai(http)
    finally:
        http.close()


class Account(httpx.BaseTransport):
    """No network: an account with these batches, newest first; each call is kept as its method and its target."""

    def __init__(self, batches: list[dict[str, Any]], *, page_length: int = 100, **extras: object) -> None:
        self.batches = batches
        self.calls: list[str] = []
        self.list_calls = 0
        self.files: dict[str, str] = {}  # their names
        self.unlisted: set[str] = set()  # ids that the list does not show
        self.refusals: dict[str, tuple[int, Mapping[str, str]]] = {}  # by the path's beginning
        self._page_length = page_length
        self._extras = extras  # over what a page says of itself

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        target = request.extensions["target"].decode()
        self.calls.append(f"{request.method} {target}")
        self.list_calls += target.startswith("/v1/batches?")
        for beginning, (status, headers) in self.refusals.items():
            if target.startswith(beginning):
                return _response(status, {"error": {"message": "not now"}}, headers)
        path, _, query = target.partition("?")
        if path == "/v1/batches":
            return _response(200, self._page(httpx.QueryParams(query)))
        name = self.files.get(path.removeprefix("/v1/files/"))
        if name is not None:
            return _response(200, {"id": path.removeprefix("/v1/files/"), "object": "file", "filename": name})
        found = [batch for batch in self.batches if path == f"/v1/batches/{batch['id']}"]
        return _response(200, found[0]) if found else _response(404, {"error": {"message": "no such batch"}})

    def _page(self, query: httpx.QueryParams) -> dict[str, object]:
        shown = [batch for batch in self.batches if batch["id"] not in self.unlisted]
        start = [batch["id"] for batch in shown].index(query["after"]) + 1 if "after" in query else 0
        end = start + min(int(query["limit"]), self._page_length)
        return {"object": "list", "data": shown[start:end], "has_more": end < len(shown)} | self._extras


def _response(status: int, content: object, headers: Mapping[str, str] | None = None) -> httpx.Response:
    body = orjson.dumps(content)
    framed = {"content-length": str(len(body)), **(headers or {})}
    return httpx.Response(status, headers=framed, stream=httpx.ByteStream(body))


def a_batch(number: int, **fields: object) -> dict[str, Any]:
    """Return the batch object number so and so; a higher one is older by so many seconds."""
    made = {"id": f"batch_{number}", "created_at": MADE_AT - number, "metadata": {}, "input_file_id": f"file-{number}"}
    return CREATED | made | fields


def running(batch_count: int) -> list[dict[str, Any]]:
    return [a_batch(number, created_at=NOW_S - number, status="in_progress") for number in range(batch_count)]


class Odd(Account):
    """An account whose list is answered with what a test says."""

    def __init__(self, *answers: tuple[int, object]) -> None:
        super().__init__(running(50))
        self._answers = [(200, content) if not isinstance(content, tuple) else content for content in answers]

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        target = request.extensions["target"].decode()
        if not target.startswith("/v1/batches?"):
            return super().handle_request(request)
        self.calls.append(target)
        self.list_calls += 1
        status, content = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        body = orjson.dumps(content)
        return httpx.Response(status, headers={"content-length": str(len(body))}, stream=httpx.ByteStream(body))
