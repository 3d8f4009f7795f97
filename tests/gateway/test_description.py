"""The description of the API, against the application: the same paths and verbs, and every status it declares.

tests/fuzz/test_openapi.py checks that no other status occurs and that answers fit their types.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import httpx
import pytest
from starlette.routing import Route

from orchestrator.gateway.openapi import document
from orchestrator.gateway.operations import OPERATIONS, Operation
from tests.gateway import openai_scenes as openai
from tests.gateway.in_process import Gateway, a_gateway, a_row, some_rows

Scene = Callable[[Gateway], httpx.Response]

LARGE: Final = b" " * 3_000
PATHS: Final = {"{batch_id}": "batch_1", "{file_id}": "file-1", "{name}": "batch_1_00000000.jsonl"}


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


# Written by hand: one call for each status that the table declares.
SCENES: Final[Mapping[str, Mapping[int, Scene]]] = {
    "create": {
        200: lambda gateway: gateway.send("POST", "/v1/batches", json={"requests": [a_row()]}),
        400: lambda gateway: gateway.send("POST", "/v1/batches", json={"requests": []}),
        413: lambda gateway: gateway.send("POST", "/v1/batches", content=LARGE),
    },
    "list": {
        200: getting("/v1/batches"),
        400: getting("/v1/batches?limit=0"),
        404: getting("/v1/batches?after=batch_1"),
    },
    "status": {
        200: lambda gateway: gateway.send("GET", f"/v1/batches/{ended_batch(gateway)}"),
        404: getting("/v1/batches/batch_1"),
    },
    "cancel": {
        200: cancelled(lambda gateway: gateway.create(some_rows(1))),
        400: cancelled(ended_batch),
        404: cancelled(lambda _: "batch_1"),
        409: cancelled(lambda gateway: str(openai.ended(gateway, openai.some_lines(1))["id"])),
    },
    "upload": {
        200: lambda gateway: openai.send_file(gateway, b"{}\n"),
        400: lambda gateway: openai.send_file(gateway, b"{}\n", purpose="vision"),
        413: lambda gateway: openai.send_file(gateway, LARGE),
    },
    "files": {
        200: getting("/v1/files"),
        400: getting("/v1/files?order=up"),
        404: getting("/v1/files?after=file-1"),
    },
    "file": {200: of_a_file("GET"), 404: getting("/v1/files/file-1")},
    "delete": {200: of_a_file("DELETE"), 404: lambda gateway: gateway.send("DELETE", "/v1/files/file-1")},
    "content": {200: of_a_file("GET", "/content"), 404: getting("/v1/files/file-1/content")},
    "message_create": {
        200: of_messages("POST", json={"requests": [a_row()]}),
        400: of_messages("POST", json={"requests": [a_row("a b")]}),
        413: of_messages("POST", content=LARGE),
    },
    "message_list": {
        200: of_messages("GET"),
        400: of_messages("GET", "?limit=0"),
        404: of_messages("GET", "?after_id=batch_1"),
    },
    "message_status": {
        200: of_a_message_batch("GET"),
        400: getting(f"{MESSAGES}/batch_1"),
        404: of_messages("GET", "/batch_1"),
    },
    "message_delete": {
        200: of_a_message_batch("DELETE"),
        400: of_a_message_batch("DELETE", has_ended=False),
        404: of_messages("DELETE", "/batch_1"),
    },
    "message_cancel": {
        200: of_a_message_batch("POST", "/cancel", has_ended=False),
        400: of_a_message_batch("POST", "/cancel"),
        404: of_messages("POST", "/batch_1/cancel"),
    },
    "message_results": {
        200: of_a_message_batch("GET", "/results"),
        400: getting(f"{MESSAGES}/batch_1/results"),
        404: of_a_message_batch("GET", "/results", has_ended=False),
    },
    "download": {200: downloaded, 404: getting("/resource/batch-llm/azure-batch%2Fbatch_1_00000000.jsonl")},
    "bill": {200: getting("/admin/bill")},
    "batches": {200: getting("/admin/batches")},
    "faults": {200: getting("/admin/faults")},
    "set_faults": {
        200: lambda gateway: gateway.send("PUT", "/admin/faults", json={}),
        400: lambda gateway: gateway.send("PUT", "/admin/faults", json={"create": {"lots": 1}}),
    },
    "models": {
        200: getting("/v1/models"),
        401: lambda gateway: gateway.send("GET", "/v1/models", key="wrong"),
    },
    "healthz": {200: getting("/healthz")},
    "openapi": {200: getting("/openapi.json")},
}


def test_every_route_is_described_and_every_description_is_served(tmp_path: Path) -> None:
    """The document and the application have the same paths and verbs."""
    with a_gateway(tmp_path) as gateway:
        routes = [route for route in gateway.app.routes if isinstance(route, Route)]
        served = {(method, route.path) for route in routes for method in (route.methods or set()) - {"HEAD"}}

    described = {
        (method.upper(), "/resource/{rest:path}" if path.startswith("/resource/") else path)
        for path, verbs in document()["paths"].items()
        for method in verbs
    }
    assert described == served


def test_the_description_is_served_without_a_key(tmp_path: Path) -> None:
    with a_gateway(tmp_path) as gateway:
        answer = gateway.send("GET", "/openapi.json", key=None)

    assert answer.json() == document()
    assert answer.json()["openapi"] == "3.1.0"


def test_every_declared_status_has_a_scene_here() -> None:
    """An operation or status that is added to the table needs a scene here."""
    provoked = {name: {401, *scenes} if wants_a_key(name) else set(scenes) for name, scenes in SCENES.items()}

    assert provoked == {operation.name: operation.statuses for operation in OPERATIONS}


@pytest.mark.parametrize(("name", "status"), [(name, status) for name, scenes in SCENES.items() for status in scenes])
def test_every_status_that_is_declared_can_be_had(tmp_path: Path, name: str, status: int) -> None:
    with a_gateway(tmp_path, size_bytes_max=2_000) as gateway:
        assert SCENES[name][status](gateway).status_code == status


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
@pytest.mark.parametrize("key", [None, "wrong", ""])
def test_without_the_key_an_operation_is_refused_unless_it_says_otherwise(
    tmp_path: Path, operation: Operation, key: str | None
) -> None:
    """The refusal uses the envelope of its dialect."""
    path = operation.path
    for name, value in PATHS.items():
        path = path.replace(name, value)
    with a_gateway(tmp_path) as gateway:
        answer = gateway.send(operation.method, path, key=key)

    is_wrong = operation.name == "models" and key is not None  # it is for anybody, but a key that is sent must be right
    assert (answer.status_code == 401) == (wants_a_key(operation.name) or is_wrong)
    if answer.status_code == 401:
        error = answer.json()["error"]
        if operation.name.startswith("message_"):
            assert error["type"] == "authentication_error"
            return
        assert error["code"] == ("invalid_api_key" if path.startswith("/v1/files") or operation.name == "list" else 401)


def wants_a_key(name: str) -> bool:
    """Written by hand: these four need no key."""
    return name not in {"download", "models", "healthz", "openapi"}
