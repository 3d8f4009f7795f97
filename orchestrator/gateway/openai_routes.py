"""OpenAI's routes. Both dialects share `/v1/batches`: the body of a create, or the id, decides which one it is.

    POST /v1/files     GET /v1/files     GET, DELETE /v1/files/{id}     GET /v1/files/{id}/content
    POST /v1/batches   GET /v1/batches   GET /v1/batches/{id}           POST /v1/batches/{id}/cancel

Rule: a fault of a route strikes before its effect (`refuse`) or after it, never in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from orchestrator.gateway.envelopes import reshaped
from orchestrator.gateway.faults import Fault
from orchestrator.gateway.intake import RequestRefused
from orchestrator.gateway.openai_intake import CreateRequest, OpenAIRefused
from orchestrator.gateway.openai_service import OpenAIService
from orchestrator.gateway.openai_wire import batch_object, deleted_object, error_envelope, file_object, page_of
from orchestrator.gateway.states import OpenAIStatus
from orchestrator.gateway.uploads import receive_upload
from orchestrator.gateway.wire import Delivery, FileAnswer, fault_answer

BATCHES_MAX: Final = 100
BATCHES_DEFAULT: Final = 20
FILES_MAX: Final = 10_000


class OpenAIRoutes:
    """The handlers; `require_key` checks the API key of a request."""

    def __init__(self, openai: OpenAIService, require_key: Callable[[Request], None]) -> None:
        self.openai = openai
        self.service = openai.service
        self.require_key = require_key

    async def upload(self, request: Request) -> Response:
        self.require_key(request)
        arrived = self.service.arrival_path()
        try:
            upload = await receive_upload(request, arrived, self.service.config.size_bytes_max)

            async def effect() -> Response:
                file = await asyncio.to_thread(self.openai.add_file, arrived, upload)
                return answered(_told(file_object(file), self.service.plan.upload.bytes_told))

            return await self.guarded("upload", effect)
        except ClientDisconnect:
            return Response(status_code=499)  # the client has gone; an upload that was sent in part has no effect
        finally:
            with contextlib.suppress(FileNotFoundError):
                arrived.unlink()

    async def files(self, request: Request) -> Response:
        self.require_key(request)

        async def effect() -> Response:
            order = request.query_params.get("order", "desc")
            if order not in {"asc", "desc"}:
                raise OpenAIRefused(400, "order: asc or desc", param="order")
            found, has_more = await asyncio.to_thread(
                lambda: self.openai.files(
                    purpose=request.query_params.get("purpose"),
                    after=request.query_params.get("after"),
                    is_rising=order == "asc",
                    limit=_limit(request, FILES_MAX, FILES_MAX),
                )
            )
            return answered(page_of([file_object(file) for file in found], has_more=has_more))

        return await self.guarded("files", effect)

    async def file(self, request: Request) -> Response:
        self.require_key(request)

        async def effect() -> Response:
            return answered(file_object(await asyncio.to_thread(self.openai.file, request.path_params["file_id"])))

        return await self.guarded("files", effect)

    async def delete(self, request: Request) -> Response:
        self.require_key(request)
        file_id = request.path_params["file_id"]

        async def effect() -> Response:
            await asyncio.to_thread(self.openai.delete_file, file_id)
            return answered(deleted_object(file_id))

        return await self.guarded("delete", effect)

    async def content(self, request: Request) -> Response:
        self.require_key(request)
        file = await asyncio.to_thread(self.openai.file, request.path_params["file_id"])
        path = self.openai.store.file_path(file.file_id)
        if not file.batch_id:
            return self._file(path, Delivery(), _nothing)
        batch, extras = await asyncio.to_thread(self.openai.look, file.batch_id)
        has_answers = file.file_id == extras.output_file_id
        fault = await asyncio.to_thread(lambda: self.service.file_fault(batch, file.file_id, has_answers=has_answers))
        if fault is not None and fault.name == "redirect":
            return moved(request)
        if fault is not None and fault.name == "refuse":
            raise OpenAIRefused(fault.status, "simulated failure of the file host")

        async def when_whole() -> None:
            await asyncio.to_thread(self.service.count_whole_download, batch)

        return self._file(path, self.service.delivery(fault), when_whole if has_answers else _nothing)

    async def create(self, request: CreateRequest) -> Response:
        made = await asyncio.to_thread(self.openai.create, request)
        if isinstance(made, Fault):
            return fault_answer(made, self.service.plan.create, self.service.clock, error_envelope, answered)
        return answered(reshaped(made, self.service.plan.create.shape))

    async def batches(self, request: Request) -> Response:
        self.require_key(request)

        async def effect() -> Response:
            limit = _limit(request, BATCHES_DEFAULT, BATCHES_MAX)
            found, has_more = await asyncio.to_thread(self.openai.page, request.query_params.get("after"), limit)
            return answered(page_of(found, has_more=has_more))

        return await self.guarded("list", effect)

    async def status(self, batch_id: str) -> Response:
        batch, extras = await asyncio.to_thread(self.openai.look, batch_id)
        fault = await asyncio.to_thread(self.service.status_fault, batch)
        faults = self.service.plan.status
        if fault is not None:
            match fault.name:
                case "not_found":
                    raise OpenAIRefused(404, "No batch found with the given id", param="id")
                case "stale":
                    return answered(batch_object(batch, extras, OpenAIStatus.VALIDATING, batch.submitted_at))
                case "unknown":
                    return answered(self.openai.shown(batch, extras) | {"status": faults.unknown_word})
            return fault_answer(fault, faults, self.service.clock, error_envelope, answered)
        if self.service.clock.now() >= batch.ends_at and not batch.is_settled:
            loop = asyncio.get_running_loop()
            batch, extras = await loop.run_in_executor(self.service.settling, self.openai.settle, batch_id)
        hides_output = await asyncio.to_thread(self.openai.hides_output, batch)
        return answered(self.openai.shown(batch, extras, hides_output=hides_output))

    async def cancel(self, batch_id: str) -> Response:
        async def effect() -> Response:
            return answered(await asyncio.to_thread(self.openai.cancel, batch_id))

        return await self.guarded("cancel", effect)

    async def guarded(
        self,
        route: str,
        effect: Callable[[], Awaitable[Response]],
        error: Callable[[int, str, str | None], dict[str, Any]] = error_envelope,
    ) -> Response:
        """Run a route's effect under the faults that the plan has for it; `error` is its dialect's error envelope."""
        fault = await asyncio.to_thread(self.service.route_fault, route)
        if fault is None:
            return await effect()
        if fault.name != "refuse":
            await effect()
        return fault_answer(fault, getattr(self.service.plan, route), self.service.clock, error, answered)

    def _file(self, path: Path, delivery: Delivery, when_whole: Callable[[], Awaitable[None]]) -> Response:
        try:
            return FileAnswer(path, delivery, self.service.clock, when_whole)
        except FileNotFoundError as error:  # deleted in the meantime
            raise OpenAIRefused(404, "No such File object", param="id") from error


def answered(content: dict[str, Any], status: int = 200) -> Response:
    """Return a JSON answer, with the request id the vendor puts on every one."""
    headers = {"x-request-id": f"req_{uuid.uuid4().hex}"}
    return Response(msgspec.json.encode(content), status, headers, "application/json")


def moved(request: Request) -> Response:
    """Return a redirect to the same file at another URL."""
    return Response(status_code=302, headers={"location": str(request.url.include_query_params(moved="1"))})


def _told(file: dict[str, Any], bytes_told: str) -> dict[str, Any]:
    """Return a file object as the plan lets it tell the file's size."""
    if bytes_told == "none":
        return {key: value for key, value in file.items() if key != "bytes"}
    return file | {"bytes": 0} if bytes_told == "zero" else file


def refused(error: RequestRefused) -> Response:
    """Return a refusal in OpenAI's envelope."""
    code, param = (error.code, error.param) if isinstance(error, OpenAIRefused) else (None, None)
    return answered(error_envelope(error.status, str(error), code, param), error.status)


def _limit(request: Request, default: int, most: int) -> int:
    wanted = request.query_params.get("limit", str(default))
    if not wanted.isascii() or not wanted.isdigit() or not 1 <= int(wanted[:9]) <= most:
        raise OpenAIRefused(400, f"limit: from 1 to {most}", param="limit")
    return int(wanted)


async def _nothing() -> None:
    return
