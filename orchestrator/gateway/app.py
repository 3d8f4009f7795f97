"""The HTTP routes: OneRouter's three, OpenAI's, Anthropic's, the result files, and a few for tests and operators.

    POST /v1/batches                  GET /v1/batches/{id}             POST /v1/batches/{id}/cancel
    OpenAI's files and batches, which share the three paths above: see openai_routes
    Anthropic's message batches, under /v1/messages/batches: see anthropic_routes
    GET  /resource/batch-llm/azure-batch%2F{id}_{8 hex}.jsonl          needs no key, like the real ones
    GET  /admin/bill                  GET /admin/batches               GET, PUT /admin/faults
    GET  /v1/models, /healthz                                          need no key

Rule 1: any other path or verb is a 404 in the documented envelope.
Rule 2: the event loop waits for sockets only; disk, SQLite and settling run in threads, settling in a single one.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from orchestrator.gateway.anthropic_routes import ROOT as MESSAGES_ROOT
from orchestrator.gateway.anthropic_routes import AnthropicRoutes
from orchestrator.gateway.anthropic_routes import refused as refused_message
from orchestrator.gateway.anthropic_service import AnthropicService
from orchestrator.gateway.bill import known_batches, settled_bill
from orchestrator.gateway.envelopes import (
    cancel_envelope,
    create_envelope,
    error_envelope,
    models_envelope,
    reshaped,
    status_object,
)
from orchestrator.gateway.faults import Fault, FaultPlanError, decode_plan, encode_plan
from orchestrator.gateway.intake import RequestRefused, receive_body
from orchestrator.gateway.openai_intake import OpenAIRefused, openai_create_in
from orchestrator.gateway.openai_routes import OpenAIRoutes, moved, refused
from orchestrator.gateway.openai_service import OpenAIService, is_openai_id
from orchestrator.gateway.service import Service
from orchestrator.gateway.settings import Clock, GatewayConfig, ResultMode, WallClock
from orchestrator.gateway.states import Standing
from orchestrator.gateway.store import Batch
from orchestrator.gateway.wire import FileAnswer, fault_answer

JSON: Final = "application/json"
JSONL: Final = "application/jsonl"
FILES_ROOT: Final = "/v1/files"
MODELS: Final = "/v1/models"
LIST: Final = ("/v1/batches", "GET")
RESULT_ROOT: Final = "/resource/batch-llm/azure-batch"
DIGEST_LENGTH: Final = 8

T = TypeVar("T")
Handler = Callable[[Request], Awaitable[Response]]


def create_app(config: GatewayConfig, clock: Clock | None = None) -> Starlette:
    """Return the server as an ASGI application; close `app.state.service` after use.

    Raises StateFolderInUse if another server has the state folder.
    """
    service = Service(config, clock or WallClock())
    routes = _Routes(service)
    openai, anthropic = routes.openai, routes.anthropic
    app = Starlette(
        routes=[
            _route("POST", "/v1/batches", routes.create),
            _route("GET", "/v1/batches", openai.batches),
            _route("GET", "/v1/batches/{batch_id}", routes.status),
            _route("POST", "/v1/batches/{batch_id}/cancel", routes.cancel),
            _route("POST", FILES_ROOT, openai.upload),
            _route("GET", FILES_ROOT, openai.files),
            _route("GET", f"{FILES_ROOT}/{{file_id}}", openai.file),
            _route("DELETE", f"{FILES_ROOT}/{{file_id}}", openai.delete),
            _route("GET", f"{FILES_ROOT}/{{file_id}}/content", openai.content),
            _route("POST", MESSAGES_ROOT, anthropic.create),
            _route("GET", MESSAGES_ROOT, anthropic.batches),
            _route("GET", f"{MESSAGES_ROOT}/{{batch_id}}", anthropic.status),
            _route("DELETE", f"{MESSAGES_ROOT}/{{batch_id}}", anthropic.delete),
            _route("POST", f"{MESSAGES_ROOT}/{{batch_id}}/cancel", anthropic.cancel),
            _route("GET", f"{MESSAGES_ROOT}/{{batch_id}}/results", anthropic.results),
            _route("GET", "/resource/{rest:path}", routes.download),
            _route("GET", "/admin/bill", routes.bill),
            _route("GET", "/admin/batches", routes.batches),
            _route("GET", "/admin/faults", routes.faults),
            _route("PUT", "/admin/faults", routes.set_faults),
            _route("GET", MODELS, routes.models),
            _route("GET", "/healthz", routes.healthz),
        ],
        exception_handlers={RequestRefused: _refused, HTTPException: _no_route},
    )
    # A trailing slash is a path that is not documented: a redirect would hide the mistake, and would repeat a create.
    app.router.redirect_slashes = False
    app.state.service = service
    app.state.openai = openai.openai
    app.state.anthropic = anthropic.anthropic
    return app


def _route(method: str, path: str, handler: Handler) -> Route:
    return Route(path, handler, methods=[method])


class _Routes:
    def __init__(self, service: Service) -> None:
        self.service = service
        self.openai = OpenAIRoutes(OpenAIService(service), self._require_key)
        self.anthropic = AnthropicRoutes(AnthropicService(service), self._require_key)

    async def create(self, request: Request) -> Response:
        self._require_key(request)
        arrived = self.service.arrival_path()
        try:
            await receive_body(request.stream(), arrived, self.service.config.size_bytes_max)
            openai_create = await asyncio.to_thread(openai_create_in, arrived)
            if openai_create is not None:
                return await self.openai.create(openai_create)
            accepted = await asyncio.to_thread(self.service.accept, arrived)
        except ClientDisconnect:
            return Response(status_code=499)  # the client has gone; a create that was sent in part has no effect
        finally:
            with contextlib.suppress(FileNotFoundError):
                arrived.unlink()
        if isinstance(accepted, Fault):
            return fault_answer(accepted, self.service.plan.create, self.service.clock, error_envelope, _json)
        return _json(reshaped(create_envelope(accepted), self.service.plan.create.shape))

    async def status(self, request: Request) -> Response:
        self._require_key(request)
        batch_id = request.path_params["batch_id"]
        if is_openai_id(batch_id):
            return await self.openai.status(batch_id)
        look = await asyncio.to_thread(self.service.look, batch_id)
        faults = self.service.plan.status
        if look.fault is not None and look.fault.name not in {"stale", "unknown"}:
            if look.fault.name == "not_found":
                raise RequestRefused(404, "no such batch")
            return fault_answer(look.fault, faults, self.service.clock, error_envelope, _json)
        if look.fault is not None and look.fault.name == "unknown":
            odd = Standing(word=faults.unknown_word, percent=look.standing.percent, is_ended=False)
            return self._status(look.batch, odd, result_url="")
        if not look.standing.is_ended:
            return self._status(look.batch, look.standing, result_url="")
        batch = await self._settled(look.batch)
        if not batch.has_results or await asyncio.to_thread(self.service.hides_results, batch):
            return self._status(batch, look.standing, result_url="")
        if faults.inline_results:
            return await asyncio.to_thread(self._inline, batch, look.standing)
        if self.service.config.result_mode is not ResultMode.STATUS_OBJECT:
            return await self._results(batch, is_stream=True)
        base = self.service.config.results_url or str(request.base_url)
        return self._status(batch, look.standing, result_url=base.rstrip("/") + _result_path(batch))

    async def cancel(self, request: Request) -> Response:
        self._require_key(request)
        batch_id = request.path_params["batch_id"]
        if is_openai_id(batch_id):
            return await self.openai.cancel(batch_id)

        async def effect() -> Response:
            return _json(cancel_envelope(await asyncio.to_thread(self.service.cancel, batch_id)))

        return await self.openai.guarded("cancel", effect, error_envelope)

    async def download(self, request: Request) -> Response:
        # The path as it was sent: with a decoded %2F it names another file.
        path = request.scope["raw_path"].decode("ascii", "replace")
        batch_id = path.removeprefix(f"{RESULT_ROOT}%2F").rpartition("_")[0]
        batch = await asyncio.to_thread(self.service.find, batch_id)
        if path != _result_path(batch) or not (batch.is_settled and batch.has_results):
            raise RequestRefused(404, "no such file")
        if self.service.plan.download.refuse_key and "authorization" in request.headers:
            raise RequestRefused(400, "this link takes no Authorization header")
        return await self._results(batch, is_stream=False, request=request)

    async def bill(self, request: Request) -> Response:
        self._require_key(request)
        return _json(
            await self._in_settling_thread(settled_bill, self.service, self.openai.openai, self.anthropic.anthropic)
        )

    async def batches(self, request: Request) -> Response:
        self._require_key(request)
        return _json(
            {"batches": await asyncio.to_thread(lambda: list(known_batches(self.service, self.openai.openai)))}
        )

    async def faults(self, request: Request) -> Response:
        self._require_key(request)
        return Response(encode_plan(self.service.plan), media_type=JSON)

    async def set_faults(self, request: Request) -> Response:
        self._require_key(request)
        try:
            plan = decode_plan(await request.body())
        except FaultPlanError as error:
            raise RequestRefused(400, f"fault plan: {error}") from error
        await asyncio.to_thread(self.service.set_plan, plan)
        return Response(encode_plan(self.service.plan), media_type=JSON)

    async def models(self, request: Request) -> Response:
        if {"authorization", "x-api-key"} & set(request.headers.keys()):
            self._require_key(request)
        return _json(models_envelope())

    async def healthz(self, _request: Request) -> Response:
        return _json({"status": "ok"})

    def _require_key(self, request: Request) -> None:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if request.url.path.startswith((MESSAGES_ROOT, MODELS)) and "x-api-key" in request.headers:
            scheme, key = "bearer", request.headers["x-api-key"]
        if scheme.lower() != "bearer" or not hmac.compare_digest(key.encode(), self.service.config.api_key.encode()):
            raise RequestRefused(401, "missing or unknown API key")

    def _status(self, batch: Batch, standing: Standing, *, result_url: str) -> Response:
        off_by = self.service.plan.status.counts_off_by
        shown = status_object(batch, standing, result_url=result_url, counts_off_by=off_by)
        if self.service.config.result_mode is ResultMode.JSONL_STREAM:
            return Response(msgspec.json.encode(shown) + b"\n", media_type=JSONL)
        return _json(shown)

    def _inline(self, batch: Batch, standing: Standing) -> Response:
        """Return the status object with the results in it."""
        lines = self.service.store.result_path(batch.batch_id).read_bytes().splitlines()
        off_by = self.service.plan.status.counts_off_by
        shown = status_object(batch, standing, result_url="", counts_off_by=off_by)
        self.service.count_whole_download(batch)
        return _json(shown | {"results": [msgspec.Raw(line) for line in lines if line]})

    async def _results(self, batch: Batch, *, is_stream: bool, request: Request | None = None) -> Response:
        fault = await asyncio.to_thread(self.service.download_fault, batch, is_stream=is_stream)
        if fault is not None and fault.name == "redirect" and request is not None:
            return moved(request)
        if fault is not None and fault.name == "refuse":
            raise RequestRefused(fault.status, "simulated failure of the file host")

        async def when_whole() -> None:
            await asyncio.to_thread(self.service.count_whole_download, batch)

        path = self.service.store.result_path(batch.batch_id)
        return FileAnswer(path, self.service.delivery(fault), self.service.clock, when_whole)

    async def _settled(self, batch: Batch) -> Batch:
        return batch if batch.is_settled else await self._in_settling_thread(self.service.settle, batch.batch_id)

    async def _in_settling_thread(self, call: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.service.settling, call, *arguments)


def _result_path(batch: Batch) -> str:
    return f"{RESULT_ROOT}%2F{batch.batch_id}_{batch.digest[:DIGEST_LENGTH]}.jsonl"


def _json(content: dict[str, Any], status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status_code=status, media_type=JSON)


async def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestRefused):
        raise error
    if request.url.path.startswith(MESSAGES_ROOT):
        return refused_message(error)
    is_openai_route = request.url.path.startswith(FILES_ROOT) or (request.url.path, request.method) == LIST
    if is_openai_route or isinstance(error, OpenAIRefused):
        return refused(error)
    return _json(error_envelope(error.status, str(error)), error.status)


async def _no_route(_request: Request, _error: Exception) -> Response:
    return _json(error_envelope(404, "no such route"), 404)
