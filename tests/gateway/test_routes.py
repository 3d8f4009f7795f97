"""Every route, and every status that it answers with; and the key that most of them need.

tests/fuzz/test_openapi.py checks that no other status occurs and that answers fit their types.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import httpx
import pytest
from starlette.routing import Route

from tests.gateway import openai_scenes as openai
from tests.gateway.in_process import Gateway, a_gateway, a_row, some_rows

Scene = Callable[[Gateway], httpx.Response]

LARGE: Final = b" " * 3_000
RESULT: Final = "/resource/batch-llm/azure-batch%2Fbatch_1_00000000.jsonl"
PATHS: Final = {"{batch_id}": "batch_1", "{file_id}": "file-1", "/resource/{rest:path}": RESULT}


def getting(path: str) -> Scene:
    return lambda gateway: gateway.send("GET", path)


def ended_batch(gateway: Gateway) -> str:
    batch_id = gateway.create(some_rows(1))
    gateway.end()
    return batch_id


def downloaded(gateway: Gateway) -> httpx.Response:
    return gateway.send("GET", gateway.status(ended_batch(gateway))["result_url"], key=None)


def cancelled(batch_of: Callable[[Gateway], str]) -> Scene:
    return lambda gateway: gateway.send("POST", f"/v1/batches/{batch_of(gateway)}/cancel")


def of_a_file(method: str, rest: str = "") -> Scene:
    return lambda gateway: gateway.send(method, f"/v1/files/{openai.upload(gateway, openai.some_lines(1))}{rest}")


VERSION: Final = {"anthropic-version": "2026-10-21"}
MESSAGES: Final = "/v1/messages/batches"


def of_messages(method: str, rest: str = "", **content: object) -> Scene:
    return lambda gateway: gateway.send(method, f"{MESSAGES}{rest}", headers=VERSION, **content)


def of_a_message_batch(method: str, rest: str = "", *, has_ended: bool = True) -> Scene:
    def scene(gateway: Gateway) -> httpx.Response:
        created = gateway.send("POST", MESSAGES, headers=VERSION, json={"requests": [a_row()]})
        if has_ended:
            gateway.end()
        return gateway.send(method, f"{MESSAGES}/{created.json()['id']}{rest}", headers=VERSION)

    return scene


# Written by hand: one call for each status of each route.
SCENES: Final[Mapping[str, Mapping[int, Scene]]] = {
    "POST /v1/batches": {
        200: lambda gateway: gateway.send("POST", "/v1/batches", json={"requests": [a_row()]}),
        400: lambda gateway: gateway.send("POST", "/v1/batches", json={"requests": []}),
        413: lambda gateway: gateway.send("POST", "/v1/batches", content=LARGE),
    },
    "GET /v1/batches": {
        200: getting("/v1/batches"),
        400: getting("/v1/batches?limit=0"),
        404: getting("/v1/batches?after=batch_1"),
    },
    "GET /v1/batches/{batch_id}": {
        200: lambda gateway: gateway.send("GET", f"/v1/batches/{ended_batch(gateway)}"),
        404: getting("/v1/batches/batch_1"),
    },
    "POST /v1/batches/{batch_id}/cancel": {
        200: cancelled(lambda gateway: gateway.create(some_rows(1))),
        400: cancelled(ended_batch),
        404: cancelled(lambda _: "batch_1"),
        409: cancelled(lambda gateway: str(openai.ended(gateway, openai.some_lines(1))["id"])),
    },
    "POST /v1/files": {
        200: lambda gateway: openai.send_file(gateway, b"{}\n"),
        400: lambda gateway: openai.send_file(gateway, b"{}\n", purpose="vision"),
        413: lambda gateway: openai.send_file(gateway, LARGE),
    },
    "GET /v1/files": {
        200: getting("/v1/files"),
        400: getting("/v1/files?order=up"),
        404: getting("/v1/files?after=file-1"),
    },
    "GET /v1/files/{file_id}": {200: of_a_file("GET"), 404: getting("/v1/files/file-1")},
    "DELETE /v1/files/{file_id}": {
        200: of_a_file("DELETE"),
        404: lambda gateway: gateway.send("DELETE", "/v1/files/file-1"),
    },
    "GET /v1/files/{file_id}/content": {200: of_a_file("GET", "/content"), 404: getting("/v1/files/file-1/content")},
    "POST /v1/messages/batches": {
        200: of_messages("POST", json={"requests": [a_row()]}),
        400: of_messages("POST", json={"requests": [a_row("a b")]}),
        413: of_messages("POST", content=LARGE),
    },
    "GET /v1/messages/batches": {
        200: of_messages("GET"),
        400: of_messages("GET", "?limit=0"),
        404: of_messages("GET", "?after_id=batch_1"),
    },
    "GET /v1/messages/batches/{batch_id}": {
        200: of_a_message_batch("GET"),
        400: getting(f"{MESSAGES}/batch_1"),
        404: of_messages("GET", "/batch_1"),
    },
    "DELETE /v1/messages/batches/{batch_id}": {
        200: of_a_message_batch("DELETE"),
        400: of_a_message_batch("DELETE", has_ended=False),
        404: of_messages("DELETE", "/batch_1"),
    },
    "POST /v1/messages/batches/{batch_id}/cancel": {
        200: of_a_message_batch("POST", "/cancel", has_ended=False),
        400: of_a_message_batch("POST", "/cancel"),
        404: of_messages("POST", "/batch_1/cancel"),
    },
    "GET /v1/messages/batches/{batch_id}/results": {
        200: of_a_message_batch("GET", "/results"),
        400: getting(f"{MESSAGES}/batch_1/results"),
        404: of_a_message_batch("GET", "/results", has_ended=False),
    },
    "GET /resource/{rest:path}": {
        200: downloaded,
        404: getting(RESULT),
    },
    "GET /admin/bill": {200: getting("/admin/bill")},
    "GET /admin/batches": {200: getting("/admin/batches")},
    "GET /admin/faults": {200: getting("/admin/faults")},
    "PUT /admin/faults": {
        200: lambda gateway: gateway.send("PUT", "/admin/faults", json={}),
        400: lambda gateway: gateway.send("PUT", "/admin/faults", json={"create": {"lots": 1}}),
    },
    "GET /v1/models": {
        200: getting("/v1/models"),
        401: lambda gateway: gateway.send("GET", "/v1/models", key="wrong"),
    },
    "GET /healthz": {200: getting("/healthz")},
}


FOR_ANYBODY: Final = {"GET /resource/{rest:path}", "GET /v1/models", "GET /healthz"}


def test_every_route_has_scenes_here(tmp_path: Path) -> None:
    with a_gateway(tmp_path) as gateway:
        routes = [route for route in gateway.app.routes if isinstance(route, Route)]

    assert {f"{method} {route.path}" for route in routes for method in (route.methods or set()) - {"HEAD"}} == set(
        SCENES
    )


@pytest.mark.parametrize(
    ("route", "status"), [(route, status) for route, scenes in SCENES.items() for status in scenes]
)
def test_a_route_answers_with_each_of_its_statuses(tmp_path: Path, route: str, status: int) -> None:
    with a_gateway(tmp_path, size_bytes_max=2_000) as gateway:
        assert SCENES[route][status](gateway).status_code == status


@pytest.mark.parametrize("route", SCENES)
@pytest.mark.parametrize("key", [None, "wrong", ""])
def test_without_the_key_a_route_is_refused_unless_it_is_for_anybody(
    tmp_path: Path, route: str, key: str | None
) -> None:
    """The refusal uses the envelope of its dialect."""
    method, _, path = route.partition(" ")
    for name, value in PATHS.items():
        path = path.replace(name, value)
    with a_gateway(tmp_path) as gateway:
        answer = gateway.send(method, path, key=key)

    is_wrong = path == "/v1/models" and key is not None  # it is for anybody, but a key that is sent must be right
    assert (answer.status_code == 401) == (route not in FOR_ANYBODY or is_wrong)
    if answer.status_code == 401:
        error = answer.json()["error"]
        if path.startswith(MESSAGES):
            assert error["type"] == "authentication_error"
            return
        is_openai = path.startswith("/v1/files") or route == "GET /v1/batches"
        assert error["code"] == ("invalid_api_key" if is_openai else 401)
