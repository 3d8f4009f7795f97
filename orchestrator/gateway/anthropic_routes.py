"""Anthropic's routes.

    POST /v1/messages/batches               GET /v1/messages/batches
    GET, DELETE /v1/messages/batches/{id}   POST …/{id}/cancel         GET …/{id}/results

Rule 1: a fault of a route strikes before its effect (`refuse`) or after it, never in between. An error after the effect
        says `x-should-retry: false`: the vendor's client would repeat it.
Rule 2: the key may come as `Authorization: Bearer` or as `x-api-key`; `anthropic-version` must be given.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from orchestrator.gateway.anthropic_bodies import VERSIONS
from orchestrator.gateway.anthropic_service import AnthropicService
from orchestrator.gateway.anthropic_wire import batch_object, error_envelope, is_archived, page_of
from orchestrator.gateway.faults import Fault
from orchestrator.gateway.intake import RequestRefused, receive_body
from orchestrator.gateway.store import Batch
from orchestrator.gateway.wire import FileAnswer, fault_answer

ROOT: Final = "/v1/messages/batches"
PAGE_MAX: Final = 1_000
PAGE_DEFAULT: Final = 20


class AnthropicRoutes:
    """The handlers; `require_key` checks the API key of a request."""

    def __init__(self, anthropic: AnthropicService, require_key: Callable[[Request], None]) -> None:
        self.anthropic = anthropic
        self.service = anthropic.service
        self._require_key = require_key

    async def create(self, request: Request) -> Response:
        version = self._enter(request)
        arrived = self.service.arrival_path()
        try:
            await receive_body(request.stream(), arrived, self.service.config.size_bytes_max)
            accepted = await asyncio.to_thread(self.anthropic.accept, arrived, version)
        except ClientDisconnect:
            return Response(status_code=499)  # the client has gone; a create that was sent in part has no effect
        finally:
            with contextlib.suppress(FileNotFoundError):
                arrived.unlink()
        if isinstance(accepted, Fault):
            return self._struck(accepted, self.service.plan.create)
        return answered(self._shown(accepted, request))

    async def batches(self, request: Request) -> Response:
        self._enter(request)

        async def effect() -> Response:
            query = request.query_params
            limit = query.get("limit", str(PAGE_DEFAULT))
            if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit[:9]) <= PAGE_MAX:
                raise RequestRefused(400, f"limit: Input should be from 1 to {PAGE_MAX}")
            found, has_more = await asyncio.to_thread(
                lambda: self.anthropic.page(
                    after=query.get("after_id"), before=query.get("before_id"), limit=int(limit)
                )
            )
            settled = [await self._settled(batch) for batch in found]
            return answered(page_of([self._shown(batch, request) for batch in settled], has_more=has_more))

        return await self._guarded("list", effect)

    async def status(self, request: Request) -> Response:
        self._enter(request)
        batch = await self._batch(request)
        fault = await asyncio.to_thread(self.service.status_fault, batch)
        faults = self.service.plan.status
        if fault is not None:
            match fault.name:
                case "not_found":
                    raise RequestRefused(404, f"Message Batch {batch.batch_id} not found.")
                case "stale":
                    return answered(batch_object(batch, batch.submitted_at, results_url=""))
                case "unknown":
                    shown = batch_object(batch, batch.submitted_at, results_url="")
                    return answered(shown | {"processing_status": faults.unknown_word})
            return self._struck(fault, faults)
        batch = await self._settled(batch)
        is_hidden = batch.is_settled and await asyncio.to_thread(self.service.hides_results, batch)
        return answered(self._shown(batch, request, is_hidden=is_hidden))

    async def results(self, request: Request) -> Response:
        self._enter(request)
        batch = await self._settled(await self._batch(request))
        if not batch.is_settled or is_archived(batch, self.service.clock.now()):
            raise RequestRefused(404, f"Message Batch {batch.batch_id} has no results.")
        fault = await asyncio.to_thread(lambda: self.service.download_fault(batch, is_stream=False))
        if fault is not None and fault.name == "refuse":
            raise RequestRefused(fault.status, "simulated failure of the results")

        async def when_whole() -> None:
            await asyncio.to_thread(self.service.count_whole_download, batch)

        path = self.service.store.result_path(batch.batch_id)
        return FileAnswer(path, self.service.delivery(fault), self.service.clock, when_whole)

    async def cancel(self, request: Request) -> Response:
        self._enter(request)

        async def effect() -> Response:
            batch = await asyncio.to_thread(self.anthropic.cancel, request.path_params["batch_id"])
            return answered(self._shown(batch, request))

        return await self._guarded("cancel", effect)

    async def delete(self, request: Request) -> Response:
        self._enter(request)
        batch_id = request.path_params["batch_id"]

        async def effect() -> Response:
            await self._settled(await self._batch(request))  # its bill is of before
            await asyncio.to_thread(self.anthropic.delete, batch_id)
            return answered({"id": batch_id, "type": "message_batch_deleted"})

        return await self._guarded("delete", effect)

    def _enter(self, request: Request) -> str:
        """Check the key and return the API version."""
        self._require_key(request)
        version = request.headers.get("anthropic-version", "")
        if not version:
            raise RequestRefused(400, "anthropic-version: header is required")
        if version not in VERSIONS:
            raise RequestRefused(400, f"anthropic-version: {version[:32]!r} is not a valid version")
        return version

    async def _batch(self, request: Request) -> Batch:
        return await asyncio.to_thread(self.anthropic.look, request.path_params["batch_id"])

    async def _settled(self, batch: Batch) -> Batch:
        loop = asyncio.get_running_loop()
        if batch.is_settled or self.service.clock.now() < batch.ends_at:
            return batch
        return await loop.run_in_executor(self.service.settling, self.anthropic.settled, batch)

    def _shown(self, batch: Batch, request: Request, *, is_hidden: bool = False) -> dict[str, Any]:
        base = self.service.config.results_url or str(request.base_url)
        url = "" if is_hidden else f"{base.rstrip('/')}{ROOT}/{batch.batch_id}/results"
        off_by = self.service.plan.status.counts_off_by
        return batch_object(batch, self.service.clock.now(), results_url=url, counts_off_by=off_by)

    async def _guarded(self, route: str, effect: Callable[[], Awaitable[Response]]) -> Response:
        """Run a route's effect under the faults that the plan has for it."""
        fault = await asyncio.to_thread(self.service.route_fault, route)
        if fault is None:
            return await effect()
        if fault.name != "refuse":
            await effect()
        return self._struck(fault, getattr(self.service.plan, route))

    def _struck(self, fault: Fault, table: Any) -> Response:
        answer = fault_answer(fault, table, self.service.clock, error_envelope, answered)
        if fault.name == "accept_then":
            answer.headers["x-should-retry"] = "false"
        return answer


def answered(content: dict[str, Any], status: int = 200) -> Response:
    """Return a JSON answer, with the request id that the vendor puts on every one."""
    request_id = f"req_{uuid.uuid4().hex[:24]}"
    if content.get("type") == "error":
        content = content | {"request_id": request_id}
    return Response(msgspec.json.encode(content), status, {"request-id": request_id}, "application/json")


def refused(error: RequestRefused) -> Response:
    """Return a refusal in Anthropic's envelope."""
    return answered(error_envelope(error.status, str(error)), error.status)
