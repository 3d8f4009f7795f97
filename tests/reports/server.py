"""Two small servers of batch APIs, independent of our gateway: they behave as public reports say that a provider did.

`OpenAIServer` has files and batches; `OneRouterServer` takes the requests in the create. Both answer every request
of a batch at once, and the batch has ended at the second look. A test makes a subclass and overrides what the report
is about; every method may be overridden, and `super()` does what the real service does:

    class NoCredit(OpenAIServer):
        def create(self, wanted):
            if self.counts["creates"] == 1:
                return refusal(400, "Billing hard limit has been reached", code="billing_hard_limit_reached")
            return super().create(wanted)

    seen = play(NoCredit(), tmp_path, rows=30, chunk=6)     # tests/reports/play.py

What to override, from the inside to the outside:

    answer(request, place)        one request of a batch -> its lines, as (file, line). Call `self.pay(request)`
                                  for an answer that would be charged; `failed_line(...)` makes a failed one.
    fails(batch)                  the `errors.data` of a batch that ends `failed` before any request runs; [] if it runs
    finished(batch)               the batch object once it has ended
    upload, create, look, cancel, content, listed, deleted     one call each; they return a `Reply`, or a JSON value

What was seen: `counts` (uploads, creates, looks, downloads, deletes, cancels, refused), `paid` (prompt -> answers that
were charged), `sent` (prompt -> accepted batches it was in), `bodies` (request bodies), `calls` ("POST /v1/batches").
"""

from __future__ import annotations

import json
import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

Object = dict[str, Any]
CREATED_AT: Final = 1_764_500_000


def text_for(prompt: str) -> str:
    """Return the one right answer to a prompt."""
    return f"the answer to {prompt}"


@dataclass(slots=True)
class Reply:
    """An answer over HTTP. `body` is bytes, a text, or a value to be sent as JSON."""

    body: Any = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    def content(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


def refusal(status: int, message: str, *, code: str | None = None, **more: Any) -> Reply:
    """Return an error as OpenAI writes it; `more` are fields of the error: type, param."""
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code} | more
    return Reply({"error": error}, status)


def failed_line(custom_id: str, status: int, message: str, *, code: str | None = None) -> tuple[str, Object]:
    """Return the line of a request that was refused with an HTTP status."""
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    response = {"status_code": status, "request_id": "req", "body": {"error": error}}
    return "error", {"id": "x", "custom_id": custom_id, "response": response, "error": None}


@dataclass(slots=True)
class Request:
    """A request of a batch."""

    custom_id: str
    body: Object

    @property
    def prompt(self) -> str:
        return str(self.body["messages"][-1]["content"])


@dataclass(slots=True)
class Batch:
    """A batch, and how it will end."""

    id: str
    requests: list[Request]
    input_file: str = ""
    metadata: Any = None
    looks: int = 0
    errors: list[Object] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)  # "output" and "error"
    line_counts: dict[str, int] = field(default_factory=dict)
    cancelled: bool = False


class _BatchServer:
    """What both servers share."""

    provider = ""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.url = ""
        self.counts: Counter[str] = Counter()
        self.paid: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.bodies: list[Object] = []
        self.calls: list[str] = []
        self.batches: dict[str, Batch] = {}

    def answer(self, request: Request, place: int) -> list[tuple[str, Object]]:  # noqa: ARG002 - for subclasses
        """Return the lines about the request at `place` (0-based) of its batch, each with its file."""
        self.pay(request)
        response = {"status_code": 200, "request_id": "req", "body": self.completion(request)}
        return [("output", {"id": "x", "custom_id": request.custom_id, "response": response, "error": None})]

    def completion(self, request: Request, **more: Any) -> Object:
        """Return a chat completion with the right text; `more` replaces fields of it."""
        message = {"role": "assistant", "content": text_for(request.prompt)}
        choices = [{"index": 0, "finish_reason": "stop", "message": message}]
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        completion = {"id": "c", "object": "chat.completion", "created": 1, "model": request.body["model"]}
        return completion | {"choices": choices, "usage": usage} | more

    def fails(self, batch: Batch) -> list[Object]:  # noqa: ARG002 - for subclasses
        """Return the errors of a batch that fails before any of its requests runs."""
        return []

    def pay(self, request: Request) -> None:
        self.paid[request.prompt] += 1

    def accept(self, requests: list[Request], **more: Any) -> Batch:
        """Make a batch, and decide how it ends."""
        batch = Batch(id=f"batch_{len(self.batches) + 1:04d}", requests=requests, **more)
        self.batches[batch.id] = batch
        self.counts["creates"] += 1
        for request in requests:
            self.sent[request.prompt] += 1
            self.bodies.append(request.body)
        batch.errors = self.fails(batch)
        if not batch.errors:
            self.run(batch)
        return batch

    def run(self, batch: Batch) -> None:
        """Answer every request of a batch."""
        lines: dict[str, list[bytes]] = {}
        for place, request in enumerate(batch.requests):
            for name, line in self.answer(request, place):
                lines.setdefault(name, []).append(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        batch.files = {name: b"".join(found) for name, found in lines.items()}
        batch.line_counts = {name: len(found) for name, found in lines.items()}

    def reply(self, method: str, path: str, query: Mapping[str, str], headers: Any, body: bytes) -> Any:
        raise NotImplementedError


class OpenAIServer(_BatchServer):
    """Files and batches, as at OpenAI."""

    provider = "openai"

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, tuple[str, bytes]] = {}  # id -> name, content

    def upload(self, name: str, content: bytes) -> Any:
        file_id = f"file-{self.counts['uploads'] + 1:04d}"  # never that of a file that is deleted
        self.files[file_id] = (name, content)
        self.counts["uploads"] += 1
        return self.file_object(file_id)

    def file_object(self, file_id: str) -> Object:
        name, content = self.files[file_id]
        kept = {"bytes": len(content), "filename": name, "purpose": "batch", "status": "processed"}
        return {"id": file_id, "object": "file", "created_at": CREATED_AT} | kept

    def content(self, file_id: str) -> Any:
        self.counts["downloads"] += 1
        return Reply(self.files[file_id][1]) if file_id in self.files else self.no_file(file_id)

    def deleted(self, file_id: str) -> Any:
        self.counts["deletes"] += 1
        self.files.pop(file_id, None)
        return {"id": file_id, "object": "file", "deleted": True}

    def no_file(self, file_id: str) -> Reply:
        return refusal(404, f"No such File object: {file_id}")

    def create(self, wanted: Object) -> Any:
        """Make a batch of an input file; `wanted` is the body of the create."""
        file_id = wanted["input_file_id"]
        if file_id not in self.files:
            return refusal(400, f"No such File object: {file_id}", param="input_file_id")
        lines = [json.loads(line) for line in self.files[file_id][1].splitlines() if line]
        requests = [Request(line["custom_id"], line["body"]) for line in lines]
        return self.shown(self.accept(requests, input_file=file_id, metadata=wanted.get("metadata")))

    def look(self, batch_id: str) -> Any:
        if batch_id not in self.batches:
            return refusal(404, f"No batch found with id '{batch_id}'.")
        self.batches[batch_id].looks += 1
        return self.shown(self.batches[batch_id])

    def listed(self) -> Any:
        """Answer with all batches on one page, newest first; a list is a look at each of them."""
        for batch in self.batches.values():
            batch.looks += 1
        data = [self.shown(batch) for batch in reversed(self.batches.values())]
        return {"object": "list", "data": data, "has_more": False}

    def cancel(self, batch_id: str) -> Any:
        self.counts["cancels"] += 1
        self.batches[batch_id].cancelled = True
        return self.shown(self.batches[batch_id])

    def shown(self, batch: Batch) -> Object:
        """Return the batch object."""
        if batch.looks > 1:
            return self.finished(batch)
        status = "validating" if not batch.looks else "in_progress"
        return self.object(batch, status, {"total": len(batch.requests), "completed": 0, "failed": 0})

    def finished(self, batch: Batch) -> Object:
        """Return the batch object once it has ended."""
        if batch.errors:
            errors = {"object": "list", "data": batch.errors}
            return self.object(batch, "failed", {"total": 0, "completed": 0, "failed": 0}, errors=errors)
        counts = {"completed": batch.line_counts.get("output", 0), "failed": batch.line_counts.get("error", 0)}
        files = {}
        for name, content in batch.files.items():
            file_id = f"file-{batch.id}-{name}"
            self.files.setdefault(file_id, (f"{name}.jsonl", content))
            files[f"{name}_file_id"] = file_id
        state = "cancelled" if batch.cancelled else "completed"
        return self.object(batch, state, {"total": len(batch.requests)} | counts, **files)

    def object(self, batch: Batch, status: str, counts: Object, **more: Any) -> Object:
        """Return a batch object; `more` replaces fields of it."""
        known = {"id": batch.id, "object": "batch", "endpoint": "/v1/chat/completions", "errors": None}
        sent = {"input_file_id": batch.input_file, "metadata": batch.metadata, "completion_window": "24h"}
        files = {"output_file_id": None, "error_file_id": None}
        return known | sent | files | {"status": status, "created_at": CREATED_AT, "request_counts": counts} | more

    def reply(self, method: str, path: str, query: Mapping[str, str], headers: Any, body: bytes) -> Any:  # noqa: ARG002
        parts = path.removeprefix("/v1").strip("/").split("/")
        match method, *parts:
            case "POST", "files":
                return self.upload(*_form(headers["Content-Type"], body))
            case "GET", "files", file_id:
                return self.file_object(file_id) if file_id in self.files else self.no_file(file_id)
            case "DELETE", "files", file_id:
                return self.deleted(file_id)
            case "GET", "files", file_id, "content":
                return self.content(file_id)
            case "POST", "batches":
                return self.create(json.loads(body))
            case "GET", "batches":
                self.counts["lists"] += 1
                return self.listed()
            case "GET", "batches", batch_id:
                self.counts["looks"] += 1
                return self.look(batch_id)
            case "POST", "batches", batch_id, "cancel":
                return self.cancel(batch_id)
        return refusal(404, f"not here: {method} {path}")


class OneRouterServer(_BatchServer):
    """Requests inline in the create, results at a URL, as in OneRouter's quickstart."""

    provider = "onerouter"

    def create(self, wanted: Object) -> Any:
        """Make a batch; `wanted` is the body of the create."""
        requests = [Request(one["custom_id"], one["params"]) for one in wanted["requests"]]
        batch = self.accept(requests)
        inner = {"id": batch.id, "object": "batch", "status": "validating", "created_at": CREATED_AT}
        return {"batch": inner, "batch_id": batch.id, "file_id": "file-1", "task_id": 1, "task_status": "NOT_START"}

    def look(self, batch_id: str) -> Any:
        if batch_id not in self.batches:
            return refusal(404, "no such batch")
        self.batches[batch_id].looks += 1
        return self.shown(self.batches[batch_id])

    def shown(self, batch: Batch) -> Object:
        """Return the status object."""
        if batch.looks > 1:
            return self.finished(batch)
        return self.object(batch, "IN_PROGRESS", progress="50%")

    def finished(self, batch: Batch) -> Object:
        """Return the status object once the batch has ended."""
        if batch.errors:
            return self.object(batch, "FAILURE", fail_reason=batch.errors[0].get("message", ""))
        done, failed = batch.line_counts.get("output", 0), batch.line_counts.get("error", 0)
        counts = {"completed_count": done, "failed_count": failed, "fees": f"{done * 1e-5:.9f}"}
        return self.object(batch, "SUCCESS", progress="100%", result_url=self.result_url(batch), **counts)

    def result_url(self, batch: Batch) -> str:
        return f"{self.url}/resource/batch-llm/azure-batch%2F{batch.id}.jsonl"

    def object(self, batch: Batch, status: str, **more: Any) -> Object:
        """Return a status object; `more` replaces fields of it."""
        counts = {"completed_count": 0, "failed_count": 0, "total_requests": len(batch.requests)}
        words = {"error": "", "fail_reason": "", "fees": "0.000000000", "result_url": "", "progress": "100%"}
        return {"batch_id": batch.id, "status": status, "submit_time": CREATED_AT} | counts | words | more

    def cancel(self, batch_id: str) -> Any:
        self.counts["cancels"] += 1
        return {"batch_id": batch_id, "processing_status": "canceling"}

    def content(self, batch_id: str) -> Any:
        self.counts["downloads"] += 1
        batch = self.batches[batch_id]
        return Reply(batch.files.get("output", b"") + batch.files.get("error", b""))

    def reply(self, method: str, path: str, query: Mapping[str, str], headers: Any, body: bytes) -> Any:  # noqa: ARG002
        if path.startswith("/resource/"):
            self.counts["key_to_result_host"] += bool(headers.get("Authorization"))
            return self.content(path.rpartition("%2F")[2].removesuffix(".jsonl"))
        match method, *path.removeprefix("/v1").strip("/").split("/"):
            case "POST", "batches":
                return self.create(json.loads(body))
            case "GET", "batches", batch_id:
                self.counts["looks"] += 1
                return self.look(batch_id)
            case "POST", "batches", batch_id, "cancel":
                return self.cancel(batch_id)
        return refusal(404, "no such route")


def _form(content_type: str, body: bytes) -> tuple[str, bytes]:
    """Return the name and the content of the file in a multipart form."""
    found = re.search(r'boundary="?([^";]+)', content_type)
    assert found is not None, content_type
    for part in body.split(b"--" + found[1].encode()):
        head, _, content = part.partition(b"\r\n\r\n")
        name = re.search(rb'filename="([^"]*)"', head)
        if name is not None:
            return name[1].decode(), content.removesuffix(b"\r\n")
    raise AssertionError("a form without a file")


@contextmanager
def running(server: OpenAIServer | OneRouterServer) -> Iterator[str]:
    """Serve on the loopback address until the block ends, and give the base URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def setup(self) -> None:
            super().setup()
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            url = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            server.calls.append(f"{self.command} {url.path}")
            with server.lock:
                found = server.reply(self.command, url.path, query, self.headers, body)
            reply = found if isinstance(found, Reply) else Reply(found)
            server.counts["refused"] += self.command == "POST" and reply.status >= 400
            content = reply.content()
            self.send_response_only(reply.status)
            for name, value in ({"Content-Type": "application/json"} | dict(reply.headers)).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - the names that http.server looks for

    port = int(server.url.rpartition(":")[2] or 0)  # the same address, if it is served again
    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as http:
        http.daemon_threads = True
        server.url = f"http://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"{server.url}/v1"
        finally:
            http.shutdown()
