"""What is refused, how, and that a refusal creates nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.in_process import a_gateway, a_row, some_rows

NO_MODEL = {"custom_id": "row-0", "params": {"messages": []}}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty"),
        (b"{", "not a create request"),
        (b"[1]", "not a create request"),
        (b"\xff\xfe", "not a create request"),
        (b'{"requests":[{"custom_id":"a","params":' + b"[" * 100_000 + b"]" * 100_000 + b"}]}", "nested too deeply"),
        (b"{}", "requests"),
        (b'{"requests":{}}', "requests"),
        (b'{"requests":[]}', "must not be empty"),
        (json.dumps({"requests": [{"params": {"model": "m"}}]}).encode(), "custom_id"),
        (json.dumps({"requests": [a_row(""), a_row()]}).encode(), "custom_id"),
        (json.dumps({"requests": [{"custom_id": 7, "params": {"model": "m"}}]}).encode(), "custom_id"),
        (json.dumps({"requests": [{"custom_id": "a"}]}).encode(), "params"),
        (json.dumps({"requests": [a_row("a"), NO_MODEL]}).encode(), "requests.1.params"),
        (json.dumps({"requests": [a_row(model="")]}).encode(), "requests.0.params"),
        (json.dumps({"requests": [a_row("a"), a_row("b"), a_row("a")]}).encode(), "requests.2.custom_id: duplicate"),
        (b'{"requests":[{"custom_id":"\\ud800","params":{"model":"m"}}]}', "not a create request"),
    ],
)
def test_a_bad_create_is_a_400_that_says_why(tmp_path: Path, body: bytes, words: str) -> None:
    with a_gateway(tmp_path) as gateway:
        answer = gateway.send("POST", "/v1/batches", content=body)

        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == 400
        assert words in answer.json()["error"]["message"]
        assert gateway.bill()["creates"] == 0
    assert list((tmp_path / "requests").iterdir()) == []


def test_unknown_keys_of_a_create_are_ignored(tmp_path: Path) -> None:
    with a_gateway(tmp_path) as gateway:
        answer = gateway.send("POST", "/v1/batches", json={"requests": some_rows(1), "metadata": {"a": "b"}})

        assert answer.status_code == 200


def test_duplicate_custom_ids_are_accepted_where_that_is_asked_for(tmp_path: Path) -> None:
    with a_gateway(tmp_path, accepts_duplicates=True) as gateway:
        gateway.run([a_row("same"), a_row("same")])
        bill = gateway.bill()

    assert (bill["answers"], bill["paid_twice"], bill["excused"]) == (2, 1, 0)


def test_too_many_requests_or_bytes_are_a_413(tmp_path: Path) -> None:
    exact = json.dumps({"requests": some_rows(3)}).encode()
    with a_gateway(tmp_path, requests_max=3, size_bytes_max=len(exact)) as gateway:
        assert gateway.send("POST", "/v1/batches", content=exact).status_code == 200
        assert gateway.send("POST", "/v1/batches", content=exact + b" ").status_code == 413
    with a_gateway(tmp_path, requests_max=2) as gateway:
        answer = gateway.send("POST", "/v1/batches", content=exact)

        assert answer.status_code == 413
        assert answer.json()["error"]["code"] == 413
        assert gateway.bill()["creates"] == 1
    assert len(list((tmp_path / "requests").iterdir())) == 1


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/v1/batches"),
        ("DELETE", "/v1/batches/batch_1"),
        ("POST", "/v1/batches/"),
        ("PUT", "/v1/files"),
        ("GET", "/"),
        ("GET", "/v1/batches/batch_1"),
        ("POST", "/v1/batches/batch_1/cancel"),
        ("GET", "/resource/batch-llm/azure-batch%2Fbatch_1_00000000.jsonl"),
    ],
)
def test_what_is_not_documented_or_not_there_is_a_404_in_the_envelope(tmp_path: Path, method: str, path: str) -> None:
    with a_gateway(tmp_path) as gateway:
        answer = gateway.send(method, path)

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == 404


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({"creates": {}}, "creates"),
        ({"create": {"lots": 1}}, "$.create"),
        ({"create": {"lost": 1.5}}, "$.create.lost"),
        ({"create": {"lost": -1}}, "$.create.lost"),
        ({"create": {"lost": True}}, "$.create.lost"),
        ({"create": {"refuse": {"200": 1}}}, "$.create.refuse"),
    ],
)
def test_a_fault_plan_with_a_mistake_is_refused_and_the_old_one_stays(
    tmp_path: Path, plan: dict[str, Any], words: str
) -> None:
    with a_gateway(tmp_path) as gateway:
        gateway.set_faults({"seed": 5})
        answer = gateway.send("PUT", "/admin/faults", json=plan)

        assert answer.status_code == 400
        assert words in answer.json()["error"]["message"]
        assert gateway.send("GET", "/admin/faults").json()["seed"] == 5
