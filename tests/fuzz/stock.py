"""Things that are there: files and batches of all dialects, for requests whose ids were only drawn."""

from __future__ import annotations

import time
import zlib
from typing import Any, Final

import httpx
import schemathesis

from tests.gateway.in_process import a_row
from tests.gateway.openai_scenes import ENDPOINT, jsonl, some_lines

DEADLINE_S: Final = 30.0
LOOK_EVERY_S: Final = 0.02


class Stock:
    """What a gateway holds; `put_into` a drawn case, every second time."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self._messages_ended = ""
        self._messages_ended = self._message_batch(0)
        ended = self._onerouter_batch()
        link = self._when_it_has("result_url", ended)
        self._ended = {"name": link.rpartition("%2F")[2], "batch_id": ended}
        openai = self._openai_batch()
        self._openai_ended = {"file_id": self._when_it_has("output_file_id", openai), "batch_id": openai}

    def put_into(self, case: schemathesis.Case) -> None:
        """Let a sound case speak of what is there, or leave it: its own values decide, so that a seed says all."""
        if case.meta is None or not case.meta.generation.mode.is_positive:
            return
        turn = zlib.crc32(repr((case.path_parameters, case.query, case.body)).encode()) % 6
        is_message = case.path.startswith("/v1/messages")
        for name in case.path_parameters or {}:
            if turn < 4:
                case.path_parameters[name] = self._message_batch(turn) if is_message else self._known(name, turn)
        for name in ("after_id", "before_id"):
            if name in (case.query or {}) and turn < 3:
                case.query[name] = self._message_batch(0)
        if "after" in (case.query or {}) and turn < 3:
            case.query["after"] = self._openai_ended["file_id" if case.path.endswith("files") else "batch_id"]
        if isinstance(case.body, dict) and isinstance(case.body.get("input_file_id"), str) and turn < 3:
            case.body = case.body | {"input_file_id": self._file()}

    def is_upload(self, case: schemathesis.Case) -> bool:
        """Whether it is a sound upload."""
        is_sound = case.meta is not None and case.meta.generation.mode.is_positive
        return is_sound and (case.method, case.path) == ("POST", "/v1/files") and isinstance(case.body, dict)

    def upload(self, case: schemathesis.Case) -> httpx.Response:
        """Send a drawn upload; a description has no word for a file's name, and this one must end in .jsonl."""
        assert isinstance(case.body, dict)
        fields = {name: str(value) for name, value in case.body.items() if name != "file"}
        content = case.body.get("file", b"")
        content = content if isinstance(content, bytes) else repr(content).encode()
        request = self._client.build_request("POST", case.path, files={"file": ("drawn.jsonl", content)}, data=fields)
        request.read()
        return self._client.send(request)

    def _known(self, name: str, turn: int) -> str:
        match name, turn:
            case "name", _:
                return self._ended["name"]
            case "file_id", 0:
                return self._openai_ended["file_id"]
            case "file_id", _:
                return self._file()
            case _, 0:
                return self._ended["batch_id"]
            case _, 1:
                return self._openai_ended["batch_id"]
            case _, 2:
                return self._onerouter_batch()
        return self._openai_batch()

    def _onerouter_batch(self) -> str:
        return str(self._made("/v1/batches", json={"requests": [a_row()]})["batch_id"])

    def _message_batch(self, turn: int) -> str:
        """Return a batch of Anthropic's that has ended, or a new one."""
        if turn == 0 and self._messages_ended:
            return self._messages_ended
        content = {"requests": [a_row()]}
        return str(self._made("/v1/messages/batches", json=content, headers={"anthropic-version": "2026-10-21"})["id"])

    def _file(self) -> str:
        files = {"file": ("rows.jsonl", jsonl(some_lines(1)))}
        return str(self._made("/v1/files", files=files, data={"purpose": "batch"})["id"])

    def _openai_batch(self) -> str:
        order = {"input_file_id": self._file(), "endpoint": ENDPOINT, "completion_window": "24h"}
        return str(self._made("/v1/batches", json=order)["id"])

    def _made(self, path: str, **content: Any) -> dict[str, Any]:
        answer = self._client.post(path, **content)
        answer.raise_for_status()
        made: dict[str, Any] = answer.json()
        return made

    def _when_it_has(self, key: str, batch_id: str) -> str:
        deadline = time.monotonic() + DEADLINE_S
        while not (value := self._client.get(f"/v1/batches/{batch_id}").json()[key]):
            assert time.monotonic() < deadline, batch_id
            time.sleep(LOOK_EVERY_S)
        return str(value)
