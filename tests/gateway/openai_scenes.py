"""Calls in OpenAI's dialect to a gateway in process: uploads, creates, result files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import httpx

from tests.gateway.in_process import Gateway, lines_of

ENDPOINT: Final = "/v1/chat/completions"
MODEL: Final = "gpt-4o-mini"


def a_line(
    custom_id: str = "row-0", question: str = "What is the capital of France?", **changes: Any
) -> dict[str, Any]:
    """One line of an input file; `changes` replace its keys."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": question}]}
    return {"custom_id": custom_id, "method": "POST", "url": ENDPOINT, "body": body, **changes}


def some_lines(count: int) -> list[dict[str, Any]]:
    return [a_line(f"row-{number}", f"Question {number}?") for number in range(count)]


def jsonl(lines: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def send_file(gateway: Gateway, content: bytes, *, name: str = "in.jsonl", purpose: str = "batch") -> httpx.Response:
    files = {"file": (name, content, "application/jsonl")}
    return gateway.send("POST", "/v1/files", files=files, data={"purpose": purpose})


def upload(gateway: Gateway, lines: Sequence[dict[str, Any]]) -> str:
    """Upload lines that must be accepted; return the file's id."""
    answer = send_file(gateway, jsonl(lines))
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def send_create(gateway: Gateway, file_id: str, **changes: Any) -> httpx.Response:
    order = {"input_file_id": file_id, "endpoint": ENDPOINT, "completion_window": "24h", **changes}
    return gateway.send("POST", "/v1/batches", json=order)


def create(gateway: Gateway, lines: Sequence[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    """Upload lines and create a batch of them that must be accepted; return it."""
    answer = send_create(gateway, upload(gateway, lines), **changes)
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def poll(gateway: Gateway, batch_id: str) -> dict[str, Any]:
    answer = gateway.send("GET", f"/v1/batches/{batch_id}")
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def ended(gateway: Gateway, lines: Sequence[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    """Create a batch, let it end, return it."""
    batch = create(gateway, lines, **changes)
    gateway.end()
    return poll(gateway, batch["id"])


def listed(gateway: Gateway, **parameters: Any) -> dict[str, Any]:
    """Return one page of `GET /v1/batches`."""
    answer = gateway.send("GET", "/v1/batches", params=parameters)
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


def listed_ids(gateway: Gateway) -> list[str]:
    return [each["id"] for each in listed(gateway)["data"]]


def content(gateway: Gateway, file_id: str) -> bytes:
    answer = gateway.send("GET", f"/v1/files/{file_id}/content")
    assert answer.status_code == 200, answer.text
    return answer.content


def answers(gateway: Gateway, batch: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the lines of a batch's output file, which must be undamaged."""
    return lines_of(content(gateway, batch["output_file_id"]))


def failures(gateway: Gateway, batch: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the lines of a batch's error file, which must be undamaged."""
    return lines_of(content(gateway, batch["error_file_id"]))


def names(lines: Sequence[dict[str, Any]]) -> set[str]:
    return {line["custom_id"] for line in lines}
