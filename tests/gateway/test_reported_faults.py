"""Faults that public reports describe, and fault plans by name: what each makes the server answer."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from orchestrator.gateway.faults import FaultPlan, FaultPlanError
from orchestrator.gateway.named_faults import NAMED, combined
from tests.gateway.in_process import a_gateway, lines_of, some_rows
from tests.gateway.openai_scenes import ended, jsonl, send_create, send_file, some_lines

TEXT = "[simulated] Question 0?"
DOCS = Path(__file__).parents[2] / "docs" / "gateway.md"


def run_one(tmp_path: Path, shape: str) -> dict[str, Any]:
    with a_gateway(tmp_path, {"lines": {"shape": shape}}) as gateway:
        line: dict[str, Any] = lines_of(gateway.run(some_rows(1)))[0]
        assert gateway.bill()["answers"] == 1
    return line


def test_answers_come_in_other_shapes(tmp_path: Path) -> None:
    """Each shape has the text where the report has it, and the unknown one where no reader looks."""
    found = {shape: run_one(tmp_path / shape, shape) for shape in ("body_string", "bare_body", "key", "gemini")}

    assert json.loads(found["body_string"]["response"]["body"])["choices"][0]["message"]["content"] == TEXT
    assert found["bare_body"]["response"]["choices"][0]["message"]["content"] == TEXT
    assert found["key"]["key"] == "row-0"
    assert "custom_id" not in found["key"]
    assert found["gemini"]["response"]["body"]["candidates"][0]["content"]["parts"] == [{"text": TEXT}]
    assert run_one(tmp_path / "odd", "unknown") == {"custom_id": "row-0", "outcome": {"kind": "done", "payload": TEXT}}
    call = run_one(tmp_path / "calls", "tool_calls")["response"]["body"]["choices"][0]
    assert (call["message"]["content"], call["finish_reason"]) == (None, "tool_calls")
    assert json.loads(call["message"]["tool_calls"][0]["function"]["arguments"]) == {"text": TEXT}


@pytest.mark.parametrize(
    ("shape", "keys"),
    [
        ("plain", {"id", "object", "status", "created_at"}),
        ("data", {"code", "message", "data"}),
        ("unknown", {"accepted", "queue"}),
    ],
)
def test_a_create_is_answered_in_other_shapes_and_makes_its_batch(tmp_path: Path, shape: str, keys: set[str]) -> None:
    with a_gateway(tmp_path, {"create": {"shape": shape}}) as gateway:
        answer = gateway.send("POST", "/v1/batches", json={"requests": some_rows(1)})
        bill = gateway.bill()

    assert answer.json().keys() == keys
    assert bill["creates"] == 1


def test_a_refusal_has_the_words_of_the_plan(tmp_path: Path) -> None:
    words = {"code": "billing_hard_limit_reached", "message": "Billing hard limit has been reached"}
    with a_gateway(tmp_path, {"create": {"refuse": {"400": 2}, **words}}) as gateway:
        inline = gateway.send("POST", "/v1/batches", json={"requests": some_rows(1)}).json()["error"]
        file = send_file(gateway, jsonl(some_lines(1))).json()["id"]
        by_file = send_create(gateway, file).json()["error"]

    assert (inline["type"], inline["message"]) == tuple(words.values())
    assert (by_file["code"], by_file["message"]) == tuple(words.values())


def test_failed_rows_and_failed_batches_have_the_words_of_the_plan(tmp_path: Path) -> None:
    rows = {"fail": {"429": 1}, "code": "insufficient_quota", "message": "You exceeded your current quota"}
    batch = {"fail": 1, "code": "model_not_found", "message": "no batches with this model"}
    with a_gateway(tmp_path / "rows", {"rows": rows}) as gateway:
        error = lines_of(gateway.run(some_rows(1)))[0]["response"]["body"]["error"]
    with a_gateway(tmp_path / "batch", {"batch": batch}) as gateway:
        shown = ended(gateway, some_lines(1))
    with a_gateway(tmp_path / "inline", {"batch": batch}) as gateway:
        batch_id = gateway.create(some_rows(1))
        gateway.end()
        reason = gateway.status(batch_id)["fail_reason"]

    assert (error["code"], error["message"]) == ("insufficient_quota", "You exceeded your current quota")
    assert [(one["code"], one["message"]) for one in shown["errors"]["data"]] == [
        ("model_not_found", "no batches with this model")
    ]
    assert reason == "model_not_found: no batches with this model"


def test_an_invalid_row_makes_its_whole_batch_be_refused_and_is_named(tmp_path: Path) -> None:
    """OneRouter's create names one request, counted from 0; OpenAI's errors name all lines, counted from 1."""
    rows, lines = some_rows(10), some_lines(10)
    with a_gateway(tmp_path, {"seed": 3, "rows": {"invalid": 0.3}}) as gateway:
        while (answer := gateway.send("POST", "/v1/batches", json={"requests": rows})).status_code == 400:
            del rows[int(re.search(r"requests\.(\d+)\.", answer.text)[1])]  # type: ignore[index]
        failed = ended(gateway, lines)
        named = [error["line"] for error in failed["errors"]["data"]]
        sound = [line for number, line in enumerate(lines, 1) if number not in named]
        passed = ended(gateway, sound)

    assert 0 < len(rows) < 10
    assert answer.status_code == 200
    assert (failed["status"], passed["status"]) == ("failed", "completed")
    assert 0 < len(named) < 10


def test_results_are_named_late_moved_or_in_the_status_itself(tmp_path: Path) -> None:
    with a_gateway(tmp_path / "late", {"status": {"results_lag_s": 5_000.0}}) as gateway:
        batch_id = gateway.create(some_rows(1))
        gateway.end()
        early = gateway.status(batch_id)
        gateway.clock.now_s += 5_000.0
        assert (early["status"], early["result_url"]) == ("SUCCESS", "")
        assert gateway.status(batch_id)["result_url"] != ""
    with a_gateway(tmp_path / "moved", {"download": {"redirect": 1}}) as gateway:
        batch_id = gateway.create(some_rows(1))
        gateway.end()
        first = gateway.send("GET", gateway.status(batch_id)["result_url"], key=None)
        assert first.status_code == 302
        assert len(lines_of(gateway.send("GET", first.headers["location"], key=None).content)) == 1
    with a_gateway(tmp_path / "inline", {"status": {"inline_results": True}}) as gateway:
        batch_id = gateway.create(some_rows(2))
        gateway.end()
        shown = gateway.status(batch_id)
        assert {line["custom_id"] for line in shown["results"]} == {"row-0", "row-1"}


@pytest.mark.parametrize(("told", "seen"), [("zero", 0), ("none", None)])
def test_the_size_of_an_upload_can_be_told_wrong(tmp_path: Path, told: str, seen: int | None) -> None:
    with a_gateway(tmp_path, {"upload": {"bytes_told": told}}) as gateway:
        assert send_file(gateway, jsonl(some_lines(1))).json().get("bytes") == seen


def test_each_named_fault_is_a_plan_and_is_in_the_documentation() -> None:
    documented = dict(re.findall(r"^\| `([a-z-]+)` \| (.+) \|$", DOCS.read_text(encoding="utf-8"), re.MULTILINE))

    for name, fault in NAMED.items():
        assert combined([name]) != FaultPlan(), name
        assert documented.get(name) == fault.what, name


def test_named_faults_are_combined_unless_they_contradict() -> None:
    plan = combined(["expired", "late-results"])

    assert (plan.batch.expire, plan.status.results_lag_s) == (1, 300.0)
    with pytest.raises(FaultPlanError, match=r"gemini-body contradicts another of these faults, in lines\.shape"):
        combined(["unknown-shape", "gemini-body"])
    with pytest.raises(FaultPlanError, match="there is no fault 'lost'; choose from rate-limit, lost-create"):
        combined(["lost"])
